//! Certificates by name, and the TLS settings of every connection.
//!
//! Promises: TLS 1.2 and 1.3 only; the exact name wins over a one-label wildcard; a name nobody knows gets the alert
//! `unrecognized_name` (RFC 6066 section 3) and never a default certificate; renewing one certificate closes nothing.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use slipway_domain::clock::Timestamp;
use slipway_domain::routing::{CertificateMaterial, CertificateReference};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

use crate::host::normalize;

/// A fatal `unrecognized_name` alert in a record of its own, as it is sent before any key is agreed.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The protocol by which CAs look for an answer (RFC 8737).
const ACME_TLS: &[u8] = b"acme-tls/1";

/// A certificate that is in use.
#[derive(Debug)]
pub(crate) struct Certificate {
    names: Vec<String>,
    not_after: Timestamp,
    key: Arc<CertifiedKey>,
}

impl Certificate {
    /// Whether the certificate is valid for this name (RFC 6125 section 6.4.3: a wildcard stands for one label).
    pub(crate) fn covers(&self, host: &str) -> bool {
        let parent = host.split_once('.').map(|(_, rest)| rest);
        self.names
            .iter()
            .any(|name| name == host || (parent.is_some() && name.strip_prefix("*.") == parent))
    }
}

fn wildcard_of(host: &str) -> Option<String> {
    host.split_once('.').map(|(_, rest)| format!("*.{rest}"))
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
}

/// All certificates in force, by name.
#[derive(Debug, Default)]
pub(crate) struct Certificates {
    by_name: HashMap<String, Arc<Certificate>>,
    /// Answers to CAs (RFC 8737), by name.
    challenges: HashMap<String, Arc<ServerConfig>>,
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

    pub(crate) fn names_len(&self) -> usize {
        self.by_name.len()
    }
}

/// Certificates and TLS settings.
#[derive(Debug)]
pub(crate) struct Tls {
    provider: Arc<CryptoProvider>,
    config: Arc<ServerConfig>,
    current: Arc<ArcSwap<Certificates>>,
}

#[derive(Debug)]
struct BySni(Arc<ArcSwap<Certificates>>);

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = normalize(hello.server_name()?);
        self.0
            .load()
            .find(&name)
            .map(|certificate| Arc::clone(&certificate.key))
    }
}

/// Why a handshake did not end well.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandshakeError {
    #[error("the client asked for the unknown name {0:?}")]
    UnknownName(String),
    #[error("the client named no server")]
    NoName,
    #[error("a CA looked for its answer")]
    Challenge,
    #[error("{0}")]
    Failed(#[from] io::Error),
}

impl HandshakeError {
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::UnknownName(_) => "unknown_name",
            Self::NoName => "no_name",
            Self::Challenge => "challenge",
            Self::Failed(_) => "failed",
        }
    }
}

/// A connection after its handshake.
pub(crate) struct Secured<IO> {
    pub(crate) stream: TlsStream<IO>,
    pub(crate) certificate: Arc<Certificate>,
    pub(crate) is_h2: bool,
}

impl Tls {
    pub(crate) fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let current = Arc::new(ArcSwap::from_pointee(Certificates::default()));
        let mut config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(BySni(Arc::clone(&current))));
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        // Stateless: resumption costs no memory and is not bounded by a cache.
        config.ticketer = rustls::crypto::aws_lc_rs::Ticketer::new()?;
        config.send_tls13_tickets = 2;
        Ok(Self {
            provider,
            config: Arc::new(config),
            current,
        })
    }

    /// Reads a certificate and its key, and checks that they belong together.
    pub(crate) fn read(
        &self,
        reference: &CertificateReference,
        material: &CertificateMaterial,
    ) -> Result<Certificate, MaterialError> {
        let chain = CertificateDer::pem_slice_iter(material.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>()?;
        if chain.is_empty() {
            return Err(MaterialError::Empty);
        }
        let key = PrivateKeyDer::from_pem_slice(material.key_pem.as_bytes())?;
        let key = CertifiedKey::from_der(chain, key, &self.provider)?;
        let names = reference.names.iter().map(|name| normalize(name)).collect();
        Ok(Certificate {
            names,
            not_after: reference.not_after,
            key: Arc::new(key),
        })
    }

    /// Puts a new set in force for the handshakes to come.
    pub(crate) fn replace(&self, certificates: Certificates) {
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

    /// Does the handshake. The caller bounds the time.
    pub(crate) async fn accept<IO>(&self, io: IO) -> Result<Secured<IO>, HandshakeError>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), io).await?;
        let name = start.client_hello().server_name().map(normalize);
        let is_challenge = start
            .client_hello()
            .alpn()
            .is_some_and(|mut alpn| alpn.any(|protocol| protocol == ACME_TLS));
        if is_challenge {
            return Err(self.prove(start, name).await);
        }
        let certificate = name.as_deref().and_then(|name| self.current.load().find(name).cloned());
        let Some(certificate) = certificate else {
            refuse(start).await;
            return Err(name.map_or(HandshakeError::NoName, HandshakeError::UnknownName));
        };
        let stream = start.into_stream(Arc::clone(&self.config)).await?;
        let is_h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        Ok(Secured {
            stream,
            certificate,
            is_h2,
        })
    }
}

async fn refuse<IO: AsyncRead + AsyncWrite + Unpin>(start: StartHandshake<IO>) {
    let mut io = start.io;
    // The client may be gone already; then there is nobody to tell.
    if io.write_all(&UNRECOGNIZED_NAME).await.is_ok() {
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

    #[test]
    fn exact_names_win_over_wildcards_and_a_wildcard_stands_for_one_label() {
        let tls = Tls::new().expect("TLS");
        let mut all = Certificates::default();
        for (names, not_after) in [
            (&["*.apps.localhost"][..], 1),
            (&["web.apps.localhost"][..], 1),
            (&["*.apps.localhost"][..], 2),
        ] {
            let (reference, material) = made(names, not_after);
            all.add(&Arc::new(tls.read(&reference, &material).expect("readable")));
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
        let tls = Tls::new().expect("TLS");
        let (reference, mut material) = made(&["a.test"], 1);
        material.key_pem = made(&["a.test"], 1).1.key_pem;
        assert!(matches!(tls.read(&reference, &material), Err(MaterialError::Key(_))));
        material.chain_pem.clear();
        assert!(matches!(tls.read(&reference, &material), Err(MaterialError::Empty)));
    }
}
