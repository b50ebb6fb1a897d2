//! `make stop` and `make uninstall`, in a checkout of their own, with a program that notes what it is asked for.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

const SCRIPTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../scripts");

/// A checkout in which `make run` has run, with what was built since.
struct Checkout(TempDir);

impl Checkout {
    fn with(profiles: &[&str]) -> Self {
        let checkout = Self(tempfile::tempdir().expect("a directory"));
        for directory in ["scripts", ".run", "data"] {
            std::fs::create_dir(checkout.path().join(directory)).expect("made");
        }
        for script in ["lib.sh", "stop.sh", "uninstall.sh"] {
            let to = checkout.path().join("scripts").join(script);
            std::fs::copy(Path::new(SCRIPTS).join(script), to).expect("copied");
        }
        let data = format!("SLIPWAY_DATA_DIR='{}'\n", checkout.path().join("data").display());
        std::fs::write(checkout.path().join(".run/env"), data).expect("written");
        for profile in profiles {
            let directory = checkout.path().join("target").join(profile);
            std::fs::create_dir_all(&directory).expect("made");
            let program = directory.join("slipway");
            let text = format!(
                "#!/bin/sh\necho \"{profile} $*\" >>'{}'\n",
                checkout.path().join("asked").display()
            );
            std::fs::write(&program, text).expect("written");
            std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("executable");
        }
        checkout
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn run(&self, script: &str) -> Output {
        Command::new(self.path().join("scripts").join(script))
            .env("CARGO_TARGET_DIR", self.path().join("target"))
            .env("YES", "1")
            .output()
            .expect("bash")
    }

    fn asked(&self) -> String {
        std::fs::read_to_string(self.path().join("asked")).unwrap_or_default()
    }
}

#[test]
fn stop_and_uninstall_find_the_program_whichever_profile_was_built() {
    for profile in ["debug", "release"] {
        let checkout = Checkout::with(&[profile]);
        let stopped = checkout.run("stop.sh");
        assert!(stopped.status.success(), "{stopped:?}");
        assert_eq!(checkout.asked(), format!("{profile} down\n"));
        let gone = checkout.run("uninstall.sh");
        assert!(gone.status.success(), "{gone:?}");
        assert!(
            checkout
                .asked()
                .ends_with(&format!("{profile} uninstall --delete-data --yes\n"))
        );
        assert!(!checkout.path().join(".run").exists());
    }
}

#[test]
fn stop_and_uninstall_say_so_where_there_is_no_program_and_leave_what_they_need_later() {
    let checkout = Checkout::with(&[]);
    for script in ["stop.sh", "uninstall.sh"] {
        let output = checkout.run(script);
        assert!(!output.status.success(), "{script}: {output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("cargo build --package slipway"), "{script}: {said}");
        assert!(checkout.path().join(".run/env").exists());
    }
}
