//! The outermost layer of every request: its id, its span, its safety net, and the headers of every answer.
//!
//! Promises: a panic is a 500 problem, not a closed connection; every answer names its request; problems leave as
//! `application/problem+json`; nothing of ours is cached, sniffed or framed.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri, header};
use slipway_domain::ids::RequestId;
use slipway_wire::{Code, PROBLEM_JSON, Problem};
use tracing::Instrument as _;

use crate::error::{ApiError, problem_response};
use crate::state::{Answered, Shared};

/// The name of the header that carries a request's id both ways.
pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const REQUEST_ID_CHARS_MAX: usize = 128;

/// What is known of a request before anything else.
#[derive(Debug, Clone)]
pub(crate) struct RequestInfo {
    /// Its id: the caller's own, if it sent a harmless one.
    pub(crate) id: String,
    /// The `traceparent` of its span.
    pub(crate) trace: Option<String>,
    /// The caller's program, cut to a line.
    pub(crate) user_agent: Option<String>,
    /// The caller's address, if the listener tells.
    pub(crate) ip: Option<String>,
}

impl RequestInfo {
    /// The id of the trace, out of the `traceparent`.
    pub(crate) fn trace_id(&self) -> Option<String> {
        self.trace.as_deref()?.split('-').nth(1).map(str::to_owned)
    }
}

fn request_id(headers: &HeaderMap, state: &Shared) -> String {
    headers
        .get(X_REQUEST_ID)
        .and_then(|v| v.to_str().ok())
        .filter(|t| (1..=REQUEST_ID_CHARS_MAX).contains(&t.len()))
        .filter(|t| t.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b)))
        .map_or_else(
            || RequestId::mint(state.clock.now(), state.entropy.as_ref()).to_string(),
            str::to_owned,
        )
}

/// A method's name from a closed set, whatever a caller sends.
fn known_method(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The layer.
pub(crate) async fn edge(State(state): State<Arc<Shared>>, mut request: Request, next: Next) -> Response {
    let begun = tokio::time::Instant::now();
    let (method, route) = (
        known_method(request.method()),
        request.extensions().get::<MatchedPath>().cloned(),
    );
    let id = request_id(request.headers(), &state);
    let name = format!("api.{}", request.method().as_str().to_ascii_lowercase());
    let span = tracing::info_span!(
        "api.request",
        otel.name = name,
        otel.kind = "server",
        http.request.method = request.method().as_str(),
        url.path = request.uri().path(),
        http.route = tracing::field::Empty,
        http.response.status_code = tracing::field::Empty,
        request_id = id,
    );
    let trace = (state.trace)(&span, request.headers());
    let user_agent = request.headers().get(header::USER_AGENT).and_then(|v| v.to_str().ok());
    let info = RequestInfo {
        id: id.clone(),
        trace,
        user_agent: user_agent.map(|t| t.chars().take(200).collect()),
        ip: request
            .extensions()
            .get::<axum::extract::ConnectInfo<std::net::SocketAddr>>()
            .map(|axum::extract::ConnectInfo(address)| address.ip().to_string()),
    };
    request.extensions_mut().insert(info);
    request.extensions_mut().insert(Arc::clone(&state));
    let answered = AssertUnwindSafe(next.run(request))
        .catch_unwind()
        .instrument(span.clone())
        .await;
    let response = answered.unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<&str>().map(ToString::to_string);
        let said = said
            .or_else(|| panic.downcast_ref::<String>().cloned())
            .unwrap_or_default();
        span.in_scope(|| ApiError::Internal(format!("panic: {said}")).into_response())
    });
    let mut response = finish(response, &id);
    span.record("http.response.status_code", response.status().as_u16());
    (state.observe)(&Answered {
        method,
        route: route.as_ref().map(MatchedPath::as_str),
        status: response.status(),
        duration: begun.elapsed(),
    });
    harden(response.headers_mut());
    if let Ok(id) = HeaderValue::from_str(&id) {
        response.headers_mut().insert(X_REQUEST_ID, id);
    }
    response
}

/// Writes the body of a problem, if the response carries one.
pub(crate) fn finish(mut response: Response, request_id: &str) -> Response {
    let Some(mut problem) = response.extensions_mut().remove::<Box<Problem>>() else {
        return response;
    };
    problem.request_id = Some(request_id.to_owned());
    // A struct of texts and numbers cannot fail to serialize.
    let body = serde_json::to_vec(&problem).unwrap_or_default();
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
    response.headers_mut().remove(header::CONTENT_LENGTH);
    *response.body_mut() = Body::from(body);
    response
}

fn harden(headers: &mut HeaderMap) {
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::STRICT_TRANSPORT_SECURITY, "max-age=31536000"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let unless_set = [
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in unless_set {
        headers.entry(name).or_insert(HeaderValue::from_static(value));
    }
}

/// No such route.
pub(crate) async fn unknown_route(uri: Uri) -> Response {
    let path: String = uri.path().chars().take(120).collect();
    let detail = format!("There is nothing at `{path}`. `/docs` lists what there is.");
    problem_response(Problem::new(Code::NotFound, detail))
}

/// The route exists, the method does not; axum adds the `Allow` header. OPTIONS is answered with just that.
pub(crate) async fn wrong_method(method: Method) -> Response {
    if method == Method::OPTIONS {
        return StatusCode::NO_CONTENT.into_response();
    }
    let detail = format!("`{method}` does not work here; the `Allow` header lists what does, `/docs` explains it.");
    problem_response(Problem::new(Code::MethodNotAllowed, detail))
}
