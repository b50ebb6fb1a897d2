//! What the scheduler remembers between two looks at an environment. All of it may be lost: it only spares work.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::deployment::ReasonCode;
use slipway_domain::ids::{DeploymentId, EnvironmentId, ReleaseId};
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::ports::ResolveError;
use slipway_domain::spec::Scale;
use slipway_engine::EngineError;
use slipway_planner::alerts::STEADY_AFTER;
use slipway_planner::plan::Op;
use slipway_planner::world::{OpFailure, Restart};
use tracing::Span;

use crate::operate::OpError;
use crate::traffic::Baseline;

/// The longest pause before something that failed is tried again.
const PAUSE_SECONDS_MAX: i64 = 300;

/// What is remembered of one environment.
#[derive(Default)]
pub(crate) struct Memory {
    /// Operations under way.
    pub(crate) running: BTreeSet<Op>,
    /// Instances that were told to stop.
    pub(crate) stopped: BTreeSet<String>,
    /// Operations that failed.
    pub(crate) failed: BTreeMap<Op, (u32, OpFailure)>,
    /// Since when a running instance has not been routed.
    pub(crate) unrouted_since: BTreeMap<String, Timestamp>,
    /// How often a slot has ended, and when it may start again.
    pub(crate) restarts: BTreeMap<(ReleaseId, u32), Restarts>,
    /// What the proxies had counted when the canary's step began.
    pub(crate) baseline: Option<Baseline>,
    /// The release whose own checks have passed.
    pub(crate) smoked: Option<ReleaseId>,
    /// Network and volumes are gone.
    pub(crate) cleaned: bool,
    /// The span of the deployment under way, tied to the request that began it.
    pub(crate) span: Option<(DeploymentId, Span)>,
    /// When to look again.
    pub(crate) wake: Option<Timestamp>,
    /// What the next reports of the load are judged by, where the number of instances follows it.
    pub(crate) follows: Option<Follows>,
}

/// What a load is judged by between two looks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Follows {
    pub(crate) scale: Scale,
    pub(crate) current: u32,
    pub(crate) scaled_at: Option<Timestamp>,
}

/// How often a slot has ended by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Restarts {
    /// The container that ended last, so that one end counts once.
    pub(crate) instance: String,
    /// When it ended.
    pub(crate) ended_at: Timestamp,
    /// How often in a row, how, and when it may start again.
    pub(crate) restart: Restart,
}

/// All environments.
pub(crate) type Memories = parking_lot::Mutex<HashMap<EnvironmentId, Memory>>;

/// 0, 1, 2, 4, … seconds, at most five minutes.
fn pause(failures: u32) -> TimeDelta {
    let seconds = 1_i64
        .checked_shl(failures.saturating_sub(2))
        .unwrap_or(PAUSE_SECONDS_MAX);
    if failures < 2 {
        TimeDelta::zero()
    } else {
        TimeDelta::seconds(seconds.min(PAUSE_SECONDS_MAX))
    }
}

impl Memory {
    /// Notes how an operation ended.
    pub(crate) fn ended(&mut self, op: &Op, result: Result<(), OpError>, now: Timestamp) {
        self.running.remove(op);
        match result {
            Ok(()) => {
                self.failed.remove(op);
                match op {
                    Op::Clean => self.cleaned = true,
                    Op::Stop(instance) => _ = self.stopped.insert(instance.clone()),
                    Op::Smoke(release) => self.smoked = Some(*release),
                    _ => {}
                }
            }
            Err(error) => {
                let count = self.failed.get(op).map_or(1, |(count, _)| count + 1);
                let fatal = fatal(op, &error);
                let failure = OpFailure {
                    retry_at: now + pause(count + 1),
                    fatal,
                    error: error.to_string(),
                };
                self.failed.insert(op.clone(), (count, failure));
            }
        }
    }

    /// Notes what was seen: ends of instances, and since when which instance has not been routed.
    /// Where an environment rests, an end is what was asked for and is not counted.
    pub(crate) fn saw(&mut self, instances: &[Instance], routed: &BTreeSet<String>, rests: bool, now: Timestamp) {
        self.unrouted_since
            .retain(|id, _| instances.iter().any(|i| i.id == *id) && !routed.contains(id));
        // One that runs again has come back from its stop.
        self.stopped
            .retain(|id| instances.iter().any(|i| i.id == *id && !i.is_running()));
        for instance in instances {
            if instance.is_running() && !routed.contains(&instance.id) {
                self.unrouted_since.entry(instance.id.clone()).or_insert(now);
            }
            if let InstanceState::Exited {
                finished_at,
                exit_code,
                oom_killed,
            } = instance.state
            {
                self.count_end(
                    instance,
                    finished_at.unwrap_or(now),
                    (exit_code, oom_killed),
                    rests,
                    now,
                );
            }
        }
    }

    fn count_end(
        &mut self,
        instance: &Instance,
        ended_at: Timestamp,
        (exit_code, oom_killed): (i64, bool),
        rests: bool,
        now: Timestamp,
    ) {
        let key = (instance.release, instance.slot);
        let before = self.restarts.get(&key);
        if before.is_some_and(|b| b.instance == instance.id && b.ended_at == ended_at) {
            return;
        }
        let count = match before {
            _ if rests => 0,
            Some(b) if ended_at - b.ended_at < STEADY_AFTER => b.restart.count + 1,
            _ => 1,
        };
        // What serves is told to stop where it does not answer, and its end may be seen before the engine has said so.
        let told = self.running.contains(&Op::Stop(instance.id.clone()));
        let unresponsive = self.stopped.remove(&instance.id) || told;
        let restarts = Restarts {
            instance: instance.id.clone(),
            ended_at,
            restart: Restart {
                count,
                at: now + pause(count),
                exit_code,
                oom_killed,
                unresponsive,
            },
        };
        self.restarts.insert(key, restarts);
    }
}

