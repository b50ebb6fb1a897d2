//! Handshakes for names that have no certificate, while an app may have such names: the control plane is asked, and the
//! handshake waits for the certificate.
//!
//! Promises: no more names are asked about at once than there are places, and by one address no more than so many a
//! minute; what nobody wants is refused at once for a while; no handshake waits longer than [`HELD_MAX`], and no more
//! than so many do.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use moka::sync::Cache;
use parking_lot::Mutex;
use slipway_domain::name::HostName;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use crate::feed::{self, Control};
use crate::listen::subscriber;
use crate::proxy::Proxy;

/// So long a handshake waits for a certificate.
const HELD_MAX: Duration = Duration::from_secs(30);
/// So many handshakes wait at once.
const HELD_COUNT_MAX: usize = 256;
/// So many names are asked about at once.
const ASKED_COUNT_MAX: usize = 8;
/// Names that nobody wants are remembered so long, and so many of them.
const REFUSED_FOR: Duration = Duration::from_mins(5);
const REFUSED_COUNT_MAX: u64 = 10_000;
/// So long it is not asked again about one that is on its way.
const WANTED_FOR: Duration = Duration::from_mins(1);
/// So many new names one address may come with in a minute.
const NAMES_PER_MINUTE_MAX: u32 = 10;
const MINUTE: Duration = Duration::from_mins(1);
const ADDRESSES_COUNT_MAX: u64 = 10_000;
/// A certificate that was late is seen then.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is known of names that visitors come with.
#[derive(Debug)]
pub(crate) struct OnDemand {
    control: Control,
    held: Semaphore,
    asked: Semaphore,
    under_way: Mutex<HashSet<HostName>>,
    refused: Cache<HostName, ()>,
    wanted: Cache<HostName, ()>,
    brought: Cache<IpAddr, Arc<AtomicU32>>,
    /// Something was decided.
    decided: Notify,
}

/// Why a name gets no certificate now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotNow {
    /// No app may have such names, or none wants this one.
    Unknown,
    /// Too many others, or too many of this address.
    Busy,
    /// The control plane does not answer.
    Away,
    /// It was not there in time.
    Late,
}

impl NotNow {
    const fn outcome(self) -> &'static str {
        match self {
            Self::Unknown => "refused",
            Self::Busy => "busy",
            Self::Away => "away",
            Self::Late => "late",
        }
    }
}

/// A name that is being asked about.
struct Asking<'a> {
    all: &'a OnDemand,
    host: HostName,
}

impl Drop for Asking<'_> {
    fn drop(&mut self) {
        self.all.under_way.lock().remove(&self.host);
        self.all.decided.notify_waiters();
    }
}

impl OnDemand {
    pub(crate) fn new(control: Control) -> Self {
        Self {
            control,
            held: Semaphore::new(HELD_COUNT_MAX),
            asked: Semaphore::new(ASKED_COUNT_MAX),
            under_way: Mutex::default(),
            refused: Cache::builder()
                .max_capacity(REFUSED_COUNT_MAX)
                .time_to_live(REFUSED_FOR)
                .build(),
            wanted: Cache::builder()
                .max_capacity(REFUSED_COUNT_MAX)
                .time_to_live(WANTED_FOR)
                .build(),
            brought: Cache::builder()
                .max_capacity(ADDRESSES_COUNT_MAX)
                .time_to_live(MINUTE)
                .build(),
            decided: Notify::new(),
        }
    }

    /// Asks about a name, unless somebody does already.
    async fn ask(&self, host: &HostName, peer: IpAddr) -> Result<(), NotNow> {
        if self.wanted.contains_key(host) || !self.under_way.lock().insert(host.clone()) {
            return Ok(());
        }
        let asking = Asking {
            all: self,
            host: host.clone(),
        };
        let brought = self.brought.get_with(subscriber(peer), Arc::default);
        if brought.fetch_add(1, Ordering::Relaxed) >= NAMES_PER_MINUTE_MAX {
            return Err(NotNow::Busy);
        }
        let _place = self.asked.try_acquire().map_err(|_| NotNow::Busy)?;
        let answer = feed::ask_for_name(&self.control, host).await;
        let wanted = answer.map_err(|error| {
            tracing::debug!(%host, %error, "proxy.name_not_asked");
            NotNow::Away
        })?;
        if !wanted {
            self.refused.insert(host.clone(), ());
            return Err(NotNow::Unknown);
        }
        self.wanted.insert(host.clone(), ());
        drop(asking);
        Ok(())
    }
}

/// Waits until there is a certificate for a name that had none, if an app wants it.
pub(crate) async fn obtain(proxy: &Proxy, name: &str, peer: IpAddr) -> Result<(), NotNow> {
    if !proxy.table().names_on_demand {
        return Err(NotNow::Unknown);
    }
    let obtained = wait(proxy, name, peer).await;
    let outcome = obtained.err().map_or("served", NotNow::outcome);
    proxy.metrics().on_demand.add(outcome);
    obtained
}

async fn wait(proxy: &Proxy, name: &str, peer: IpAddr) -> Result<(), NotNow> {
    let all = proxy.on_demand();
    let host: HostName = name.parse().map_err(|_| NotNow::Unknown)?;
    if all.refused.contains_key(&host) {
        return Err(NotNow::Unknown);
    }
    let _place = all.held.try_acquire().map_err(|_| NotNow::Busy)?;
    let deadline = Instant::now() + HELD_MAX;
    all.ask(&host, peer).await?;
    let mut changes = proxy.watch_applied();
    loop {
        let decided = all.decided.notified();
        if proxy.tls().current().find(name).is_some() {
            return Ok(());
        }
        if all.refused.contains_key(&host) {
            return Err(NotNow::Unknown);
        }
        if !all.wanted.contains_key(&host) && !all.under_way.lock().contains(&host) {
            // Who asked for all of us got no answer.
            return Err(NotNow::Away);
        }
        tokio::select! {
            _ = changes.changed() => {}
            () = decided => {}
            () = tokio::time::sleep(LOOK_AGAIN) => {}
            () = tokio::time::sleep_until(deadline) => return Err(NotNow::Late),
            () = proxy.stopping().cancelled() => return Err(NotNow::Late),
        }
    }
}
