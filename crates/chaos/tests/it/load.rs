//! What counts as an answer, what may be sent again, and what is a loss.

use std::sync::Arc;

use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use slipway_chaos::load::{Kind, Load, LoadError, Mix, OUTSTANDING_MAX, Report};
use tokio::sync::Notify;

use crate::server::{Raw, Server, Stream, app, echo};
use crate::within;

const H1: &str = "http/1.1";

fn mix(kind: Kind) -> Mix {
    Mix { kind, per_second: 50 }
}

/// Loads the server until so many exchanges have ended, in whatever way.
async fn run(server: &Server, kinds: &[Kind], ended: u64) -> Report {
    let mixes: Vec<Mix> = kinds.iter().map(|kind| mix(*kind)).collect();
    let load = Load::start(server.target(), &mixes, 7).expect("a load");
    within(
        "enough exchanges",
        load.until(|so_far| so_far.answered + so_far.lost >= ended),
    )
    .await;
    let report = within("the load to stop", load.stop()).await;
    assert_eq!(report.sent, report.answered + report.lost_count, "{report}");
    assert_eq!(report.unsent, 0, "{report}");
    report
}

async fn serve_h1(stream: Stream, _: usize) {
    let service = service_fn(app);
    let serving = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let _ = serving.await;
}

async fn polite() -> Server {
    Server::start(H1, serve_h1).await
}

/// Answers the first request of each connection rightly and does something else to the second.
async fn second_time(say: &'static str) -> Server {
    Server::start(H1, move |stream, _| async move {
        let mut raw = Raw::new(stream);
        let Some(id) = raw.next_id().await else { return };
        raw.answer(&echo(&id, "1")).await;
        if raw.next_id().await.is_some() {
            raw.write(say).await;
        }
        raw.close().await;
    })
    .await
}

fn reason(report: &Report) -> &str {
    report
        .lost
        .first()
        .map_or("nothing is lost", |loss| loss.reason.as_str())
}

#[tokio::test]
async fn every_kind_over_http1_is_answered_by_a_server_that_behaves() {
    let server = polite().await;
    let report = run(&server, &[Kind::Http1, Kind::Sse, Kind::Upload { bytes: 100_000 }], 60).await;
    assert_eq!((report.lost_count, report.resent), (0, 0), "{report}");
    let echoes = report.latency_by_kind[&Kind::Http1].count();
    assert_eq!(report.by_release["1"], echoes, "{report}");
    assert_eq!(report.latency.count(), report.answered, "{report}");
    assert_eq!(report.latency_by_kind.len(), 3, "{report}");
}

#[tokio::test]
async fn connections_are_kept_between_requests() {
    let server = polite().await;
    let report = run(&server, &[Kind::Http1], 30).await;
    assert_eq!(report.lost_count, 0, "{report}");
    assert!((server.connections() as u64) < report.answered, "{report}");
}

#[tokio::test]
async fn a_get_on_a_kept_connection_that_the_server_closed_is_sent_again_and_is_no_loss() {
    let server = second_time("").await;
    let report = run(&server, &[Kind::Http1], 20).await;
    assert_eq!(report.lost_count, 0, "{report}");
    assert!(report.resent > 0, "{report}");
}

#[tokio::test]
async fn a_part_of_a_head_on_a_kept_connection_is_a_loss() {
    let server = second_time("HTTP/1.1 200 OK\r\nconte").await;
    let report = run(&server, &[Kind::Http1], 20).await;
    assert!(report.lost_count > 0 && report.resent == 0, "{report}");
    assert!(reason(&report).starts_with("no answer"), "{report}");
}

#[tokio::test]
async fn a_part_of_a_body_is_a_loss() {
    let server = second_time("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"app\":").await;
    let report = run(&server, &[Kind::Http1], 20).await;
    assert!(report.lost_count > 0 && report.resent == 0, "{report}");
    assert!(reason(&report).starts_with("the answer broke off"), "{report}");
}

#[tokio::test]
async fn an_error_of_a_proxy_is_a_loss() {
    let server = second_time("HTTP/1.1 503 Busy\r\ncontent-length: 6\r\n\r\nno one").await;
    let report = run(&server, &[Kind::Http1], 20).await;
    assert!(report.lost_count > 0 && report.resent == 0, "{report}");
    assert_eq!(reason(&report), "status 503 Service Unavailable: no one");
}

#[tokio::test]
async fn a_new_connection_that_is_closed_without_an_answer_is_a_loss() {
    let server = Server::start(H1, |stream, _| async move {
        let mut raw = Raw::new(stream);
        let _ = raw.next_id().await;
        raw.close().await;
    })
    .await;
    let report = run(&server, &[Kind::Http1, Kind::Upload { bytes: 10 }], 10).await;
    assert_eq!((report.answered, report.resent), (0, 0), "{report}");
    assert_eq!(server.connections() as u64, report.sent, "{report}");
}

