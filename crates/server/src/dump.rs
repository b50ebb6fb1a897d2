//! A nightly dump of the platform's own database with its master key, kept for a week: until real backups come.
//!
//! Promises: a dump appears whole or not at all; files are readable by the owner only; what is older than seven days
//! goes only when a newer one is there.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chrono::TimeDelta;
use slipway_domain::Timestamp;

use crate::config::Config;
use crate::error::ServerError;
use crate::files;

/// How long a dump may take.
const DUMP_MAX: Duration = Duration::from_secs(3600);
/// Between two dumps.
const INTERVAL: TimeDelta = TimeDelta::hours(24);
/// How long dumps are kept.
const KEPT: TimeDelta = TimeDelta::days(7);

/// Whether a dump is due, after the last one of this process.
pub fn is_due(last: Option<Timestamp>, now: Timestamp) -> bool {
    last.is_none_or(|last| now - last >= INTERVAL)
}

/// Writes a dump and removes old ones. Says where it is.
pub async fn run(config: &Config, now: Timestamp) -> Result<PathBuf, ServerError> {
    let url = config.database_url.as_ref().ok_or_else(|| ServerError::Setup("no database to dump".into()))?;
    let dir = config.data_dir.join("dumps");
    files::private_directory(&dir, "SLIPWAY_DATA_DIR")?;
    let name = format!("slipway-{}", now.format("%Y%m%dT%H%M%SZ"));
    let path = dir.join(format!("{name}.dump"));
    let unfinished = dir.join(format!("{name}.unfinished"));
    let program = config.pg_dump();
    let mut command = tokio::process::Command::new(&program);
    command
        .args(["--format=custom", "--no-owner", "--file"])
        .arg(&unfinished)
        .arg(format!("--dbname={url}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let fail = || ServerError::io(format!("{} cannot be run: install the PostgreSQL client", program.display()));
    let output = tokio::time::timeout(DUMP_MAX, command.output())
        .await
        .map_err(|_| ServerError::Setup("pg_dump did not end within an hour".into()))?
        .map_err(fail())?;
    if !output.status.success() {
        // What is unfinished is of no use to anybody.
        let _ = std::fs::remove_file(&unfinished);
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(ServerError::Setup(format!("pg_dump: {}", said.trim())));
    }
    let wrong = || ServerError::io(format!("{} cannot be written", path.display()));
    std::fs::set_permissions(&unfinished, std::os::unix::fs::PermissionsExt::from_mode(0o600)).map_err(wrong())?;
    let key = files::read_secret(&config.master_key_file)?.unwrap_or_default();
    files::write_secret(&dir.join(format!("{name}.key")), key.as_bytes())?;
    std::fs::rename(&unfinished, &path).map_err(wrong())?;
    remove_old(&dir, now);
    Ok(path)
}

fn remove_old(dir: &Path, now: Timestamp) {
    let oldest = format!("slipway-{}", (now - KEPT).format("%Y%m%dT%H%M%SZ"));
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("slipway-") && name.as_str() < oldest.as_str() {
            if let Err(error) = std::fs::remove_file(entry.path()) {
                tracing::warn!(%name, %error, "dump.old_one_stays");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    #[test]
    fn a_dump_is_due_once_a_day_and_old_ones_go() {
        let day = |d: i64| at(d * 86_400_000);
        assert!(is_due(None, day(1)));
        assert!(!is_due(Some(day(1)), day(1) + TimeDelta::hours(23)));
        assert!(is_due(Some(day(1)), day(2)));

        let dir = tempfile::tempdir().expect("a directory");
        for age in [0, 6, 8, 30] {
            let time = day(100) - TimeDelta::days(age);
            let name = format!("slipway-{}.dump", time.format("%Y%m%dT%H%M%SZ"));
            std::fs::write(dir.path().join(name), "x").expect("a file");
        }
        std::fs::write(dir.path().join("mine.txt"), "x").expect("a file");
        remove_old(dir.path(), day(100));
        assert_eq!(std::fs::read_dir(dir.path()).expect("a directory").count(), 3);
    }
}
