//! The proxy's own pages for operators: `/metrics`, `/readyz`, `/healthz`, `/debug`.
//!
//! Promises: reads only; says nothing about requests, keys or certificates beyond counts; bounded connections.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::task::TaskTracker;

use crate::metrics;
use crate::pages::plain;
use crate::proxy::Proxy;

const CONNECTIONS_MAX: usize = 32;
const TEXT: &str = "text/plain; charset=utf-8";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Serves until the proxy has drained.
pub(crate) async fn serve(proxy: Arc<Proxy>, listener: TcpListener) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let tasks = TaskTracker::new();
    loop {
        let next = async { (Arc::clone(&places).acquire_owned().await, listener.accept().await) };
        let accepted = tokio::select! {
            accepted = next => accepted,
            () = proxy.cut().cancelled() => break,
        };
        match accepted {
            (Ok(place), Ok((stream, _))) => {
                let proxy = Arc::clone(&proxy);
                tasks.spawn(async move {
                    connection(proxy, stream).await;
                    drop(place);
                });
            }
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
    tasks.close();
    tasks.wait().await;
}

async fn connection(proxy: Arc<Proxy>, stream: TcpStream) {
    let cut = proxy.cut().clone();
    let service = service_fn(move |request: Request<Incoming>| {
        let response = answer(&proxy, &request).map(Full::new);
        async move { Ok::<_, Infallible>(response) }
    });
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(Duration::from_secs(30))
        .serve_connection(TokioIo::new(stream), service);
    let serving = pin!(serving);
    tokio::select! {
        _ = serving => {}
        () = cut.cancelled() => {}
    }
}

fn answer(proxy: &Proxy, request: &Request<Incoming>) -> Response<Bytes> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return plain(StatusCode::METHOD_NOT_ALLOWED, TEXT, "only GET is served here\n");
    }
    match request.uri().path() {
        "/healthz" => plain(StatusCode::OK, TEXT, "ok\n"),
        "/readyz" if proxy.is_ready() => plain(StatusCode::OK, TEXT, "ready\n"),
        "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, TEXT, "no snapshot is in force\n"),
        "/metrics" => plain(StatusCode::OK, PROMETHEUS, render(proxy)),
        "/debug" => plain(StatusCode::OK, "application/json", debug(proxy)),
        _ => plain(StatusCode::NOT_FOUND, TEXT, "see /metrics, /readyz, /healthz, /debug\n"),
    }
}

fn render(proxy: &Proxy) -> String {
    let table = proxy.table();
    let environments: Vec<_> = table.environments().chain(std::iter::once(proxy.own())).collect();
    let requests = environments
        .iter()
        .map(|e| (e.app.as_str(), e.name.as_str(), &e.metrics));
    metrics::render(proxy.metrics(), &proxy.gauges(), requests)
}

fn debug(proxy: &Proxy) -> String {
    let gauges = proxy.gauges();
    let table = proxy.table();
    let instances: Vec<_> = table
        .instances()
        .map(|instance| {
            serde_json::json!({
                "instance": instance.name(),
                "in_flight": instance.in_flight(),
                "idle_connections": instance.idle_connections(),
            })
        })
        .collect();
    serde_json::json!({
        "version": gauges.version,
        "snapshot_version": gauges.snapshot_version,
        "hosts": gauges.hosts,
        "certificate_names": gauges.certificate_names,
        "connections": proxy.metrics().connections.load(Ordering::Relaxed),
        "draining": proxy.draining().names(&table),
        "instances": instances,
    })
    .to_string()
}
