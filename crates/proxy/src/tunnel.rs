//! Connections that switched to another protocol, such as WebSocket: bytes both ways until one side ends.
//!
//! Promises: counted as a request of the instance for as long as it lives, so a deploy knows it is still there; cut at
//! the drain deadline and not before; no time-out of its own, since silence is normal in these protocols (TCP
//! keep-alive finds peers that vanished).

use std::sync::Arc;

use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::access_log::Exchange;
use crate::proxy::Proxy;
use crate::upstream::Lease;

/// Copies between the two sides once both have switched.
pub(crate) fn open(
    proxy: &Arc<Proxy>,
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
            let (mut client, mut app) = (TokioIo::new(client), TokioIo::new(app));
            let copied = tokio::io::copy_bidirectional(&mut client, &mut app).await;
            Ok::<_, hyper::Error>(copied.map_or(0, |(_, to_client)| to_client))
        };
        tokio::select! {
            copied = copy => match copied {
                Ok(to_client) => exchange.sent(usize::try_from(to_client).unwrap_or(usize::MAX)),
                Err(_) => exchange.broke_off("upgrade_failed"),
            },
            () = cut.cancelled() => exchange.broke_off("drain_cut"),
        }
    });
}
