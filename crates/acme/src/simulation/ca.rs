//! A CA with a clock of its own and the limits that Let's Encrypt publishes, over ACME and TLS. It takes everybody at
//! their word: neither signatures nor names are checked, orders are ready at once.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as BASE64;
use chrono::{SecondsFormat, TimeDelta};
use rcgen::{BasicConstraints, CertificateParams, CertificateSigningRequestParams, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls_pki_types::{CertificateSigningRequestDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use serde_json::{Value, json};
use slipway_domain::Timestamp;
use slipway_domain::name::HostName;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::SimulatedClock;

/// How long its certificates are valid.
pub(super) const LIFE: TimeDelta = TimeDelta::days(90);
/// It dates them back.
const DATED_BACK: TimeDelta = TimeDelta::hours(1);
/// The longest time after which it is believed.
const ASK_AGAIN_SECONDS: &str = "86400";

/// What was ordered.
#[derive(Clone)]
struct Ordered {
    names: Vec<String>,
    chain_pem: Option<String>,
    replaces: Option<String>,
}

/// What was issued.
#[derive(Clone)]
pub(super) struct Certified {
    pub(super) names: Vec<String>,
    pub(super) at: Timestamp,
    pub(super) not_after: Timestamp,
    /// Whether it took the place of one, and did so in the window for that.
    pub(super) renews_in_window: Option<bool>,
}

impl Certified {
    /// Two days around the last third of its life, as Let's Encrypt has it.
    fn window(&self) -> (Timestamp, Timestamp) {
        let ideal = self.not_after - LIFE / 3;
        (ideal - TimeDelta::days(1), ideal + TimeDelta::days(1))
    }
}

#[derive(Default)]
struct Books {
    orders: Vec<Ordered>,
    /// By serial number.
    certificates: BTreeMap<u64, Certified>,
    order_times: Vec<Timestamp>,
    new_by_domain: HashMap<String, Vec<Timestamp>>,
    refusals: u32,
    refuse_until: Option<Timestamp>,
    ignores_replaces: bool,
    first_known: usize,
    stalls: bool,
}

/// The CA.
#[derive(Clone)]
pub(super) struct Ca {
    address: SocketAddr,
    clock: SimulatedClock,
    issuer: Arc<Issuer<'static, KeyPair>>,
    root_pem: String,
    own_pem: String,
    books: Arc<Mutex<Books>>,
}

impl Ca {
    pub(super) async fn start(clock: SimulatedClock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let mut params = CertificateParams::new(Vec::new()).expect("names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let root = params.self_signed(&key).expect("a root");
        let own = rcgen::generate_simple_self_signed(vec!["127.0.0.1".into()]).expect("a pair");
        let config = tls(&own.cert, &own.signing_key);
        let ca = Self {
            address: listener.local_addr().expect("an address"),
            clock,
            root_pem: root.pem(),
            own_pem: own.cert.pem(),
            issuer: Arc::new(Issuer::new(params, key)),
            books: Arc::default(),
        };
        let app = Router::new()
            .route("/{ca}/directory", get(directory))
            .route("/nonce", get(nonce))
            .route("/account", post(account))
            .route("/order", post(order))
            .route("/order/{n}", post(order_state))
            .route("/order/{n}/finalize", post(finalize))
            .route("/cert/{n}", post(certificate))
            .route("/window/{id}", get(window))
            .with_state(ca.clone());
        let listener = Tls {
            listener,
            acceptor: TlsAcceptor::from(Arc::new(config)),
        };
        tokio::spawn(async move { axum::serve(listener, app).await });
        ca
    }

    /// A directory whose limits the platform knows.
    pub(super) fn directory(&self) -> String {
        self.url("acme-v02.api.letsencrypt.org/directory")
    }

    /// The certificate that it shows itself.
    pub(super) fn own_pem(&self) -> &str {
        &self.own_pem
    }

    fn url(&self, path: &str) -> String {
        format!("https://{}/{path}", self.address)
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.books.lock().expect("no panic")
    }

    /// Everything that was issued.
    pub(super) fn issued(&self) -> Vec<Certified> {
        self.books().certificates.values().cloned().collect()
    }

    /// How many orders were beyond its limits.
    pub(super) fn refusals(&self) -> u32 {
        self.books().refusals
    }

    /// Takes no new orders until a time.
    pub(super) fn refuse_until(&self, until: Timestamp) {
        self.books().refuse_until = Some(until);
    }

    /// Takes no note of what an order replaces, though it has windows for renewals.
    pub(super) fn ignore_replaces(&self) {
        self.books().ignores_replaces = true;
    }

    /// Forgets all orders, and answers those who ask for one with nothing.
    pub(super) fn forget_orders(&self) {
        let mut books = self.books();
        books.first_known = books.orders.len();
    }

    /// Issues nothing from now on until told otherwise.
    pub(super) fn stall(&self, stalls: bool) {
        self.books().stalls = stalls;
    }

    /// Until when no more may be ordered, by the limits that Let's Encrypt publishes.
    fn limited(&self, names: &[String], replaces: bool) -> Option<Timestamp> {
        let now = slipway_domain::Clock::now(&self.clock);
        let mut books = self.books();
        if let Some(until) = books.refuse_until.filter(|until| *until > now) {
            return Some(until);
        }
        if replaces {
            return None;
        }
        let within = |times: &[Timestamp], window: TimeDelta| times.iter().filter(|at| **at > now - window).count();
        let domains: Vec<String> = names.iter().map(|name| registered(name)).collect();
        let is_over = within(&books.order_times, TimeDelta::hours(3)) >= 300
            || domains.iter().any(|domain| {
                let times = books.new_by_domain.get(domain).map_or(&[][..], Vec::as_slice);
                within(times, TimeDelta::days(7)) >= 50
            });
        if is_over {
            books.refusals += 1;
            return Some(now + TimeDelta::hours(3));
        }
        books.order_times.push(now);
        for domain in domains {
            books.new_by_domain.entry(domain).or_default().push(now);
        }
        None
    }

    fn issue(&self, csr: &[u8], ordered: &Ordered) -> String {
        let now = slipway_domain::Clock::now(&self.clock);
        let time = |t: Timestamp| time::OffsetDateTime::from_unix_timestamp(t.timestamp()).expect("a time");
        let mut request =
            CertificateSigningRequestParams::from_der(&CertificateSigningRequestDer::from(csr)).expect("a request");
        let (not_before, not_after) = (now - DATED_BACK, now - DATED_BACK + LIFE);
        let mut books = self.books();
        let number = u64::try_from(books.certificates.len()).expect("few") + 1;
        request.params.not_before = time(not_before);
        request.params.not_after = time(not_after);
        request.params.serial_number = Some(number.into());
        request.params.use_authority_key_identifier_extension = true;
        let certificate = request.signed_by(&self.issuer).expect("signed");
        let before = books
            .certificates
            .values()
            .filter(|c| c.names == ordered.names)
            .max_by_key(|c| c.at);
        let renews_in_window = before.filter(|_| ordered.replaces.is_some()).map(|before| {
            let (start, end) = before.window();
            // It is looked at hourly.
            start <= now && now <= end + super::TICK
        });
        let certified = Certified {
            names: ordered.names.clone(),
            at: now,
            not_after,
            renews_in_window,
        };
        books.certificates.insert(number, certified);
        format!("{}{}", certificate.pem(), self.root_pem)
    }
}

fn registered(name: &str) -> String {
    let host: HostName = name.parse().expect("a name");
    host.registered().expect("registered").to_owned()
}

fn tls(own: &rcgen::Certificate, key: &KeyPair) -> ServerConfig {
    let key = PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der()));
    ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(vec![own.der().clone()], key)
        .expect("a pair")
}

/// Connections after their handshake.
struct Tls {
    listener: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for Tls {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            let (stream, address) = self.listener.accept().await.expect("a connection");
            if let Ok(stream) = self.acceptor.accept(stream).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// What is signed in a request (RFC 8555 section 6.2).
fn payload(body: &[u8]) -> Value {
    let jws: Value = serde_json::from_slice(body).expect("JSON");
    let bytes = BASE64
        .decode(jws["payload"].as_str().expect("text"))
        .expect("base64url");
    serde_json::from_slice(&bytes).unwrap_or_default()
}

fn answer(status: StatusCode, location: Option<String>, body: impl IntoResponse) -> Response {
    let mut headers = HeaderMap::new();
    headers.insert("replay-nonce", HeaderValue::from_static("bm9uY2U"));
    if let Some(location) = location {
        headers.insert(header::LOCATION, location.parse().expect("a URL"));
    }
    (status, headers, body).into_response()
}

async fn directory(State(ca): State<Ca>) -> Response {
    let urls = json!({
        "newNonce": ca.url("nonce"), "newAccount": ca.url("account"), "newOrder": ca.url("order"),
        "revokeCert": ca.url("revoke"), "keyChange": ca.url("key"), "renewalInfo": ca.url("window"),
    });
    answer(StatusCode::OK, None, axum::Json(urls))
}

async fn nonce() -> Response {
    answer(StatusCode::OK, None, ())
}

async fn account(State(ca): State<Ca>) -> Response {
    let made = axum::Json(json!({"status": "valid"}));
    answer(StatusCode::CREATED, Some(ca.url("account/1")), made)
}

fn shown(ca: &Ca, n: usize, ordered: &Ordered) -> Value {
    let identifiers: Vec<Value> = ordered
        .names
        .iter()
        .map(|name| json!({"type": "dns", "value": name}))
        .collect();
    let mut order = json!({
        "status": "ready", "identifiers": identifiers, "authorizations": [],
        "finalize": ca.url(&format!("order/{n}/finalize")),
    });
    if let Some(replaces) = &ordered.replaces {
        order["replaces"] = replaces.as_str().into();
    }
    if ordered.chain_pem.is_some() {
        order["status"] = "valid".into();
        order["certificate"] = ca.url(&format!("cert/{n}")).into();
    }
    order
}

async fn order(State(ca): State<Ca>, body: Bytes) -> Response {
    let asked = payload(&body);
    let identifiers = asked["identifiers"].as_array().expect("identifiers");
    let names = identifiers
        .iter()
        .map(|i| i["value"].as_str().expect("text").to_owned());
    let ordered = Ordered {
        names: names.collect(),
        chain_pem: None,
        replaces: asked["replaces"]
            .as_str()
            .map(str::to_owned)
            .filter(|_| !ca.books().ignores_replaces),
    };
    if let Some(until) = ca.limited(&ordered.names, ordered.replaces.is_some()) {
        let detail = format!(
            "too many new orders, retry after {}",
            until.format("%Y-%m-%d %H:%M:%S UTC")
        );
        let problem = json!({"type": "urn:ietf:params:acme:error:rateLimited", "detail": detail, "status": 429});
        return answer(StatusCode::TOO_MANY_REQUESTS, None, axum::Json(problem));
    }
    let n = {
        let mut books = ca.books();
        books.orders.push(ordered.clone());
        books.orders.len() - 1
    };
    let made = axum::Json(shown(&ca, n, &ordered));
    answer(StatusCode::CREATED, Some(ca.url(&format!("order/{n}"))), made)
}

async fn order_state(State(ca): State<Ca>, Path(n): Path<usize>) -> Response {
    if n < ca.books().first_known {
        return answer(StatusCode::NOT_FOUND, None, ());
    }
    let ordered = ca.books().orders[n].clone();
    answer(StatusCode::OK, None, axum::Json(shown(&ca, n, &ordered)))
}

async fn finalize(State(ca): State<Ca>, Path(n): Path<usize>, body: Bytes) -> Response {
    if ca.books().stalls {
        let problem = json!({"type": "urn:ietf:params:acme:error:serverInternal", "detail": "stalled", "status": 500});
        return answer(StatusCode::INTERNAL_SERVER_ERROR, None, axum::Json(problem));
    }
    let csr = payload(&body)["csr"]
        .as_str()
        .map(|csr| BASE64.decode(csr).expect("base64url"));
    let ordered = ca.books().orders[n].clone();
    let chain = ca.issue(&csr.expect("a request"), &ordered);
    let ordered = {
        let mut books = ca.books();
        books.orders[n].chain_pem = Some(chain);
        books.orders[n].clone()
    };
    answer(StatusCode::OK, None, axum::Json(shown(&ca, n, &ordered)))
}

async fn certificate(State(ca): State<Ca>, Path(n): Path<usize>) -> Response {
    let chain = ca.books().orders[n].chain_pem.clone().expect("issued");
    answer(StatusCode::OK, None, chain)
}

async fn window(State(ca): State<Ca>, Path(id): Path<String>) -> Response {
    let serial = BASE64
        .decode(id.split('.').nth(1).expect("a serial number"))
        .expect("base64url");
    let number = serial.iter().fold(0_u64, |n, byte| n << 8 | u64::from(*byte));
    let found = ca.books().certificates.get(&number).cloned().expect("issued");
    let (start, end) = found.window();
    let time = |t: Timestamp| t.to_rfc3339_opts(SecondsFormat::Secs, true);
    let info = json!({"suggestedWindow": {"start": time(start), "end": time(end)}});
    let again = [(header::RETRY_AFTER, ASK_AGAIN_SECONDS)];
    (again, axum::Json(info)).into_response()
}
