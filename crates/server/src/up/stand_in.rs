//! While the control plane refuses to start, or waits for its database, callers of the API are told so at once rather than
//! left to wait on a socket that nobody reads.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The head of a request must have come by then.
const HEAD_MAX: Duration = Duration::from_secs(5);
/// A database that is there answers within this.
const DATABASE_GRACE: Duration = Duration::from_secs(2);
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Answers on the API's socket whenever `refuses` says so.
pub(super) async fn answer(listener: StdListener, mut refuses: watch::Receiver<bool>) -> Infallible {
    let Ok(listener) = asynchronous(listener) else {
        return std::future::pending().await;
    };
    let body = slipway_api::not_started();
    // Nobody says anything any more when the platform ends.
    while refuses.wait_for(|yes| *yes).await.is_ok() {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    // One at a time: there is no use in more, and nothing to take up.
                    let _ = tokio::time::timeout(HEAD_MAX, refuse(stream, &body, 30)).await;
                }
            }
            _ = refuses.wait_for(|yes| !*yes) => {}
        }
    }
    std::future::pending().await
}

/// Answers for as long as it runs that the database is away, from a moment on: it may only be starting beside us.
pub(crate) async fn database_is_awaited(listener: Option<StdListener>) -> Infallible {
    tokio::time::sleep(DATABASE_GRACE).await;
    let Some(Ok(listener)) = listener.map(asynchronous) else {
        return std::future::pending().await;
    };
    let body = slipway_api::database_awaited();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let _ = tokio::time::timeout(HEAD_MAX, refuse(stream, &body, 5)).await;
            }
            // Too many open files, perhaps.
            Err(_) => tokio::time::sleep(DATABASE_GRACE).await,
        }
    }
}

fn asynchronous(listener: StdListener) -> std::io::Result<TcpListener> {
    listener.set_nonblocking(true)?;
    TcpListener::from_std(listener)
}

async fn refuse(mut stream: TcpStream, body: &str, retry_after_s: u32) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: {retry_after_s}\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
