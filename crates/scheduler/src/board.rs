//! The board of probes: one task per running instance, and what it last saw.
//!
//! Promises: the first probes follow each other within milliseconds and back off to the interval; a proven instance
//! is asked at its interval for as long as its release may be taken back, then every ten seconds, after a miss sooner,
//! and is called failing only after three misses in a row. An instance that was proven before this process began stays
//! proven until a probe says otherwise.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use parking_lot::Mutex;
use slipway_domain::deployment::LastProbe;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::spec::STAY_UP;
use slipway_domain::{Clock, Timestamp};
use slipway_planner::world::Health;
use tokio_util::task::{AbortOnDropHandle, TaskTracker};
use tracing::{Instrument, Span};

use crate::probe::{Question, probe};

/// The first pause between probes.
const PAUSE_MIN: Duration = Duration::from_millis(5);
/// Between probes of a proven instance.
const STEADY: Duration = Duration::from_secs(10);
/// After a miss, so that what does not answer is known within half a minute, and a hiccup is not taken for an end.
const DOUBT: Duration = Duration::from_secs(1);
/// The least that is left of its time to an instance that a process finds unproven when it begins.
const CHANCE: TimeDelta = TimeDelta::seconds(5);
/// Misses in a row before a proven instance is called failing.
const MISSES_MAX: u32 = 3;

/// Called when an environment's instance changes its health.
pub(crate) type Changed = Arc<dyn Fn(EnvironmentId) + Send + Sync>;

/// How to probe one instance.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// The instance.
    pub(crate) id: String,
    /// Whose it is.
    pub(crate) environment: EnvironmentId,
    /// What to ask.
    pub(crate) question: Question,
    /// The pause to back off to while it is not proven, and between probes while it is watched.
    pub(crate) interval: Duration,
    /// So long it is watched after it was proven.
    pub(crate) watched: TimeDelta,
    /// Whether an earlier process of ours proved it.
    pub(crate) proven: bool,
    /// Whether its release serves already: an open port is enough then.
    pub(crate) is_known: bool,
    /// When it was started.
    pub(crate) started_at: Timestamp,
    /// How long it may take until it is proven.
    pub(crate) deadline: TimeDelta,
}

struct Entry {
    address: SocketAddr,
    environment: EnvironmentId,
    record: Arc<Mutex<Record>>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Clone)]
struct Record {
    health: Health,
    last: Option<LastProbe>,
}

/// All probes of this process.
pub(crate) struct Board {
    entries: Mutex<HashMap<String, Entry>>,
    clock: Arc<dyn Clock>,
    changed: Changed,
    tasks: TaskTracker,
}

impl Board {
    /// An empty board.
    pub(crate) fn new(clock: Arc<dyn Clock>, changed: Changed) -> Self {
        Self {
            entries: Mutex::new(HashMap::new()),
            clock,
            changed,
            tasks: TaskTracker::new(),
        }
    }

    /// Makes the board hold exactly these instances of the environment. The first good probe ends `deploy`'s part.
    pub(crate) fn keep(&self, environment: EnvironmentId, subjects: Vec<Subject>, deploy: &Span) {
        let mut entries = self.entries.lock();
        entries.retain(|id, e| {
            e.environment != environment || subjects.iter().any(|s| s.id == *id && s.question.address == e.address)
        });
        for subject in subjects {
            if !entries.contains_key(&subject.id) {
                let (id, entry) = self.begin(subject, deploy);
                entries.insert(id, entry);
            }
        }
    }

    /// What is known of the environment's instances.
    pub(crate) fn health(&self, environment: EnvironmentId) -> BTreeMap<String, Health> {
        let entries = self.entries.lock();
        let own = entries.iter().filter(|(_, e)| e.environment == environment);
        own.map(|(id, e)| (id.clone(), e.record.lock().health)).collect()
    }

    /// What the last probe of an instance saw.
    pub(crate) fn last_probe(&self, instance: &str) -> Option<LastProbe> {
        self.entries
            .lock()
            .get(instance)
            .and_then(|e| e.record.lock().last.clone())
    }

    /// Forgets everything, as when the lease is lost.
    pub(crate) fn clear(&self) {
        self.entries.lock().clear();
    }

    fn begin(&self, subject: Subject, deploy: &Span) -> (String, Entry) {
        let now = self.clock.now();
        let health = if subject.proven {
            Health::Healthy
        } else {
            Health::Unproven {
                since: unproven_since(&subject, now),
            }
        };
        let record = Arc::new(Mutex::new(Record { health, last: None }));
        let id = subject.id.clone();
        let (address, environment) = (subject.question.address, subject.environment);
        let span = if subject.proven {
            Span::none()
        } else {
            tracing::info_span!(parent: deploy, "deploy.probe", instance = %id)
        };
        let run = watch(
            subject,
            Arc::clone(&record),
            Arc::clone(&self.clock),
            Arc::clone(&self.changed),
            span,
        );
        let task = AbortOnDropHandle::new(self.tasks.spawn(run));
        (
            id,
            Entry {
                address,
                environment,
                record,
                _task: task,
            },
        )
    }
}

