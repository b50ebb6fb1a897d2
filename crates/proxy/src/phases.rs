//! The life of a request: check, find, gate, forward, answer.
//!
//! Promises: one table is used per attempt; a request is refused before anything of it reaches an app; whatever
//! happens, the client gets one answer.

use std::sync::Arc;
use std::time::Duration;

use http::header::STRICT_TRANSPORT_SECURITY;
use http::request::Parts;
use http::{Request, Response};
use hyper::body::Incoming;
use slipway_domain::routing::RouteState;
use tokio::time::Instant;
use tracing::Instrument as _;

use crate::access_log::Exchange;
use crate::body::{BodyWatch, RequestBody, ResponseBody};
use crate::config::ms;
use crate::error::Failure;
use crate::headers::{self, Target, Vouched};
use crate::pages;
use crate::proxy::Proxy;
use crate::rescue::{self, Manner};
use crate::serve::Connection;
use crate::sticky;
use crate::table::{Route, RouteKind};
use crate::upstream::Waiting;
use crate::{forward, redirect};

/// While requests wait for what is asleep, the control plane is told so again this often.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Answers one request.
pub(crate) async fn handle(
    proxy: Arc<Proxy>,
    connection: Arc<Connection>,
    request: Request<Incoming>,
) -> Response<ResponseBody> {
    let ambiguous = connection.activity().begin();
    let (parts, body) = request.into_parts();
    let target = headers::vet(&parts, ambiguous);
    // Told over TLS only, and of no other name than the one that the client has checked (RFC 6797 section 7.2).
    let hsts = match (connection.certificate(), &target) {
        (Some(certificate), Ok(target)) if certificate.covers(&target.host.name) => {
            proxy.table().hsts(&target.host.name)
        }
        _ => None,
    };
    let mut response = respond(&proxy, &connection, parts, body, target).await;
    if let Some(hsts) = hsts {
        response.headers_mut().insert(STRICT_TRANSPORT_SECURITY, hsts);
    }
    response
}

async fn respond(
    proxy: &Arc<Proxy>,
    connection: &Arc<Connection>,
    parts: Parts,
    body: Incoming,
    target: Result<Target, Failure>,
) -> Response<ResponseBody> {
    let manner = Manner {
        form: pages::form_for(&parts.headers),
        is_h1: !connection.is_h2(),
    };
    let route = target
        .as_ref()
        .ok()
        .and_then(|target| proxy.table().find(&target.host.name));
    let is_api = route.as_ref().is_some_and(|route| route.kind == RouteKind::Api);
    // A request id is the sender's to choose where the contract says so (the API) or where the peer is trusted.
    let mut exchange = Exchange::begin(proxy, connection, &parts, connection.trusted() || is_api);
    let target = match target {
        Ok(target) => target,
        Err(failure) => {
            rescue::discard(proxy, Some(body));
            return rescue::answer(failure, manner, exchange);
        }
    };
    exchange.for_host(&target.host.name);
    let Some(certificate) = connection.certificate() else {
        rescue::discard(proxy, Some(body));
        return redirect::answer(proxy, &parts, &target, route.is_some(), manner, exchange);
    };
    let asked = proxy.tls().current().visitors(&target.host.name).cloned();
    // A connection to another name proves nothing of the visitor to this one.
    let is_vouched_for = asked.is_none_or(|asked| {
        let visitor = connection.visitor();
        visitor.is_some_and(|visitor| Arc::ptr_eq(&visitor.vouched_by, &asked))
    });
    let found = if certificate.covers(&target.host.name) && is_vouched_for {
        route.ok_or(Failure::NoSuchApp)
    } else {
        Err(Failure::Misdirected)
    };
    let route = match found {
        Ok(route) => route,
        Err(failure) => {
            rescue::discard(proxy, Some(body));
            return rescue::answer(failure, manner, exchange);
        }
    };
    exchange.routed_to(&route.environment);
    let elsewhere = proxy.table().redirect(&target.host.name).cloned();
    if let Some(host) = elsewhere {
        rescue::discard(proxy, Some(body));
        return redirect::to(host.as_str(), proxy, &parts, manner, exchange);
    }
    let span = exchange.span().clone();
    serve(
        proxy,
        connection,
        Checked {
            parts,
            body,
            target,
            manner,
        },
        route,
        exchange,
    )
    .instrument(span)
    .await
}

