//! `slipway certs trust`: has this machine trust the internal CA, where that can be done for it, or says how.
//!
//! | system | what is done |
//! |---|---|
//! | Debian, Ubuntu, Alpine, Arch with their `ca-certificates` | a file among the local CAs, `update-ca-certificates` |
//! | Fedora, RHEL, SUSE | a file among the anchors, `update-ca-trust` |
//! | macOS | `security add-trusted-cert` into the system's key chain |
//! | others, and without the right to it | it is said how |

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;

/// What the file is called there.
const NAME: &str = "slipway-internal-ca";

/// A place for local CAs, and what makes programs know of a change there.
struct Place {
    directory: &'static str,
    extension: &'static str,
    update: &'static [&'static str],
}

const PLACES: [Place; 3] = [
    Place {
        directory: "/usr/local/share/ca-certificates",
        extension: "crt",
        update: &["update-ca-certificates"],
    },
    Place {
        directory: "/etc/pki/ca-trust/source/anchors",
        extension: "pem",
        update: &["update-ca-trust", "extract"],
    },
    Place {
        directory: "/etc/pki/trust/anchors",
        extension: "pem",
        update: &["update-ca-certificates"],
    },
];

impl Place {
    fn file(&self) -> PathBuf {
        Path::new(self.directory).join(format!("{NAME}.{}", self.extension))
    }

    fn tell(&self) -> Result<(), CliError> {
        let (program, arguments) = self.update.split_first().unwrap_or((&"true", &[]));
        let done = Command::new(program).args(arguments).output();
        let failed = |why: String| CliError::failed(format!("{} failed: {why}", self.update.join(" ")));
        let output = done.map_err(|e| failed(e.to_string()))?;
        if output.status.success() {
            return Ok(());
        }
        Err(failed(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
    }
}

/// Installs the root, takes it out again, or prints it.
pub(crate) async fn run(ctx: &mut Context, print: bool, remove: bool) -> Result<(), CliError> {
    if remove {
        return take_out(ctx);
    }
    let found = ctx.send(Call::get(&["certificates", "internal-root"])).await?.body;
    if ctx.globals.json {
        return ctx.print_json(&found);
    }
    let pem = found
        .get("certificate")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    if !pem.starts_with("-----BEGIN CERTIFICATE-----") {
        return Err(CliError::failed("the API did not send a certificate"));
    }
    if print {
        return ctx.print(pem.trim_end());
    }
    let place = PLACES.iter().find(|place| Path::new(place.directory).is_dir());
    match place {
        Some(place) => put_in(ctx, place, &pem),
        None if cfg!(target_os = "macos") => key_chain(ctx, &pem),
        None => {
            ctx.note("this system's trust store is not known here");
            by_hand(ctx)
        }
    }
}

fn put_in(ctx: &mut Context, place: &Place, pem: &str) -> Result<(), CliError> {
    let file = place.file();
    if let Err(error) = std::fs::write(&file, pem) {
        ctx.note(format!(
            "{} cannot be written: {error}; run it as root, or:",
            file.display()
        ));
        return by_hand(ctx);
    }
    if let Err(error) = place.tell() {
        // Nothing half done stays behind.
        let _ = std::fs::remove_file(&file);
        return Err(error);
    }
    ctx.note(format!(
        "this machine trusts the internal CA ({}); programs that are running learn of it when they are started again",
        file.display()
    ));
    ctx.note("Firefox and Java have stores of their own: import the file there");
    ctx.note("`slipway certs trust --remove` takes it out again");
    Ok(())
}

fn key_chain(ctx: &mut Context, pem: &str) -> Result<(), CliError> {
    let file = std::env::temp_dir().join(format!("{NAME}.pem"));
    std::fs::write(&file, pem).map_err(|e| CliError::failed(format!("{} cannot be written: {e}", file.display())))?;
    let done = Command::new("security")
        .args([
            "add-trusted-cert",
            "-d",
            "-r",
            "trustRoot",
            "-k",
            "/Library/Keychains/System.keychain",
        ])
        .arg(&file)
        .status();
    let _ = std::fs::remove_file(&file);
    if done.is_ok_and(|status| status.success()) {
        ctx.note("this machine trusts the internal CA");
        return Ok(());
    }
    ctx.note("the key chain was not changed; run it as root, or:");
    by_hand(ctx)
}

/// How it is done elsewhere.
fn by_hand(ctx: &mut Context) -> Result<(), CliError> {
    for line in [
        "slipway certs trust --print > slipway-internal-ca.pem, then:",
        "  Windows   certutil -addstore -f Root slipway-internal-ca.pem   (as administrator)",
        "  macOS     open it, and set it to \"Always Trust\" in the key chain",
        "  Linux     put it where the distribution keeps local CAs, and run its update command",
        "  Firefox   Settings, Privacy & Security, View Certificates, Authorities, Import",
        "  Android, iOS   send it there and open it; iOS also wants it switched on under Certificate Trust Settings",
        "  curl      --cacert slipway-internal-ca.pem",
    ] {
        ctx.note(line);
    }
    Err(CliError::Told(1))
}

fn take_out(ctx: &mut Context) -> Result<(), CliError> {
    let place = PLACES.iter().find(|place| place.file().exists());
    let Some(place) = place else {
        ctx.note("this machine was not made to trust the internal CA by this command");
        return Ok(());
    };
    let file = place.file();
    std::fs::remove_file(&file).map_err(|e| CliError::failed(format!("{} cannot be removed: {e}", file.display())))?;
    place.tell()?;
    ctx.note("this machine does not trust the internal CA any more");
    Ok(())
}
