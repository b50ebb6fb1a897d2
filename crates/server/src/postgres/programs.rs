//! The programs of one PostgreSQL, and how they are run: from a directory of this machine, or out of an image.
//!
//! Promises: nothing of the caller's environment changes how they behave; as root they run as the server's own user.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use serde::{Deserialize, Serialize};

use super::contained::{Contained, Image};
use super::place::User;

/// The programs of one major version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Where they are.
    pub source: Source,
    /// Their major version.
    pub major: u32,
}

/// Where programs come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A directory of this machine.
    Directory(PathBuf),
    /// An image of the engine on this machine.
    Image(Image),
}

impl std::fmt::Display for Source {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Directory(dir) => write!(f, "{}", dir.display()),
            Self::Image(image) => write!(f, "a container of {}", image.reference),
        }
    }
}

/// Programs as one cluster runs them. Told to the control plane, which dumps the database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Programs {
    /// From a directory; an empty one leaves it to the path.
    Directory {
        /// Which.
        dir: PathBuf,
        /// As whom, if not as ourselves.
        user: Option<User>,
    },
    /// In a container.
    Contained(Contained),
}

impl Programs {
    /// What the path has.
    pub fn on_path() -> Self {
        Self::Directory {
            dir: PathBuf::new(),
            user: None,
        }
    }

    /// One of them, to be given its arguments.
    pub fn command(&self, name: &str) -> Command {
        let mut command = match self {
            Self::Contained(contained) => contained.command(name),
            Self::Directory { dir, user } => {
                let mut command = Command::new(dir.join(name));
                if let Some(user) = user {
                    command.uid(user.uid).gid(user.gid);
                }
                if !dir.as_os_str().is_empty() {
                    command.env_clear().env("PATH", dir);
                }
                command
            }
        };
        command.env("LC_ALL", "C.UTF-8").current_dir("/");
        command
    }
}

/// The major version in what `postgres --version` says.
pub(super) fn major(said: &[u8]) -> Option<u32> {
    let text = String::from_utf8_lossy(said);
    let version = text
        .split_whitespace()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let digits = version.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_major_version_is_read_whatever_a_distribution_adds() {
        for (said, expected) in [
            ("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n", Some(15)),
            ("postgres (PostgreSQL) 17.2\n", Some(17)),
            ("postgres (PostgreSQL) 18beta1\n", Some(18)),
            ("postgres (PostgreSQL)\n", None),
            ("", None),
        ] {
            assert_eq!(major(said.as_bytes()), expected, "{said}");
        }
    }

    #[test]
    fn programs_are_told_to_another_process_and_understood() {
        let programs = Programs::Directory {
            dir: "/usr/lib/postgresql/17/bin".into(),
            user: None,
        };
        let told = serde_json::to_string(&programs).expect("JSON");
        assert_eq!(serde_json::from_str::<Programs>(&told).expect("JSON"), programs);
    }
}
