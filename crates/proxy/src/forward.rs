//! Sending a request to an instance and its answer back.
//!
//! Promises: a request is sent again only if no byte of it can have had an effect: the connection was refused, the
//! request was handed back unsent, or a connection used before was closed without an answer to a request that is
//! idempotent and has no body. At most three sends, and no more retries than a fifth of the app's requests. Where nobody
//! takes it, it waits a moment for the control plane to say why.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use http::header::{CONNECTION, CONTENT_TYPE, UPGRADE};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri, Version};
use http_body::Body as _;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use hyper::upgrade::OnUpgrade;

use slipway_domain::ReleaseNumber;
use slipway_domain::routing::RouteState;

use crate::access_log::Exchange;
use crate::balance;
use crate::body::{BodyWatch, RequestBody, ResponseBody};
use crate::config::{API_WAIT_MS_MAX, ms};
use crate::error::Failure;
use crate::headers;
use crate::phases::gate;
use crate::proxy::Proxy;
use crate::rescue::{self, Manner};
use crate::sticky;
use crate::table::{Route, RouteKind};
use crate::tunnel;
use crate::upstream::{Instance, Lease, LeaseError, NEWS_MS_MAX, Sender};

const SENDS_MAX: usize = 3;

/// What stays the same over all attempts.
#[derive(Debug)]
pub(crate) struct Order {
    pub(crate) host: String,
    pub(crate) watch: Arc<BodyWatch>,
    /// The protocol the client wants to switch to.
    pub(crate) upgrade: Option<HeaderValue>,
    /// The release the visitor was with.
    pub(crate) preferred: Option<ReleaseNumber>,
}

/// An instance's answer, its body still to come.
#[derive(Debug)]
pub(crate) struct Answered {
    response: Response<Incoming>,
    lease: Lease,
    kind: RouteKind,
    /// The release to keep the visitor with from now on.
    keep_with: Option<ReleaseNumber>,
}

/// No answer, and what is left of the request.
#[derive(Debug)]
pub(crate) struct Refusal {
    pub(crate) failure: Failure,
    pub(crate) unread: Option<Incoming>,
}

/// The request in the form an instance gets it: HTTP/1.1, origin-form.
pub(crate) fn to_instance(mut parts: Parts, body: RequestBody, upgrade: Option<&HeaderValue>) -> Request<RequestBody> {
    let path = parts
        .uri
        .path_and_query()
        .cloned()
        .unwrap_or(PathAndQuery::from_static("/"));
    parts.uri = Uri::from(path);
    parts.version = Version::HTTP_11;
    if let Some(protocol) = upgrade {
        parts.headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
        parts.headers.insert(UPGRADE, protocol.clone());
    }
    Request::from_parts(parts, body)
}

/// RFC 9110 section 9.2.2.
fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::DELETE | Method::TRACE
    )
}

/// A copy to send again, if sending again would be harmless.
fn spare(request: &Request<RequestBody>, watch: &Arc<BodyWatch>) -> Option<Request<RequestBody>> {
    if !is_idempotent(request.method()) || !request.body().is_end_stream() {
        return None;
    }
    let mut copy = Request::new(RequestBody::empty(Arc::clone(watch)));
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    Some(copy)
}

/// What an attempt ended with.
enum Attempt {
    Answered(Response<Incoming>, Sender),
    /// Nothing was sent: the whole request is back.
    Unsent(Request<RequestBody>, Failure),
    /// It was sent, and the connection broke before an answer.
    Lost,
    TimedOut,
}

/// What a request goes over.
enum Wire {
    /// A connection that was used before.
    Kept(Sender),
    /// One that is still to be opened.
    New {
        /// Whether no other instance is left to take the request.
        alone: bool,
    },
}

fn is_alone(route: &Route, tried: &[Arc<Instance>], instance: &Arc<Instance>) -> bool {
    let with_it: Vec<_> = tried.iter().chain([instance]).cloned().collect();
    !balance::has_other(&route.groups, &with_it)
}

/// Why a request is sent once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Again {
    /// The connection was used before and closed meanwhile: the pool's doing, not the app's.
    Stale,
    /// The instance took no connection.
    Refused,
}

