//! Connections that switched to another protocol, such as WebSocket: bytes both ways until one side ends.
//!
//! Promises: a client whose app has gone sees an orderly end, of a WebSocket with a close frame; counted as a request of the instance for as long as it lives, so a deploy knows it is still there; cut at
//! the drain deadline and not before; no time-out of its own, since silence is normal in these protocols (TCP
//! keep-alive finds peers that vanished).

use std::sync::Arc;
use std::time::Duration;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use tokio::io::{AsyncWrite, AsyncWriteExt as _};

use crate::access_log::Exchange;
use crate::goodbye::Polite;
use crate::proxy::Proxy;
use crate::upstream::Lease;

/// For the last words to a client.
const END_MAX: Duration = Duration::from_secs(1);

/// Ends the client's side in order, as far as it is still there.
async fn end(client: &mut (impl AsyncWrite + Unpin), last: &[u8]) {
    let ending = async {
        client.write_all(last).await?;
        client.shutdown().await
    };
    // A client that takes nothing any more is not waited for.
    let _ = tokio::time::timeout(END_MAX, ending).await;
}

/// Copies between the two sides once both have switched.
pub(crate) fn open(
    proxy: &Arc<Proxy>,
    is_websocket: bool,
    client_side: OnUpgrade,
    app_side: OnUpgrade,
    lease: Lease,
    exchange: Box<Exchange>,
) {
    let cut = proxy.cut().clone();
    proxy.tracker().spawn(async move {
        let mut exchange = exchange;
        let _lease = lease;
        let copy = async {
            let (client, app) = tokio::try_join!(client_side, app_side)?;
            let mut client = TokioIo::new(client);
            Ok::<_, hyper::Error>(if is_websocket {
                let mut app = Polite::new(TokioIo::new(app));
                let copied = tokio::io::copy_bidirectional(&mut client, &mut app).await;
                if copied.is_err() {
                    end(&mut client, app.owed()).await;
                }
                copied
            } else {
                let copied = tokio::io::copy_bidirectional(&mut client, &mut TokioIo::new(app)).await;
                if copied.is_err() {
                    end(&mut client, &[]).await;
                }
                copied
            })
        };
        tokio::select! {
            copied = copy => match copied {
                Ok(Ok((_, to_client))) => exchange.sent(usize::try_from(to_client).unwrap_or(usize::MAX)),
                // One of the two has gone: that is how these connections usually end.
                Ok(Err(_)) => {}
                Err(_) => exchange.broke_off("upgrade_failed"),
            },
            () = cut.cancelled() => exchange.broke_off("drain_cut"),
        }
    });
}
