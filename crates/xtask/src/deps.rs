//! Which crate may depend on which: the table of `docs/ARCHITECTURE.md`, compared with the manifests.
//!
//! Dev-dependencies are exempt: a test may look at everything.

use std::path::Path;

use serde::Deserialize;

use crate::{metadata, verdict};

/// A crate and the only siblings it may have; `None` where all are allowed. Names without the prefix `slipway-`.
const SIBLINGS: &[(&str, Option<&[&str]>)] = &[
    ("domain", Some(&[])),
    ("planner", Some(&["domain"])),
    ("wire", Some(&["domain"])),
    ("store", Some(&["domain"])),
    ("engine", Some(&["domain"])),
    ("vault", Some(&["domain"])),
    ("dns", Some(&["domain"])),
    ("postgres", Some(&["domain"])),
    ("backup-worker", Some(&["domain", "store", "engine", "postgres"])),
    ("acme", Some(&["domain", "store"])),
    ("api", Some(&["domain", "wire", "store"])),
    ("scheduler", Some(&["domain", "planner", "store", "engine"])),
    ("proxy", Some(&["domain"])),
    ("chaos", Some(&[])),
    (
        "server",
        Some(&[
            "domain",
            "planner",
            "wire",
            "store",
            "engine",
            "vault",
            "dns",
            "postgres",
            "backup-worker",
            "acme",
            "api",
            "scheduler",
            "proxy",
        ]),
    ),
    ("cli", Some(&["domain", "wire"])),
    ("slipway", Some(&["server", "cli"])),
    ("testkit", None),
    ("xtask", Some(&[])),
];

/// A package from outside and the only crates that may use it.
const KEPT_IN: &[(&str, &[&str])] = &[
    ("sqlx", &["store", "postgres", "testkit"]),
    ("deadpool", &["store"]),
    ("bollard", &["engine"]),
    ("hickory-resolver", &["dns"]),
    ("dns-update", &["dns"]),
    ("postgres-protocol", &["postgres"]),
    ("object_store", &["backup-worker"]),
    ("age", &["backup-worker"]),
    ("instant-acme", &["acme"]),
    ("clap", &["server", "cli", "slipway"]),
];

#[derive(Debug, Deserialize)]
struct Metadata {
    packages: Vec<Package>,
}

#[derive(Debug, Deserialize)]
struct Package {
    name: String,
    dependencies: Vec<Dependency>,
}

#[derive(Debug, Deserialize)]
struct Dependency {
    name: String,
    /// `null` for a normal dependency, else `dev` or `build`.
    kind: Option<String>,
    /// Where it lies, for a sibling.
    path: Option<String>,
}

/// Compares what the manifests say with the table.
pub(crate) fn run(root: &Path) -> anyhow::Result<String> {
    let metadata: Metadata = metadata(root, "--no-deps")?;
    let findings: Vec<String> = metadata.packages.iter().flat_map(check).collect();
    verdict(
        &findings,
        format!("deps: {} crates keep to their directions", metadata.packages.len()),
    )
}

fn check(package: &Package) -> Vec<String> {
    let name = short(&package.name);
    let Some((_, siblings)) = SIBLINGS.iter().find(|(n, _)| *n == name) else {
        return vec![format!(
            "{name}: a new crate; say in crates/xtask/src/deps.rs what it may depend on"
        )];
    };
    let used = package.dependencies.iter().filter(|d| d.kind.as_deref() != Some("dev"));
    used.filter_map(|dependency| {
        let to = short(&dependency.name);
        if dependency.path.is_some() {
            let allowed = siblings.is_none_or(|s| s.contains(&to));
            return (!allowed).then(|| format!("{name} must not depend on {to}"));
        }
        let (_, homes) = KEPT_IN.iter().find(|(p, _)| *p == to)?;
        (!homes.contains(&name)).then(|| format!("{name} must not use {to}: only {} may", homes.join(", ")))
    })
    .collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("slipway-").unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, dependency: &str, kind: Option<&str>, path: Option<&str>) -> Package {
        let dependency = Dependency {
            name: dependency.to_owned(),
            kind: kind.map(str::to_owned),
            path: path.map(str::to_owned),
        };
        Package {
            name: name.to_owned(),
            dependencies: vec![dependency],
        }
    }

    #[test]
    fn a_sibling_outside_the_table_is_found() {
        let findings = check(&package("slipway-proxy", "slipway-store", None, Some("crates/store")));
        assert_eq!(findings, ["proxy must not depend on store"]);
    }

    #[test]
    fn a_package_outside_its_home_is_found_but_not_in_tests() {
        assert_eq!(
            check(&package("slipway-api", "sqlx", None, None)),
            ["api must not use sqlx: only store, postgres, testkit may"]
        );
        assert!(check(&package("slipway-api", "sqlx", Some("dev"), None)).is_empty());
        assert!(check(&package("slipway-store", "sqlx", None, None)).is_empty());
    }

    #[test]
    fn a_build_dependency_counts() {
        assert_eq!(check(&package("slipway-api", "bollard", Some("build"), None)).len(), 1);
    }

    #[test]
    fn an_unknown_crate_must_be_entered() {
        assert!(check(&package("slipway-new", "serde", None, None))[0].contains("a new crate"));
    }
}
