//! Files that are printed by the program and committed, so that a change of them is seen in review.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, ensure};

use crate::verdict;

/// What is run, and where its output is kept.
const FILES: &[(&[&str], &str)] = &[
    (&["openapi"], "docs/openapi.json"),
    (&["config", "example"], "config/slipway-server.example.toml"),
    (&["config", "schema"], "config/config.schema.json"),
];

/// Writes the files, or says which differ.
pub(crate) fn run(root: &Path, check: bool) -> anyhow::Result<String> {
    let mut findings = Vec::new();
    for (arguments, file) in FILES {
        let text = print(root, arguments)?;
        let path = root.join(file);
        if !check {
            let folder = path.parent().context("a file in a folder")?;
            std::fs::create_dir_all(folder)?;
            std::fs::write(&path, text).with_context(|| format!("{file} cannot be written"))?;
        } else if std::fs::read_to_string(&path).unwrap_or_default() != text {
            findings.push(format!(
                "{file} is not what `slipway {}` prints: cargo xtask generated",
                arguments.join(" ")
            ));
        }
    }
    verdict(
        &findings,
        format!("generated: {} files are what the program prints", FILES.len()),
    )
}

/// What the program prints, ending in one newline.
fn print(root: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(env!("CARGO"))
        .args(["run", "--quiet", "--package", "slipway", "--"])
        .args(arguments)
        .current_dir(root)
        .output()
        .context("cargo run cannot be started")?;
    let shown = arguments.join(" ");
    ensure!(
        output.status.success(),
        "slipway {shown} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).with_context(|| format!("slipway {shown} printed something else"))?;
    ensure!(!text.trim().is_empty(), "slipway {shown} printed nothing");
    Ok(format!("{}\n", text.trim_end()))
}
