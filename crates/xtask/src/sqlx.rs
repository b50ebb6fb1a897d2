//! The description of the store's queries in `crates/store/.sqlx`, made against a database with all migrations.
//!
//! A scratch database is created on the server that `DATABASE_URL` names and dropped again, whatever happens.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail, ensure};

use crate::verdict;

/// sqlx keeps its own record of migrations in this table, and the store asks it for the schema's version.
const MIGRATIONS_TABLE: &str = "create table if not exists _sqlx_migrations (version bigint primary key, \
     description text not null, installed_on timestamptz not null default now(), success boolean not null, \
     checksum bytea not null, execution_time bigint not null)";

/// A database that lives as long as this value.
struct Scratch {
    server: String,
    name: String,
}

impl Scratch {
    fn create(server: String) -> anyhow::Result<Self> {
        let name = format!("slipway_xtask_{}", std::process::id());
        psql(&server, &["-c", &format!("create database {name}")])?;
        Ok(Self { server, name })
    }

    /// The server's URL with this database in place of its own.
    fn url(&self) -> anyhow::Result<String> {
        with_database(&self.server, &self.name)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = psql(
            &self.server,
            &["-c", &format!("drop database if exists {} with (force)", self.name)],
        ) {
            eprintln!("The scratch database {} could not be dropped: {error:#}", self.name);
        }
    }
}

/// Makes the description anew, or says how the committed one differs.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<String> {
    let server = std::env::var("DATABASE_URL").context(
        "DATABASE_URL is not set: name a Postgres server where databases can be created, \
         e.g. postgres://postgres@127.0.0.1:5432/postgres",
    )?;
    let scratch = Scratch::create(server)?;
    let url = scratch.url()?;
    for file in migrations(root)? {
        psql(&url, &[OsStr::new("-f"), file.as_os_str()])?;
    }
    psql(&url, &["-c", MIGRATIONS_TABLE])?;

    let fresh = root.join("target/xtask-sqlx");
    prepare(root, &url, &fresh)?;
    let (made, committed) = (read(&fresh)?, read(&root.join("crates/store/.sqlx"))?);
    ensure!(
        !made.is_empty(),
        "cargo check described no query at all: is crates/store empty?"
    );
    if check {
        return verdict(
            &differences(&made, &committed),
            format!("sqlx: {} queries are as committed", made.len()),
        );
    }
    replace(&root.join("crates/store/.sqlx"), &fresh, &made)?;
    Ok(format!("sqlx: {} queries described", made.len()))
}

fn migrations(root: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let folder = root.join("migrations");
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "sql") {
            files.push(path);
        }
    }
    files.sort();
    ensure!(!files.is_empty(), "{} holds no migration", folder.display());
    Ok(files)
}

/// Has the macros of the store write what the database says about each query into a folder.
fn prepare(root: &Path, url: &str, folder: &Path) -> anyhow::Result<()> {
    if folder.exists() {
        std::fs::remove_dir_all(folder)?;
    }
    std::fs::create_dir_all(folder)?;
    // The macros run only when the crate is compiled.
    let touched = root.join("crates/store/src/lib.rs");
    std::fs::File::options()
        .append(true)
        .open(&touched)?
        .set_modified(std::time::SystemTime::now())?;
    let status = Command::new(env!("CARGO"))
        .args(["check", "--quiet", "--package", "slipway-store"])
        .env("SQLX_OFFLINE", "false")
        .env("SQLX_OFFLINE_DIR", folder)
        .env("DATABASE_URL", url)
        .current_dir(root)
        .status()
        .context("cargo check cannot be started")?;
    ensure!(
        status.success(),
        "the store does not compile against the migrated database (see above)"
    );
    Ok(())
}

type Queries = BTreeMap<String, serde_json::Value>;

