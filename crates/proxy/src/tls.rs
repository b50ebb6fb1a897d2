//! Certificates by name, and the TLS settings of every connection.
//!
//! Promises: TLS 1.2 and 1.3 only; the exact name wins over a one-label wildcard; a name nobody knows gets the alert
//! `unrecognized_name` (RFC 6066 section 3) and never a default certificate; renewing one certificate closes nothing;
//! keys are read from disk when they are first asked for, and what they take of memory has a bound.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::HeaderValue;
use moka::sync::Cache;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::ResolvesServerCertUsingSni;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use slipway_domain::clock::Timestamp;
use slipway_domain::ids::CertificateId;
use slipway_domain::routing::{CertificateMaterial, CertificateReference};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::disk::Disk;
use crate::host::{normalize, wildcard_of};
use crate::visitors::{self, Visitors, VisitorsError};

/// What certificates and keys that were read in may take of memory together: about 20,000 of them.
const LOADED_BYTES_MAX: u64 = 128 * 1024 * 1024;
/// What a key and the settings around it take beside the chain.
const KEY_BYTES: usize = 4 * 1024;

/// A fatal `unrecognized_name` alert in a record of its own, as it is sent before any key is agreed.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];
/// The same for `internal_error`: the name is ours, and its certificate cannot be used.
const INTERNAL_ERROR: [u8; 7] = [21, 3, 3, 0, 2, 2, 80];

/// The protocol by which CAs look for an answer (RFC 8737).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// A certificate that is in use.
#[derive(Debug)]
pub(crate) struct Certificate {
    id: CertificateId,
    names: Vec<String>,
    not_after: Timestamp,
    /// What could not be kept on disk stays in memory.
    pinned: Option<Loaded>,
}

impl Certificate {
    /// One whose key is on disk.
    pub(crate) fn new(reference: &CertificateReference) -> Self {
        Self {
            id: reference.id,
            names: reference.names.iter().map(|name| normalize(name)).collect(),
            not_after: reference.not_after,
            pinned: None,
        }
    }

    /// The same, with its key in memory for as long as it is in use.
    pub(crate) fn pinned(self, loaded: Loaded) -> Self {
        Self {
            pinned: Some(loaded),
            ..self
        }
    }

    /// Whether the certificate is valid for this name (RFC 6125 section 6.4.3: a wildcard stands for one label).
    pub(crate) fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, rest)| rest);
        self.names
            .iter()
            .any(|name| name == host || (parent.is_some() && name.strip_prefix("*.") == parent))
    }
}

/// The material cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MaterialError {
    #[error("its PEM cannot be read: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("its chain is empty")]
    Empty,
    #[error("its key does not fit: {0}")]
    Key(#[from] rustls::Error),
    #[error("it is not on disk, or what is there cannot be read")]
    NotKept,
    #[error("{0}")]
    Visitors(#[from] VisitorsError),
}

/// All certificates in force, by name.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    by_name: HashMap<String, Arc<Certificate>>,
    /// Answers to CAs (RFC 8737), by name.
    challenges: HashMap<String, Arc<ServerConfig>>,
    /// Names whose visitors show a certificate; `None` for one that a wildcard among them does not stand for.
    visitors: HashMap<String, Option<Arc<Visitors>>>,
}

impl Certificates {
    /// Adds an answer to a CA.
    pub(crate) fn answer(&mut self, host: &str, config: Arc<ServerConfig>) {
        self.challenges.insert(host.to_owned(), config);
    }

    /// Adds a certificate. Of two for one name the one that ends later is used.
    pub(crate) fn add(&mut self, certificate: &Arc<Certificate>) {
        for name in &certificate.names {
            let keep = self
                .by_name
                .get(name)
                .is_some_and(|other| other.not_after >= certificate.not_after);
            if !keep {
                self.by_name.insert(name.clone(), Arc::clone(certificate));
            }
        }
    }

    /// The certificate for a name in its uniform spelling.
    pub(crate) fn find(&self, host: &str) -> Option<&Arc<Certificate>> {
        self.by_name.get(host).or_else(|| self.by_name.get(&wildcard_of(host)?))
    }

    /// The certificates now in use for these names, to fall back on while newer ones cannot be had.
    pub(crate) fn now_serving(&self, names: &[String]) -> Vec<Arc<Certificate>> {
        names
            .iter()
            .filter_map(|name| self.by_name.get(&normalize(name)))
            .cloned()
            .collect()
    }