/// Sends a request to one of the route's instances.
pub(crate) async fn send(
    proxy: &Arc<Proxy>,
    mut route: Arc<Route>,
    mut request: Request<RequestBody>,
    order: &Order,
    exchange: &mut Exchange,
) -> Result<Answered, Refusal> {
    let mut tried: Vec<Arc<Instance>> = Vec::new();
    let mut last = Failure::NoInstance;
    let mut again = None;
    for _ in 0..SENDS_MAX {
        let mut admitted = match admit(proxy, order, &mut route, &mut tried).await {
            Ok(admitted) => admitted,
            Err(Failure::NoInstance) => break,
            Err(failure) => {
                last = failure;
                break;
            }
        };
        if again.is_some_and(|why| !admitted.waited && !may(proxy, &route, why)) {
            break;
        }
        let instance = admitted.instance;
        exchange.sent_to(&instance);
        let reused = if again == Some(Again::Stale) {
            None
        } else {
            instance.reuse()
        };
        let was_reused = reused.is_some();
        let wire = reused.map_or_else(
            || Wire::New {
                alone: is_alone(&route, &tried, &instance),
            },
            Wire::Kept,
        );
        let copy = was_reused.then(|| spare(&request, &order.watch)).flatten();
        let first_byte = Duration::from_millis(route.limits.first_byte_ms_max);
        match attempt(proxy, &instance, wire, request, order, first_byte).await {
            Attempt::Answered(response, sender) => {
                instance.answered(response.status(), proxy.uptime().now_ms());
                admitted.lease.hold(sender);
                return Ok(Answered {
                    response,
                    lease: admitted.lease,
                    kind: route.kind,
                    keep_with: admitted.keep_with,
                });
            }
            Attempt::TimedOut => return Err(lost(proxy, &instance, order, Failure::TimedOut)),
            Attempt::Unsent(back, failure) => (request, last) = (back, failure),
            Attempt::Lost => match copy {
                Some(copy) => (request, last) = (copy, Failure::Broken),
                None => return Err(lost(proxy, &instance, order, Failure::Broken)),
            },
        }
        // A stale connection says nothing against the instance; a refused one does.
        if was_reused {
            again = Some(Again::Stale);
        } else {
            again = Some(Again::Refused);
            tried.push(instance);
        }
    }
    Err(Refusal {
        failure: last,
        unread: request.into_body().into_unread(),
    })
}

/// A request that is gone, by the instance's fault or by the client's.
fn lost(proxy: &Proxy, instance: &Instance, order: &Order, failure: Failure) -> Refusal {
    let blamed = rescue::blame(&order.watch, failure);
    if blamed == failure {
        instance.failed(proxy.uptime().now_ms());
    }
    Refusal {
        failure: blamed,
        unread: None,
    }
}

/// A place at an instance.
struct Admitted {
    instance: Arc<Instance>,
    lease: Lease,
    /// The release to keep the visitor with from now on.
    keep_with: Option<ReleaseNumber>,
    /// Whether the table had to change first.
    waited: bool,
}

/// Finds an instance with room. When the table changes under us, nothing was tried yet: look again, and wait where that
/// is said now.
async fn admit(
    proxy: &Proxy,
    order: &Order,
    route: &mut Arc<Route>,
    tried: &mut Vec<Arc<Instance>>,
) -> Result<Admitted, Failure> {
    let mut waited = false;
    for _ in 0..SENDS_MAX {
        let preferred = order.preferred.filter(|_| route.sticky);
        let (now_ms, dice) = (proxy.uptime().now_ms(), proxy.dice());
        let Some((release, instance)) = balance::choose(&route.groups, preferred, tried, now_ms, dice) else {
            let now = renewed(proxy, order, tried).await.ok_or(Failure::NoInstance)?;
            *route = gate(proxy, &order.host, now).await?;
            waited = true;
            continue;
        };
        match instance.lease().await {
            Ok(lease) => {
                return Ok(Admitted {
                    instance,
                    lease,
                    keep_with: Some(release).filter(|_| route.sticky && preferred != Some(release)),
                    waited,
                });
            }
            Err(LeaseError::Full) => return Err(Failure::Overloaded),
            Err(LeaseError::Leaving) => {
                tried.push(instance);
                let now = proxy.table().find(&order.host).unwrap_or_else(|| Arc::clone(route));
                *route = gate(proxy, &order.host, now).await?;
            }
        }
    }
    Err(Failure::NoInstance)
}

/// What is said of the app, once that is something else than the instances that were tried. They may have ended a moment
/// ago, and who knows better than we is about to say so: it is waited for, but not at an app that has failed for longer.
async fn renewed(proxy: &Proxy, order: &Order, tried: &[Arc<Instance>]) -> Option<Arc<Route>> {
    let failing_ms = tried.iter().map(|instance| instance.failing_since_ms()).max()?;
    let patience_ms = (failing_ms + NEWS_MS_MAX).saturating_sub(proxy.uptime().now_ms());
    let deadline = tokio::time::Instant::now() + ms(patience_ms);
    loop {
        // Subscribed before looking, so that no change falls between the look and the wait.
        let mut changes = proxy.watch_applied();
        let now = proxy.table().find(&order.host)?;
        if now.state != RouteState::Serving || balance::has_other(&now.groups, tried) {
            return Some(now);
        }
        tokio::select! {
            known = changes.changed() => known.ok()?,
            () = tokio::time::sleep_until(deadline) => return None,
            () = proxy.stopping().cancelled() => return None,
        }
    }
}

