//! The HTTP client of the REST API.
//!
//! Promises: every call has a time limit, every body a size limit; calls that are safe to repeat (GET, and POST with
//! an idempotency key) are repeated a few times when the connection fails or the server asks for it, others only when
//! they were certainly never sent. The token goes to the one configured address only: redirects are not followed; and
//! without one no call is made, as none would be answered.

use std::fmt::Display;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::{Method, StatusCode, header};
use serde::Serialize;
use serde_json::Value;
use slipway_domain::quantity::Span;
use slipway_domain::secret::Secret;
use url::Url;

use crate::error::CliError;
use crate::problem::Problem;
use crate::retry::{Attempt, Patience, pause_before_next};
use crate::target::Target;
use crate::transport;

/// For calls that only touch the platform's database.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// For calls that ask a registry first.
pub(crate) const SLOW_CALL_TIMEOUT: Duration = Duration::from_mins(2);
/// The largest answer.
const BODY_BYTES_MAX: usize = 32 << 20;

/// A client for one server.
pub(crate) struct Client {
    http: reqwest::Client,
    target: Target,
    token: Secret,
    patience: Patience,
}

/// One call to make.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    body: Option<Value>,
    key: Option<String>,
    if_match: Option<String>,
    timeout: Duration,
    once: bool,
}

/// What came back from a successful call.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) etag: Option<String>,
    /// The body, if there was one.
    pub(crate) body: Value,
}

/// A request's body as it goes over the wire.
pub(crate) fn body(request: &impl Serialize) -> Value {
    // The requests are plain structs of texts, numbers and maps with text keys: they cannot fail to serialize.
    serde_json::to_value(request).unwrap_or_default()
}

impl Call {
    fn new(method: Method, path: &[&str]) -> Self {
        Self {
            method,
            path: path.iter().map(|p| (*p).to_owned()).collect(),
            query: Vec::new(),
            body: None,
            key: None,
            if_match: None,
            timeout: CALL_TIMEOUT,
            once: false,
        }
    }

    /// A GET below `/v1`.
    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    /// A POST below `/v1`; the key makes a repeated call the same call.
    pub(crate) fn post(path: &[&str], body: Option<Value>, key: String) -> Self {
        Self {
            body,
            key: Some(key),
            ..Self::new(Method::POST, path)
        }
    }

