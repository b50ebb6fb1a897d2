//! How many TLS handshakes a second a proxy does with one certificate and with many, and what memory it takes.
//!
//! `SLIPWAY=target/release/slipway handshakes [NAMES] [SLICES]`: a proxy is started on a state directory with that many
//! certificates (20,000 by default), each with an intermediate; clients of this process, which check nothing so that
//! they cost little, take the names in a random order.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use slipway_domain::clock::Entropy;
use slipway_domain::generation::RouteVersion;
use slipway_domain::ids::CertificateId;
use slipway_domain::routing::{CertificateMaterial, CertificateReference, SNAPSHOT_FORMAT, Snapshot};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

const CLIENTS: u64 = 16;
const SLICE: Duration = Duration::from_secs(1);

struct Real;

impl Entropy for Real {
    fn fill(&self, bytes: &mut [u8]) {
        getrandom::fill(bytes).unwrap_or_default();
    }
}

fn host(n: u64) -> String {
    format!("shop-{n}.example.com")
}

/// A state directory as a proxy leaves it behind.
fn state(dir: &Path, names: u64) -> Outcome<()> {
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca_key = KeyPair::generate()?;
    let intermediate = ca.self_signed(&ca_key)?.pem();
    let issuer = Issuer::new(ca, ca_key);
    let now = chrono::Utc::now();
    let not_after = now + chrono::TimeDelta::days(90);
    let certificates = dir.join("proxy/certificates");
    std::fs::create_dir_all(&certificates)?;
    let mut references = Vec::new();
    for n in 0..names {
        let id = CertificateId::mint(now, &Real);
        let key = KeyPair::generate()?;
        let leaf = CertificateParams::new(vec![host(n)])?.signed_by(&key, &issuer)?;
        let material = CertificateMaterial {
            id,
            chain_pem: leaf.pem() + &intermediate,
            key_pem: key.serialize_pem(),
        };
        std::fs::write(certificates.join(format!("{id}.json")), serde_json::to_vec(&material)?)?;
        references.push(CertificateReference {
            id,
            names: vec![host(n)],
            not_after,
        });
    }
    let snapshot = Snapshot {
        format: SNAPSHOT_FORMAT,
        version: RouteVersion(1),
        issued_at: now,
        base_domain: "apps.localhost".parse()?,
        api: None,
        hosts: BTreeMap::new(),
        environments: Vec::new(),
        certificates: references,
        challenges: BTreeMap::new(),
        tls_challenges: BTreeMap::new(),
        redirects: BTreeMap::new(),
        policies: BTreeMap::new(),
    };
    Ok(std::fs::write(
        dir.join("proxy/snapshot.json"),
        serde_json::to_vec(&snapshot)?,
    )?)
}

/// A proxy on that directory, which no control plane talks to.
struct Proxy {
    child: Child,
    address: SocketAddr,
}

impl Proxy {
    fn start(dir: &Path) -> Outcome<Self> {
        let free = || TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr());
        let (http, https, admin) = (free()?, free()?, free()?);
        let program = std::env::var("SLIPWAY").unwrap_or_else(|_| "target/release/slipway".into());
        let child = Command::new(program)
            .arg("proxy")
            .env("SLIPWAY_DATA_DIR", dir)
            .env("SLIPWAY_HTTP_LISTEN", http.to_string())
            .env("SLIPWAY_HTTPS_LISTEN", https.to_string())
            .env("SLIPWAY_PROXY_ADMIN_LISTEN", admin.to_string())
            .env("SLIPWAY_LOG", "error")
            .stdout(Stdio::null())
            .spawn()?;
        let begun = Instant::now();
        while std::net::TcpStream::connect(https).is_err() {
            if begun.elapsed() > Duration::from_mins(1) {
                return Err("the proxy does not listen".into());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(Self { child, address: https })
    }

    /// What it takes of memory, its share of what it shares (`proc(5)`, `smaps_rollup`).
    fn pss_mib(&self) -> Outcome<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.child.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("Pss:")).ok_or("no Pss")?;
        let kib: f64 = line.trim().trim_end_matches(" kB").trim().parse()?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug)]
struct Anything;

impl ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

/// Whole handshakes in so much time, names `0..names` in a random order, or each once where there is no time.
async fn handshakes(address: SocketAddr, names: u64, time: Option<Duration>) -> Outcome<u64> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anything))
        .with_no_client_auth();
    config.resumption = rustls::client::Resumption::disabled();
    let connector = TlsConnector::from(Arc::new(config));
    let (begun, next, done) = (Instant::now(), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients = (0..CLIENTS).map(|_| {
        let (connector, next, done) = (connector.clone(), Arc::clone(&next), Arc::clone(&done));
        tokio::spawn(async move {
            loop {
                let n = next.fetch_add(1, Ordering::Relaxed);
                let over = time.map_or(n >= names, |time| begun.elapsed() >= time);
                if over {
                    return Ok::<_, Box<dyn Error + Send + Sync>>(());
                }
                // A multiplier prime to the count goes through all names, none near the last one.
                let name = host((n.wrapping_mul(7_919)) % names);
                let stream = TcpStream::connect(address).await?;
                connector.connect(ServerName::try_from(name)?, stream).await?;
                done.fetch_add(1, Ordering::Relaxed);
            }
        })
    });
    for client in clients.collect::<Vec<_>>() {
        client.await??;
    }
    Ok(done.load(Ordering::Relaxed))
}

/// A proxy with so many certificates, each of which was asked for once.
async fn warm(names: u64) -> Outcome<(tempfile::TempDir, Proxy)> {
    let dir = tempfile::tempdir()?;
    state(dir.path(), names)?;
    let proxy = Proxy::start(dir.path())?;
    let begun = Instant::now();
    handshakes(proxy.address, names, None).await?;
    writeln!(
        std::io::stdout(),
        "{names} certificates: each name once in {:.1} s, then {:.1} MiB",
        begun.elapsed().as_secs_f64(),
        proxy.pss_mib()?
    )?;
    Ok((dir, proxy))
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let mut arguments = std::env::args().skip(1);
    let names = arguments.next().map_or(Ok(20_000), |n| n.parse())?;
    let slices: u32 = arguments.next().map_or(Ok(30), |n| n.parse())?;
    let (_one_dir, one) = warm(1).await?;
    let (_many_dir, many) = warm(names).await?;
    // In turn, a short while each, so that what else a machine does harms both alike.
    let (mut with_one, mut with_many) = (0, 0);
    for _ in 0..slices {
        with_one += handshakes(one.address, 1, Some(SLICE)).await?;
        with_many += handshakes(many.address, names, Some(SLICE)).await?;
    }
    let rate = |done: u64| {
        Ok::<_, std::num::TryFromIntError>(f64::from(u32::try_from(done)?) / (SLICE * slices).as_secs_f64())
    };
    let (with_one, with_many) = (rate(with_one)?, rate(with_many)?);
    writeln!(
        std::io::stdout(),
        "handshakes a second: {with_one:.0} with one, {with_many:.0} with {names}, ratio {:.3}; {:.1} MiB at the end",
        with_many / with_one,
        many.pss_mib()?
    )?;
    Ok(())
}
