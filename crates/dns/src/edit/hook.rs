//! A program of the operator's that changes a zone: `PROGRAM add|remove NAME VALUE ZONE`.
//!
//! Promises: no shell; nothing of the platform's environment but `PATH`; a program that fails is quoted with the end of
//! what it wrote.

use std::path::Path;
use std::process::Stdio;

use slipway_domain::name::HostName;
use slipway_domain::ports::TextRecord;
use tokio::process::Command;

use super::Change;

/// So much of what it wrote is told.
const TOLD_CHARS_MAX: usize = 500;

pub(super) async fn run(program: &Path, change: Change, zone: &HostName, record: &TextRecord) -> Result<(), String> {
    let verb = match change {
        Change::Add => "add",
        Change::Remove => "remove",
    };
    let shown = program.display();
    let output = Command::new(program)
        .args([verb, &record.name, &record.value, zone.as_str()])
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .current_dir("/")
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{shown} cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let wrote = String::from_utf8_lossy(&output.stderr);
    let wrote = wrote.trim();
    let from = wrote.char_indices().rev().nth(TOLD_CHARS_MAX).map_or(0, |(at, _)| at);
    Err(format!(
        "{shown} {verb} ended with {}: {}",
        output.status,
        &wrote[from..]
    ))
}