    /// A PUT below `/v1`.
    pub(crate) fn put(path: &[&str], body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::PUT, path)
        }
    }

    /// A PATCH below `/v1`.
    pub(crate) fn patch(path: &[&str], body: Value) -> Self {
        Self {
            body: Some(body),
            ..Self::new(Method::PATCH, path)
        }
    }

    /// A DELETE below `/v1`.
    pub(crate) fn delete(path: &[&str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// With a query parameter.
    pub(crate) fn query(mut self, name: &'static str, value: impl Display) -> Self {
        self.query.push((name, format!("{value}")));
        self
    }

    /// With a query parameter that may be missing.
    pub(crate) fn query_opt(self, name: &'static str, value: Option<impl Display>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Only if the thing is still as it was.
    pub(crate) fn if_match(mut self, etag: Option<String>) -> Self {
        self.if_match = etag;
        self
    }

    /// With another time limit.
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The server may wait so long for the end of what is asked for; the call may take that much longer.
    pub(crate) fn waiting(self, wait: Option<Span>) -> Self {
        let timeout = self.timeout + wait.map_or(Duration::ZERO, Span::to_std);
        self.query_opt("wait", wait).timeout(timeout)
    }

    /// One try only: the caller makes the call again itself.
    pub(crate) fn once(mut self) -> Self {
        self.once = true;
        self
    }

    pub(crate) fn is_once(&self) -> bool {
        self.once
    }

    /// Whether making it twice is the same as making it once.
    pub(crate) fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.key.is_some()
    }
}

impl Client {
    /// A client for the server.
    pub(crate) fn new(target: Target, patience: Patience) -> Result<Self, CliError> {
        let token = target.token.clone().ok_or_else(|| target.not_logged_in())?;
        Ok(Self {
            http: transport::build(&target)?,
            target,
            token,
            patience,
        })
    }

    /// Makes the call, repeating it where that is safe.
    pub(crate) async fn send(&self, call: Call) -> Result<Answer, CliError> {
        let (mut tried, mut timeout) = (1, call.timeout);
        loop {
            let outcome = self.attempt(&call, timeout).await?;
            let pause = pause_before_next(&call, &outcome, tried).filter(|pause| self.patience.allows(*pause));
            match (pause, outcome) {
                (Some(pause), outcome) => {
                    self.patience.tell(&outcome);
                    tokio::time::sleep(pause).await;
                }
                (None, Attempt::Answered(answer)) => return Ok(answer),
                (None, Attempt::Refused { problem, .. }) => return Err(CliError::Refused(problem)),
                (None, Attempt::Broken { error, .. }) => return Err(transport::explain(&error, &self.target)),
            }
            tried += 1;
            timeout = self.patience.cap(call.timeout);
        }
    }

    /// Opens a stream: the answer's head has come, its body is read by the caller. One try only.
    pub(crate) async fn open(
        &self,
        call: &Call,
        accept: &'static str,
        last_event_id: Option<&str>,
    ) -> Result<reqwest::Response, CliError> {
        let mut request = self.request(call)?.header(header::ACCEPT, accept);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let sent = tokio::time::timeout(call.timeout, request.send()).await;
        let response = match sent {
            Ok(Ok(response)) => response,
            Ok(Err(error)) => return Err(transport::explain(&error, &self.target)),
            Err(_) => return Err(transport::took_too_long(&self.target)),
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, request_id) = (response.status(), request_id(&response));
        let body = read_body(response).await.unwrap_or_else(|_| Vec::new());
        Err(CliError::Refused(Box::new(Problem::read(
            status.as_u16(),
            request_id,
            &body,
        ))))
    }

    fn request(&self, call: &Call) -> Result<reqwest::RequestBuilder, CliError> {
        let mut url: Url = self.target.url.clone();
        url.path_segments_mut()
            .map_err(|()| CliError::failed("the server's address cannot have a path"))?
            .pop_if_empty()
            .push("v1")
            .extend(&call.path);
        let mut request = self.http.request(call.method.clone(), url);
        if !call.query.is_empty() {
            request = request.query(&call.query);
        }
        request = request.header(header::AUTHORIZATION, bearer(&self.token)?);
        if let Some(key) = &call.key {
            request = request.header("idempotency-key", key);
        }
        if let Some(etag) = &call.if_match {
            request = request.header(header::IF_MATCH, etag);
        }
        if let Some(body) = &call.body {
            request = request.json(body);
        }
        Ok(request)
    }

    async fn attempt(&self, call: &Call, timeout: Duration) -> Result<Attempt, CliError> {
        let request = self
            .request(call)?
            .header(header::ACCEPT, "application/json")
            .timeout(timeout);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Ok(Attempt::Broken {
                    sent: !error.is_connect(),
                    error,
                });
            }
        };
        let (status, request_id) = (response.status(), request_id(&response));
        let header = |name: &str| {
            response
                .headers()
                .get(name)
                .and_then(|v| v.to_str().ok())
                .map(str::to_owned)
        };
        let (etag, location) = (header("etag"), header("location"));
        let retry_after = header("retry-after")
            .and_then(|t| t.parse::<u64>().ok())
            .map(Duration::from_secs);
        if status.is_redirection() {
            return Err(redirected(&self.target.url, location.as_deref()));
        }
        let body = match read_body(response).await {
            Ok(body) => body,
            Err(ReadError::Broken(error)) => return Ok(Attempt::Broken { error, sent: true }),
            Err(ReadError::TooLong) => return Err(CliError::failed("the server's answer is longer than 32 MiB")),
        };
        if !status.is_success() {
            let problem = Box::new(Problem::read(status.as_u16(), request_id, &body));
            return Ok(Attempt::Refused { problem, retry_after });
        }
        let value = if body.is_empty() {
            Ok(Value::Null)
        } else {
            serde_json::from_slice(&body)
        };
        let body = value.map_err(|_| {
            CliError::failed_with(
                format!("{} answered something that is not JSON", self.target.url),
                "this does not look like the Slipway API; check the address (`--url`, SLIPWAY_URL)",
            )
        })?;
        Ok(Attempt::Answered(Answer { status, etag, body }))
    }
}

fn bearer(token: &Secret) -> Result<header::HeaderValue, CliError> {
    let mut value = header::HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        CliError::usage(
            "the token contains characters that no token has",
            "copy it again, without line breaks",
        )
    })?;
    value.set_sensitive(true);
    Ok(value)
}

fn request_id(response: &reqwest::Response) -> Option<String> {
    response
        .headers()
        .get("x-request-id")
        .and_then(|v| v.to_str().ok())
        .map(str::to_owned)
}

fn redirected(url: &Url, location: Option<&str>) -> CliError {
    let to = location
        .and_then(|l| url.join(l).ok())
        .map(|u| u.origin().ascii_serialization());
    match to {
        Some(to) => CliError::failed_with(
            format!("{url} sends its callers on to {to}"),
            format!("use that address, if you trust it: `slipway login {to}`"),
        ),
        None => CliError::failed_with(
            format!("{url} answers with a redirect"),
            "this does not look like the Slipway API; check the address (`--url`, SLIPWAY_URL)",
        ),
    }
}

enum ReadError {
    Broken(reqwest::Error),
    TooLong,
}

async fn read_body(response: reqwest::Response) -> Result<Vec<u8>, ReadError> {
    let mut body = Vec::new();
    let mut chunks = response.bytes_stream();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(ReadError::Broken)?;
        if body.len() + chunk.len() > BODY_BYTES_MAX {
            return Err(ReadError::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
