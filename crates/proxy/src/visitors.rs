//! Names whose visitors show a certificate (mTLS).
//!
//! Promises: nobody is let in to such a name who was not asked, also not over a connection to another name that the same
//! certificate covers, nor with a session from before the CAs changed; CAs that cannot be read let nobody in. The app is
//! told who came in `Client-Cert` (RFC 9440), which nobody else can send.

use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::HeaderValue;
use parking_lot::Mutex;
use rustls::crypto::CryptoProvider;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ProducesTickets, WebPkiClientVerifier};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use slipway_domain::ids::CertificateId;

/// Who vouches for the visitors of a name.
pub(crate) struct Visitors {
    pem: String,
    /// `None` where the CAs cannot be read.
    asks: Option<Asks>,
    /// The settings for the certificate that was used last.
    built: Mutex<Option<(CertificateId, Arc<ServerConfig>)>>,
}

#[derive(Clone)]
struct Asks {
    verifier: Arc<dyn ClientCertVerifier>,
    /// Tickets of other names and of earlier CAs open nothing here.
    ticketer: Arc<dyn ProducesTickets>,
}

impl std::fmt::Debug for Visitors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Visitors").finish_non_exhaustive()
    }
}

/// Why nobody is let in.
#[derive(Debug, thiserror::Error)]
pub(crate) enum VisitorsError {
    #[error("their PEM cannot be read: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error("they cannot be trusted: {0}")]
    Tls(#[from] rustls::Error),
    #[error("they vouch for nobody: {0}")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("the CAs for visitors cannot be used")]
    Unusable,
}

impl Visitors {
    /// Those that these CAs vouch for. What the same CAs made before is taken over.
    pub(crate) fn new(name: &str, pem: &str, provider: &Arc<CryptoProvider>, before: Option<&Arc<Self>>) -> Arc<Self> {
        if let Some(before) = before.filter(|before| before.pem == pem) {
            return Arc::clone(before);
        }
        let asks = asks(pem, provider)
            .inspect_err(|error| tracing::error!(name, %error, "proxy.client_ca_unusable: nobody is let in"))
            .ok();
        Arc::new(Self {
            pem: pem.to_owned(),
            asks,
            built: Mutex::default(),
        })
    }

    /// The settings of a connection to them, out of those for everybody.
    pub(crate) fn settings(
        &self,
        common: &ServerConfig,
        provider: &Arc<CryptoProvider>,
        (id, key): (CertificateId, &Arc<CertifiedKey>),
    ) -> Result<Arc<ServerConfig>, VisitorsError> {
        let asks = self.asks.clone().ok_or(VisitorsError::Unusable)?;
        let mut built = self.built.lock();
        if let Some((for_id, settings)) = built.as_ref()
            && *for_id == id
        {
            return Ok(Arc::clone(settings));
        }
        let mut settings = ServerConfig::builder_with_provider(Arc::clone(provider))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])?
            .with_client_cert_verifier(asks.verifier)
            .with_cert_resolver(Arc::new(SingleCertAndKey::from(Arc::clone(key))));
        settings.alpn_protocols.clone_from(&common.alpn_protocols);
        settings.ticketer = asks.ticketer;
        settings.send_tls13_tickets = common.send_tls13_tickets;
        let settings = Arc::new(settings);
        *built = Some((id, Arc::clone(&settings)));
        Ok(settings)
    }
}

fn asks(pem: &str, provider: &Arc<CryptoProvider>) -> Result<Asks, VisitorsError> {
    let mut roots = RootCertStore::empty();
    for der in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        roots.add(der?)?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(provider)).build()?;
    Ok(Asks {
        verifier,
        ticketer: rustls::crypto::aws_lc_rs::Ticketer::new()?,
    })
}

/// Who came, in the words of RFC 9440 section 2.2.
pub(crate) fn header(certificate: &CertificateDer<'_>) -> Option<HeaderValue> {
    HeaderValue::try_from(format!(":{}:", BASE64_STANDARD.encode(certificate))).ok()
}
