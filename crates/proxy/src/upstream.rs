//! One instance of an app as the proxy sees it: requests in flight, a line of those waiting, idle connections.
//!
//! Promises: no more than `upstream_in_flight_max` requests at once, a bounded number of others waits in order for a
//! bounded time; the connection used last is used first, none older than `upstream_idle_ms_max`; an instance that fails
//! stands back for a growing, bounded while, and nobody is turned away for it; once the instance has left the snapshot
//! no request enters, idle connections close at once, and those under way are counted until the last ends.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use http::StatusCode;
use hyper::client::conn::http1::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use rustix::net::sockopt;
use slipway_domain::routing::Upstream;
use slipway_domain::traffic::{self, Tally};
use tokio::net::TcpStream;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

use crate::app_io::AppIo;
use crate::body::{RequestBody, Uptime};
use crate::config::{CONNECTION_BUFFER_BYTES_MAX, ProxyLimits, ms};

/// After a failure other instances are preferred for this long, twice as long after each further one in a row.
const COOL_DOWN_MS: u64 = 1_000;
const COOL_DOWN_MS_MAX: u64 = 30_000;
/// So many answers 5xx in a row count as a failure: one may be the request's fault.
const SERVER_ERRORS_MAX: u32 = 5;

/// So long after an app's instances began to fail one may be back, or the control plane may say what became of them.
pub(crate) const NEWS_MS_MAX: u64 = 1_000;
/// An instance that does not answer a connection's first packet is sent another after so long.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// One side of an HTTP/1.1 connection to an instance.
pub(crate) type Sender = SendRequest<RequestBody>;

#[derive(Debug)]
struct Idle {
    sender: Sender,
    since: Instant,
}

/// What is counted of an instance, for those who compare releases.
#[derive(Debug)]
struct Counts {
    requests: AtomicU64,
    failed: AtomicU64,
    latency: [AtomicU64; traffic::BUCKETS],
}

