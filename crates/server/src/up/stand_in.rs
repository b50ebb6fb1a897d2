//! While the control plane refuses to start, callers of the API are told so at once rather than left to wait on a socket
//! that nobody reads.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// The head of a request must have come by then.
const HEAD_MAX: Duration = Duration::from_secs(5);
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Answers on the API's socket whenever `refuses` says so.
pub(super) async fn answer(listener: StdListener, mut refuses: watch::Receiver<bool>) -> Infallible {
    let Ok(listener) = listener
        .set_nonblocking(true)
        .and_then(|()| TcpListener::from_std(listener))
    else {
        return std::future::pending().await;
    };
    // Nobody says anything any more when the platform ends.
    while refuses.wait_for(|yes| *yes).await.is_ok() {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((stream, _)) = accepted {
                    // One at a time: there is no use in more, and nothing to take up.
                    let _ = tokio::time::timeout(HEAD_MAX, refuse(stream)).await;
                }
            }
            _ = refuses.wait_for(|yes| !*yes) => {}
        }
    }
    std::future::pending().await
}

async fn refuse(mut stream: TcpStream) -> std::io::Result<()> {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        if stream.read_buf(&mut head).await? == 0 {
            return Ok(());
        }
    }
    let body = slipway_api::not_started();
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 30\r\n\
         connection: close\r\ncontent-length: {length}\r\n\r\n{body}"
    );
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}
