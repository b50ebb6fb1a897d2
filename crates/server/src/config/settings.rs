//! The settings there are: one table from which flags, variables, the file, its example, its schema and their help
//! are made.

use slipway_domain::nearest::nearest;

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// The key in the file; the variable is `SLIPWAY_` and the key in upper case, the flag has `-` for `_`.
    pub key: &'static str,
    /// What it is when nobody says; empty when that depends on the machine, as the help tells.
    pub default: &'static str,
    /// What it means, in a sentence or two.
    pub help: &'static str,
}

impl Setting {
    /// Whether its value is a secret: it is no flag, because everybody on the machine can read command lines, and it is
    /// in no message.
    pub fn is_secret(&self) -> bool {
        matches!(
            self.key,
            "bootstrap_token" | "alert_webhook_url" | "acme_eab" | "smtp_url"
        )
    }

    /// The environment variable.
    pub fn variable(&self) -> String {
        format!("SLIPWAY_{}", self.key.to_uppercase())
    }
}

const fn setting(key: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, default, help }
}

/// The image of PostgreSQL.
pub(super) const POSTGRES_IMAGE: &str = "postgres:{version}";
/// What `{version}` in it becomes.
pub(super) const POSTGRES_VERSION: &str = "17";

/// All of them, in the order people read them.
pub const SETTINGS: &[Setting] = &[
    setting(
        "data_dir",
        "",
        "Everything the platform keeps outside Postgres. Default: /var/lib/slipway for root, ~/.local/share/slipway otherwise.",
    ),
    setting(
        "database_url",
        "",
        "An external Postgres, 15 or later (postgres://…). Default: `slipway up` runs a private one in the data directory.",
    ),
    setting(
        "postgres_image",
        POSTGRES_IMAGE,
        "The image of managed databases, and of the private Postgres where this machine has no PostgreSQL; `{version}` is replaced by the major version.",
    ),
    setting(
        "backup_url",
        "",
        "Where backups of databases go: s3://bucket/prefix?endpoint=https://host, gs://bucket/prefix, az://container/prefix or file:///path; credentials by the usual variables of each (AWS_…, GOOGLE_…, AZURE_…). Default: <data dir>/backups, which is lost with this machine.",
    ),
    setting(
        "backup_recipients",
        "",
        "The age public keys that backups are encrypted to, separated by commas; one of them should be kept elsewhere. Default: that of a pair made at the first start.",
    ),
    setting(
        "backup_identity_file",
        "",
        "The age private key, only where restores are made. Default: <data dir>/backup.key.",
    ),
    setting(
        "base_domain",
        "apps.localhost",
        "An app answers at <app>.<base>, another environment at <app>--<environment>.<base>.",
    ),
    setting("api_listen", "127.0.0.1:7070", "Where the REST API listens."),
    setting(
        "api_domain",
        "",
        "The proxy serves the API there over TLS; it must lie outside the base domain.",
    ),
    setting(
        "admin_listen",
        "127.0.0.1:7071",
        "/metrics and /readyz of the control plane: never public.",
    ),
    setting(
        "proxy_admin_listen",
        "127.0.0.1:7072",
        "/metrics and /readyz of the proxy: never public.",
    ),
    setting(
        "http_listen",
        "",
        "Where the proxy takes plain HTTP. Default: 0.0.0.0:80, without privileges 0.0.0.0:8080.",
    ),
    setting(
        "https_listen",
        "",
        "Where the proxy takes HTTPS. Default: 0.0.0.0:443, without privileges 0.0.0.0:8443.",
    ),
    setting(
        "trusted_proxies",
        "",
        "Networks whose X-Forwarded-* and X-Request-Id are believed, separated by commas.",
    ),
    setting(
        "control_url",
        "",
        "Where a proxy reads its snapshots. Default: unix://<data dir>/control.sock.",
    ),
    setting(
        "docker_host",
        "unix:///var/run/docker.sock",
        "The container engine: unix:///path or tcp://host:port.",
    ),
    setting(
        "network_pool",
        "10.210.0.0/16",
        "Out of it each app and environment gets a network of 64 addresses.",
    ),
    setting(
        "acme_directory",
        "https://acme-v02.api.letsencrypt.org/directory",
        "Where certificates for public names are ordered: ACME directories separated by commas, the first choice first.",
    ),
    setting("acme_email", "", "Whom the CA may write to."),
    setting(
        "acme_roots",
        "",
        "A PEM file with the CA's own root certificate, where this machine does not trust it.",
    ),
    setting(
        "acme_profile",
        "",
        "The kind of certificate to ask for, where the CA offers it: Let's Encrypt has classic, tlsserver, shortlived.",
    ),
    setting(
        "acme_staging",
        "",
        "Where orders can be tried out: `<directory's host>=<https:// address>`, several separated by commas. Let's Encrypt's is known.",
    ),
    setting(
        "acme_eab",
        "",
        "What CAs know us by already (external account binding): <directory's host>=<key id>:<HMAC key>, separated by commas. Not a flag: it is a secret.",
    ),
    setting(
        "public_addresses",
        "",
        "What the records of domains must point to: addresses separated by commas, or one name. Default: those of the interface that leads to the world.",
    ),
    setting(
        "dns_resolvers",
        "",
        "The DNS servers that are asked about domains, <address>:<port> separated by commas, at most four. Default: the system's.",
    ),
    setting(
        "dns_trust_anchor",
        "",
        "A file with the DNSKEY records of the root (`. IN DNSKEY …`) up to which DNSSEC signatures are checked. Default: those of the public root.",
    ),
    setting(
        "dns_hook",
        "",
        "The absolute path of a program that changes zones of the provider `exec`: `PROGRAM add|remove NAME VALUE ZONE`.",
    ),
    setting(
        "disk_free_min",
        "10%",
        "Image pulls stop before the engine's disk has less free than this: a share or a size such as 20GiB.",
    ),
    setting(
        "master_key_file",
        "",
        "The key that wraps all data keys. Default: <data dir>/master.key, made on first start.",
    ),
    setting(
        "bootstrap_token",
        "",
        "The first admin token, for unattended installs. Default: made on first start, in <data dir>/admin.token.",
    ),
    setting(
        "alert_webhook_url",
        "",
        "Where alerts are posted when they begin and end, in the form of Prometheus' Alertmanager. Not a flag: it may hold a token.",
    ),
    setting(
        "alert_email",
        "",
        "Whom alerts are written to when they begin and end, separated by commas; with smtp_url and smtp_from.",
    ),
    setting(
        "smtp_url",
        "",
        "The mail server: smtps://user:password@host, or smtp://user:password@host:587?tls=required. Not a flag: it may hold a password.",
    ),
    setting("smtp_from", "", "Who writes, such as slipway@example.com."),
    setting(
        "log",
        "info",
        "What is logged: a level, or directives such as info,slipway_scheduler=debug.",
    ),
    setting(
        "log_format",
        "",
        "json or text. Default: text on a terminal, json otherwise.",
    ),
];

