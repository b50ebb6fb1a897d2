//! Finding the programs: on the path, and where Debian and Red Hat keep them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::PostgresError;

/// The oldest major version that will do.
const MAJOR_MIN: u32 = 15;

/// The programs of one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binaries {
    /// Where they are.
    pub dir: PathBuf,
    /// Their major version.
    pub major: u32,
}

impl Binaries {
    /// One of the programs.
    pub fn program(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// All versions there are, the newest first.
pub fn find(path: &str) -> Result<Vec<Binaries>, PostgresError> {
    let mut places: Vec<PathBuf> = path.split(':').filter(|p| !p.is_empty()).map(PathBuf::from).collect();
    for (base, below) in [("/usr/lib/postgresql", true), ("/usr", false)] {
        let Ok(entries) = std::fs::read_dir(base) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            if below || name.to_string_lossy().starts_with("pgsql-") {
                places.push(entry.path().join("bin"));
            }
        }
    }
    let mut found: Vec<Binaries> = places
        .iter()
        .filter_map(|p| look(p))
        .filter(|b| b.major >= MAJOR_MIN)
        .collect();
    found.sort_by_key(|b| std::cmp::Reverse(b.major));
    found.dedup_by_key(|b| b.major);
    if found.is_empty() {
        Err(PostgresError::NotFound)
    } else {
        Ok(found)
    }
}

fn look(dir: &Path) -> Option<Binaries> {
    let all = ["postgres", "initdb", "createdb", "pg_dump"]
        .iter()
        .all(|p| dir.join(p).is_file());
    if !all {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text
        .split_whitespace()
        .find(|w| w.starts_with(|c: char| c.is_ascii_digit()))?;
    let major = version.split('.').next()?.parse().ok()?;
    Some(Binaries {
        dir: dir.to_owned(),
        major,
    })
}
