//! Header rules: which requests are refused, and what an app and a client get to see of the other's headers.
//!
//! Promises: what `Connection` names is removed before anything of ours is set, so a client cannot make the proxy
//! drop what it vouches for; `X-Forwarded-*`, `X-Request-Id` and their look-alikes with underscores come from the
//! proxy, or from a peer the operator trusts, and from nobody else.

use std::net::IpAddr;

use http::header::{
    CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::request::Parts;
use http::{Method, Version};

use crate::config::HEADER_FIELDS_MAX;
use crate::error::Failure;
use crate::host::Host;
use crate::trace::TraceContext;

/// RFC 9440.
const CLIENT_CERT: HeaderName = HeaderName::from_static("client-cert");
pub(crate) const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
pub(crate) const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
pub(crate) const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: HeaderName = HeaderName::from_static("tracestate");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What a request says about where it wants to go, checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    /// For look-up.
    pub(crate) host: Host,
    /// As the client wrote it, for the app's `Host`.
    pub(crate) authority: HeaderValue,
}

/// Checks the head of a request against RFC 9112 and RFC 9113 where the HTTP library does not.
pub(crate) fn vet(parts: &Parts, ambiguous_framing: bool) -> Result<Target, Failure> {
    if ambiguous_framing
        || (parts.headers.contains_key(CONTENT_LENGTH) && parts.headers.contains_key(TRANSFER_ENCODING))
    {
        return Err(Failure::BadRequest("it has both Content-Length and Transfer-Encoding"));
    }
    if parts.headers.len() > HEADER_FIELDS_MAX {
        return Err(Failure::HeadersTooLarge);
    }
    if parts.method == Method::CONNECT {
        return Err(Failure::NotAForwardProxy);
    }
    let mut hosts = parts.headers.get_all(HOST).iter();
    let field = hosts.next();
    if hosts.next().is_some() {
        return Err(Failure::BadRequest("it has more than one Host field"));
    }
    let parse = |text: &str| Host::parse(text).ok_or(Failure::BadRequest("its Host is not a valid host name"));
    let from_field = match field {
        Some(value) => Some(parse(value.to_str().unwrap_or(""))?),
        None => None,
    };
    let authority = parts.uri.authority();
    let from_uri = match authority {
        Some(authority) => Some(parse(authority.as_str())?),
        None => None,
    };
    match (from_field, from_uri) {
        // RFC 9112 section 3.2: a 1.1 client must send Host even with an absolute target.
        (None, _) if parts.version < Version::HTTP_2 => Err(Failure::BadRequest("it has no Host field")),
        (None, None) => Err(Failure::BadRequest("it has no :authority")),
        (Some(field), Some(uri)) if !same_place(&field, &uri) => {
            Err(Failure::BadRequest("its Host differs from the host in its target"))
        }
        (Some(host), _) => Ok(Target {
            host,
            authority: field.cloned().unwrap_or(HeaderValue::from_static("")),
        }),
        (None, Some(host)) => {
            let text = authority.map_or("", http::uri::Authority::as_str);
            let authority = HeaderValue::from_str(text).map_err(|_| Failure::BadRequest("its :authority is odd"))?;
            Ok(Target { host, authority })
        }
    }
}

/// Whether two spellings mean the same place; a port that is left out says nothing against one that is not.
fn same_place(one: &Host, other: &Host) -> bool {
    one.name == other.name && (one.port == other.port || one.port.is_none() || other.port.is_none())
}

/// The protocol a request asks to switch to, over HTTP/1.1 only.
pub(crate) fn upgrade_wanted(parts: &Parts) -> Option<HeaderValue> {
    if parts.version != Version::HTTP_11 || !connection_names(&parts.headers, "upgrade") {
        return None;
    }
    parts.headers.get(UPGRADE).cloned()
}

fn connection_names(headers: &HeaderMap, token: &str) -> bool {
    let values = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok());
    values
        .flat_map(|value| value.split(','))
        .any(|name| name.trim().eq_ignore_ascii_case(token))
}

/// Removes what concerns only one connection (RFC 9110 section 7.6.1).
pub(crate) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(CONNECTION) {
        let values: Vec<HeaderValue> = headers.get_all(CONNECTION).iter().cloned().collect();
        for name in values
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|value| value.split(','))
        {
            if let Ok(name) = HeaderName::from_bytes(name.trim().as_bytes()) {
                headers.remove(name);
            }
        }
        headers.remove(CONNECTION);
    }
    for name in [
        KEEP_ALIVE,
        PROXY_CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ] {
        headers.remove(name);
    }
}