/// The setting with this key, or the nearest one there is.
pub(super) fn find(key: &str) -> Result<&'static Setting, Option<&'static Setting>> {
    let called = |key: &str| SETTINGS.iter().find(|s| s.key == key);
    called(key).ok_or_else(|| nearest(key, SETTINGS.iter().map(|s| s.key)).and_then(called))
}

/// Variables that belong to the client, to apps, to the compose file and to our own child processes.
const OTHERS: [&str; 12] = [
    "SLIPWAY_RELEASE",
    "SLIPWAY_INSTANCE",
    "SLIPWAY_URL",
    "SLIPWAY_TOKEN",
    "SLIPWAY_APP",
    "SLIPWAY_ENVIRONMENT",
    "SLIPWAY_CACERT",
    "SLIPWAY_IMAGE",
    "SLIPWAY_PLATFORM_POSTGRES_IMAGE",
    crate::up::PARENT_VARIABLE,
    crate::up::HOLDER_VARIABLE,
    crate::up::PROGRAMS_VARIABLE,
];

/// What to say of a variable that looks like a setting and is none; nothing of any other.
pub(crate) fn unknown(variable: &str) -> Option<String> {
    let key = variable.strip_prefix("SLIPWAY_")?.to_lowercase();
    // The second and third kind are what container engines write for a service called `slipway`.
    let foreign = ["test_", "port", "service_"]
        .iter()
        .any(|prefix| key.starts_with(prefix));
    let known = SETTINGS.iter().any(|s| s.key == key) || OTHERS.contains(&variable) || foreign;
    if known {
        return None;
    }
    // Short names are near to too much.
    let near = |s: &&Setting| key.len() >= 6 && strsim::damerau_levenshtein(s.key, &key) <= 2;
    Some(find(&key).err().flatten().filter(near).map_or_else(
        || ": this version has no such setting;".to_owned(),
        |s| format!(", did you mean `{}`?", s.variable()),
    ))
}

/// A file with every setting, commented out, at its default.
pub fn example() -> String {
    use std::fmt::Write as _;
    let mut text = String::from(
        "# slipway-server.toml: settings of the Slipway server.\n# Flags come before SLIPWAY_* variables, variables before this file. Every key is optional.\n",
    );
    for s in SETTINGS {
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "\n# {}\n# Variable: {}\n# {} = \"{}\"\n",
            s.help,
            s.variable(),
            s.key,
            s.default
        );
    }
    text
}

/// A JSON Schema (2020-12) of the file.
pub fn schema() -> serde_json::Value {
    let properties: serde_json::Map<String, serde_json::Value> = SETTINGS
        .iter()
        .map(|s| {
            let mut property = serde_json::json!({"type": "string", "description": s.help});
            if !s.default.is_empty() {
                property["default"] = s.default.into();
            }
            (s.key.to_owned(), property)
        })
        .collect();
    serde_json::json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "slipway-server.toml",
        "type": "object",
        "additionalProperties": false,
        "properties": properties,
    })
}