#[tokio::test]
async fn an_answer_to_another_request_or_of_another_app_is_a_loss() {
    let server = Server::start(H1, |stream, _| async move {
        let mut raw = Raw::new(stream);
        while raw.next_id().await.is_some() {
            raw.answer(&echo("somebody-else", "1")).await;
        }
    })
    .await;
    let report = run(&server, &[Kind::Http1], 10).await;
    assert_eq!(report.answered, 0, "{report}");
    assert!(reason(&report).contains("somebody-else"), "{report}");

    let server = polite().await;
    let mut target = server.target();
    target.app = "blog".into();
    let load = Load::start(target, &[mix(Kind::Http1)], 7).expect("a load");
    within("a loss", load.until(|so_far| so_far.lost > 0)).await;
    let report = within("the load to stop", load.stop()).await;
    assert_eq!(report.answered, 0, "{report}");
}

#[tokio::test]
async fn a_stream_of_events_that_ends_early_and_a_changed_upload_are_losses() {
    let server = Server::start(H1, |stream, _| async move {
        let mut raw = Raw::new(stream);
        let _ = raw.next_id().await;
        raw.answer("id: 0\ndata: event 0\n\n").await;
        raw.close().await;
    })
    .await;
    let report = run(&server, &[Kind::Sse], 5).await;
    assert_eq!(report.answered, 0, "{report}");
    assert!(reason(&report).contains("not the 3 events"), "{report}");

    let server = Server::start(H1, |stream, _| async move {
        let mut raw = Raw::new(stream);
        let _ = raw.next_id().await;
        raw.answer("{\"length\":10,\"sum\":\"0000000000000000\"}").await;
        raw.close().await;
    })
    .await;
    let report = run(&server, &[Kind::Upload { bytes: 10 }], 5).await;
    assert_eq!(report.answered, 0, "{report}");
    assert!(reason(&report).contains("with the sum"), "{report}");
}

#[tokio::test]
async fn http2_shares_few_connections() {
    let server = Server::start("h2", |stream, _| async move {
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service_fn(app));
        let _ = serving.await;
    })
    .await;
    let report = run(&server, &[Kind::Http2], 40).await;
    assert_eq!((report.lost_count, report.resent), (0, 0), "{report}");
    assert!(server.connections() <= 3, "{} connections", server.connections());
}

#[tokio::test]
async fn an_http2_connection_that_says_goodbye_is_replaced_without_a_loss() {
    let server = Server::start("h2", |stream, _| async move {
        let served = Arc::new(Notify::new());
        let told = Arc::clone(&served);
        let service = service_fn(move |request| {
            told.notify_one();
            app(request)
        });
        let serving = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = std::pin::pin!(serving);
        tokio::select! {
            _ = serving.as_mut() => return,
            () = served.notified() => serving.as_mut().graceful_shutdown(),
        }
        let _ = serving.await;
    })
    .await;
    let report = run(&server, &[Kind::Http2], 40).await;
    assert_eq!(report.lost_count, 0, "{report}");
    assert!(server.connections() > 3, "{} connections", server.connections());
}

#[tokio::test]
async fn arrivals_beyond_the_bound_are_unsent_and_not_waited_for() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut target = polite().await.target();
    // Connections are made there, and no handshake is answered.
    target.address = listener.local_addr().expect("an address");
    let most = Mix {
        kind: Kind::Http2,
        per_second: 5_000,
    };
    let load = Load::start(target, &[most], 7).expect("a load");
    let so_far = within("unsent arrivals", load.until(|so_far| so_far.unsent > 0)).await;
    assert!(so_far.sent >= OUTSTANDING_MAX as u64, "{so_far:?}");
    assert_eq!(so_far.answered, 0, "{so_far:?}");
}

#[tokio::test]
async fn a_load_that_makes_no_sense_is_refused() {
    let target = polite().await.target();
    let start = |target, mixes: &[Mix]| Load::start(target, mixes, 7).map(drop);
    let none = Mix {
        kind: Kind::Sse,
        per_second: 0,
    };
    assert!(matches!(start(target.clone(), &[none]), Err(LoadError::Rate(0))));
    assert!(matches!(start(target.clone(), &[]), Err(LoadError::Mixes(0))));
    let mut other = target.clone();
    other.root_pem.clear();
    assert!(matches!(start(other, &[mix(Kind::Sse)]), Err(LoadError::NoRoot)));
    let mut other = target;
    other.host = "not a host".into();
    assert!(matches!(start(other, &[mix(Kind::Sse)]), Err(LoadError::Host(_))));
}

#[tokio::test]
async fn a_server_with_another_certificate_answers_nothing() {
    let (server, other) = (polite().await, polite().await);
    let mut target = server.target();
    target.root_pem = other.target().root_pem;
    let load = Load::start(target, &[mix(Kind::Http1)], 7).expect("a load");
    within("a loss", load.until(|so_far| so_far.lost > 0)).await;
    let report = within("the load to stop", load.stop()).await;
    assert_eq!(report.answered, 0, "{report}");
    assert!(reason(&report).starts_with("no connection"), "{report}");
}
