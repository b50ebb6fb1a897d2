//! `cargo xtask`: the checks and generators of this workspace.
//!
//! Each task prints what it found and fails when something is wrong; with `--check` a generator compares instead of
//! writing, which is what continuous integration runs.

mod bans;
mod deps;
mod generated;
mod sqlx;
mod tidy;

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use anyhow::{Context, bail, ensure};
use serde::de::DeserializeOwned;

const USAGE: &str = "Usage: cargo xtask TASK

  tidy                  rules of the house that the compiler does not know
  deps                  which crate may depend on which
  bans                  licences, sources and banned packages, as .deny.toml has them
  sqlx [--check]        the committed description of the store's queries (needs DATABASE_URL of a superuser)
  generated [--check]   docs/openapi.json, config/slipway-server.example.toml, config/config.schema.json
";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments.iter().map(String::as_str).collect::<Vec<_>>()) {
        Ok(done) => {
            eprintln!("{done}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[&str]) -> anyhow::Result<String> {
    let root = root()?;
    match arguments {
        ["tidy"] => tidy::run(&root),
        ["bans"] => bans::run(&root),
        ["deps"] => deps::run(&root),
        ["sqlx"] => sqlx::run(&root, false),
        ["sqlx", "--check"] => sqlx::run(&root, true),
        ["generated"] => generated::run(&root, false),
        ["generated", "--check"] => generated::run(&root, true),
        _ => bail!("{USAGE}"),
    }
}

/// The top of the workspace: two levels above this crate.
fn root() -> anyhow::Result<PathBuf> {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors()
        .nth(2)
        .map(Path::to_path_buf)
        .context("this crate is not inside the workspace")
}

/// What `cargo metadata` says of the workspace, with one more option.
fn metadata<T: DeserializeOwned>(root: &Path, option: &str) -> anyhow::Result<T> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", option, "--format-version", "1"])
        .current_dir(root)
        .output()
        .context("cargo metadata cannot be started")?;
    ensure!(
        output.status.success(),
        "cargo metadata failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).context("cargo metadata cannot be read")
}

/// Fails with all findings at once, so that one run is enough to mend them.
fn verdict(findings: &[String], good: String) -> anyhow::Result<String> {
    if findings.is_empty() {
        return Ok(good);
    }
    bail!("{}\n{} to mend", findings.join("\n"), findings.len())
}
