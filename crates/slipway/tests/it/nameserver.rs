//! A name server of the test's own, with zones that can be changed while it runs.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use crate::platform::until;

/// Who knows it may change `example.com` and `acme.example.net` (TSIG, RFC 8945).
pub(crate) const TSIG_NAME: &str = "platform";
pub(crate) const TSIG_KEY: &str = "c2xpcHdheS10ZXN0LXNlY3JldC1vZi0zMi1ieXRlcyE=";

/// Knot DNS, with the root zone and `example.com` below it.
pub(crate) struct NameServer {
    child: Child,
    dir: tempfile::TempDir,
    port: u16,
}

/// A port that nobody has, for both protocols.
pub(crate) fn free_port() -> u16 {
    until("a free port", || {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        UdpSocket::bind((Ipv4Addr::LOCALHOST, port)).ok().map(|_| port)
    })
}

fn soa(zone: &str) -> String {
    format!("{zone} 60 SOA ns.example.com. hostmaster.example.com. 1 60 60 60 1\n{zone} 60 NS ns.example.com.\n")
}

impl NameServer {
    pub(crate) fn start() -> Self {
        Self::with("")
    }

    /// One whose zones are signed. The parent does not vouch for the child until it is told to.
    pub(crate) fn signed() -> Self {
        Self::with("    dnssec-signing: on\n")
    }

    fn with(signing: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let at = |name: &str| dir.path().join(name);
        let root = soa(".") + "example.com. 60 NS ns.example.com.\nacme.example.net. 60 NS ns.example.com.\n";
        std::fs::write(at("root.zone"), root).expect("written");
        let zone = soa("example.com.") + "ns.example.com. 60 A 127.0.0.1\n";
        std::fs::write(at("example.zone"), zone).expect("written");
        std::fs::write(at("acme.zone"), soa("acme.example.net.")).expect("written");
        let path = dir.path().display();
        let config = format!(
            "server:\n  rundir: {path}\n  user: root\n  listen: 127.0.0.1@{port}\n  udp-workers: 1\n  tcp-workers: 1\n\
             database:\n  storage: {path}\nkey:\n  - id: {TSIG_NAME}\n    algorithm: hmac-sha256\n    secret: {TSIG_KEY}\n\
             acl:\n  - id: here\n    address: 127.0.0.1\n    action: update\n  - id: keyed\n    key: {TSIG_NAME}\n    action: update\n\
             zone:\n  - domain: .\n    storage: {path}\n    file: root.zone\n    acl: here\n{signing}  - domain: example.com\n    \
             storage: {path}\n    file: example.zone\n    acl: [here, keyed]\n{signing}  - domain: acme.example.net\n    \
             storage: {path}\n    file: acme.zone\n    acl: keyed\n{signing}"
        );
        std::fs::write(at("knot.conf"), config).expect("written");
        let log = std::fs::File::create(at("log")).expect("a log file");
        let child = Command::new("/usr/sbin/knotd")
            .arg("-c")
            .arg(at("knot.conf"))
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn()
            .expect("knotd is installed: scripts/setup.sh test");
        let server = Self { child, dir, port };
        until("the name server answers", || {
            server.asked("ns.example.com").contains("127.0.0.1").then_some(())
        });
        server
    }

