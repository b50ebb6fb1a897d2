//! Connections to the target: TCP, TLS that trusts the given authorities only, and an agreed protocol.
//!
//! Promises: the tasks that drive connections end when the load is gone.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use http::HeaderValue;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::trouble::{Trouble, chain};
use super::{LoadError, Target};

const HTTP1: &[u8] = b"http/1.1";
const HTTP2: &[u8] = b"h2";

/// A protocol to agree on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Http1,
    Http2,
}

pub(crate) struct Dialer {
    address: SocketAddr,
    name: ServerName<'static>,
    host: String,
    header: HeaderValue,
    http1: TlsConnector,
    http2: TlsConnector,
    connections: TaskTracker,
    cut: CancellationToken,
}

impl Dialer {
    pub(crate) fn new(target: &Target, cut: CancellationToken) -> Result<Self, LoadError> {
        let mut roots = RootCertStore::empty();
        for root in CertificateDer::pem_slice_iter(&target.root_pem) {
            roots.add(root?)?;
        }
        if roots.is_empty() {
            return Err(LoadError::NoRoot);
        }
        let wrong_host = || LoadError::Host(target.host.clone());
        Ok(Self {
            address: target.address,
            name: ServerName::try_from(target.host.clone()).map_err(|_| wrong_host())?,
            host: target.host.clone(),
            header: HeaderValue::from_str(&target.host).map_err(|_| wrong_host())?,
            http1: connector(roots.clone(), HTTP1)?,
            http2: connector(roots, HTTP2)?,
            connections: TaskTracker::new(),
            cut,
        })
    }

    pub(crate) fn host(&self) -> &str {
        &self.host
    }

    pub(crate) fn header(&self) -> HeaderValue {
        self.header.clone()
    }

    /// Opens a connection. The caller bounds the time.
    pub(crate) async fn dial(&self, protocol: Protocol) -> Result<TlsStream<TcpStream>, Trouble> {
        let dialed = self.try_dial(protocol).await;
        dialed.map_err(|error| Trouble::NoConnection(chain(&error)))
    }

    async fn try_dial(&self, protocol: Protocol) -> io::Result<TlsStream<TcpStream>> {
        let tcp = TcpStream::connect(self.address).await?;
        tcp.set_nodelay(true)?;
        let connector = match protocol {
            Protocol::Http1 => &self.http1,
            Protocol::Http2 => &self.http2,
        };
        let tls = connector.connect(self.name.clone(), tcp).await?;
        if protocol == Protocol::Http2 && tls.get_ref().1.alpn_protocol() != Some(HTTP2) {
            return Err(io::Error::other("the server does not speak HTTP/2"));
        }
        Ok(tls)
    }

    /// Runs what drives a connection, until it ends or the load is gone.
    pub(crate) fn drive(&self, connection: impl Future<Output = ()> + Send + 'static) {
        let until = self.cut.clone().run_until_cancelled_owned(connection);
        self.connections.spawn(until);
    }

    /// For tasks of protocols that have several per connection.
    pub(crate) fn tracker(&self) -> TaskTracker {
        self.connections.clone()
    }
}

fn connector(roots: RootCertStore, protocol: &[u8]) -> Result<TlsConnector, LoadError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
