//! A nightly dump of the platform's own database with its master key, kept for a week: until real backups come.
//!
//! Promises: a dump appears whole or not at all; files are readable by the owner only; the database's password is on
//! no command line; what is older than seven days goes only when a newer one is there; restarts make no further ones.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use chrono::{NaiveDateTime, TimeDelta};
use slipway_domain::Timestamp;
use url::Url;

use crate::error::ServerError;
use crate::files;
use crate::postgres::Programs;

/// How long a dump may take.
const DUMP_MAX: Duration = Duration::from_hours(1);
/// Between two dumps.
const INTERVAL: TimeDelta = TimeDelta::hours(24);
/// How long dumps are kept.
const KEPT: TimeDelta = TimeDelta::days(7);
/// How names tell the time, in UTC: they sort by it.
const TIME: &str = "%Y%m%dT%H%M%SZ";

/// What is dumped, with what, and where to.
#[derive(Debug, Clone)]
pub struct Dump {
    /// The database.
    pub database_url: String,
    /// `pg_dump` is one of them.
    pub programs: Programs,
    /// Dumped beside it: without the key a dump's secrets stay sealed.
    pub master_key_file: PathBuf,
    /// Where dumps are.
    pub dir: PathBuf,
}

impl Dump {
    /// Whether a dump is due, after the newest one in the directory.
    pub fn is_due(&self, now: Timestamp) -> bool {
        let times = names(&self.dir).into_iter().filter_map(|n| time_of(&n, ".dump"));
        times.max().is_none_or(|newest| now - newest >= INTERVAL)
    }

    /// Writes a dump and removes old ones. Says where it is.
    pub async fn run(&self, now: Timestamp) -> Result<PathBuf, ServerError> {
        files::private_directory(&self.dir, "SLIPWAY_DATA_DIR")?;
        let name = format!("slipway-{}", now.format(TIME));
        let path = self.dir.join(format!("{name}.dump"));
        let unfinished = self.dir.join(format!("{name}.unfinished"));
        let wrong = || ServerError::io(format!("{} cannot be written", path.display()));
        // Made here, so that nobody else can read it from the first byte on.
        files::write_secret(&unfinished, b"")?;
        if let Err(error) = self.pg_dump(&unfinished).await {
            // What is unfinished is of no use to anybody.
            let _ = std::fs::remove_file(&unfinished);
            return Err(error);
        }
        let key = files::read_secret(&self.master_key_file)?.unwrap_or_default();
        files::write_secret(&self.dir.join(format!("{name}.key")), key.as_bytes())?;
        std::fs::rename(&unfinished, &path).map_err(wrong())?;
        remove_old(&self.dir, now);
        Ok(path)
    }

