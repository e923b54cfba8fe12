//! Files from package registries: fetched once, checked by SHA-256, kept in the user's cache.
//!
//! Python does the transfer, because it is on every machine that builds this project, knows the
//! user's proxies and certificates, and needs no network library here.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

const DOWNLOAD: &str = include_str!("download.py");

/// A file that never changes, and where it can be had.
pub(crate) struct Artifact<'a> {
    pub(crate) name: &'a str,
    /// Addresses of the same bytes, tried in order.
    pub(crate) addresses: &'a [&'a str],
    pub(crate) size: u64,
    pub(crate) sha256: &'a str,
}

impl Artifact<'_> {
    /// The file in `folder`, downloaded unless it is there.
    ///
    /// A download that breaks off is kept beside it and continued by the next call; a file whose
    /// digest is wrong is deleted.
    pub(crate) fn fetch(&self, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)
            .with_context(|| format!("cannot create `{}`", folder.display()))?;
        let file = folder.join(self.name);
        let partial = folder.join(format!("{}.part", self.name));
        // Held until the end: two processes must not append to one file.
        let lock = File::create(folder.join(format!("{}.lock", self.name)))?;
        lock.lock()?;

        if file.is_file() {
            if sha256_of(&file)? == self.sha256 {
                return Ok(file);
            }
            eprintln!("`{}` is damaged, fetching it again", file.display());
            fs::remove_file(&file)?;
        }
        self.download(&partial)?;
        let sha256 = sha256_of(&partial)?;
        if sha256 != self.sha256 {
            fs::remove_file(&partial)?;
            bail!(
                "`{}` has the SHA-256 `{sha256}`, expected `{}`: it was deleted, try again",
                self.name,
                self.sha256
            );
        }
        fs::rename(&partial, &file)?;
        Ok(file)
    }

    fn download(&self, partial: &Path) -> Result<()> {
        let length = || fs::metadata(partial).map_or(0, |metadata| metadata.len());
        let mut failures = String::new();
        for address in self.addresses {
            loop {
                if length() > self.size {
                    fs::remove_file(partial)?;
                }
                let before = length();
                if before == self.size {
                    return Ok(());
                }
                println!("fetching {address} ({:.1} MB)", self.size as f64 / 1e6);
                match self.try_download(address, partial)? {
                    None => return Ok(()),
                    // A connection that breaks after a while is worth another try.
                    Some(_) if length() > before && length() < self.size => {}
                    Some(why) => {
                        // Writing to a string does not fail.
                        let _ = write!(failures, "\n  {address}: {why}");
                        break;
                    }
                }
            }
        }
        bail!(
            "cannot fetch `{}`:{failures}\n\
             The demo needs the network when it runs first. What arrived ({:.1} of {:.1} MB) is \
             kept in `{}`, so run it again.",
            self.name,
            length() as f64 / 1e6,
            self.size as f64 / 1e6,
            partial.display()
        );
    }

    /// Gives nothing when the file is complete, else the reason.
    fn try_download(&self, address: &str, partial: &Path) -> Result<Option<String>> {
        let output = Command::new("python3")
            .args(["-c", DOWNLOAD, address])
            .arg(partial)
            .arg(self.size.to_string())
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .context("cannot run `python3`, which fetches the demo's files")?;
        if output.status.success() {
            return Ok(None);
        }
        let why = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Some(if why.is_empty() {
            output.status.to_string()
        } else {
            why
        }))
    }
}

