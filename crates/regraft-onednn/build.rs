//! Links oneDNN (built by `onednn-src`, or found under `ONEDNN_ROOT`), the OpenMP shim, and the C++ and OpenMP
//! runtimes: statically where the compiler has them, so that the binary needs only libc.

#![expect(clippy::panic, reason = "a build script reports by panicking")]

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=src/shim.cpp");
    println!("cargo::rerun-if-env-changed=ONEDNN_ROOT");
    let root = onednn_root();
    let include = root.join("include");
    assert!(
        include.join("oneapi/dnnl/dnnl.h").is_file(),
        "no oneDNN under `{}`: `include/oneapi/dnnl/dnnl.h` is missing; set ONEDNN_ROOT to the prefix of an installed oneDNN 3",
        root.display()
    );
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .file("src/shim.cpp")
        .include(&include)
        .flag("-fopenmp")
        .cpp_link_stdlib(None)
        .compile("regraft_onednn_shim");
    link_onednn(&root);
    for (library, archive) in [("gomp", "libgomp.a"), ("stdc++", "libstdc++.a")] {
        link_runtime(library, archive);
    }
}

fn onednn_root() -> PathBuf {
    match (env::var_os("ONEDNN_ROOT"), env::var_os("DEP_DNNL_ROOT")) {
        (Some(root), _) | (None, Some(root)) => PathBuf::from(root),
        (None, None) => panic!(
            "regraft-onednn is built without its feature `bundled`: set ONEDNN_ROOT to the prefix of an installed oneDNN 3"
        ),
    }
}

fn link_onednn(root: &Path) {
    for folder in [
        "lib",
        "lib64",
        "lib/x86_64-linux-gnu",
        "lib/aarch64-linux-gnu",
    ] {
        let folder = root.join(folder);
        if folder.join("libdnnl.a").is_file() {
            println!("cargo::rustc-link-search=native={}", folder.display());
            println!("cargo::rustc-link-lib=static:-bundle=dnnl");
            return;
        }
        if folder.join("libdnnl.so").is_file() || folder.join("libdnnl.dylib").is_file() {
            println!("cargo::rustc-link-search=native={}", folder.display());
            println!("cargo::rustc-link-lib=dylib=dnnl");
            return;
        }
    }
    panic!("no libdnnl under `{}`", root.display());
}

/// The compiler knows where its static runtimes are; without them the shared ones do.
fn link_runtime(library: &str, archive: &str) {
    let compiler = cc::Build::new().cpp(true).get_compiler();
    let found = Command::new(compiler.path())
        .arg(format!("-print-file-name={archive}"))
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|path| PathBuf::from(path.trim()))
        .filter(|path| path.is_absolute());
    match found.as_deref().and_then(Path::parent) {
        Some(folder) => {
            println!("cargo::rustc-link-search=native={}", folder.display());
            println!("cargo::rustc-link-lib=static:-bundle={library}");
        }
        None => println!("cargo::rustc-link-lib=dylib={library}"),
    }
}
