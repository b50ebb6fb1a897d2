//! A constant-rate, open-loop load: requests come at their instants, however the earlier ones fared.
//!
//! Promises:
//! - the instants are fixed when the load starts, and latency counts from them, so that a stall is seen by every
//!   request that should have come during it;
//! - no more than [`OUTSTANDING_MAX`] exchanges are under way; an arrival beyond that is counted as unsent, and the
//!   measurement has failed;
//! - a request is sent once more only as RFC 9110 section 9.2.2 allows it: a GET, on a connection that had answered
//!   before, without a byte of an answer; it is counted as resent. All else that is not one whole and right answer is
//!   lost, with the reason.

mod answer;
mod check;
mod clients;
mod dial;
mod http1;
mod http2;
mod latency;
mod ledger;
mod report;
mod trouble;
mod upload;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::Utc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use self::clients::Clients;
use self::ledger::Ledger;
use self::trouble::Trouble;

pub use self::latency::Latency;
pub use self::report::{LOSSES_KEPT_MAX, Loss, RELEASES_MAX, Report, SoFar};

/// Exchanges under way at once.
pub const OUTSTANDING_MAX: usize = 1_024;
/// From the moment an exchange begins to its end.
pub const EXCHANGE_SECONDS_MAX: u64 = 60;
/// Arrivals of one kind.
pub const PER_SECOND_MAX: u32 = 10_000;
/// Kinds of one load.
pub const MIXES_MAX: usize = 32;
/// The body of an upload.
pub const UPLOAD_BYTES_MAX: u64 = 256 * 1024 * 1024;

const NANOS_PER_SECOND: u64 = 1_000_000_000;

/// Where the load goes, and who must answer.
#[derive(Debug, Clone)]
pub struct Target {
    /// The TLS listener.
    pub address: SocketAddr,
    /// The server's name, in the handshake and in `Host`.
    pub host: String,
    /// The only authorities to trust.
    pub root_pem: Vec<u8>,
    /// What the app calls itself.
    pub app: String,
}

/// A kind of exchange.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// `GET /echo?id=…` over HTTP/1.1, on connections that are kept.
    Http1,
    /// The same over HTTP/2, many at once on few connections.
    Http2,
    /// One message and its echo over `/ws`, on sockets that are kept.
    WebSocket,
    /// `GET /sse?n=3`, read to the end, on a connection of its own.
    Sse,
    /// `POST /upload` on a connection of its own, since it could not be sent again.
    Upload {
        /// The size of the body.
        bytes: u64,
    },
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http1 => f.write_str("http/1.1"),
            Self::Http2 => f.write_str("http/2"),
            Self::WebSocket => f.write_str("websocket"),
            Self::Sse => f.write_str("sse"),
            Self::Upload { bytes } => write!(f, "upload of {bytes} bytes"),
        }
    }
}

/// How many of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mix {
    /// Of what.
    pub kind: Kind,
    /// Arrivals, evenly spaced.
    pub per_second: u32,
}

/// The load cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The authorities are not PEM.
    #[error("the root certificate cannot be read: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    /// There is no authority.
    #[error("there is no root certificate in the PEM")]
    NoRoot,
    /// TLS cannot be set up with them.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The host is no name for a handshake or a header.
    #[error("{0:?} is not a server's name")]
    Host(String),
    /// A rate is out of range.
    #[error("{0} arrivals per second: 1 to {PER_SECOND_MAX} are possible")]
    Rate(u32),
    /// Too many kinds.
    #[error("{0} kinds: 1 to {MIXES_MAX} are possible")]
    Mixes(usize),
    /// An upload is too large.
    #[error("an upload of {0} bytes: {UPLOAD_BYTES_MAX} are possible")]
    Upload(u64),
}

/// A load under way. Dropping it cuts what is under way.
pub struct Load {
    shared: Arc<Shared>,
    _stop: DropGuard,
    _cut: DropGuard,
}

impl fmt::Debug for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Load({:?})", self.so_far())
    }
}

impl Load {
    /// Starts a load. The seed is in every id, and moves the instants of the mixes against each other.
    ///
    /// Must run inside a Tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    /// When the target or a mix makes no sense; nothing has been sent then.
    pub fn start(target: Target, mixes: &[Mix], seed: u64) -> Result<Self, LoadError> {
        if mixes.is_empty() || mixes.len() > MIXES_MAX {
            return Err(LoadError::Mixes(mixes.len()));
        }
        for mix in mixes {
            if mix.per_second == 0 || mix.per_second > PER_SECOND_MAX {
                return Err(LoadError::Rate(mix.per_second));
            }
        }
        let (stopping, cut) = (CancellationToken::new(), CancellationToken::new());
        let shared = Arc::new(Shared {
            clients: Clients::new(target, mixes, seed, cut.clone())?,
            ledger: Ledger::new(seed),
            slots: Arc::new(Semaphore::new(OUTSTANDING_MAX)),
            work: TaskTracker::new(),
            stopping: stopping.clone(),
            cut: cut.clone(),
            seed,
        });
        let start = Instant::now();
        for (lane, mix) in mixes.iter().enumerate() {
            let first = start + phase(seed, lane, mix.per_second);
            let pace = Arc::clone(&shared).pace(lane, *mix, first);
            shared.work.spawn(cut.clone().run_until_cancelled_owned(pace));
        }
        Ok(Self {
            shared,
            _stop: stopping.drop_guard(),
            _cut: cut.drop_guard(),
        })
    }

