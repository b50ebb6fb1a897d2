//! What comes from outside: licences, sources and banned packages, as `.deny.toml` has them.
//!
//! `cargo deny` reads the same file and knows advisories too; it is compiled anew on every fresh machine and needs the
//! network, so it runs in the pipeline, and this runs everywhere.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;
use spdx::{Expression, LicenseReq, ParseMode};

use crate::{metadata, verdict};

const FILE: &str = ".deny.toml";
/// The one place packages come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

#[derive(Debug, Deserialize)]
struct Deny {
    licenses: Licenses,
    bans: Bans,
}

#[derive(Debug, Deserialize)]
struct Licenses {
    allow: BTreeSet<String>,
}

#[derive(Debug, Deserialize)]
struct Bans {
    deny: Vec<Ban>,
}

#[derive(Debug, Deserialize)]
struct Ban {
    #[serde(rename = "crate")]
    name: String,
    /// Who may use it; where somebody may, `cargo xtask deps` checks who does.
    #[serde(default)]
    wrappers: Vec<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    version: String,
    license: Option<String>,
    /// `null` for what lies in this workspace.
    source: Option<String>,
}

/// Compares every package of the lock file with the table.
pub(crate) fn run(root: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(root.join(FILE)).with_context(|| format!("{FILE} cannot be read"))?;
    let deny: Deny = toml::from_str(&text).with_context(|| format!("{FILE} cannot be read"))?;
    let metadata: Metadata = metadata(root, "--locked")?;
    let foreign = metadata.packages.iter().filter(|p| p.source.is_some());
    let findings: Vec<String> = foreign.clone().flat_map(|p| check(p, &deny)).collect();
    let count = foreign.count();
    verdict(
        &findings,
        format!("bans: {count} packages have a licence and a source that will do"),
    )
}

fn check(package: &Package, deny: &Deny) -> Vec<String> {
    let called = format!("{} {}", package.name, package.version);
    let mut findings = Vec::new();
    if package.source.as_deref() != Some(REGISTRY) {
        let source = package.source.as_deref().unwrap_or_default();
        findings.push(format!("{called} comes from {source}: only crates.io will do"));
    }
    let banned = deny
        .bans
        .deny
        .iter()
        .find(|b| b.name == package.name && b.wrappers.is_empty());
    findings.extend(banned.map(|ban| format!("{called} is banned: {}", ban.reason)));
    let licence = package.license.as_deref().unwrap_or_default();
    let allowed = |wanted: &LicenseReq| deny.licenses.allow.contains(&wanted.to_string());
    // Older manifests write `MIT/Apache-2.0`.
    match Expression::parse_mode(licence, ParseMode::LAX) {
        Ok(expression) if expression.evaluate(allowed) => {}
        _ => findings.push(format!(
            "{called} has the licence `{licence}`, which {FILE} does not allow"
        )),
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(licence: &str, name: &str, source: &str) -> Vec<String> {
        let ban = |name: &str, wrappers: &[&str]| Ban {
            name: name.into(),
            wrappers: wrappers.iter().map(ToString::to_string).collect(),
            reason: "because".into(),
        };
        let deny = Deny {
            licenses: Licenses {
                allow: ["MIT", "Apache-2.0 WITH LLVM-exception"].map(str::to_owned).into(),
            },
            bans: Bans {
                deny: vec![ban("openssl-sys", &[]), ban("sqlx", &["store"])],
            },
        };
        let package = Package {
            name: name.into(),
            version: "1.0.0".into(),
            license: Some(licence.into()),
            source: Some(source.into()),
        };
        check(&package, &deny)
    }

    #[test]
    fn one_allowed_licence_of_several_will_do_and_all_of_those_that_go_together() {
        for licence in [
            "MIT",
            "GPL-3.0-only OR MIT",
            "MIT/GPL-3.0",
            "Apache-2.0 WITH LLVM-exception",
        ] {
            assert_eq!(found(licence, "x", REGISTRY), Vec::<String>::new(), "{licence}");
        }
        for licence in ["GPL-3.0-only", "MIT AND GPL-3.0-only", "Apache-2.0", "", "my own"] {
            assert_eq!(found(licence, "x", REGISTRY).len(), 1, "{licence}");
        }
    }

    #[test]
    fn what_is_banned_or_comes_from_elsewhere_is_found() {
        assert!(found("MIT", "openssl-sys", REGISTRY)[0].contains("because"));
        assert!(found("MIT", "sqlx", REGISTRY).is_empty(), "somebody may");
        assert!(found("MIT", "x", "git+https://example.org/x")[0].contains("only crates.io"));
    }
}