    /// Has the visitors of a name show a certificate, or those of a name below such a wildcard none.
    pub(crate) fn ask(&mut self, name: &str, visitors: Option<Arc<Visitors>>) {
        self.visitors.insert(name.to_owned(), visitors);
    }

    /// Who vouches for the visitors of a name, if somebody must.
    pub(crate) fn visitors(&self, host: &str) -> Option<&Arc<Visitors>> {
        if self.visitors.is_empty() {
            return None;
        }
        let found = self
            .visitors
            .get(host)
            .or_else(|| self.visitors.get(&wildcard_of(host)?));
        found?.as_ref()
    }

    /// All that are in use.
    pub(crate) fn ids(&self) -> BTreeSet<CertificateId> {
        self.by_name.values().map(|certificate| certificate.id).collect()
    }

    pub(crate) fn names_len(&self) -> usize {
        self.by_name.len()
    }
}

/// A certificate with its key, and the settings of a connection to its names.
#[derive(Debug, Clone)]
pub(crate) struct Loaded {
    key: Arc<CertifiedKey>,
    settings: Arc<ServerConfig>,
    bytes: u32,
}

/// Certificates and TLS settings.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    /// What all connections have in common; it has no certificate.
    common: ServerConfig,
    current: ArcSwap<Certificates>,
    disk: Disk,
    loaded: Cache<CertificateId, Loaded>,
    /// Those that should be on disk and are not.
    lost: Mutex<HashSet<CertificateId>>,
}

/// Why a handshake did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the client asked for the unknown name {0:?}")]
    UnknownName(String),
    #[error("the client named no server")]
    NoName,
    #[error("it took too long")]
    TimedOut,
    #[error("a CA looked for its answer")]
    Challenge,
    #[error("the certificate of {0:?} cannot be used: {1}")]
    Certificate(String, MaterialError),
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownName(_) => "unknown_name",
            Self::NoName => "no_name",
            Self::TimedOut => "timeout",
            Self::Challenge => "challenge",
            Self::Certificate(..) => "certificate",
            Self::Failed(_) => "failed",
        }
    }
}

/// What a client said first.
pub(crate) struct Hello<IO> {
    start: StartHandshake<IO>,
    /// In its uniform spelling.
    name: Option<String>,
    is_challenge: bool,
}

impl<IO: AsyncRead + AsyncWrite + Unpin> Hello<IO> {
    /// Waits for it. The caller bounds the time.
    pub(crate) async fn read(io: IO) -> Result<Self, HandshakeError> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
        let hello = start.client_hello();
        let name = hello.server_name().map(normalize);
        let is_challenge = (hello.alpn()).is_some_and(|mut alpn| alpn.any(|protocol| protocol == ACME_TLS));
        Ok(Self {
            start,
            name,
            is_challenge,
        })
    }

    /// The name that a visitor, and no CA, came with.
    pub(crate) fn visited(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| !self.is_challenge)
    }
}

/// A connection after its handshake.
pub(crate) struct Secured<IO> {
    pub(crate) stream: TlsStream<IO>,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) visitor: Option<Visitor>,
    pub(crate) is_h2: bool,
}

/// Who came, and who vouched for them.
#[derive(Debug)]
pub(crate) struct Visitor {
    pub(crate) vouched_by: Arc<Visitors>,
    pub(crate) header: HeaderValue,
}