    /// The counts up to now.
    pub fn so_far(&self) -> SoFar {
        self.shared.ledger.so_far()
    }

    /// Waits until the counts are as wanted. The caller bounds the time.
    pub async fn until(&self, enough: impl FnMut(&SoFar) -> bool) -> SoFar {
        let mut seen = self.shared.ledger.subscribe();
        let found = seen.wait_for(enough).await.map(|so_far| *so_far);
        found.unwrap_or_else(|_| self.so_far())
    }

    /// Sends nothing more, waits for what is under way, and reports. Takes [`EXCHANGE_SECONDS_MAX`] at most.
    pub async fn stop(self) -> Report {
        self.shared.stopping.cancel();
        self.shared.work.close();
        self.shared.work.wait().await;
        self.shared.ledger.report()
    }
}

/// What the tasks of a load share.
struct Shared {
    clients: Clients,
    ledger: Ledger,
    slots: Arc<Semaphore>,
    work: TaskTracker,
    stopping: CancellationToken,
    cut: CancellationToken,
    seed: u64,
}

impl Shared {
    /// Begins an exchange at each instant of a mix.
    async fn pace(self: Arc<Self>, lane: usize, mix: Mix, first: Instant) {
        for number in 0_u64.. {
            let due = first + offset(number, mix.per_second);
            tokio::select! {
                biased;
                () = self.stopping.cancelled() => return,
                () = tokio::time::sleep_until(due) => {}
            }
            let Ok(slot) = Arc::clone(&self.slots).try_acquire_owned() else {
                self.ledger.unsent();
                continue;
            };
            self.ledger.sent();
            let id = format!("{:x}-{lane}-{number}", self.seed);
            let exchange = Arc::clone(&self).exchange(slot, mix.kind, id, due);
            self.work.spawn(self.cut.clone().run_until_cancelled_owned(exchange));
        }
    }

    async fn exchange(self: Arc<Self>, slot: OwnedSemaphorePermit, kind: Kind, id: String, due: Instant) {
        let limit = Duration::from_secs(EXCHANGE_SECONDS_MAX);
        let work = self.clients.exchange(&self.ledger, kind, &id);
        let ended = tokio::time::timeout(limit, work).await;
        drop(slot);
        match ended.unwrap_or(Err(Trouble::TooLate)) {
            Ok(release) => self.ledger.answered(kind, due.elapsed(), release),
            Err(trouble) => self.ledger.lost(Loss {
                at: Utc::now(),
                kind,
                id,
                reason: trouble.to_string(),
            }),
        }
    }
}

/// When the arrival with this number comes, counted from the first.
fn offset(number: u64, per_second: u32) -> Duration {
    let per_second = u64::from(per_second);
    let part = number % per_second * NANOS_PER_SECOND / per_second;
    Duration::from_secs(number / per_second) + Duration::from_nanos(part)
}

/// How much later than the load a mix begins: less than the time between two of its arrivals.
fn phase(seed: u64, lane: usize, per_second: u32) -> Duration {
    let between = NANOS_PER_SECOND / u64::from(per_second);
    Duration::from_nanos(scatter(seed.wrapping_add(lane as u64)) % between)
}

/// The finalizer of `SplitMix64`: spreads neighbouring numbers over all others.
fn scatter(number: u64) -> u64 {
    let a = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let b = (a ^ (a >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let c = (b ^ (b >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    c ^ (c >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arrivals_are_evenly_spaced_and_do_not_drift() {
        assert_eq!(offset(0, 3), Duration::ZERO);
        assert_eq!(offset(1, 3), Duration::from_nanos(333_333_333));
        assert_eq!(offset(3, 3), Duration::from_secs(1));
        assert_eq!(offset(3 * 86_400 * 365, 3), Duration::from_hours(24 * 365));
    }

    #[test]
    fn a_mix_begins_within_its_first_interval_and_as_the_seed_says() {
        for seed in 0..100 {
            assert!(phase(seed, 0, 4) < Duration::from_millis(250));
            assert_eq!(phase(seed, 1, 4), phase(seed, 1, 4));
        }
        assert_ne!(phase(1, 0, 4), phase(2, 0, 4));
        assert_ne!(phase(1, 0, 4), phase(1, 1, 4));
    }
}
