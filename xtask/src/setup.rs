//! `cargo xtask setup`: what oneDNN's build needs and a fresh machine lacks.
//!
//! Programs on `PATH` are used as they are. What is missing comes from apt when run as root, else
//! from PyPI into the user's cache folder, where only child processes of xtask see it. With
//! `ONEDNN_ROOT` nothing is built, so nothing but a C++ compiler is needed.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};

use crate::process::{find_program, run as run_command, stdout_of};
use crate::workspace::{cache_dir, cargo, root};

/// Wheels that hold the native programs; cmake 3 because oneDNN is tested with it.
const PYPI_PACKAGES: [&str; 2] = ["cmake==3.31.6", "ninja==1.13.0"];

/// How child processes have to be started so that the workspace builds.
#[derive(Debug, Clone)]
pub(crate) struct BuildEnv {
    path: OsString,
    generator: Option<&'static str>,
    onednn_root: Option<PathBuf>,
}

/// Prepares and says what will be used.
pub(crate) fn run() -> Result<ExitCode> {
    BuildEnv::prepare()?;
    Ok(ExitCode::SUCCESS)
}

impl BuildEnv {
    /// Finds or installs the build tools.
    pub(crate) fn prepare() -> Result<Self> {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let compiler = find_compiler(std::env::var_os("CXX").as_deref(), &path)?;
        println!("setup: C++ compiler {}", compiler.display());

        if let Some(onednn_root) = std::env::var_os("ONEDNN_ROOT").filter(|root| !root.is_empty()) {
            let onednn_root = PathBuf::from(onednn_root);
            check_onednn(&onednn_root)?;
            println!("setup: oneDNN of `ONEDNN_ROOT`, {}", onednn_root.display());
            return Ok(Self {
                path,
                generator: None,
                onednn_root: Some(onednn_root),
            });
        }

        let private = cache_dir()?.join("tools");
        let path = [
            path.clone(),
            with_folders(&private_folders(&private), &path)?,
        ]
        .into_iter()
        .find(|path| BuildTools::find(path).is_some());
        let path = match path {
            Some(path) => path,
            None => install(&private)?,
        };
        let tools = BuildTools::find(&path)
            .context("cmake or ninja is not on `PATH` although it was installed")?;
        println!(
            "setup: {} with {}",
            tools.cmake.display(),
            tools.builder.display()
        );
        // What cargo would use by itself stays in use, so that a build which was begun without
        // xtask can be finished with it: cmake refuses to go on with another generator.
        let chosen = std::env::var_os("CMAKE_GENERATOR").is_some();
        Ok(Self {
            path,
            generator: (tools.ninja && !chosen).then_some("Ninja"),
            onednn_root: None,
        })
    }

    /// A cargo command in the root of the workspace.
    pub(crate) fn cargo(&self, subcommand: &str) -> Result<Command> {
        let mut command = Command::new(cargo());
        command.arg(subcommand).current_dir(root()?);
        command.env("PATH", &self.path);
        if let Some(generator) = self.generator {
            command.env("CMAKE_GENERATOR", generator);
        }
        Ok(command)
    }

    /// Flags of every cargo command that compiles: an installed oneDNN switches off the feature
    /// `bundled`, which would build one.
    pub(crate) fn feature_flags(&self) -> &'static [&'static str] {
        if self.onednn_root.is_some() {
            &["--no-default-features"]
        } else {
            &[]
        }
    }
}

/// cmake and the program that it drives.
struct BuildTools {
    cmake: PathBuf,
    builder: PathBuf,
    ninja: bool,
}

impl BuildTools {
    fn find(path: &OsStr) -> Option<Self> {
        let cmake = find_program("cmake", path)?;
        let make = find_program("make", path);
        let ninja = make.is_none();
        let builder = make.or_else(|| find_program("ninja", path))?;
        Some(Self {
            cmake,
            builder,
            ninja,
        })
    }
}

fn find_compiler(chosen: Option<&OsStr>, path: &OsStr) -> Result<PathBuf> {
    if let Some(chosen) = chosen.filter(|chosen| !chosen.is_empty()) {
        // `CXX` may be a path, a name, or a launcher and a compiler: "ccache g++".
        let words = chosen.to_string_lossy();
        let program = words.split_whitespace().next().unwrap_or_default();
        let found = if program.contains('/') {
            Some(PathBuf::from(program)).filter(|program| program.is_file())
        } else {
            find_program(program, path)
        };
        return found.with_context(|| format!("`CXX` is `{words}`, which is not there"));
    }
    ["c++", "g++", "clang++"]
        .into_iter()
        .find_map(|name| find_program(name, path))
        .context("no C++ compiler found: install one (Debian: `apt-get install g++`) or set `CXX`")
}

fn check_onednn(onednn_root: &Path) -> Result<()> {
    let header = onednn_root.join("include/oneapi/dnnl/dnnl.h");
    if !header.is_file() {
        bail!(
            "`ONEDNN_ROOT` is `{}`, but `{}` is not there: \
             point it at the prefix of an installed oneDNN 3, or unset it to build one",
            onednn_root.display(),
            header.display()
        );
    }
    Ok(())
}