/// A request that passed the checks.
struct Checked {
    parts: Parts,
    body: Incoming,
    target: Target,
    manner: Manner,
}

async fn serve(
    proxy: &Arc<Proxy>,
    connection: &Connection,
    incoming: Checked,
    route: Arc<Route>,
    mut exchange: Box<Exchange>,
) -> Response<ResponseBody> {
    let Checked {
        mut parts,
        body,
        target,
        manner,
    } = incoming;
    let route = match gate(proxy, &target.host.name, route)
        .await
        .and_then(|route| fits(&parts, route))
    {
        Ok(route) => route,
        Err(failure) => {
            rescue::discard(proxy, Some(body));
            return rescue::answer(failure, manner, exchange);
        }
    };
    let watch = Arc::new(BodyWatch::new(proxy.uptime(), proxy.tracker().clone()));
    exchange.reads_from(&watch);
    let upgrade = headers::upgrade_wanted(&parts);
    let client_side = upgrade
        .as_ref()
        .and_then(|_| parts.extensions.remove::<hyper::upgrade::OnUpgrade>());
    let preferred = sticky::release_of(&parts.headers).filter(|_| route.sticky);
    headers::prepare_request(
        &mut parts.headers,
        &Vouched {
            peer: connection.peer(),
            trusted: connection.trusted(),
            target: &target,
            request_id: exchange.request_id(),
            trace: exchange.trace(),
            client_certificate: connection.visitor().map(|visitor| &visitor.header),
        },
    );
    let idle = ms(proxy.limits().body_idle_ms_max);
    let body = RequestBody::new(body, Arc::clone(&watch), route.limits.body_bytes_max, idle);
    let order = forward::Order {
        host: target.host.name,
        watch,
        upgrade,
        preferred,
    };
    let request = forward::to_instance(parts, body, order.upgrade.as_ref());
    match forward::send(proxy, route, request, &order, &mut exchange).await {
        Ok(answered) => forward::relay(proxy, answered, &order, client_side, manner, exchange),
        Err(refusal) => {
            rescue::discard(proxy, refusal.unread);
            rescue::answer(refusal.failure, manner, exchange)
        }
    }
}

/// A declared length beyond the app's limit is refused before a byte of the body is asked for.
fn fits(parts: &Parts, route: Arc<Route>) -> Result<Arc<Route>, Failure> {
    match headers::declared_length(&parts.headers) {
        Some(length) if length > route.limits.body_bytes_max => Err(Failure::TooLarge),
        _ => Ok(route),
    }
}

/// Lets a request through to an environment that serves; lets it wait for one that will.
pub(crate) async fn gate(proxy: &Proxy, host: &str, mut route: Arc<Route>) -> Result<Arc<Route>, Failure> {
    let environment = Arc::clone(&route.environment);
    let mut waiting = None;
    let deadline = Instant::now() + ms(proxy.limits().hold_ms_max);
    loop {
        // Subscribed before looking, so that no change falls between the look and the wait.
        let mut changes = proxy.watch_applied();
        if waiting.is_some() {
            route = proxy.table().find(host).ok_or(Failure::NoSuchApp)?;
        }
        match route.state {
            RouteState::Serving => return Ok(route),
            RouteState::Empty => return Err(Failure::Empty),
            RouteState::Starting => return Err(Failure::Starting),
            RouteState::Failed => return Err(Failure::DeployFailed),
            RouteState::Stopped => return Err(Failure::Stopped),
            RouteState::Maintenance => return Err(Failure::Maintenance),
            RouteState::Asleep => environment.id.into_iter().for_each(|id| proxy.wakes().ask(id)),
            RouteState::Holding => {}
        }
        if waiting.is_none() {
            let place = Waiting::enter(&environment.held, proxy.limits().hold_max);
            waiting = Some(place.ok_or(Failure::Overloaded)?);
        }
        tokio::select! {
            known = changes.changed() => known.map_err(|_| Failure::HeldTooLong)?,
            () = tokio::time::sleep_until(deadline) => return Err(Failure::HeldTooLong),
            // What was told may have been lost on the way.
            () = tokio::time::sleep(ASK_AGAIN), if route.state == RouteState::Asleep => {}
            () = proxy.stopping().cancelled() => return Err(Failure::HeldTooLong),
        }
    }
}
