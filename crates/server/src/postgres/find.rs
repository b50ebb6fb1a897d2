//! Finding the programs: on the path, and where Debian and Red Hat keep them.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::programs::{Binaries, Source, major};

/// The oldest major version that will do.
pub(super) const MAJOR_MIN: u32 = 15;

/// Where programs may be: on the path, and where distributions keep several versions beside each other.
pub fn places(path: &str) -> Vec<PathBuf> {
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
    places
}

/// All versions there are in these places, the newest first.
pub fn find(places: &[PathBuf]) -> Vec<Binaries> {
    let mut found: Vec<Binaries> = places
        .iter()
        .filter_map(|p| look(p))
        .filter(|b| b.major >= MAJOR_MIN)
        .collect();
    found.sort_by_key(|b| std::cmp::Reverse(b.major));
    found.dedup_by_key(|b| b.major);
    found
}

fn look(dir: &Path) -> Option<Binaries> {
    let all = ["postgres", "initdb", "createdb", "pg_dump"]
        .iter()
        .all(|p| dir.join(p).is_file());
    if !all {
        return None;
    }
    let output = Command::new(dir.join("postgres")).arg("--version").output().ok()?;
    Some(Binaries {
        source: Source::Directory(dir.to_owned()),
        major: major(&output.stdout)?,
    })
}