/// From when on its time to be proven counts: another process may have begun to watch it. One of a release that serves
/// may have been started long ago and wake just now.
fn unproven_since(subject: &Subject, now: Timestamp) -> Timestamp {
    if subject.is_known {
        return now;
    }
    let some_time_left = now - subject.deadline + CHANCE;
    subject.started_at.max(some_time_left).min(now)
}

async fn watch(subject: Subject, record: Arc<Mutex<Record>>, clock: Arc<dyn Clock>, changed: Changed, span: Span) {
    let mut span = Some(span);
    let mut pause = PAUSE_MIN;
    let mut misses = 0;
    let mut open_since: Option<Timestamp> = None;
    // One that was proven before this process began has been watched.
    let mut watched_until: Option<Timestamp> = None;
    loop {
        let current = span.clone().unwrap_or_else(Span::none);
        let answer = probe(&subject.question, clock.now()).instrument(current).await;
        let now = clock.now();
        let well = answer.healthy && stayed_up(&subject, &mut open_since, now);
        if !answer.healthy {
            open_since = None;
        }
        misses = if answer.healthy { 0 } else { misses + 1 };
        let before = record.lock().health;
        let after = judge(before, well, misses, now);
        {
            let mut record = record.lock();
            record.last = Some(answer.seen);
            record.health = after;
        }
        if after != before {
            changed(subject.environment);
        }
        if after == Health::Healthy {
            span = None;
            let from_now = (!subject.proven).then_some(now + subject.watched);
            watched_until = watched_until.or(from_now);
        }
        let next = match after {
            Health::Healthy if misses > 0 => DOUBT.max(subject.interval),
            Health::Healthy if watched_until.is_some_and(|until| now < until) => subject.interval,
            Health::Healthy => STEADY.max(subject.interval),
            Health::Failing { .. } => subject.interval,
            Health::Unproven { .. } => pause,
        };
        pause = (pause * 2).min(subject.interval);
        tokio::time::sleep(next).await;
    }
}

/// Without a path to ask, an open port of a new release counts only after it stayed open for a while.
fn stayed_up(subject: &Subject, open_since: &mut Option<Timestamp>, now: Timestamp) -> bool {
    if subject.question.path.is_some() || subject.is_known {
        return true;
    }
    let since = *open_since.get_or_insert(now);
    now >= since + STAY_UP.to_chrono()
}

fn judge(before: Health, well: bool, misses: u32, now: Timestamp) -> Health {
    match before {
        _ if well => Health::Healthy,
        Health::Healthy if misses >= MISSES_MAX => Health::Failing { since: now },
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};

    #[test]
    fn a_proven_instance_is_failing_only_after_three_misses() {
        let unproven = Health::Unproven { since: at(0) };
        let failing = |second: i64| Health::Failing { since: at(second) };
        for (before, well, misses, after) in [
            (unproven, false, 9, unproven),
            (unproven, true, 0, Health::Healthy),
            (Health::Healthy, false, 2, Health::Healthy),
            (Health::Healthy, false, 3, failing(7)),
            (failing(3), false, 4, failing(3)),
            (failing(3), true, 0, Health::Healthy),
        ] {
            assert_eq!(judge(before, well, misses, at(7)), after);
        }
    }

    #[test]
    fn the_time_to_be_proven_counts_from_the_start_whoever_watches() {
        let subject = |started: i64, is_known: bool| Subject {
            id: "c0ffee".into(),
            environment: EnvironmentId::mint(at(0), &FixedEntropy(1)),
            question: Question {
                address: ([127, 0, 0, 1], 80).into(),
                path: None,
                host: String::new(),
                timeout: Duration::from_secs(1),
                body_bytes_max: 0,
            },
            interval: Duration::from_secs(1),
            watched: TimeDelta::zero(),
            proven: false,
            is_known,
            started_at: at(started * 1_000),
            deadline: TimeDelta::seconds(60),
        };
        let since = |started, is_known| unproven_since(&subject(started, is_known), at(100_000)).timestamp();
        assert_eq!(since(70, false), 70);
        assert_eq!(since(10, false), 45, "it has five seconds yet");
        assert_eq!(since(130, false), 100, "its clock is ahead");
        assert_eq!(since(10, true), 100, "it serves and may wake just now");
    }
}
