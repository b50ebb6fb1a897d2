//! One probe of one instance: GET the health path, or see whether the port opens.
//!
//! Promises: the probe is the platform's own, nothing is needed inside the image. It carries the app's own host name
//! and `X-Forwarded-Proto: https`, as a visitor's request would, so that host checks and HTTPS redirects do not
//! mistake it. It reads at most 1 KiB of an answer and ends within its time-out.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use slipway_domain::Timestamp;
use slipway_domain::deployment::LastProbe;
use tokio::net::TcpStream;

/// At most so much of a body is kept for the reason of a failure.
const BODY_BYTES_MAX: usize = 1024;

/// What to ask and how long to wait.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// The instance.
    pub(crate) address: SocketAddr,
    /// The path; `None` asks only whether the port opens.
    pub(crate) path: Option<String>,
    /// The host name to carry.
    pub(crate) host: String,
    /// For the whole probe.
    pub(crate) timeout: Duration,
    /// So much of the body of an answer that is well is kept; of any other the beginning always is.
    pub(crate) body_bytes_max: usize,
}

/// What a probe saw.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Whether the instance is well: any 2xx, or an open port where no path was asked.
    pub(crate) healthy: bool,
    /// The evidence.
    pub(crate) seen: LastProbe,
}

/// Probes once.
pub(crate) async fn probe(question: &Question, now: Timestamp) -> Answer {
    let target = match &question.path {
        Some(path) => format!("http://{}{path}", question.address),
        None => format!("tcp://{}", question.address),
    };
    let mut seen = LastProbe {
        at: now,
        target,
        status: None,
        body: None,
        location: None,
        error: None,
    };
    let asked = tokio::time::timeout(question.timeout, ask(question, &mut seen)).await;
    let error = match asked {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some(format!("no answer within {} ms", question.timeout.as_millis())),
    };
    let healthy = match seen.status {
        Some(status) => (200..300).contains(&status),
        None => question.path.is_none() && error.is_none(),
    };
    if seen.status.is_none() {
        seen.error = error;
    }
    Answer { healthy, seen }
}

async fn ask(question: &Question, seen: &mut LastProbe) -> Result<(), String> {
    let stream = TcpStream::connect(question.address).await.map_err(|e| plain(&e))?;
    let Some(path) = &question.path else { return Ok(()) };
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| e.to_string())?;
    let request = http::Request::get(path.as_str())
        .header(http::header::HOST, &question.host)
        .header(http::header::USER_AGENT, "slipway-health/1")
        .header("x-forwarded-proto", "https")
        .header(http::header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| e.to_string())?;
    let exchange = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|e| format!("no HTTP answer: {e}"))?;
        seen.status = Some(response.status().as_u16());
        if response.status().is_redirection() {
            let location = response.headers().get(http::header::LOCATION);
            seen.location = location.map(|l| String::from_utf8_lossy(l.as_bytes()).chars().take(300).collect());
        }
        let bytes_max = if response.status().is_success() {
            question.body_bytes_max
        } else {
            BODY_BYTES_MAX.max(question.body_bytes_max)
        };
        if bytes_max > 0 {
            seen.body = Some(beginning(response.into_body(), bytes_max).await);
        }
        Ok(())
    };
    let mut exchange = std::pin::pin!(exchange);
    tokio::select! {
        biased;
        result = &mut exchange => result,
        // The connection must be driven for the exchange to go on. It may end first with the whole answer received.
        ended = connection => match ended {
            Ok(()) => exchange.await,
            Err(error) => Err(format!("no HTTP answer: {error}")),
        },
    }
}

async fn beginning(mut body: hyper::body::Incoming, bytes_max: usize) -> String {
    let mut bytes = Vec::new();
    while bytes.len() < bytes_max {
        match body.frame().await {
            Some(Ok(frame)) => bytes.extend(frame.into_data().unwrap_or_default()),
            _ => break,
        }
    }
    bytes.truncate(bytes_max);
    String::from_utf8_lossy(&bytes).into_owned()
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".into(),
        _ => error.to_string(),
    }
}
