//! Clients of the proxy: HTTP/1.1 and HTTP/2 over TLS that checks certificates, and bare bytes.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, Version};
use http_body::Body;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::client::Resumption;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::world::within;

/// A protocol to offer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Speak {
    H1,
    H2,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or("")
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).expect("JSON")
    }
}

/// Where the proxy is and whom to trust.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) http: SocketAddr,
    pub(crate) https: SocketAddr,
    pub(crate) admin: SocketAddr,
    roots: RootCertStore,
    /// What it shows where it is asked: a certificate and its key, PKCS #8.
    shows: Option<(CertificateDer<'static>, Vec<u8>)>,
    sessions: Resumption,
}

pub(crate) fn request(
    method: Method,
    uri: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Request<Full<Bytes>> {
    let mut builder = Request::builder().method(method).uri(uri);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(Full::new(body.into())).expect("a request")
}

pub(crate) async fn collect(response: Response<Incoming>) -> Result<Answer, hyper::Error> {
    let (parts, body) = response.into_parts();
    let body = body.collect().await?.to_bytes();
    Ok(Answer {
        status: parts.status,
        version: parts.version,
        headers: parts.headers,
        body,
    })
}

impl Client {
    pub(crate) fn new() -> Self {
        let nowhere = ([127, 0, 0, 1], 1).into();
        Self {
            http: nowhere,
            https: nowhere,
            admin: nowhere,
            roots: RootCertStore::empty(),
            shows: None,
            sessions: Resumption::in_memory_sessions(16),
        }
    }

    pub(crate) fn trust(&mut self, certificate: CertificateDer<'static>) {
        self.roots.add(certificate).expect("a trust anchor");
    }

    /// The same, with no session to come back with.
    pub(crate) fn forgetful(&self) -> Self {
        Self {
            roots: self.roots.clone(),
            shows: self.shows.clone(),
            sessions: Resumption::in_memory_sessions(16),
            ..*self
        }
    }

    /// Shows this certificate where it is asked for one.
    pub(crate) fn show(&mut self, shows: Option<(CertificateDer<'static>, Vec<u8>)>) {
        self.shows = shows;
    }

    /// A TLS connection for this server name.
    pub(crate) async fn tls(&self, name: &str, speak: Speak) -> std::io::Result<TlsStream<TcpStream>> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("protocol versions")
            .with_root_certificates(self.roots.clone());
        let mut config = match self.shows.clone() {
            Some((certificate, key)) => {
                let key = PrivateKeyDer::Pkcs8(key.into());
                config.with_client_auth_cert(vec![certificate], key).expect("a pair")
            }
            None => config.with_no_client_auth(),
        };
        config.resumption = self.sessions.clone();
        config.alpn_protocols = match speak {
            Speak::H1 => vec![b"http/1.1".to_vec()],
            Speak::H2 => vec![b"h2".to_vec()],
        };
        let stream = TcpStream::connect(self.https).await?;
        let name = ServerName::try_from(name.to_owned()).expect("a server name");
        within(
            "the handshake",
            TlsConnector::from(Arc::new(config)).connect(name, stream),
        )
        .await
    }

    /// An HTTP/1.1 connection over TLS.
    pub(crate) async fn h1<B>(&self, name: &str) -> http1::SendRequest<B>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
    {
        h1_over(self.tls(name, Speak::H1).await.expect("TLS")).await
    }

    /// An HTTP/2 connection over TLS.
    pub(crate) async fn h2<B>(&self, name: &str) -> http2::SendRequest<B>
    where
        B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + Unpin + 'static,
    {
        let stream = self.tls(name, Speak::H2).await.expect("TLS");
        let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(stream))
            .await
            .expect("HTTP/2");
        tokio::spawn(connection);
        sender
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, speak: Speak, name: &str, mut request: Request<Full<Bytes>>) -> Answer {
        let work = async {
            let response = match speak {
                Speak::H1 => {
                    if !request.headers().contains_key("host") {
                        request.headers_mut().insert("host", name.parse().expect("a value"));
                    }
                    self.h1(name).await.send_request(request).await
                }
                Speak::H2 => {
                    let path = request
                        .uri()
                        .path_and_query()
                        .map_or("/", |path| path.as_str())
                        .to_owned();
                    let authority = request.headers_mut().remove("host");
                    let authority = authority.as_ref().and_then(|value| value.to_str().ok()).unwrap_or(name);
                    *request.uri_mut() = format!("https://{authority}{path}").parse().expect("a URI");
                    self.h2(name).await.send_request(request).await
                }
            };
            collect(response.expect("an answer")).await.expect("a whole answer")
        };
        within("an answer", work).await
    }

    pub(crate) async fn get(&self, name: &str, path: &str) -> Answer {
        self.send(Speak::H1, name, request(Method::GET, path, &[], "")).await
    }

    async fn plain(&self, address: SocketAddr, name: &str, path: &str) -> Answer {
        let stream = TcpStream::connect(address).await.expect("a connection");
        let request = request(Method::GET, path, &[("host", name)], "");
        let work = async {
            let response = h1_over(stream).await.send_request(request).await.expect("an answer");
            collect(response).await.expect("a whole answer")
        };
        within("an answer", work).await
    }

    /// Over the plain HTTP port.
    pub(crate) async fn get_plain(&self, name: &str, path: &str) -> Answer {
        self.plain(self.http, name, path).await
    }

    /// From the admin listener.
    pub(crate) async fn admin(&self, path: &str) -> Answer {
        self.plain(self.admin, "admin", path).await
    }

    /// Writes bytes over TLS and reads until the proxy closes.
    pub(crate) async fn raw(&self, name: &str, bytes: &[u8]) -> String {
        let mut stream = self.tls(name, Speak::H1).await.expect("TLS");
        let work = async {
            stream.write_all(bytes).await.expect("written");
            stream.flush().await.expect("flushed");
            let mut out = Vec::new();
            // A close without a TLS goodbye is still a close.
            let _ = stream.read_to_end(&mut out).await;
            String::from_utf8_lossy(&out).into_owned()
        };
        within("the connection to close", work).await
    }
}

/// HTTP/1.1 over any stream.
pub(crate) async fn h1_over<T, B>(stream: T) -> http1::SendRequest<B>
where
    T: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    B: Body<Data = Bytes, Error: std::error::Error + Send + Sync> + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.expect("HTTP/1.1");
    tokio::spawn(connection.with_upgrades());
    sender
}
