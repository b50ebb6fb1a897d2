//! Log files that never grow without bound: what the parts of the platform write goes through one pipe into a file
//! that is set aside when it is full.
//!
//! Promises: a file and the ones set aside before it together stay below their bound, however long the platform runs;
//! a disk that is full loses lines and stops nobody.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::net::unix::pipe;
use tokio_util::sync::CancellationToken;

use crate::error::ServerError;

/// A file larger than this is set aside.
const FILE_BYTES_MAX: u64 = 10 << 20;
/// How many files there are, the one in use included.
const FILES_MAX: u32 = 5;
const CHUNK_BYTES: usize = 16 << 10;

/// A file that is set aside as `<name>.1` when it is full, the one before that as `<name>.2`, and so on.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl RotatingFile {
    /// Opens a file to go on with, readable by its owner only.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        Self::with_bound(path, FILE_BYTES_MAX)
    }

    fn with_bound(path: &Path, bytes_max: u64) -> std::io::Result<Self> {
        let file = append(path)?;
        let bytes = file.metadata()?.len();
        Ok(Self {
            path: path.to_owned(),
            file,
            bytes,
            bytes_max,
        })
    }

    fn aside(&self, number: u32) -> PathBuf {
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        for number in (1..FILES_MAX - 1).rev() {
            // The older ones may not be there yet.
            let _ = std::fs::rename(self.aside(number), self.aside(number + 1));
        }
        std::fs::rename(&self.path, self.aside(1))?;
        self.file = append(&self.path)?;
        self.bytes = 0;
        Ok(())
    }
}

fn append(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().create(true).append(true).mode(0o600).open(path)
}

impl Write for RotatingFile {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.bytes >= self.bytes_max {
            self.rotate()?;
        }
        let written = self.file.write(bytes)?;
        self.bytes += u64::try_from(written).unwrap_or(0);
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A file that several write to.
#[derive(Debug, Clone)]
pub struct SharedLog(Arc<Mutex<RotatingFile>>);

impl SharedLog {
    /// Opens `<data dir>/log/<name>.log`.
    pub fn open(data_dir: &Path, name: &str) -> Result<Self, ServerError> {
        let dir = data_dir.join("log");
        crate::files::private_directory(&dir, "SLIPWAY_DATA_DIR")?;
        let path = dir.join(format!("{name}.log"));
        let file =
            RotatingFile::open(&path).map_err(ServerError::io(format!("{} cannot be opened", path.display())))?;
        Ok(Self(Arc::new(Mutex::new(file))))
    }

    /// A pipe into it, and what carries over what comes out of the pipe.
    pub fn pipe(&self) -> std::io::Result<(OwnedFd, Pump)> {
        let (out, into) = std::io::pipe()?;
        Ok((
            into.into(),
            Pump {
                out: pipe::Receiver::from_owned_fd(out.into())?,
                log: self.clone(),
            },
        ))
    }
}

impl Write for SharedLog {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.lock().flush()
    }
}

/// Carries what comes out of a pipe into a log.
#[derive(Debug)]
pub struct Pump {
    out: pipe::Receiver,
    log: SharedLog,
}

impl Pump {
    /// Runs until those who write have ended, which `done` tells; what they wrote last is carried over too.
    pub async fn run(mut self, done: &CancellationToken) {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let last = tokio::select! {
                ready = self.out.readable() => ready.is_err(),
                () = done.cancelled() => true,
            };
            // Bounded by what the pipe holds: at the end nobody writes into it any more.
            while let Ok(n @ 1..) = self.out.try_read(&mut chunk) {
                // A disk that is full loses lines.
                let _ = self.log.write_all(&chunk[..n]);
                if !last {
                    break;
                }
            }
            if last {
                return;
            }
        }
    }
}

/// The end of a log, at most `lines_max` lines of its last 64 KiB, from the byte `begun` on; a log that is shorter by now
/// was begun anew.
pub(super) fn tail(path: &Path, begun: u64, lines_max: usize) -> String {
    let read = || {
        let mut file = File::open(path)?;
        let length = file.metadata()?.len();
        let begun = if begun > length { 0 } else { begun };
        let skipped = length.saturating_sub(64 << 10).max(begun);
        std::io::Seek::seek(&mut file, std::io::SeekFrom::Start(skipped))?;
        let mut bytes = Vec::new();
        file.take(64 << 10).read_to_end(&mut bytes)?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(lines_max)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_set_aside_when_full_and_the_oldest_goes() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("slipway.log");
        let mut log = RotatingFile::with_bound(&path, 10).expect("opened");
        for n in 0..20 {
            log.write_all(format!("line {n:04}\n").as_bytes()).expect("written");
        }
        let mut names: Vec<String> = std::fs::read_dir(dir.path())
            .expect("read")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        assert_eq!(
            names,
            [
                "slipway.log",
                "slipway.log.1",
                "slipway.log.2",
                "slipway.log.3",
                "slipway.log.4"
            ]
        );
        assert!(std::fs::read_to_string(&path).expect("read").contains("line 0019"));
        assert!(
            std::fs::read_to_string(dir.path().join("slipway.log.1"))
                .expect("read")
                .contains("line 0018")
        );
    }

    #[test]
    fn an_earlier_run_is_gone_on_with_and_counted() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("slipway.log");
        std::fs::write(&path, "from an earlier run\n").expect("written");
        let mut log = RotatingFile::with_bound(&path, 10).expect("opened");
        log.write_all(b"new\n").expect("written");
        assert_eq!(std::fs::read_to_string(&path).expect("read"), "new\n");
        assert!(dir.path().join("slipway.log.1").exists());
    }

    #[tokio::test]
    async fn what_children_write_to_their_end_arrives() {
        let dir = tempfile::tempdir().expect("a directory");
        let log = SharedLog::open(dir.path(), "slipway").expect("opened");
        let (into, pump) = log.pipe().expect("a pipe");
        let done = CancellationToken::new();
        let children = async {
            for _ in 0..3 {
                let into = into.try_clone().expect("a second handle");
                let mut seq = tokio::process::Command::new("seq");
                let status = seq.args(["1", "30000"]).stdout(into).status().await;
                assert!(status.expect("seq runs").success());
            }
            done.cancel();
        };
        tokio::join!(pump.run(&done), children);
        let text = std::fs::read_to_string(dir.path().join("log/slipway.log")).expect("read");
        assert_eq!(text.lines().count(), 90_000);
        let path = dir.path().join("log/slipway.log");
        assert_eq!(tail(&path, 0, 2), "29999\n30000");
        let length = std::fs::metadata(&path).expect("is there").len();
        assert_eq!(tail(&path, length - 6, 2), "30000", "what was there before is left out");
        assert_eq!(tail(&path, length + 1, 1), "30000");
    }
}
