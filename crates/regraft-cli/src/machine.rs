//! What the machine can do, as far as it decides how fast Regraft is.

use serde::Serialize;
use std::path::PathBuf;

/// The machine, its kernel library and its places.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) regraft: &'static str,
    pub(crate) kernels: String,
    pub(crate) os: &'static str,
    pub(crate) architecture: &'static str,
    pub(crate) cpu: Option<String>,
    /// Logical cores that this process may use.
    pub(crate) cores: usize,
    pub(crate) threads: usize,
    pub(crate) simd: Vec<Simd>,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) memory_available_bytes: Option<u64>,
    pub(crate) cache_folder: Option<PathBuf>,
    pub(crate) cache_free_bytes: Option<u64>,
}

/// An instruction set and whether the CPU has it.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Simd {
    pub(crate) name: &'static str,
    pub(crate) available: bool,
}

impl Machine {
    /// Looks around.
    pub(crate) fn examine(threads: Option<usize>) -> Self {
        let cores = regraft::data::available_threads();
        let cache_folder = regraft::weights::cache_folder().ok();
        Self {
            regraft: env!("CARGO_PKG_VERSION"),
            kernels: regraft::engine::kernel_library(),
            os: std::env::consts::OS,
            architecture: std::env::consts::ARCH,
            cpu: proc_value("/proc/cpuinfo", "model name"),
            cores,
            threads: threads.unwrap_or(cores),
            simd: simd(),
            memory_bytes: memory("MemTotal"),
            memory_available_bytes: memory("MemAvailable"),
            // Free space is that of the nearest folder that exists.
            cache_free_bytes: cache_folder
                .as_deref()
                .and_then(|folder| folder.ancestors().find(|folder| folder.exists()))
                .and_then(|folder| fs4::available_space(folder).ok()),
            cache_folder,
        }
    }
}

/// What oneDNN chooses kernels by.
#[cfg(target_arch = "x86_64")]
fn simd() -> Vec<Simd> {
    let flags = proc_value("/proc/cpuinfo", "flags").unwrap_or_default();
    let flag = |name| flags.split_whitespace().any(|flag| flag == name);
    [
        ("AVX2", std::is_x86_feature_detected!("avx2")),
        ("FMA", std::is_x86_feature_detected!("fma")),
        ("AVX-512", std::is_x86_feature_detected!("avx512f")),
        ("AVX-512 bf16", std::is_x86_feature_detected!("avx512bf16")),
        ("AMX bf16", flag("amx_bf16")),
    ]
    .map(|(name, available)| Simd { name, available })
    .to_vec()
}

#[cfg(target_arch = "aarch64")]
fn simd() -> Vec<Simd> {
    [
        ("NEON", std::arch::is_aarch64_feature_detected!("neon")),
        ("SVE", std::arch::is_aarch64_feature_detected!("sve")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
    ]
    .map(|(name, available)| Simd { name, available })
    .to_vec()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn simd() -> Vec<Simd> {
    Vec::new()
}

/// Bytes of an entry of Linux's `/proc/meminfo`.
fn memory(name: &str) -> Option<u64> {
    let text = proc_value("/proc/meminfo", name)?;
    let kib: u64 = text.strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

/// The first value of a name in a file of lines `name: value`.
fn proc_value(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let mut entries = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = entries.find(|(key, _)| key.trim() == name)?;
    Some(value.trim().to_owned())
}