/// Whether a header of this name says who the client is or how it came: only the proxy may say that.
fn vouches(name: &HeaderName) -> bool {
    let text = name.as_str();
    // Most names begin with something else: look no further then.
    if !matches!(text.as_bytes().first(), Some(b'x' | b'f' | b't' | b'p' | b'c')) {
        return false;
    }
    // Gateway interfaces such as CGI turn both spellings into one variable.
    let folded;
    let text = if text.contains('_') {
        folded = text.replace('_', "-");
        folded.as_str()
    } else {
        text
    };
    text.starts_with("x-forwarded-")
        || matches!(
            text,
            "forwarded"
                | "x-real-ip"
                | "x-request-id"
                | "traceparent"
                | "tracestate"
                | "proxy"
                | "client-cert"
                | "client-cert-chain"
        )
}

/// A request id worth keeping: visible ASCII, not too long.
fn sane_request_id(value: &HeaderValue) -> bool {
    let bytes = value.as_bytes();
    (1..=REQUEST_ID_BYTES_MAX).contains(&bytes.len()) && bytes.iter().all(u8::is_ascii_graphic)
}

/// What the proxy vouches for to the app.
#[derive(Debug)]
pub(crate) struct Vouched<'a> {
    pub(crate) peer: IpAddr,
    /// Whether the operator trusts what this peer says about the client.
    pub(crate) trusted: bool,
    pub(crate) target: &'a Target,
    pub(crate) request_id: &'a str,
    pub(crate) trace: &'a TraceContext,
    /// What the visitor showed.
    pub(crate) client_certificate: Option<&'a HeaderValue>,
}

/// The request id to use: that of the sender when it may choose one, and it is sane.
pub(crate) fn chosen_request_id(headers: &HeaderMap, may_choose: bool) -> Option<String> {
    let value = headers
        .get(X_REQUEST_ID)
        .filter(|value| may_choose && sane_request_id(value))?;
    value.to_str().ok().map(str::to_owned)
}

/// Turns the headers of a client's request into those an app gets.
pub(crate) fn prepare_request(headers: &mut HeaderMap, vouched: &Vouched<'_>) {
    let tracestate = headers.get(TRACESTATE).filter(|_| vouched.trace.continued()).cloned();
    let earlier = if vouched.trusted {
        Earlier::read(headers)
    } else {
        Earlier::default()
    };
    strip_hop_by_hop(headers);
    // The proxy itself answers 100 when the app begins to read.
    headers.remove(EXPECT);
    let spoofed: Vec<HeaderName> = headers.keys().filter(|name| vouches(name)).cloned().collect();
    for name in spoofed {
        headers.remove(name);
    }
    join_cookies(headers);
    headers.insert(HOST, vouched.target.authority.clone());
    let peer = vouched.peer.to_canonical().to_string();
    let forwarded_for = match earlier.forwarded_for {
        Some(earlier) => format!("{earlier}, {peer}"),
        None => peer,
    };
    set(headers, X_FORWARDED_FOR, &forwarded_for);
    headers.insert(
        X_FORWARDED_PROTO,
        earlier.proto.unwrap_or(HeaderValue::from_static("https")),
    );
    headers.insert(
        X_FORWARDED_HOST,
        earlier.host.unwrap_or_else(|| vouched.target.authority.clone()),
    );
    set(headers, X_REQUEST_ID, vouched.request_id);
    headers.insert(TRACEPARENT, vouched.trace.header());
    if let Some(certificate) = vouched.client_certificate {
        headers.insert(CLIENT_CERT, certificate.clone());
    }
    if let Some(tracestate) = tracestate {
        headers.insert(TRACESTATE, tracestate);
    }
}

/// What a trusted peer said about the client.
#[derive(Debug, Default)]
struct Earlier {
    forwarded_for: Option<String>,
    proto: Option<HeaderValue>,
    host: Option<HeaderValue>,
}

impl Earlier {
    fn read(headers: &HeaderMap) -> Self {
        let listed: Vec<&str> = headers
            .get_all(X_FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        Self {
            forwarded_for: (!listed.is_empty()).then(|| listed.join(", ")),
            proto: headers.get(X_FORWARDED_PROTO).cloned(),
            host: headers.get(X_FORWARDED_HOST).cloned(),
        }
    }
}

/// HTTP/2 may split cookies over several fields; HTTP/1.1 knows one (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    if headers.get_all(COOKIE).iter().nth(1).is_none() {
        return;
    }
    let parts: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if let Ok(joined) = HeaderValue::from_bytes(&parts.join(&b"; "[..])) {
        headers.insert(COOKIE, joined);
    }
}

fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}

/// Turns the headers of an app's answer into those a client gets.
pub(crate) fn prepare_response(headers: &mut HeaderMap, request_id: &str) {
    strip_hop_by_hop(headers);
    if !headers.contains_key(X_REQUEST_ID) {
        set(headers, X_REQUEST_ID, request_id);
    }
}

