//! A front before the test's CA that adds what it lacks: windows for renewals (RFC 9773) and profiles. What orders ask for
//! is kept.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::header::{HOST, HeaderName};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

use crate::authority::{Authority, OWN_PAIR};
use crate::platform::wait;

type Window = (DateTime<Utc>, DateTime<Utc>);

/// What is behind it, and what was seen.
#[derive(Clone)]
pub(crate) struct Front {
    port: u16,
    behind: String,
    window: Arc<Mutex<Window>>,
    orders: Arc<Mutex<Vec<Value>>>,
    asked: Arc<Mutex<u32>>,
}

impl Front {
    pub(crate) fn start(authority: &Authority, window: Window) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let front = Self {
            port: listener.local_addr().expect("its address").port(),
            behind: authority.directory().trim_end_matches("/dir").to_owned(),
            window: Arc::new(Mutex::new(window)),
            orders: Arc::default(),
            asked: Arc::default(),
        };
        let chain = vec![CertificateDer::from_pem_slice(OWN_PAIR.0.as_bytes()).expect("a certificate")];
        let key = PrivateKeyDer::from_pem_slice(OWN_PAIR.1.as_bytes()).expect("a key");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a pair");
        let config = Arc::new(config);
        let serving = front.clone();
        std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                let (front, config) = (serving.clone(), Arc::clone(&config));
                std::thread::spawn(move || front.serve(stream, config));
            }
        });
        front
    }

    pub(crate) fn directory(&self) -> String {
        format!("https://127.0.0.1:{}/dir", self.port)
    }

    /// Would have certificates replaced in another window.
    pub(crate) fn suggest(&self, window: Window) {
        *self.window.lock().expect("no panic") = window;
    }

    /// What the orders so far asked for.
    pub(crate) fn orders(&self) -> Vec<Value> {
        self.orders.lock().expect("no panic").clone()
    }

    /// How often it was asked for a window.
    pub(crate) fn asked(&self) -> u32 {
        *self.asked.lock().expect("no panic")
    }

    fn serve(&self, stream: TcpStream, config: Arc<ServerConfig>) {
        let connection = ServerConnection::new(config).expect("a connection");
        let mut stream = StreamOwned::new(connection, stream);
        let mut bytes = Vec::new();
        while let Some((head, body)) = request(&mut stream, &mut bytes) {
            let answer = self.answer(&head, body);
            if stream.write_all(&answer).and_then(|()| stream.flush()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, head: &str, body: Vec<u8>) -> Vec<u8> {
        let mut words = head.lines().next().unwrap_or_default().split(' ');
        let (method, path) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
        if path.starts_with("/renewal-info/") {
            *self.asked.lock().expect("no panic") += 1;
            let (start, end) = *self.window.lock().expect("no panic");
            let time = |t: DateTime<Utc>| t.to_rfc3339_opts(SecondsFormat::Secs, true);
            let text = json!({"suggestedWindow": {"start": time(start), "end": time(end)}}).to_string();
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nretry-after: 3600\r\n";
            return format!("{head}content-length: {}\r\n\r\n{text}", text.len()).into_bytes();
        }
        let order = (path == "/order-plz").then(|| payload(&body));
        self.passed_on((method, path, head), body, order)
    }

    /// What the CA itself says, with what it lacks.
    fn passed_on(&self, (method, path, head): (&str, &str, &str), body: Vec<u8>, order: Option<Value>) -> Vec<u8> {
        let own = reqwest::Certificate::from_pem(OWN_PAIR.0.as_bytes()).expect("a certificate");
        let client = reqwest::Client::builder()
            // The name that it was asked under goes on in a header, which HTTP/2 does not have.
            .http1_only()
            .tls_certs_only([own])
            .build()
            .expect("a client");
        let kind = head
            .lines()
            .find_map(|l| l.strip_prefix("content-type: "))
            .unwrap_or_default();
        let request = client
            .request(method.parse().expect("a method"), format!("{}{path}", self.behind))
            .header(HOST, format!("127.0.0.1:{}", self.port))
            .header("content-type", kind)
            .body(body);
        let answer = wait(async { request.send().await }).expect("the CA answers");
        let (status, headers) = (answer.status(), answer.headers().clone());
        let mut bytes = wait(answer.bytes()).expect("a body").to_vec();
        if let Some(order) = order.filter(|_| status.is_success()) {
            let mut made: Value = serde_json::from_slice(&bytes).expect("JSON");
            if let Some(replaces) = order.get("replaces") {
                made["replaces"] = replaces.clone();
            }
            bytes = made.to_string().into_bytes();
            self.orders.lock().expect("no panic").push(order);
        }
        if path == "/dir" {
            let mut directory: Value = serde_json::from_slice(&bytes).expect("JSON");
            directory["renewalInfo"] = format!("https://127.0.0.1:{}/renewal-info", self.port).into();
            directory["meta"]["caaIdentities"] = json!(["front.example"]);
            directory["meta"]["profiles"] = json!({"shortlived": "six days"});
            bytes = directory.to_string().into_bytes();
        }
        let framing = ["content-length", "transfer-encoding", "connection", "content-encoding"];
        let kept = headers
            .iter()
            .filter(|(name, _): &(&HeaderName, _)| !framing.contains(&name.as_str()));
        let kept = kept.map(|(name, value)| format!("{name}: {}", value.to_str().expect("text")));
        let lines = [
            format!("HTTP/1.1 {} So", status.as_u16()),
            format!("content-length: {}", bytes.len()),
        ];
        let lines: Vec<String> = lines.into_iter().chain(kept).collect();
        let mut out = format!("{}\r\n\r\n", lines.join("\r\n")).into_bytes();
        if method != "HEAD" {
            out.append(&mut bytes);
        }
        out
    }
}

/// What is signed in a request (RFC 8555 section 6.2).
fn payload(body: &[u8]) -> Value {
    use base64::Engine as _;
    let jws: Value = serde_json::from_slice(body).expect("JSON");
    let payload = jws["payload"].as_str().expect("a payload");
    let bytes = base64::prelude::BASE64_URL_SAFE_NO_PAD
        .decode(payload)
        .expect("base64url");
    serde_json::from_slice(&bytes).expect("JSON")
}

/// The next request of a connection: its head, whose names of headers are in lower case as HTTP libraries write them, and
/// its body.
fn request(stream: &mut StreamOwned<ServerConnection, TcpStream>, bytes: &mut Vec<u8>) -> Option<(String, Vec<u8>)> {
    let mut chunk = [0; 8192];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end;
        }
        match stream.read(&mut chunk) {
            Ok(n) if n > 0 => bytes.extend(&chunk[..n]),
            _ => return None,
        }
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
    let length: usize = length.map_or(0, |l| l.trim().parse().expect("a length"));
    bytes.drain(..end + 4);
    while bytes.len() < length {
        let n = stream.read(&mut chunk).ok().filter(|n| *n > 0)?;
        bytes.extend(&chunk[..n]);
    }
    Some((head, bytes.drain(..length).collect()))
}