/// The query files of a folder; none if it is not there.
fn read(folder: &Path) -> anyhow::Result<Queries> {
    let mut queries = Queries::new();
    if !folder.exists() {
        return Ok(queries);
    }
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default().to_owned();
        if name.starts_with("query-") {
            let text = std::fs::read(&path)?;
            let query = serde_json::from_slice(&text).with_context(|| format!("{} is not JSON", path.display()))?;
            queries.insert(name, query);
        }
    }
    Ok(queries)
}

fn differences(made: &Queries, committed: &Queries) -> Vec<String> {
    let missing = made.iter().filter(|(name, _)| !committed.contains_key(*name));
    let stale = committed.iter().filter(|(name, _)| !made.contains_key(*name));
    let changed = made
        .iter()
        .filter(|(name, query)| committed.get(*name).is_some_and(|c| c != *query));
    let line = |what: &str, (name, query): (&String, &serde_json::Value)| {
        let text = query
            .get("query")
            .and_then(serde_json::Value::as_str)
            .unwrap_or_default();
        let words: String = text
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" ")
            .chars()
            .take(80)
            .collect();
        format!("crates/store/.sqlx/{name}: {what} ({words}): cargo xtask sqlx")
    };
    missing
        .map(|q| line("is missing", q))
        .chain(stale.map(|q| line("belongs to no query", q)))
        .chain(changed.map(|q| line("differs", q)))
        .collect()
}

fn replace(folder: &Path, fresh: &Path, made: &Queries) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder)?;
    for old in read(folder)?.keys().filter(|name| !made.contains_key(*name)) {
        std::fs::remove_file(folder.join(old))?;
    }
    for name in made.keys() {
        std::fs::copy(fresh.join(name), folder.join(name)).with_context(|| format!("{name} cannot be copied"))?;
    }
    Ok(())
}

fn psql<A: AsRef<OsStr>>(url: &str, arguments: &[A]) -> anyhow::Result<()> {
    let output = Command::new("psql")
        .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", url])
        .args(arguments)
        .output()
        .context("psql cannot be started: install postgresql-client")?;
    if output.status.success() {
        return Ok(());
    }
    bail!("psql failed: {}", String::from_utf8_lossy(&output.stderr).trim())
}

/// Replaces the database's name in `postgres://user@host:port/name?options`.
fn with_database(url: &str, name: &str) -> anyhow::Result<String> {
    let (scheme, rest) = url
        .split_once("://")
        .context("DATABASE_URL does not begin with postgres://")?;
    let (rest, options) = rest
        .split_once('?')
        .map_or((rest, String::new()), |(r, o)| (r, format!("?{o}")));
    let authority = rest.split('/').next().unwrap_or_default();
    Ok(format!("{scheme}://{authority}/{name}{options}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queries(pairs: &[(&str, &str)]) -> Queries {
        pairs
            .iter()
            .map(|(n, q)| ((*n).to_owned(), serde_json::json!({ "query": q })))
            .collect()
    }

    #[test]
    fn only_the_name_of_the_database_changes() {
        for (url, expected) in [
            (
                "postgres://postgres@127.0.0.1:5432/postgres",
                "postgres://postgres@127.0.0.1:5432/x",
            ),
            ("postgres://a:b@h", "postgres://a:b@h/x"),
            ("postgres://h/old?sslmode=require", "postgres://h/x?sslmode=require"),
        ] {
            assert_eq!(with_database(url, "x").expect("a URL"), expected);
        }
        assert!(with_database("host=/tmp", "x").is_err());
    }

    #[test]
    fn missing_stale_and_changed_queries_are_told_apart() {
        let made = queries(&[("query-a.json", "select 1"), ("query-b.json", "select 2")]);
        let committed = queries(&[("query-b.json", "select\n 3"), ("query-c.json", "select 4")]);
        let found = differences(&made, &committed).join("\n");
        assert!(found.contains("query-a.json: is missing (select 1)"), "{found}");
        assert!(
            found.contains("query-c.json: belongs to no query (select 4)"),
            "{found}"
        );
        assert!(found.contains("query-b.json: differs (select 2)"), "{found}");
        assert!(differences(&made, &made).is_empty());
    }
}
