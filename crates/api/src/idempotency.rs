//! `Idempotency-Key`: the first answer to a POST is kept and given again for the same key, token and request.
//!
//! Promises: while the first is under way a second is 409; the same key with another request is 422; what was refused
//! without changing anything is not kept, so that a caller may mend the cause and try again with the same key. A keyed
//! request runs to its end even if its caller hangs up, so that the key always gets its answer; when the server ends
//! before, the key leads to the deployment that was made.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Method, StatusCode, header};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};
use slipway_domain::ids::{DeploymentId, TokenId};
use slipway_domain::ports::SealContext;
use slipway_domain::secret::{Sealed, Secret};
use slipway_store::{Idempotent, StoredAnswer};
use slipway_wire::{Code, FieldProblem};
use tracing::Instrument as _;

use crate::call::Call;
use crate::claim::{Claim, End};
use crate::edge::{RequestInfo, finish};
use crate::error::{ApiError, Result};
use crate::extract::read_body;
use crate::state::Shared;
use crate::wait::Wait;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
const KEY_CHARS_MAX: usize = 255;
/// Answers are small documents; one that is longer is not kept.
const ANSWER_BYTES_MAX: usize = 4 << 20;
/// Routes whose answers hold a secret: what is kept of them is sealed.
const CONFIDENTIAL: [&str; 1] = ["/v1/tokens"];
/// Marks a kept answer as sealed, with the version of the key.
const SEALED: &str = "sealed";
/// The headers of an answer that belong to it.
const KEPT: [HeaderName; 3] = [header::CONTENT_TYPE, header::LOCATION, header::ETAG];

/// The key of a request that has one.
#[derive(Debug, Clone)]
pub(crate) struct Key(pub(crate) String);

/// Runs the request, once per key.
pub(crate) async fn once(
    state: Arc<Shared>,
    token: TokenId,
    info: RequestInfo,
    request: Request,
    next: Next,
) -> Response {
    if request.method() != Method::POST || !request.headers().contains_key(IDEMPOTENCY_KEY) {
        return next.run(request).await;
    }
    match keyed(state, token, info, request, next).await {
        Ok(response) => response,
        Err(error) => error.into_response(),
    }
}

async fn keyed(
    state: Arc<Shared>,
    token: TokenId,
    info: RequestInfo,
    request: Request,
    next: Next,
) -> Result<Response> {
    let key = key_of(&request)?;
    let (parts, body) = request.into_parts();
    let body = read_body(body, state.settings.body_bytes_max).await?;
    let hash = request_hash(&parts, &body);
    let claim = Claim {
        token,
        key: key.clone(),
        taken_at: state.clock.now(),
    };
    let made = match claim.take(&state, &hash).await? {
        Idempotent::Fresh => None,
        Idempotent::Interrupted(made) => Some(made),
        Idempotent::InFlight => {
            return Err(ApiError::Refused(
                Code::RequestInProgress,
                "The first request with this Idempotency-Key is still under way. Wait a moment and repeat the call."
                    .into(),
            ));
        }
        // The caller of the first may have been cut off: whoever repeats it waits beside it.
        Idempotent::Waiting(made) => return go_on(&state, Request::from_parts(parts, Body::empty()), made).await,
        Idempotent::Mismatch => {
            return Err(ApiError::Refused(
                Code::IdempotencyKeyReuse,
                "This Idempotency-Key was used with another request. Use a new key for every new request.".into(),
            ));
        }
        // What was said while it was still under way is out of date for whoever wants to wait for the end.
        Idempotent::Replay(answer) => match unfinished(&answer).filter(|_| wait_of(&parts).is_some()) {
            Some(made) => return go_on(&state, Request::from_parts(parts, Body::empty()), made).await,
            None => return replay(&state, &key, answer),
        },
    };
    let (keeper, mine) = (Arc::clone(&state), claim.clone());
    let confidential = CONFIDENTIAL.contains(&parts.uri.path());
    let mut request = Request::from_parts(parts, Body::from(body));
    request.extensions_mut().insert(Key(key));
    let work = async move {
        let response = match made {
            None => next.run(request).await,
            Some(made) => go_on(&keeper, request, made)
                .await
                .unwrap_or_else(IntoResponse::into_response),
        };
        let response = finish(response, &info.id);
        keep(&keeper, mine, confidential, response).await
    };
    // Its own task, because hyper drops the handler when the caller hangs up. The handler's own limits bound it.
    let task = tokio::spawn(work.instrument(tracing::Span::current()));
    match task.await {
        Ok(response) => Ok(response),
        Err(error) => {
            claim.settle(&state, End::GivenUp).await;
            Err(ApiError::Internal(format!("the keyed request ended early: {error}")))
        }
    }
}

/// Answers in place of the server that made the deployment and ended before it could.
async fn go_on(state: &Arc<Shared>, request: Request, made: DeploymentId) -> Result<Response> {
    let (mut parts, _) = request.into_parts();
    let call = Call::from_request_parts(&mut parts, state).await?;
    let wait = Wait::parse(wait_of(&parts))?;
    let mut tx = call.begin().await?;
    let deployment = tx.deployment(made).await?;
    drop(tx);
    let gone = || ApiError::Internal(format!("the deployment {made} that a key led to is gone"));
    call.answer(deployment.ok_or_else(gone)?, wait).await
}