impl Default for Counts {
    fn default() -> Self {
        Self {
            requests: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            latency: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

/// An instance and everything the proxy knows about it. Survives snapshots as long as it is in them.
#[derive(Debug)]
pub(crate) struct Instance {
    upstream: Upstream,
    /// Whether acknowledgements name it: the API's own address is no instance.
    counted: bool,
    in_flight: AtomicUsize,
    waiting: AtomicUsize,
    leaving: AtomicBool,
    /// Tells those who are connecting to it that it is leaving.
    left: Notify,
    cool_until_ms: AtomicU64,
    /// Failures in a row.
    failures: AtomicU32,
    /// Since the first of them.
    failing_since_ms: AtomicU64,
    /// Answers 5xx in a row.
    server_errors: AtomicU32,
    slots: Arc<Semaphore>,
    idle: Mutex<Vec<Idle>>,
    limits: ProxyLimits,
    counts: Counts,
    /// Told when the last request of a leaving instance ends.
    drained: Arc<Notify>,
}

impl Instance {
    pub(crate) fn new(upstream: Upstream, counted: bool, limits: ProxyLimits, drained: Arc<Notify>) -> Self {
        Self {
            upstream,
            counted,
            in_flight: AtomicUsize::new(0),
            waiting: AtomicUsize::new(0),
            leaving: AtomicBool::new(false),
            left: Notify::new(),
            cool_until_ms: AtomicU64::new(0),
            failures: AtomicU32::new(0),
            failing_since_ms: AtomicU64::new(0),
            server_errors: AtomicU32::new(0),
            slots: Arc::new(Semaphore::new(limits.upstream_in_flight_max)),
            idle: Mutex::new(Vec::new()),
            limits,
            counts: Counts::default(),
            drained,
        }
    }

    /// A request that was sent to it has ended: how, and after how long its answer began.
    pub(crate) fn count(&self, failed: bool, first_byte: Option<Duration>) {
        self.counts.requests.fetch_add(1, Ordering::Relaxed);
        if failed {
            self.counts.failed.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(after) = first_byte {
            let micros = u64::try_from(after.as_micros()).unwrap_or(u64::MAX);
            self.counts.latency[traffic::bucket_of(micros)].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// What was counted of it.
    pub(crate) fn tally(&self) -> Tally {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Tally {
            requests: read(&self.counts.requests),
            failed: read(&self.counts.failed),
            latency: self.counts.latency.iter().map(read).collect(),
        }
    }

    /// The engine's name for it.
    pub(crate) fn name(&self) -> &str {
        &self.upstream.instance
    }

    pub(crate) const fn counted(&self) -> bool {
        self.counted
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::SeqCst)
    }

    pub(crate) fn idle_connections(&self) -> usize {
        self.idle.lock().len()
    }

    pub(crate) fn is_cooling(&self, now_ms: u64) -> bool {
        self.cool_until_ms.load(Ordering::Relaxed) > now_ms
    }

    /// It refused a connection, broke one, or did not answer in time: others come first for a while.
    pub(crate) fn failed(&self, now_ms: u64) {
        let before = self.failures.fetch_add(1, Ordering::Relaxed).min(16);
        if before == 0 {
            self.failing_since_ms.store(now_ms, Ordering::Relaxed);
        }
        let cool_down_ms = (COOL_DOWN_MS << before).min(COOL_DOWN_MS_MAX);
        self.cool_until_ms
            .store(now_ms.saturating_add(cool_down_ms), Ordering::Relaxed);
    }

    /// Since when it has done nothing but fail.
    pub(crate) fn failing_since_ms(&self) -> u64 {
        self.failing_since_ms.load(Ordering::Relaxed)
    }

    /// It answered. One that does nothing but fail is as good as one that does not answer.
    pub(crate) fn answered(&self, status: StatusCode, now_ms: u64) {
        if !status.is_server_error() {
            self.failures.store(0, Ordering::Relaxed);
            self.server_errors.store(0, Ordering::Relaxed);
        } else if self.server_errors.fetch_add(1, Ordering::Relaxed) + 1 >= SERVER_ERRORS_MAX {
            self.server_errors.store(0, Ordering::Relaxed);
            self.failed(now_ms);
        }
    }

    /// It has left the snapshot.
    pub(crate) fn retire(&self) {
        self.leaving.store(true, Ordering::SeqCst);
        self.left.notify_waiters();
        self.idle.lock().clear();
    }

    /// Closes connections that were idle for too long.
    pub(crate) fn sweep(&self) {
        let limit = ms(self.limits.upstream_idle_ms_max);
        self.idle
            .lock()
            .retain(|idle| idle.since.elapsed() < limit && !idle.sender.is_closed());
    }

    /// Counts a request in, unless the instance is leaving. The order matters: count first, then look, so that
    /// [`Self::retire`] and this can never both miss each other.
    fn enter(self: &Arc<Self>) -> Option<InFlight> {
        self.in_flight.fetch_add(1, Ordering::SeqCst);
        let guard = InFlight(Arc::clone(self));
        (!self.leaving.load(Ordering::SeqCst)).then_some(guard)
    }

    /// A place for one request, waiting in line for it when the instance is full.
    pub(crate) async fn lease(self: &Arc<Self>) -> Result<Lease, LeaseError> {
        let in_flight = self.enter().ok_or(LeaseError::Leaving)?;
        let permit = match Arc::clone(&self.slots).try_acquire_owned() {
            Ok(permit) => permit,
            Err(_) => self.wait_in_line().await?,
        };
        Ok(Lease {
            in_flight,
            _permit: permit,
            sender: None,
        })
    }

    async fn wait_in_line(&self) -> Result<OwnedSemaphorePermit, LeaseError> {
        let _waiting = Waiting::enter(&self.waiting, self.limits.upstream_waiting_max).ok_or(LeaseError::Full)?;
        let turn = Arc::clone(&self.slots).acquire_owned();
        match tokio::time::timeout(ms(self.limits.upstream_queue_ms_max), turn).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(LeaseError::Full),
        }
    }

    /// A connection that was used before and looks alive.
    pub(crate) fn reuse(&self) -> Option<Sender> {
        let limit = ms(self.limits.upstream_idle_ms_max);
        let mut idle = self.idle.lock();
        let mut at = idle.len();
        while at > 0 {
            at -= 1;
            let candidate = &idle[at];
            if candidate.since.elapsed() >= limit || candidate.sender.is_closed() {
                idle.remove(at);
            } else if candidate.sender.is_ready() {
                return Some(idle.remove(at).sender);
            }
        }
        None
    }

    /// A new connection; `alone` where no other instance could take the request.
    pub(crate) async fn connect(&self, tracker: &TaskTracker, alone: Option<Uptime>) -> io::Result<Sender> {
        let stream = tokio::time::timeout(ms(self.limits.connect_ms_max), self.open(alone)).await??;
        stream.set_nodelay(true)?;
        // An instance that went without a word, its network with it, is found out within half a minute.
        sockopt::set_socket_keepalive(&stream, true)?;
        sockopt::set_tcp_keepidle(&stream, Duration::from_secs(15))?;
        sockopt::set_tcp_keepintvl(&stream, Duration::from_secs(5))?;
        sockopt::set_tcp_keepcnt(&stream, 3)?;
        let (sender, connection) = Builder::new()
            .max_buf_size(CONNECTION_BUFFER_BYTES_MAX)
            .handshake::<_, RequestBody>(TokioIo::new(AppIo::new(stream)))
            .await
            .map_err(io::Error::other)?;
        tracker.spawn(async move {
            // Whoever waits for an answer on this connection gets the error; here it has no one to tell.
            let _ = connection.with_upgrades().await;
        });
        Ok(sender)
    }

    /// Asks until somebody is there. The kernel asks again after a second (RFC 6298 section 2), which is long for an
    /// instance that is started again a moment after it was asked; and where there is no other, one that refuses may be
    /// such a one too.
    async fn open(&self, alone: Option<Uptime>) -> io::Result<TcpStream> {
        loop {
            let mut left = pin!(self.left.notified());
            if self.leaving.load(Ordering::SeqCst) {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            let mut pause = pin!(tokio::time::sleep(ASK_AGAIN));
            tokio::select! {
                opened = TcpStream::connect(self.upstream.address) => {
                    let waits = opened.is_err() && alone.is_some_and(|uptime| self.may_come_back(uptime.now_ms()));
                    if !waits {
                        return opened;
                    }
                    tokio::select! {
                        () = &mut left => {}
                        () = &mut pause => {}
                    }
                }
                () = &mut left => {}
                () = &mut pause => {}
            }
        }
    }

    /// Whether it has begun to fail only a moment ago.
    fn may_come_back(&self, now_ms: u64) -> bool {
        if self.failures.load(Ordering::Relaxed) == 0 {
            self.failed(now_ms);
        }
        now_ms < self.failing_since_ms() + NEWS_MS_MAX
    }

    fn put_back(&self, sender: Sender) {
        if sender.is_closed() || self.leaving.load(Ordering::SeqCst) {
            return;
        }
        let mut idle = self.idle.lock();
        if idle.len() < self.limits.upstream_idle_max {
            idle.push(Idle {
                sender,
                since: Instant::now(),
            });
        }
        drop(idle);
        // `retire` may have run between the check and the push.
        if self.leaving.load(Ordering::SeqCst) {
            self.idle.lock().clear();
        }
    }
}

/// Counts a waiting request for as long as it lives.
pub(crate) struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    /// `None` when `max` are waiting already.
    pub(crate) fn enter(count: &'a AtomicUsize, max: usize) -> Option<Self> {
        let guard = Self(count);
        (count.fetch_add(1, Ordering::Relaxed) < max).then_some(guard)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Why an instance does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LeaseError {
    /// It has left the snapshot: look at the new one.
    Leaving,
    /// Too many requests wait already, or the wait took too long.
    Full,
}

/// Counts a request for as long as it lives.
#[derive(Debug)]
struct InFlight(Arc<Instance>);

impl Drop for InFlight {
    fn drop(&mut self) {
        let before = self.0.in_flight.fetch_sub(1, Ordering::SeqCst);
        if before == 1 && self.0.leaving.load(Ordering::SeqCst) {
            self.0.drained.notify_one();
        }
    }
}

/// A request's place at an instance, and the connection it uses.
#[derive(Debug)]
pub(crate) struct Lease {
    in_flight: InFlight,
    _permit: OwnedSemaphorePermit,
    sender: Option<Sender>,
}

impl Lease {
    /// Keeps the connection while its answer is read.
    pub(crate) fn hold(&mut self, sender: Sender) {
        self.sender = Some(sender);
    }

    /// The answer was read to its end: the connection may serve the next request.
    pub(crate) fn give_back(mut self) {
        if let Some(sender) = self.sender.take() {
            self.in_flight.0.put_back(sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instance(in_flight_max: usize) -> Arc<Instance> {
        let upstream = Upstream {
            instance: "i1".into(),
            address: ([127, 0, 0, 1], 1).into(),
        };
        let limits = ProxyLimits {
            upstream_in_flight_max: in_flight_max,
            upstream_queue_ms_max: 10,
            ..ProxyLimits::default()
        };
        Arc::new(Instance::new(upstream, true, limits, Arc::new(Notify::new())))
    }

    #[tokio::test]
    async fn a_leaving_instance_takes_nobody_and_tells_when_the_last_one_went() {
        let instance = instance(4);
        let lease = instance.lease().await.expect("room");
        instance.retire();
        assert_eq!(instance.lease().await.expect_err("leaving"), LeaseError::Leaving);
        assert_eq!(instance.in_flight(), 1);
        drop(lease);
        instance.drained.notified().await;
        assert_eq!(instance.in_flight(), 0);
    }

    #[tokio::test]
    async fn failures_in_a_row_cool_an_instance_down_for_longer_and_an_answer_forgives() {
        let instance = instance(1);
        let until = |instance: &Instance| instance.cool_until_ms.load(Ordering::Relaxed);
        let cooled: Vec<u64> = (0..7)
            .map(|_| {
                instance.failed(0);
                until(&instance)
            })
            .collect();
        assert_eq!(cooled, [1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        instance.answered(StatusCode::NOT_FOUND, 0);
        instance.failed(100);
        assert_eq!(until(&instance), 1_100);
    }

    #[tokio::test]
    async fn an_instance_that_answers_nothing_but_errors_cools_down() {
        let instance = instance(1);
        for _ in 0..4 {
            instance.answered(StatusCode::INTERNAL_SERVER_ERROR, 100);
        }
        assert!(!instance.is_cooling(101), "not yet");
        instance.answered(StatusCode::OK, 100);
        for _ in 0..4 {
            instance.answered(StatusCode::INTERNAL_SERVER_ERROR, 100);
        }
        assert!(!instance.is_cooling(101), "a good answer in between counts");
        instance.answered(StatusCode::INTERNAL_SERVER_ERROR, 100);
        assert!(instance.is_cooling(101));
    }

    #[tokio::test]
    async fn a_full_instance_makes_requests_wait_for_a_bounded_time() {
        let instance = instance(1);
        let first = instance.lease().await.expect("room");
        assert_eq!(instance.lease().await.expect_err("full"), LeaseError::Full);
        let (second, ()) = tokio::join!(instance.lease(), async { drop(first) });
        assert!(second.is_ok());
    }
}