/// Whether the budget has another attempt. For a stale connection it always has.
fn may(proxy: &Proxy, route: &Route, why: Again) -> bool {
    let (allowed, name) = match why {
        Again::Stale => (true, "stale_connection"),
        Again::Refused => (route.environment.spend_retry(), "refused"),
    };
    if allowed {
        proxy.metrics().retries.add(name);
    }
    allowed
}

async fn attempt(
    proxy: &Arc<Proxy>,
    instance: &Arc<Instance>,
    wire: Wire,
    request: Request<RequestBody>,
    order: &Order,
    first_byte: Duration,
) -> Attempt {
    let mut sender = match wire {
        Wire::Kept(sender) => {
            proxy.metrics().upstream_reuses.fetch_add(1, Ordering::Relaxed);
            sender
        }
        Wire::New { alone } => match instance.connect(proxy.wires(), alone.then(|| proxy.uptime())).await {
            Ok(sender) => {
                proxy.metrics().upstream_connects.fetch_add(1, Ordering::Relaxed);
                sender
            }
            Err(error) => {
                instance.failed(proxy.uptime().now_ms());
                tracing::debug!(instance = instance.name(), %error, "proxy.connect_failed");
                return Attempt::Unsent(request, Failure::Refused);
            }
        },
    };
    match wait(sender.try_send_request(request), &order.watch, first_byte).await {
        Some(Ok(response)) => Attempt::Answered(response, sender),
        Some(Err(mut error)) => match error.take_message() {
            Some(back) => Attempt::Unsent(back, Failure::Broken),
            None => Attempt::Lost,
        },
        None => Attempt::TimedOut,
    }
}

type Sent = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Waits for the first byte of the answer. The clock starts anew with each piece of the request that goes through, so
/// that a long upload is not taken for a slow app. `None` when time is up.
async fn wait(answer: impl Future<Output = Sent>, watch: &BodyWatch, limit: Duration) -> Option<Sent> {
    let mut answer = std::pin::pin!(answer);
    let begun = tokio::time::Instant::now();
    let mut left = limit;
    loop {
        if let Ok(sent) = tokio::time::timeout(left, answer.as_mut()).await {
            return Some(sent);
        }
        let quiet = ms(watch.quiet_ms()).min(begun.elapsed());
        left = limit.checked_sub(quiet).filter(|left| !left.is_zero())?;
    }
}

/// Turns an instance's answer into the client's.
pub(crate) fn relay(
    proxy: &Arc<Proxy>,
    answered: Answered,
    order: &Order,
    client_side: Option<OnUpgrade>,
    manner: Manner,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let Answered {
        mut response,
        lease,
        kind,
        keep_with,
    } = answered;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let (Some(protocol), Some(client_side)) = (&order.upgrade, client_side) else {
            // Nobody asked for another protocol (RFC 9110 section 15.2.2).
            return rescue::answer(Failure::Broken, manner, exchange);
        };
        let app_side = hyper::upgrade::on(&mut response);
        headers::prepare_response(response.headers_mut(), exchange.request_id());
        response
            .headers_mut()
            .insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, protocol.clone());
        let is_websocket = protocol.as_bytes().eq_ignore_ascii_case(b"websocket");
        exchange.answered(response.status());
        tunnel::open(proxy, is_websocket, client_side, app_side, lease, exchange);
        return response.map(|_| ResponseBody::page("", None));
    }
    headers::prepare_response(response.headers_mut(), exchange.request_id());
    if let Some(release) = keep_with {
        sticky::keep(response.headers_mut(), release);
    }
    exchange.answered(response.status());
    let events = response.headers().get(CONTENT_TYPE).is_some_and(|kind| {
        kind.as_bytes()
            .get(..17)
            .is_some_and(|kind| kind.eq_ignore_ascii_case(b"text/event-stream"))
    });
    let idle = match kind {
        _ if events => None,
        RouteKind::Api => Some(ms(API_WAIT_MS_MAX)),
        RouteKind::App => Some(ms(proxy.limits().body_idle_ms_max)),
    };
    response.map(|body| ResponseBody::streamed(body, lease, idle, exchange))
}