fn sha256_of(file: &Path) -> Result<String> {
    let mut reader =
        File::open(file).with_context(|| format!("cannot open `{}`", file.display()))?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match reader.read(&mut block) {
            Ok(0) => break,
            Ok(length) => digest.update(&block[..length]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read `{}`", file.display()));
            }
        }
    }
    let mut hex = String::new();
    for byte in digest.finalize() {
        let _ = write!(hex, "{byte:02x}");
    }
    Ok(hex)
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::TcpListener;
    use std::thread::JoinHandle;

    use super::*;

    const CONTENT: &[u8] = b"twelve bytes";
    const SHA256: &str = "d4ce2c527afe674c7a086bd74e256019e3d5dcdb31eeb6eaadef5ada8c4383b9";

    fn python_is_missing() -> bool {
        let missing = !crate::process::succeeds(Command::new("python3").arg("--version"));
        if missing {
            eprintln!("skipped: python3 is not installed");
        }
        missing
    }

    /// Serves one request for each list of bytes to send, and gives the `Range` headers it saw.
    /// `full_length` is announced whatever is sent, so that a short answer is a broken connection.
    fn serve(answers: Vec<(&'static [u8], usize)>) -> (String, JoinHandle<Vec<Option<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}/file", listener.local_addr().unwrap());
        let server = std::thread::spawn(move || {
            let mut ranges = Vec::new();
            for (bytes, full_length) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut range = None;
                for line in BufReader::new(stream.try_clone().unwrap()).lines() {
                    let line = line.unwrap();
                    if line.is_empty() {
                        break;
                    }
                    if let Some(value) = line.strip_prefix("Range: ") {
                        range = Some(value.to_owned());
                    }
                }
                let status = if range.is_some() {
                    "206 Partial Content"
                } else {
                    "200 OK"
                };
                let head = format!("HTTP/1.0 {status}\r\nContent-Length: {full_length}\r\n\r\n");
                stream.write_all(head.as_bytes()).unwrap();
                stream.write_all(bytes).unwrap();
                ranges.push(range);
            }
            ranges
        });
        (address, server)
    }

    fn artifact<'a>(addresses: &'a [&'a str]) -> Artifact<'a> {
        Artifact {
            name: "file",
            addresses,
            size: CONTENT.len() as u64,
            sha256: SHA256,
        }
    }

    #[test]
    fn a_file_is_fetched_once() {
        if python_is_missing() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = serve(vec![(CONTENT, 12)]);
        for _ in 0..2 {
            let file = artifact(&[&address]).fetch(folder.path()).unwrap();
            assert_eq!(fs::read(file).unwrap(), CONTENT);
        }
        assert_eq!(server.join().unwrap(), [None]);
    }

    #[test]
    fn a_broken_download_goes_on_where_it_stopped() {
        if python_is_missing() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = serve(vec![(&CONTENT[..5], 12), (&CONTENT[5..], 7)]);
        let file = artifact(&[&address]).fetch(folder.path()).unwrap();
        assert_eq!(fs::read(file).unwrap(), CONTENT);
        assert_eq!(server.join().unwrap(), [None, Some("bytes=5-".to_owned())]);
    }

    #[test]
    fn another_address_is_tried_when_one_is_down() {
        if python_is_missing() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = serve(vec![(CONTENT, 12)]);
        let addresses = ["http://127.0.0.1:9/file", &address];
        assert!(artifact(&addresses).fetch(folder.path()).is_ok());
        assert_eq!(server.join().unwrap(), [None]);
    }

    #[test]
    fn other_bytes_are_refused_and_deleted() {
        if python_is_missing() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let (address, server) = serve(vec![(b"twelve bites", 12)]);
        let error = artifact(&[&address]).fetch(folder.path()).unwrap_err();
        assert!(error.to_string().contains("expected `"), "{error}");
        assert!(!folder.path().join("file").exists());
        assert!(!folder.path().join("file.part").exists());
        server.join().unwrap();
    }

    #[test]
    fn a_damaged_file_is_fetched_again() {
        if python_is_missing() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "damaged").unwrap();
        fs::write(folder.path().join("file.part"), "longer than it may be").unwrap();
        let (address, server) = serve(vec![(CONTENT, 12)]);
        let file = artifact(&[&address]).fetch(folder.path()).unwrap();
        assert_eq!(fs::read(file).unwrap(), CONTENT);
        server.join().unwrap();
    }

    #[test]
    fn being_offline_says_what_to_do() {
        if python_is_missing() {
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file.part"), &CONTENT[..5]).unwrap();
        let error = artifact(&["http://127.0.0.1:9/file"])
            .fetch(folder.path())
            .unwrap_err();
        let error = error.to_string();
        assert!(error.contains("needs the network"), "{error}");
        assert!(error.contains("http://127.0.0.1:9/file: "), "{error}");
        assert!(folder.path().join("file.part").exists());
    }
}