    async fn pg_dump(&self, into: &Path) -> Result<(), ServerError> {
        let (url, password) = without_password(&self.database_url)?;
        let wrong = || ServerError::io(format!("{} cannot be opened", into.display()));
        let file = std::fs::OpenOptions::new().write(true).open(into).map_err(wrong())?;
        let mut command = tokio::process::Command::from(self.programs.command("pg_dump"));
        command
            .args(["--format=custom", "--no-owner", "--no-password"])
            .arg(format!("--dbname={url}"))
            .stdin(Stdio::null())
            // Through a file that is open: the program may run as a user who cannot open it.
            .stdout(file)
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        if let Some(password) = password {
            command.env("PGPASSWORD", password);
        }
        let fail = || ServerError::io("pg_dump cannot be run: install the PostgreSQL client");
        // Not `output()`, which would take the file's place.
        let child = command.spawn().map_err(fail())?;
        let output = tokio::time::timeout(DUMP_MAX, child.wait_with_output())
            .await
            .map_err(|_| ServerError::Setup("pg_dump did not end within an hour".into()))?
            .map_err(fail())?;
        if output.status.success() {
            return Ok(());
        }
        Err(ServerError::Setup(format!(
            "pg_dump: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        )))
    }
}

/// The URL for a command line, which everybody on the machine can read, and what must not be on it.
fn without_password(url: &str) -> Result<(String, Option<String>), ServerError> {
    let fail = |error: String| ServerError::Setup(format!("SLIPWAY_DATABASE_URL cannot be used for a dump: {error}"));
    let mut parsed = Url::parse(url).map_err(|e| fail(e.to_string()))?;
    let Some(encoded) = parsed.password().map(str::to_owned) else {
        return Ok((url.to_owned(), None));
    };
    // A query string's decoding is that of a password but for the plus sign.
    let escaped = format!("p={}", encoded.replace('+', "%2B").replace('&', "%26"));
    let password = url::form_urlencoded::parse(escaped.as_bytes())
        .next()
        .map(|(_, p)| p.into_owned());
    parsed
        .set_password(None)
        .map_err(|()| fail("it has a password but no host".into()))?;
    Ok((parsed.to_string(), password))
}

fn names(dir: &Path) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(dir) else {
        return Vec::new();
    };
    entries
        .flatten()
        .map(|e| e.file_name().to_string_lossy().into_owned())
        .collect()
}

/// When a file of ours was made; `None` for any other file.
fn time_of(name: &str, suffix: &str) -> Option<Timestamp> {
    let text = name.strip_prefix("slipway-")?.strip_suffix(suffix)?;
    NaiveDateTime::parse_from_str(text, TIME).ok().map(|t| t.and_utc())
}

fn remove_old(dir: &Path, now: Timestamp) {
    let made = |name: &str| {
        [".dump", ".key", ".unfinished", ".new"]
            .iter()
            .find_map(|suffix| time_of(name, suffix))
    };
    for name in names(dir) {
        if made(&name).is_some_and(|time| now - time > KEPT)
            && let Err(error) = std::fs::remove_file(dir.join(&name))
        {
            tracing::warn!(%name, %error, "dump.old_one_stays");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    fn day(d: i64) -> Timestamp {
        at(d * 86_400_000)
    }

    fn dump(dir: &Path) -> Dump {
        let dir = dir.to_owned();
        Dump {
            database_url: String::new(),
            programs: Programs::on_path(),
            master_key_file: PathBuf::new(),
            dir,
        }
    }

    #[test]
    fn a_dump_is_due_a_day_after_the_newest_one_whoever_made_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let dump = dump(dir.path());
        assert!(dump.is_due(day(1)));
        let name = format!("slipway-{}.dump", day(1).format(TIME));
        std::fs::write(dir.path().join(name), "x").expect("a file");
        assert!(!dump.is_due(day(1) + TimeDelta::hours(23)));
        assert!(dump.is_due(day(2)));
    }

    #[test]
    fn what_is_older_than_a_week_goes_and_nothing_else() {
        let dir = tempfile::tempdir().expect("a directory");
        for age in [0, 6, 8, 30] {
            let time = (day(100) - TimeDelta::days(age)).format(TIME);
            for suffix in ["dump", "key"] {
                std::fs::write(dir.path().join(format!("slipway-{time}.{suffix}")), "x").expect("a file");
            }
        }
        std::fs::write(dir.path().join("slipway-1.dump.mine"), "x").expect("a file");
        remove_old(dir.path(), day(100));
        assert_eq!(names(dir.path()).len(), 5);
    }

    #[test]
    fn the_password_is_taken_off_the_url() {
        let (url, password) =
            without_password("postgres://u:p%40+s%26@db:5432/slipway?sslmode=require").expect("a URL");
        assert_eq!(url, "postgres://u@db:5432/slipway?sslmode=require");
        assert_eq!(password.as_deref(), Some("p@+s&"));
        let private = "postgres://slipway@localhost/slipway?host=%2Fvar%2Flib";
        assert_eq!(without_password(private).expect("a URL"), (private.to_owned(), None));
    }
}