/// Installs what [`BuildTools`] looks for and gives a `PATH` on which it is.
fn install(private: &Path) -> Result<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if is_root() && find_program("apt-get", &path).is_some() {
        println!("setup: installing cmake and ninja-build with apt");
        match apt_install(&["cmake", "ninja-build"]) {
            Ok(()) if BuildTools::find(&path).is_some() => return Ok(path),
            Ok(()) => eprintln!("setup: apt installed no cmake, trying PyPI"),
            Err(error) => eprintln!("setup: {error:#}, trying PyPI"),
        }
    }
    println!(
        "setup: fetching cmake and ninja from PyPI into {}",
        private.display()
    );
    pip_install(private).context(
        "cannot install cmake and ninja, which oneDNN's build needs: \
         install them yourself (Debian: `apt-get install cmake ninja-build`), \
         or set `ONEDNN_ROOT` to an installed oneDNN 3",
    )?;
    with_folders(&private_folders(private), &path)
}

fn apt_install(packages: &[&str]) -> Result<()> {
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").arg("-q");
        command
    };
    run_command(apt().arg("update"))?;
    run_command(
        apt()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )
}

/// Installs into a new folder and renames it, so that what is there is always whole.
fn pip_install(private: &Path) -> Result<()> {
    let partial = private.with_extension(format!("partial-{}", std::process::id()));
    std::fs::create_dir_all(&partial)
        .with_context(|| format!("cannot create `{}`", partial.display()))?;
    let installed = run_command(
        Command::new("python3")
            .args(["-m", "pip", "install", "--quiet", "--no-input"])
            .args(["--only-binary", ":all:", "--target"])
            .arg(&partial)
            .args(PYPI_PACKAGES),
    );
    if installed.is_ok() {
        // An older or broken installation would not have been asked to be replaced.
        let _ = std::fs::remove_dir_all(private);
        std::fs::rename(&partial, private)
            .with_context(|| format!("cannot create `{}`", private.display()))?;
    } else {
        let _ = std::fs::remove_dir_all(&partial);
    }
    installed
}

/// Where the wheels keep native programs. The first one comes before `bin`, whose `cmake` is a
/// script that needs `PYTHONPATH`.
fn private_folders(private: &Path) -> [PathBuf; 2] {
    [private.join("cmake/data/bin"), private.join("bin")]
}

fn with_folders(folders: &[PathBuf], path: &OsStr) -> Result<OsString> {
    let all = folders.iter().cloned().chain(std::env::split_paths(path));
    std::env::join_paths(all).context("a folder's name cannot be part of `PATH`")
}

fn is_root() -> bool {
    stdout_of(Command::new("id").arg("-u")).is_ok_and(|id| id.trim() == "0")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with empty programs of these names.
    fn programs(names: &[&str]) -> (tempfile::TempDir, OsString) {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        for name in names {
            let file = folder.path().join(name);
            std::fs::write(&file, "").unwrap();
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o755)).unwrap();
        }
        let path = folder.path().as_os_str().to_owned();
        (folder, path)
    }

    #[test]
    fn ninja_is_asked_for_only_without_make() {
        let (_folder, both) = programs(&["cmake", "make", "ninja"]);
        assert!(!BuildTools::find(&both).unwrap().ninja);
        let (_folder, ninja) = programs(&["cmake", "ninja"]);
        assert!(BuildTools::find(&ninja).unwrap().ninja);
        let (_folder, neither) = programs(&["cmake"]);
        assert!(BuildTools::find(&neither).is_none());
        let (_folder, no_cmake) = programs(&["make", "ninja"]);
        assert!(BuildTools::find(&no_cmake).is_none());
    }

    #[test]
    fn a_chosen_compiler_may_have_a_launcher() {
        let (folder, path) = programs(&["ccache", "g++"]);
        let launcher = find_compiler(Some(OsStr::new("ccache g++")), &path).unwrap();
        assert_eq!(launcher, folder.path().join("ccache"));
        let found = find_compiler(None, &path).unwrap();
        assert_eq!(found, folder.path().join("g++"));
    }

    #[test]
    fn a_missing_compiler_is_named_with_the_remedy() {
        let (_folder, path) = programs(&[]);
        let error = find_compiler(None, &path).unwrap_err().to_string();
        assert!(error.contains("apt-get install g++"), "{error}");
        let error = find_compiler(Some(OsStr::new("icpx -O3")), &path).unwrap_err();
        assert_eq!(error.to_string(), "`CXX` is `icpx -O3`, which is not there");
    }

    #[test]
    fn an_onednn_without_headers_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let error = check_onednn(folder.path()).unwrap_err().to_string();
        assert!(error.contains("include/oneapi/dnnl/dnnl.h"), "{error}");
    }
}