/// What an error means for a deployment when trying again cannot help.
fn fatal(op: &Op, error: &OpError) -> Option<(ReasonCode, String)> {
    let engine = match error {
        OpError::Engine(engine) => engine,
        OpError::Sealed(detail) => return Some((ReasonCode::SecretUnavailable, detail.clone())),
        OpError::Smoke(detail) => return Some((ReasonCode::SmokeFailed, detail.clone())),
        OpError::PoolUsedUp(detail) => return Some((ReasonCode::NetworkPoolUsedUp, detail.clone())),
        OpError::Store(_) | OpError::Database(_) | OpError::Gone => return None,
    };
    let code = match (op, engine) {
        (Op::Resume(_) | Op::Pause(_) | Op::Stop(_) | Op::Remove(_) | Op::RemoveCommand(_) | Op::Clean, _) => {
            return None;
        }
        (_, EngineError::Image(ResolveError::NotFound(_))) => ReasonCode::ImageNotFound,
        (_, EngineError::Image(ResolveError::Unauthorized(_))) => ReasonCode::RegistryUnauthorized,
        (_, EngineError::DiskFull(_)) => ReasonCode::DiskFull,
        (_, EngineError::Image(ResolveError::Platform { .. }) | EngineError::Refused(_))
        | (Op::Apply(..) | Op::Command(_), EngineError::NotFound(_)) => ReasonCode::StartFailed,
        _ => return None,
    };
    Some((code, error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};
    use slipway_domain::{Epoch, ReleaseNumber};

    fn release() -> ReleaseId {
        ReleaseId::mint(at(0), &FixedEntropy(1))
    }

    fn ended(id: &str, second: i64) -> Instance {
        Instance {
            id: id.into(),
            environment: EnvironmentId::mint(at(0), &FixedEntropy(1)),
            release: release(),
            release_number: ReleaseNumber(1),
            slot: 0,
            epoch: Epoch(1),
            state: InstanceState::Exited {
                exit_code: 1,
                oom_killed: false,
                finished_at: Some(at(second * 1000)),
            },
            address: None,
        }
    }

    #[test]
    fn a_crash_loop_backs_off_and_a_long_life_forgives() {
        let mut memory = Memory::default();
        let mut waits = Vec::new();
        for second in [0, 1, 3, 6, 1000] {
            memory.saw(&[ended("a", second)], &BTreeSet::new(), false, at(second * 1000));
            memory.saw(&[ended("a", second)], &BTreeSet::new(), false, at(second * 1000 + 400));
            waits.push((memory.restarts[&(release(), 0)].restart.at - at(second * 1000)).num_seconds());
        }
        assert_eq!(waits, [0, 1, 2, 4, 0]);
    }

    #[test]
    fn what_was_told_to_stop_did_not_end_by_itself() {
        let stop = Op::Stop("a".into());
        let unresponsive = |memory: &Memory| memory.restarts[&(release(), 0)].restart.unresponsive;
        let saw = |memory: &mut Memory, instance| memory.saw(&[instance], &BTreeSet::new(), false, at(0));
        let runs = Instance {
            state: InstanceState::Running { started_at: at(0) },
            ..ended("a", 0)
        };

        // Its end is seen before the engine has answered, or after.
        let mut memory = Memory::default();
        memory.running.insert(stop.clone());
        saw(&mut memory, ended("a", 1));
        assert!(unresponsive(&memory));
        memory.ended(&stop, Ok(()), at(0));
        saw(&mut memory, runs.clone());
        saw(&mut memory, ended("a", 2));
        assert!(!unresponsive(&memory), "this time it did");
        saw(&mut memory, runs);
        memory.running.insert(stop.clone());
        memory.ended(&stop, Ok(()), at(0));
        saw(&mut memory, ended("a", 3));
        assert!(unresponsive(&memory));
    }

    #[test]
    fn an_app_that_was_put_to_sleep_has_not_crashed_when_it_wakes() {
        let mut memory = Memory::default();
        for second in [10, 20, 30, 40] {
            memory.saw(&[ended("a", second)], &BTreeSet::new(), true, at(second * 1000));
            memory.saw(&[ended("a", second)], &BTreeSet::new(), false, at(second * 1000 + 500));
            let restart = memory.restarts[&(release(), 0)].restart;
            assert_eq!((restart.count, restart.at), (0, at(second * 1000)));
        }
    }

    #[test]
    fn an_operation_that_cannot_succeed_says_so_and_another_is_tried_again_later() {
        let mut memory = Memory::default();
        let pull = Op::Pull(release());
        memory.ended(&pull, Err(EngineError::Unavailable("away".into()).into()), at(0));
        assert_eq!(memory.failed[&pull].1.fatal, None);
        assert!(memory.failed[&pull].1.retry_at > at(0));
        memory.ended(&pull, Err(EngineError::DiskFull("full".into()).into()), at(0));
        assert_eq!(
            memory.failed[&pull].1.fatal.as_ref().map(|f| f.0),
            Some(ReasonCode::DiskFull)
        );
        memory.ended(&pull, Ok(()), at(0));
        assert!(memory.failed.is_empty());
    }
}
