//! A CA of the test's own that speaks ACME: Pebble.

use std::path::PathBuf;
use std::process::{Child, Command};
use std::sync::LazyLock;

use serde_json::json;

use crate::nameserver::{NameServer, free_port};
use crate::platform::{Platform, until, wait};

pub(crate) struct Authority {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
    management: u16,
    names: String,
    manners: Manners,
}

/// What its own server is known by; the same for all of them, as those of one CA have one root.
pub(crate) static OWN_PAIR: LazyLock<(String, String)> = LazyLock::new(|| {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into(), "127.0.0.1".into()]).expect("a pair");
    (pair.cert.pem(), pair.signing_key.serialize_pem())
});

fn run(dir: &tempfile::TempDir, names: &str, manners: Manners) -> Child {
    let log = std::fs::File::create(dir.path().join("log")).expect("a log file");
    Command::new("pebble")
        .args(["-dnsserver", names, "-config"])
        .arg(dir.path().join("config.json"))
        .env("PEBBLE_VA_NOSLEEP", "1")
        .env("PEBBLE_AUTHZREUSE", "0")
        .env("PEBBLE_WFE_NONCEREJECT", manners.nonces_refused_percent.to_string())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .spawn()
        .expect("pebble is installed: scripts/setup.sh test")
}

/// How the CA behaves.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Manners {
    /// Of a hundred nonces so many are refused.
    pub(crate) nonces_refused_percent: u32,
    /// It cannot reach port 80.
    pub(crate) no_http: bool,
    /// It makes accounts only for who has a key that it handed out (RFC 8555 section 7.3.4).
    pub(crate) wants_key: bool,
}

impl Authority {
    /// One that asks this name server, and comes to this platform's ports.
    pub(crate) fn start(names: &NameServer, platform: &Platform, manners: Manners) -> Self {
        Self::asking(names.address(), platform, manners)
    }

    /// One that asks this server.
    pub(crate) fn asking(names: String, platform: &Platform, manners: Manners) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (port, management) = (free_port(), free_port());
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("cert.pem"), &OWN_PAIR.0).expect("written");
        std::fs::write(at("key.pem"), &OWN_PAIR.1).expect("written");
        let config = json!({"pebble": {
            "listenAddress": format!("127.0.0.1:{port}"),
            "managementListenAddress": format!("127.0.0.1:{management}"),
            "certificate": at("cert.pem"),
            "privateKey": at("key.pem"),
            "httpPort": if manners.no_http { free_port() } else { platform.http.port() },
            "tlsPort": platform.https.port(),
            "ocspResponderURL": "",
            "externalAccountBindingRequired": manners.wants_key,
            "externalAccountMACKeys": {"kid-1": "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"},
        }});
        std::fs::write(at("config.json"), config.to_string()).expect("written");
        let child = run(&dir, &names, manners);
        let authority = Self {
            child,
            dir,
            port,
            management,
            names,
            manners,
        };
        until("the CA answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        authority
    }

    /// The settings of a platform that orders here.
    pub(crate) fn settings(&self, names: &NameServer) -> [(&'static str, String); 5] {
        [
            ("SLIPWAY_ACME_DIRECTORY", self.directory()),
            ("SLIPWAY_ACME_ROOTS", self.certificate().display().to_string()),
            ("SLIPWAY_ACME_EMAIL", "ops@example.com".into()),
            ("SLIPWAY_DNS_RESOLVERS", names.address()),
            ("SLIPWAY_PUBLIC_ADDRESSES", "127.0.0.1".into()),
        ]
    }

    /// Where it is asked for things.
    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    /// The root that visitors of what it issued must trust.
    pub(crate) fn root_pem(&self) -> Vec<u8> {
        let own = std::fs::read(self.certificate()).expect("written at the start");
        let own = reqwest::Certificate::from_pem(&own).expect("a certificate");
        let client = reqwest::Client::builder()
            .tls_certs_only([own])
            .build()
            .expect("a client");
        let url = format!("https://127.0.0.1:{}/roots/0", self.management);
        let fetch = async { client.get(url).send().await?.bytes().await };
        wait(fetch).expect("the root").to_vec()
    }

    /// The same CA after it has lost everything it knew.
    pub(crate) fn started_anew(mut self) -> Self {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child of ours");
        self.child = run(&self.dir, &self.names, self.manners);
        let port = self.port;
        until("the CA answers", || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        self
    }

    /// How often it was asked for something, by its log.
    pub(crate) fn asked(&self, path: &str) -> usize {
        let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
        log.lines().filter(|line| line.contains(path)).count()
    }
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}