/// The length the client declared.
pub(crate) fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dice::Dice;
    use http::Request;
    use slipway_domain::clock::testing::FixedEntropy;

    fn parts(uri: &str, headers: &[(&str, &str)]) -> Parts {
        let mut builder = Request::builder().uri(uri);
        for (name, value) in headers {
            builder = builder.header(*name, *value);
        }
        builder.body(()).expect("a request").into_parts().0
    }

    #[test]
    fn refuses_what_could_be_read_in_two_ways() {
        let check = |uri: &str, headers: &[(&str, &str)]| vet(&parts(uri, headers), false).map_err(Failure::status);
        let bad = http::StatusCode::BAD_REQUEST;
        assert!(check("/", &[("host", "web.test")]).is_ok());
        assert!(check("http://web.test/", &[("host", "WEB.test")]).is_ok());
        for (uri, headers) in [
            ("/", &[][..]),
            ("/", &[("host", "a.test"), ("host", "b.test")]),
            ("http://b.test/", &[("host", "a.test")]),
            ("/", &[("host", "user@a.test")]),
            ("/", &[("host", "a.test/path")]),
            ("/", &[("host", "")]),
            (
                "/",
                &[
                    ("host", "a.test"),
                    ("content-length", "3"),
                    ("transfer-encoding", "chunked"),
                ],
            ),
        ] {
            assert_eq!(check(uri, headers).expect_err("refused"), bad, "{uri} {headers:?}");
        }
        assert!(vet(&parts("/", &[("host", "a.test")]), true).is_err());
    }

    fn prepared(given: &[(&str, &str)], trusted: bool) -> HeaderMap {
        let mut parts = parts("/", given);
        let target = vet(&parts, false).expect("fine");
        let trace = TraceContext::continue_or_begin(parts.headers.get(TRACEPARENT), &Dice::seeded(&FixedEntropy(1)));
        let peer = "192.0.2.7".parse().expect("an address");
        let vouched = Vouched {
            peer,
            trusted,
            target: &target,
            request_id: "req_1",
            trace: &trace,
            client_certificate: None,
        };
        prepare_request(&mut parts.headers, &vouched);
        parts.headers
    }

    #[test]
    fn a_stranger_cannot_say_who_it_is() {
        let sent = prepared(
            &[
                ("host", "web.test"),
                ("x-forwarded-for", "10.0.0.1"),
                ("x-forwarded-port", "1"),
                ("X_Forwarded_For", "10.0.0.1"),
                ("forwarded", "for=10.0.0.1"),
                ("x-real-ip", "10.0.0.1"),
                ("x-request-id", "mine"),
                ("proxy", "http://evil.test"),
                ("connection", "x-forwarded-for, x-secret, close"),
                ("x-secret", "1"),
                ("te", "trailers"),
                ("accept", "*/*"),
            ],
            false,
        );
        let mut names: Vec<_> = sent.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        let ours = [
            "host",
            "traceparent",
            "x-forwarded-for",
            "x-forwarded-host",
            "x-forwarded-proto",
            "x-request-id",
        ];
        assert_eq!(names, [&["accept"], &ours[..]].concat());
        assert_eq!(sent[X_FORWARDED_FOR], "192.0.2.7");
        assert_eq!(sent[X_FORWARDED_PROTO], "https");
        assert_eq!(sent[X_FORWARDED_HOST], "web.test");
        assert_eq!(sent[X_REQUEST_ID], "req_1");
    }

    #[test]
    fn a_trusted_peer_is_believed_and_appended() {
        let given = [
            ("host", "web.test"),
            ("x-forwarded-for", "203.0.113.5"),
            ("x-forwarded-host", "shop.test"),
        ];
        let sent = prepared(&given, true);
        assert_eq!(sent[X_FORWARDED_FOR], "203.0.113.5, 192.0.2.7");
        assert_eq!(sent[X_FORWARDED_HOST], "shop.test");
    }

    #[test]
    fn cookies_are_joined() {
        let sent = prepared(&[("host", "web.test"), ("cookie", "a=1"), ("cookie", "b=2")], false);
        assert_eq!(sent.get_all(COOKIE).iter().collect::<Vec<_>>(), ["a=1; b=2"]);
    }

    #[test]
    fn only_sane_request_ids_are_kept() {
        let id = |value: &str, may| chosen_request_id(&parts("/", &[("x-request-id", value)]).headers, may);
        assert_eq!(id("abc-1", true).as_deref(), Some("abc-1"));
        assert_eq!(id("abc-1", false), None);
        assert_eq!(id("a b", true), None);
        assert_eq!(id(&"a".repeat(129), true), None);
    }
}
