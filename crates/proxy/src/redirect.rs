//! Plain HTTP: ACME answers and the way to HTTPS; and the way from one name of an app to another.
//!
//! Promises: nothing of an app is ever served here; a redirect keeps path and query, and goes to the same name or to one
//! that has a route, so it cannot be used to send people elsewhere.

use bytes::Bytes;
use http::header::LOCATION;
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Response, StatusCode};

use crate::access_log::Exchange;
use crate::body::ResponseBody;
use crate::error::Failure;
use crate::headers::Target;
use crate::pages;
use crate::proxy::Proxy;
use crate::rescue::{self, Manner};

const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

fn location(host: &str, port: u16, path: &str) -> Option<HeaderValue> {
    let text = match port {
        443 => format!("https://{host}{path}"),
        port => format!("https://{host}:{port}{path}"),
    };
    HeaderValue::try_from(text).ok()
}

/// The answer to any request over plain HTTP.
pub(crate) fn answer(
    proxy: &Proxy,
    parts: &Parts,
    target: &Target,
    is_known: bool,
    manner: Manner,
    exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let token = parts.uri.path().strip_prefix(CHALLENGE_PATH);
    if let Some(token) = token.filter(|_| matches!(parts.method, Method::GET | Method::HEAD)) {
        let authorization = proxy.table().challenge(token).map(str::to_owned);
        if let Some(authorization) = authorization {
            let page = pages::plain(StatusCode::OK, "application/octet-stream", authorization);
            return rescue::finish(page, exchange);
        }
    }
    // A name that nobody added yet is only asked about over TLS.
    if !is_known && !proxy.table().names_on_demand {
        return rescue::answer(Failure::NoSuchApp, manner, exchange);
    }
    to(&target.host.name, proxy, parts, manner, exchange)
}

/// The answer that sends a visitor on to a name, over HTTPS.
pub(crate) fn to(
    host: &str,
    proxy: &Proxy,
    parts: &Parts,
    manner: Manner,
    exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let path = parts.uri.path_and_query().map_or("/", PathAndQuery::as_str);
    // `OPTIONS *` has no path to keep.
    let path = if path.starts_with('/') { path } else { "/" };
    let Some(location) = location(host, proxy.https_redirect_port(), path) else {
        return rescue::answer(Failure::BadRequest("its path is not valid"), manner, exchange);
    };
    let mut page = Response::new(Bytes::new());
    *page.status_mut() = StatusCode::PERMANENT_REDIRECT;
    page.headers_mut().insert(LOCATION, location);
    rescue::finish(page, exchange)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_usual_port_is_left_out() {
        let check = |port| location("web.test", port, "/a?b=c").and_then(|v| v.to_str().map(str::to_owned).ok());
        assert_eq!(check(443).as_deref(), Some("https://web.test/a?b=c"));
        assert_eq!(check(8443).as_deref(), Some("https://web.test:8443/a?b=c"));
    }
}