/// How long the caller wants to wait.
fn wait_of(parts: &http::request::Parts) -> Option<&str> {
    let query = parts.uri.query()?;
    query.split('&').find_map(|p| p.strip_prefix("wait="))
}

/// The deployment that an answer was about, if it had not ended then.
fn unfinished(answer: &StoredAnswer) -> Option<DeploymentId> {
    if answer.status != StatusCode::ACCEPTED.as_u16() {
        return None;
    }
    let body: Value = serde_json::from_slice(&answer.body).ok()?;
    body.get("id")?.as_str()?.parse().ok()
}

fn key_of(request: &Request) -> Result<String> {
    let refuse = || {
        let detail = format!("Idempotency-Key must be 1 to {KEY_CHARS_MAX} visible ASCII characters, given once");
        let errors = vec![FieldProblem {
            pointer: "Idempotency-Key".into(),
            detail: detail.clone(),
        }];
        ApiError::Invalid(Code::InvalidParameter, format!("{detail}."), errors)
    };
    let mut all = request.headers().get_all(IDEMPOTENCY_KEY).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return Err(refuse());
    };
    let text = one.to_str().map_err(|_| refuse())?.trim();
    if (1..=KEY_CHARS_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic() || b == b' ') {
        Ok(text.to_owned())
    } else {
        Err(refuse())
    }
}

/// What makes two requests the same: all but how long the caller wants to wait.
fn request_hash(parts: &http::request::Parts, body: &[u8]) -> [u8; 32] {
    let query = parts.uri.query().unwrap_or_default();
    let query: Vec<&str> = query.split('&').filter(|p| !p.starts_with("wait=")).collect();
    let mut hasher = Sha256::new();
    for part in [
        parts.method.as_str().as_bytes(),
        parts.uri.path().as_bytes(),
        query.join("&").as_bytes(),
        body,
    ] {
        hasher.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hasher.update(part);
    }
    hasher.finalize().into()
}

/// Whether the answer says that something was changed.
fn is_final(status: StatusCode, has_deployment: bool) -> bool {
    status.is_success() || has_deployment
}

async fn keep(state: &Arc<Shared>, claim: Claim, confidential: bool, response: Response) -> Response {
    let (parts, body) = response.into_parts();
    let body = match axum::body::to_bytes(body, ANSWER_BYTES_MAX).await {
        Ok(body) => body,
        Err(error) => {
            claim.settle(state, End::GivenUp).await;
            return ApiError::Internal(format!("an answer could not be kept: {error}")).into_response();
        }
    };
    let deployment = parts.status == StatusCode::UNPROCESSABLE_ENTITY
        && serde_json::from_slice::<Value>(&body).is_ok_and(|v| v.get("deployment").is_some());
    let end = if is_final(parts.status, deployment) {
        stored(state, &claim.key, confidential, &parts, &body).map(End::Answered)
    } else {
        Ok(End::GivenUp)
    };
    match end {
        Ok(end) => claim.settle(state, end).await,
        Err(error) => tracing::warn!(%error, "idempotency.not_kept"),
    }
    Response::from_parts(parts, Body::from(body))
}

/// The answer as it is kept.
fn stored(
    state: &Shared,
    key: &str,
    confidential: bool,
    parts: &http::response::Parts,
    body: &Bytes,
) -> Result<StoredAnswer> {
    let mut headers: Map<String, Value> = KEPT
        .iter()
        .filter_map(|n| Some((n.to_string(), parts.headers.get(n)?.to_str().ok()?.into())))
        .collect();
    let body = if confidential {
        seal(state, key, body, &mut headers)?
    } else {
        body.to_vec()
    };
    Ok(StoredAnswer {
        status: parts.status.as_u16(),
        headers: Value::Object(headers),
        body,
    })
}

fn seal_context(key: &str) -> SealContext<'_> {
    SealContext {
        team: None,
        kind: "idempotency",
        id: key,
    }
}

fn seal(state: &Shared, key: &str, body: &[u8], headers: &mut Map<String, Value>) -> Result<Vec<u8>> {
    // Our own answers are JSON, so they are UTF-8.
    let text = Secret::new(String::from_utf8_lossy(body).into_owned());
    let sealed = state.sealer.seal(seal_context(key), &text)?;
    headers.insert(SEALED.to_owned(), sealed.key_version.into());
    Ok(sealed.bytes)
}

fn replay(state: &Shared, key: &str, answer: StoredAnswer) -> Result<Response> {
    let StoredAnswer { status, headers, body } = answer;
    let sealed = headers
        .get(SEALED)
        .and_then(Value::as_i64)
        .and_then(|v| i32::try_from(v).ok());
    let body = match sealed {
        Some(key_version) => {
            let opened = state.sealer.open(
                seal_context(key),
                &Sealed {
                    key_version,
                    bytes: body,
                },
            )?;
            opened.expose().as_bytes().to_vec()
        }
        None => body,
    };
    let mut response = Response::new(Body::from(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    for name in KEPT {
        let value = headers
            .get(name.as_str())
            .and_then(Value::as_str)
            .map(HeaderValue::from_str);
        if let Some(Ok(value)) = value {
            response.headers_mut().insert(name, value);
        }
    }
    response
        .headers_mut()
        .insert(REPLAYED, HeaderValue::from_static("true"));
    Ok(response)
}