    /// As settings have it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    fn asked(&self, name: &str) -> String {
        self.records(name, "A")
    }

    /// What it says, a record a line.
    pub(crate) fn records(&self, name: &str, kind: &str) -> String {
        records(self.port, name, kind)
    }

    fn keys(&self, zone: &str, what: &str) -> String {
        let output = Command::new("keymgr")
            .arg("-c")
            .arg(self.dir.path().join("knot.conf"))
            .args([zone, what])
            .output()
            .expect("keymgr is installed: scripts/setup.sh test");
        String::from_utf8(output.stdout).expect("text")
    }

    /// A file with the key that vouches for everything here.
    pub(crate) fn trust_anchor(&self) -> PathBuf {
        let path = self.dir.path().join("anchor");
        std::fs::write(&path, self.keys(".", "dnskey").replace(" DNSKEY ", " IN DNSKEY ")).expect("written");
        path
    }

    /// What the parent is to say so that it vouches for `example.com`.
    pub(crate) fn ds(&self) -> String {
        let records = self.keys("example.com", "ds");
        let sha256 = records.lines().find(|line| line.split_whitespace().nth(4) == Some("2"));
        let (_, data) = sha256.expect("a DS record").split_once(" DS ").expect("a DS record");
        data.to_owned()
    }

    /// A program that changes `example.com`: `PROGRAM add|remove NAME VALUE ZONE`.
    pub(crate) fn hook(&self) -> PathBuf {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.dir.path().join("hook");
        let text = format!(
            "#!/bin/sh\ncase $1 in add) change=\"add $2. 60 TXT $3\";; remove) change=\"del $2. TXT $3\";; esac\n\
             printf 'server 127.0.0.1 {}\\nzone %s.\\n%s\\nsend\\nquit\\n' \"$4\" \"$change\" | knsupdate\n",
            self.port
        );
        std::fs::write(&path, text).expect("written");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("it may be run");
        path
    }

    /// Changes the zone `example.com`: lines such as `add shop.example.com. 60 A 127.0.0.1` or `del shop.example.com.`.
    pub(crate) fn update(&self, lines: &[&str]) {
        self.update_zone("example.com.", lines);
    }

    pub(crate) fn update_zone(&self, zone: &str, lines: &[&str]) {
        let mut update = Command::new("knsupdate")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("knsupdate is installed: scripts/setup.sh test");
        let text = format!(
            "server 127.0.0.1 {}\nzone {zone}\n{}\nsend\nquit\n",
            self.port,
            lines.join("\n")
        );
        let mut input = update.stdin.take().expect("piped");
        input.write_all(text.as_bytes()).expect("written");
        drop(input);
        let output = update.wait_with_output().expect("it ran");
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
}

/// Unbound: finds out what others know, and follows an alias from one zone into another.
pub(crate) struct Resolver {
    child: Child,
    _dir: tempfile::TempDir,
    port: u16,
}

impl Resolver {
    /// One that takes this name server for the root.
    pub(crate) fn start(names: &NameServer) -> Self {
        Self::with(names, "  module-config: \"iterator\"\n")
    }

    /// One that checks signatures, as most of the world's do.
    pub(crate) fn validating(names: &NameServer) -> Self {
        let anchor = names.trust_anchor();
        let checks = format!(
            "  module-config: \"validator iterator\"\n  trust-anchor-file: \"{}\"\n  val-bogus-ttl: 0\n",
            anchor.display()
        );
        Self::with(names, &checks)
    }

    fn with(names: &NameServer, modules: &str) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let config = format!(
            "server:\n  interface: 127.0.0.1@{port}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  pidfile: \"\"\n  \
             use-syslog: no\n  do-daemonize: no\n  do-not-query-localhost: no\n{modules}  cache-max-ttl: 0\n  \
             cache-max-negative-ttl: 0\nremote-control:\n  control-enable: no\nforward-zone:\n  name: .\n  forward-addr: 127.0.0.1@{}\n",
            dir.path().display(),
            names.port
        );
        let path = dir.path().join("unbound.conf");
        std::fs::write(&path, config).expect("written");
        let child = Command::new("unbound")
            .args(["-d", "-c"])
            .arg(&path)
            .stderr(Stdio::null())
            .spawn()
            .expect("unbound is installed: scripts/setup.sh test");
        let resolver = Self { child, _dir: dir, port };
        until("the resolver answers", || {
            records(port, ".", "SOA").contains("ns.example.com").then_some(())
        });
        resolver
    }

    /// As settings have it.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Resolver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn records(port: u16, name: &str, kind: &str) -> String {
    let port = port.to_string();
    let output = Command::new("kdig")
        .args(["@127.0.0.1", "-p", &port, "+short", "+retry=0", name, kind])
        .output()
        .expect("kdig is installed: scripts/setup.sh test");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

impl Drop for NameServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!(
                "{}",
                std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
            );
        }
    }
}
