//! Listening sockets and the accept loop.
//!
//! Promises: no accept error ends the loop; no more connections than the process has files for; no single address
//! takes them all; once told to stop it accepts nothing more and leaves the rest to whoever shares the socket.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Listen;
use crate::error::ProxyError;
use crate::proxy::Proxy;
use crate::serve::{self, Scheme};

const BACKLOG: u32 = 1_024;
/// After an accept error: out of files, most likely, and they come back.
const ERROR_PAUSE: Duration = Duration::from_millis(20);
/// Files the process needs for anything but connections.
const FILES_RESERVED: u64 = 128;
const CONNECTIONS_MIN: u64 = 64;

/// Opens a listener or takes one over.
pub(crate) fn open(listen: Listen, what: &'static str) -> Result<TcpListener, ProxyError> {
    match listen {
        Listen::Address(address) => {
            let bind = || {
                let socket = if address.is_ipv4() {
                    TcpSocket::new_v4()?
                } else {
                    TcpSocket::new_v6()?
                };
                socket.set_reuseaddr(true)?;
                socket.bind(address)?;
                socket.listen(BACKLOG)
            };
            bind().map_err(|error| ProxyError::Bind { address, error })
        }
        Listen::Bound(listener) => {
            let adopt = || {
                listener.set_nonblocking(true)?;
                TcpListener::from_std(listener)
            };
            adopt().map_err(|error| ProxyError::Adopt { what, error })
        }
    }
}

/// Who may still come in.
#[derive(Debug)]
pub(crate) struct Doors {
    places: Arc<Semaphore>,
    per_ip: Arc<PerIp>,
}

impl Doors {
    pub(crate) fn new(proxy: &Proxy) -> Self {
        let max = proxy
            .limits()
            .connections_max
            .unwrap_or_else(connections_from_file_limit);
        let max = max.min(Semaphore::MAX_PERMITS);
        tracing::debug!(connections_max = max, "proxy.connection_limit");
        Self {
            places: Arc::new(Semaphore::new(max)),
            per_ip: Arc::new(PerIp {
                counts: Mutex::default(),
                max: proxy.limits().connections_per_ip_max,
            }),
        }
    }
}

/// A proxied connection needs a file on each side, so two fifths of the limit leave a fifth to spare.
fn connections_from_file_limit() -> usize {
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile)
        .current
        .unwrap_or(1_048_576);
    let max = (files.saturating_sub(FILES_RESERVED) * 2 / 5).max(CONNECTIONS_MIN);
    usize::try_from(max).unwrap_or(usize::MAX)
}

/// Open connections by address. Bounded by the connections themselves: empty entries are removed.
#[derive(Debug)]
struct PerIp {
    counts: Mutex<HashMap<IpAddr, u32>>,
    max: u32,
}

impl PerIp {
    fn enter(self: &Arc<Self>, address: IpAddr) -> Option<PerIpGuard> {
        let key = subscriber(address);
        let mut counts = self.counts.lock();
        let count = counts.entry(key).or_insert(0);
        if *count >= self.max {
            return None;
        }
        *count += 1;
        drop(counts);
        Some(PerIpGuard {
            all: Arc::clone(self),
            key,
        })
    }
}

/// An IPv6 subscriber has a whole /64.
pub(crate) fn subscriber(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & !u128::from(u64::MAX))),
        v4 @ IpAddr::V4(_) => v4,
    }
}

/// Counts a connection for as long as it lives.
#[derive(Debug)]
struct PerIpGuard {
    all: Arc<PerIp>,
    key: IpAddr,
}

impl Drop for PerIpGuard {
    fn drop(&mut self) {
        let mut counts = self.all.counts.lock();
        if let Some(count) = counts.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.key);
            }
        }
    }
}

/// What a connection holds while it is open.
#[derive(Debug)]
pub(crate) struct Ticket {
    proxy: Arc<Proxy>,
    _place: OwnedSemaphorePermit,
    _per_ip: Option<PerIpGuard>,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.proxy.metrics().connections.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until told to stop.
pub(crate) async fn accept(proxy: Arc<Proxy>, listener: TcpListener, scheme: Scheme, doors: &Doors) {
    loop {
        let next = async {
            let place = Arc::clone(&doors.places).acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            next = next => next,
            () = proxy.stopping().cancelled() => return,
        };
        let (Ok(place), Ok((stream, peer))) = (place, accepted) else {
            proxy.metrics().connections_refused.add("accept");
            tokio::time::sleep(ERROR_PAUSE).await;
            continue;
        };
        let peer = peer.ip().to_canonical();
        let per_ip = if proxy.trusts(peer) {
            None
        } else if let Some(guard) = doors.per_ip.enter(peer) {
            Some(guard)
        } else {
            proxy.metrics().connections_refused.add("per_ip");
            continue;
        };
        proxy.metrics().connections.fetch_add(1, Ordering::Relaxed);
        proxy.metrics().connections_accepted.fetch_add(1, Ordering::Relaxed);
        let ticket = Ticket {
            proxy: Arc::clone(&proxy),
            _place: place,
            _per_ip: per_ip,
        };
        if tune(&stream).is_ok() {
            proxy
                .tracker()
                .spawn(serve::connection(Arc::clone(&proxy), stream, peer, scheme, ticket));
        }
    }
}

/// Small frames go out at once; a peer that vanished without a word is found out by the kernel.
fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, Duration::from_mins(1))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, Duration::from_secs(15))?;
    rustix::net::sockopt::set_tcp_keepcnt(stream, 4)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_a_bounded_number_of_places_and_gets_them_back() {
        let all = Arc::new(PerIp {
            counts: Mutex::default(),
            max: 2,
        });
        let ip = |text: &str| text.parse::<IpAddr>().expect("an address");
        let first = all.enter(ip("2001:db8::1")).expect("room");
        let _second = all.enter(ip("2001:db8::2")).expect("room in the same /64");
        assert!(all.enter(ip("2001:db8::3")).is_none());
        assert!(all.enter(ip("2001:db8:0:1::1")).is_some());
        assert!(all.enter(ip("::ffff:192.0.2.1")).is_some());
        drop(first);
        assert!(all.enter(ip("2001:db8::3")).is_some());
        assert_eq!(all.counts.lock().len(), 1);
    }
}