impl Tls {
    pub(crate) fn new(disk: Disk) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut common = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(ResolvesServerCertUsingSni::new()));
        common.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Stateless: resumption costs no memory and is not bounded by a cache. A ticket holds for its own name only.
        common.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        common.send_tls13_tickets = 2;
        Ok(Self {
            provider,
            common,
            current: ArcSwap::from_pointee(Certificates::default()),
            disk,
            loaded: Cache::builder()
                .max_capacity(LOADED_BYTES_MAX)
                .weigher(|_, loaded: &Loaded| loaded.bytes)
                .build(),
            lost: Mutex::default(),
        })
    }

    pub(crate) const fn provider(&self) -> &Arc<CryptoProvider> {
        &self.provider
    }

    /// Reads a certificate and its key, checks that they belong together, and has them at hand for the first handshake.
    pub(crate) fn read(&self, material: &CertificateMaterial) -> Result<Loaded, MaterialError> {
        let chain = CertificateDer::pem_slice_iter(material.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            return Err(MaterialError::Empty);
        }
        let chain_bytes: usize = chain.iter().map(|der| der.len()).sum();
        let key = PrivateKeyDer::from_pem_slice(material.key_pem.as_bytes())?;
        let key = Arc::new(CertifiedKey::from_der(chain, key, &self.provider)?);
        let mut settings = self.common.clone();
        settings.cert_resolver = Arc::new(SingleCertAndKey::from(Arc::clone(&key)));
        let loaded = Loaded {
            key,
            settings: Arc::new(settings),
            bytes: u32::try_from(chain_bytes + KEY_BYTES).unwrap_or(u32::MAX),
        };
        self.loaded.insert(material.id, loaded.clone());
        self.lost.lock().remove(&material.id);
        Ok(loaded)
    }

    /// Whether a certificate was to be read from disk and was not there.
    pub(crate) fn has_lost(&self, id: CertificateId) -> bool {
        self.lost.lock().contains(&id)
    }

    /// A certificate with its key: at hand, or read from disk.
    async fn loaded(&self, certificate: &Certificate) -> Result<Loaded, MaterialError> {
        if let Some(pinned) = &certificate.pinned {
            return Ok(pinned.clone());
        }
        if let Some(loaded) = self.loaded.get(&certificate.id) {
            return Ok(loaded);
        }
        let (disk, id) = (self.disk.clone(), certificate.id);
        let read = tokio::task::spawn_blocking(move || disk.certificate(id)).await;
        let loaded = match read.ok().flatten() {
            Some(material) => self.read(&material),
            None => Err(MaterialError::NotKept),
        };
        if loaded.is_err() {
            self.lost.lock().insert(id);
        }
        loaded
    }

    /// The settings of a connection, for everybody or for those that somebody vouches for.
    async fn settings(
        &self,
        certificate: &Certificate,
        visitors: Option<&Arc<Visitors>>,
    ) -> Result<Arc<ServerConfig>, MaterialError> {
        let loaded = self.loaded(certificate).await?;
        match visitors {
            None => Ok(loaded.settings),
            Some(visitors) => Ok(visitors.settings(&self.common, &self.provider, (certificate.id, &loaded.key))?),
        }
    }

    /// Puts a new set in force for the handshakes to come.
    pub(crate) fn replace(&self, certificates: Certificates) {
        let ids = certificates.ids();
        self.lost.lock().retain(|id| ids.contains(id));
        self.current.store(Arc::new(certificates));
    }

    pub(crate) fn current(&self) -> arc_swap::Guard<Arc<Certificates>> {
        self.current.load()
    }

    /// The settings under which a name is proven to a CA: a certificate and its key, in PEM one after the other.
    pub(crate) fn challenge(&self, pem: &str) -> Result<Arc<ServerConfig>, MaterialError> {
        let chain = CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        let key = PrivateKeyDer::from_pem_slice(pem.as_bytes())?;
        // Not checked as others are: what proves the name is an extension that only CAs understand.
        let certified = CertifiedKey::new(chain, self.provider.key_provider.load_private_key(key)?);
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(certified)));
        config.alpn_protocols = vec![ACME_TLS.to_vec()];
        Ok(Arc::new(config))
    }

    /// Whether there is a certificate for a name in its uniform spelling.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.current.load().find(name).is_some()
    }

    /// Shows a CA what it asked for; nothing is ever sent over such a connection (RFC 8737 section 3).
    async fn prove<IO>(&self, start: StartHandshake<IO>, name: Option<String>) -> HandshakeError
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let answer = name
            .as_deref()
            .and_then(|name| self.current.load().challenges.get(name).cloned());
        let Some(answer) = answer else {
            refuse(start).await;
            return name.map_or(HandshakeError::NoName, HandshakeError::UnknownName);
        };
        match start.into_stream(answer).await {
            Ok(mut stream) => {
                let _ = stream.shutdown().await;
                HandshakeError::Challenge
            }
            Err(error) => HandshakeError::Failed(error),
        }
    }

    /// Goes on with a handshake. The caller bounds the time.
    pub(crate) async fn accept<IO>(&self, hello: Hello<IO>) -> Result<Secured<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let Hello {
            start,
            name,
            is_challenge,
        } = hello;
        if is_challenge {
            return Err(self.prove(start, name).await);
        }
        let Some(name) = name else {
            refuse(start).await;
            return Err(HandshakeError::NoName);
        };
        let (certificate, visitors) = {
            let current = self.current.load();
            (current.find(&name).cloned(), current.visitors(&name).cloned())
        };
        let Some(certificate) = certificate else {
            refuse(start).await;
            return Err(HandshakeError::UnknownName(name));
        };
        let settings = match self.settings(&certificate, visitors.as_ref()).await {
            Ok(settings) => settings,
            Err(error) => {
                tell(start, &INTERNAL_ERROR).await;
                return Err(HandshakeError::Certificate(name, error));
            }
        };
        let stream = start.into_stream(settings).await?;
        let connection = stream.get_ref().1;
        let is_h2 = connection.alpn_protocol() == Some(b"h2");
        let shown = connection
            .peer_certificates()
            .and_then(|chain| visitors::header(chain.first()?));
        let visitor = visitors
            .zip(shown)
            .map(|(vouched_by, header)| Visitor { vouched_by, header });
        Ok(Secured {
            stream,
            certificate,
            visitor,
            is_h2,
        })
    }
}

