//! A place for one test: its own folder, home and cache, small photos, and runs of the binary in it.

use image::{Rgb, RgbImage};
use serde_json::Value;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tempfile::TempDir;

/// Trains in a second: a small model, small images, no weights to fetch.
pub(crate) const QUICK: &[&str] = &[
    "--model",
    "squeezenet1_1",
    "--weights",
    "none",
    "--image-size",
    "64",
    "--epochs",
    "1",
    "--batch-size",
    "4",
];

/// A folder that is removed with everything in it at the end of the test.
pub(crate) struct CliTest {
    folder: TempDir,
}

impl CliTest {
    pub(crate) fn new() -> Self {
        Self {
            folder: TempDir::new().unwrap(),
        }
    }

    /// A test with the data set `photos`: `train` and `val` with a few images of `blue` and `red` each.
    pub(crate) fn with_photos() -> Self {
        let test = Self::new();
        for (class, color) in [("blue", [20, 40, 220]), ("red", [220, 40, 20])] {
            test.images(&format!("photos/train/{class}"), 6, color);
            test.images(&format!("photos/val/{class}"), 3, color);
        }
        test
    }

    /// A test with the data set `photos` and a model trained on it in `run`.
    pub(crate) fn with_run() -> Self {
        let test = Self::with_photos();
        let train = ["train", "photos", "--output", "run", "--quiet"];
        test.run(&[&train, QUICK].concat()).success();
        test
    }

    /// The path of something in the folder.
    pub(crate) fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file, with the folders above it.
    pub(crate) fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    /// Writes noisy images of one colour: `0.png`, `1.png`, ...
    pub(crate) fn images(&self, folder: &str, count: usize, color: [u8; 3]) {
        // Each folder has noise of its own: no two images are alike.
        let mut noise = folder
            .bytes()
            .fold(0_u32, |n, b| 31 * (n % 9973) + u32::from(b));
        let folder = self.path(folder);
        fs::create_dir_all(&folder).unwrap();
        for number in 0..count {
            let image = RgbImage::from_fn(40, 30, |_, _| {
                Rgb(color.map(|level| {
                    noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    level.saturating_add((noise >> 28) as u8)
                }))
            });
            image.save(folder.join(format!("{number}.png"))).unwrap();
        }
    }

    /// The binary, in the folder, with nothing of the surroundings.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_regraft"));
        self.isolate(&mut command);
        command
    }

    /// Sets folder and environment of a command that will run the binary.
    pub(crate) fn isolate(&self, command: &mut Command) {
        command
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.path("home"))
            .env("REGRAFT_CACHE", self.path("cache"))
            .env("HF_HUB_OFFLINE", "1");
    }

    /// Runs the binary on two threads.
    pub(crate) fn run(&self, args: &[&str]) -> Ran {
        let mut command = self.command();
        command.args(args).args(["--threads", "2"]);
        self.finish(&mut command)
    }

    /// Runs a command to its end.
    pub(crate) fn finish(&self, command: &mut Command) -> Ran {
        let output = command.output().unwrap();
        Ran {
            command: format!("{command:?}"),
            folder: self.folder.path().to_owned(),
            output,
        }
    }
}

/// What a run of the binary left.
pub(crate) struct Ran {
    command: String,
    folder: PathBuf,
    output: Output,
}

impl Ran {
    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.output.stdout.clone()).unwrap()
    }

    pub(crate) fn stderr(&self) -> String {
        String::from_utf8(self.output.stderr.clone()).unwrap()
    }

    pub(crate) fn code(&self) -> Option<i32> {
        self.output.status.code()
    }

    #[track_caller]
    pub(crate) fn success(&self) -> &Self {
        assert_eq!(self.code(), Some(0), "{self}");
        self
    }

    /// Failed with this exit code, and one error.
    #[track_caller]
    pub(crate) fn failure(&self, code: i32) -> &Self {
        assert_eq!(self.code(), Some(code), "{self}");
        assert_eq!(self.stderr().matches("error:").count(), 1, "{self}");
        self
    }

    /// Standard output, which must be one JSON value.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        match serde_json::from_slice(&self.output.stdout) {
            Ok(value) => value,
            Err(error) => panic!("{error}\n{self}"),
        }
    }

    /// Exit code and streams, without what differs from run to run.
    pub(crate) fn snapshot(&self) -> String {
        let text = format!(
            "exit code: {}\n----- stdout -----\n{}----- stderr -----\n{}",
            self.code().map_or("none".to_owned(), |c| c.to_string()),
            self.stdout(),
            self.stderr()
        );
        text.replace(self.folder.to_str().unwrap(), "[DIR]")
    }
}

impl fmt::Display for Ran {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "command: {}", self.command)?;
        writeln!(f, "folder: {}", self.folder.display())?;
        writeln!(f, "tree:")?;
        show_tree(&self.folder, 1, f)?;
        writeln!(f, "----- stdout -----\n{}", self.stdout())?;
        writeln!(f, "----- stderr -----\n{}", self.stderr())
    }
}

fn show_tree(folder: &Path, depth: usize, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut entries: Vec<_> = fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    entries.sort();
    for path in entries {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        writeln!(f, "{:indent$}{name}", "", indent = 2 * depth)?;
        if path.is_dir() {
            show_tree(&path, depth + 1, f)?;
        }
    }
    Ok(())
}

/// Keys of a JSON object.
#[track_caller]
pub(crate) fn keys(value: &Value) -> Vec<&str> {
    let object = value.as_object().expect("an object");
    object.keys().map(String::as_str).collect()
}

/// Says why a test does nothing here.
pub(crate) fn skipped(why: &str) {
    eprintln!("skipped: {why}");
}