async fn refuse<IO: AsyncRead + AsyncWrite + Unpin>(start: StartHandshake<IO>) {
    tell(start, &UNRECOGNIZED_NAME).await;
}

async fn tell<IO: AsyncRead + AsyncWrite + Unpin>(start: StartHandshake<IO>, alert: &[u8]) {
    let mut io = start.io;
    // The client may be gone already; then there is nobody to tell.
    if io.write_all(alert).await.is_ok() {
        let _ = io.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;

    fn made(names: &[&str], not_after: i64) -> (CertificateReference, CertificateMaterial) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let pair = rcgen::generate_simple_self_signed(names.clone()).expect("a certificate");
        let id = "crt_00000000000000000000000001".parse().expect("an id");
        let reference = CertificateReference {
            id,
            names,
            not_after: at(not_after),
        };
        let material = CertificateMaterial {
            id,
            chain_pem: pair.cert.pem(),
            key_pem: pair.signing_key.serialize_pem(),
        };
        (reference, material)
    }

    fn tls() -> (tempfile::TempDir, Tls) {
        let root = tempfile::tempdir().expect("a directory");
        let tls = Tls::new(Disk::open(root.path()).expect("usable")).expect("TLS");
        (root, tls)
    }

    #[test]
    fn exact_names_win_over_wildcards_and_a_wildcard_stands_for_one_label() {
        let mut all = Certificates::default();
        for (names, not_after) in [
            (&["*.apps.localhost"][..], 1),
            (&["web.apps.localhost"][..], 1),
            (&["*.apps.localhost"][..], 2),
        ] {
            let (reference, _) = made(names, not_after);
            all.add(&Arc::new(Certificate::new(&reference)));
        }
        let found = |host: &str| {
            all.find(host)
                .map(|c| (c.names[0].clone(), c.not_after.timestamp_millis()))
        };
        assert_eq!(found("web.apps.localhost"), Some(("web.apps.localhost".into(), 1)));
        assert_eq!(found("blog.apps.localhost"), Some(("*.apps.localhost".into(), 2)));
        assert_eq!(found("a.b.apps.localhost"), None);
        assert_eq!(found("apps.localhost"), None);
        assert!(
            all.find("blog.apps.localhost")
                .is_some_and(|c| c.covers("web.apps.localhost"))
        );
    }

    #[test]
    fn a_key_of_another_certificate_is_refused() {
        let (_root, tls) = tls();
        let (_, mut material) = made(&["a.test"], 1);
        material.key_pem = made(&["a.test"], 1).1.key_pem;
        assert!(matches!(tls.read(&material), Err(MaterialError::Key(_))));
        material.chain_pem.clear();
        assert!(matches!(tls.read(&material), Err(MaterialError::Empty)));
    }

    #[tokio::test]
    async fn a_key_is_read_from_disk_when_it_is_asked_for_and_its_loss_is_noted_until_it_is_back() {
        let (root, tls) = tls();
        let (reference, material) = made(&["a.test"], 1);
        let certificate = Certificate::new(&reference);
        assert!(matches!(
            tls.settings(&certificate, None).await,
            Err(MaterialError::NotKept)
        ));
        assert!(tls.has_lost(reference.id));
        let disk = Disk::open(root.path()).expect("usable");
        disk.keep_certificate(&material).expect("written");
        tls.settings(&certificate, None).await.expect("readable");
        assert!(!tls.has_lost(reference.id));
        // From now on it is at hand.
        disk.keep_only(&BTreeSet::new()).expect("removed");
        tls.settings(&certificate, None).await.expect("at hand");
    }
}
