//! What the planner is told about one environment: intent from the database, instances from the engine, health
//! from the probes, and what the proxies acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use chrono::TimeDelta;
use slipway_domain::deployment::{DeploymentState, ReasonCode, StepName, StepState};
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::observed::{Instance, Observed};
use slipway_domain::quantity::Span;
use slipway_domain::rest::Rest;
use slipway_domain::routing::{RouteState, Split};
use slipway_domain::spec::{CanaryStep, Scale, Strategy};
use slipway_domain::{ReleaseNumber, Timestamp};

use crate::plan::Op;

/// Everything a decision rests on.
#[derive(Debug, Clone)]
pub struct World {
    /// The present moment.
    pub now: Timestamp,
    /// What should be.
    pub desired: Desired,
    /// The release that has the traffic, as last recorded.
    pub serving: Option<ReleaseFacts>,
    /// Since when it has all of it.
    pub serving_since: Option<Timestamp>,
    /// The release that had it before, if there was one.
    pub previous: Option<ReleaseFacts>,
    /// The unfinished deployment, if there is one.
    pub deployment: Option<DeploymentFacts>,
    /// The deployment that has succeeded and whose old instances are still on their way out.
    pub draining: Option<DeploymentId>,
    /// Whether the last deployment failed, for what visitors are told while nothing serves.
    pub last_failed: bool,
    /// Releases whose release command has a container, where any release has such a command.
    pub commands: BTreeSet<ReleaseId>,
    /// When what should run was last changed.
    pub decided_at: Timestamp,
    /// Releases of instances on the engine that the database does not know.
    pub unknown: BTreeSet<ReleaseId>,
    /// Instances on the engine.
    pub instances: Observed<Vec<Instance>>,
    /// What probes say of each running instance.
    pub health: BTreeMap<String, Health>,
    /// What proxies are told and what they have confirmed.
    pub route: RouteFacts,
    /// The release whose own checks were made and passed.
    pub smoked: Option<ReleaseId>,
    /// Operations under way.
    pub running: BTreeSet<Op>,
    /// Operations that failed, and when they may be tried again.
    pub failed: BTreeMap<Op, OpFailure>,
    /// Whether network and volumes of a deleted environment are gone.
    pub cleaned: bool,
    /// What the proxies counted of the two releases of a canary since its step began; `None` while that is not known.
    pub traffic: Option<Traffic>,
    /// Whether it rests.
    pub rest: Rest,
    /// Since when it rests as it does, or is awake after a rest.
    pub rest_since: Option<Timestamp>,
    /// Whether a request waits for it to wake.
    pub wake_asked: bool,
    /// How much there is to do; `None` while that is not known.
    pub load: Option<Load>,
    /// When the number of instances last followed the load.
    pub scaled_at: Option<Timestamp>,
    /// How often a slot has ended in a row, and when it may start again.
    pub restarts: BTreeMap<(ReleaseId, u32), Restart>,
    /// The release whose ends somebody was told of, while that is not over.
    pub crash_alert: Option<ReleaseId>,
    /// The unknown release that somebody was told of, while that is not over.
    pub unknown_alert: Option<ReleaseId>,
}

/// A slot that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restart {
    /// How often in a row.
    pub count: u32,
    /// When it may start again.
    pub at: Timestamp,
    /// The exit code it ended with the last time.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Whether the platform ended it, since it did not answer.
    pub unresponsive: bool,
}

impl std::fmt::Display for Restart {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "an instance ended {} times in a row, the last time ", self.count)?;
        if self.unresponsive {
            f.write_str("by the platform, since it did not answer its probe")
        } else if self.oom_killed {
            f.write_str("for want of memory")
        } else {
            write!(f, "with exit code {}", self.exit_code)
        }
    }
}

/// Requests in flight, over all proxies; those that wait count too.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Load {
    /// On average over the last minute, in thousandths.
    pub stable_milli: u64,
    /// On average over the last six seconds, in thousandths.
    pub panic_milli: u64,
    /// For how long there was none.
    pub quiet: TimeDelta,
}

/// What should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Desired {
    /// It should serve.
    Running,
    /// No instance should run.
    Stopped,
    /// Nothing should be left.
    Deleted,
}

/// What the planner must know of a release.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "independent facts, no state")]
pub struct ReleaseFacts {
    /// Which.
    pub id: ReleaseId,
    /// Its number.
    pub number: ReleaseNumber,
    /// Releases of the same contents: their instances count as its own. After a rollback they are what went before.
    pub like: BTreeSet<ReleaseId>,
    /// Whether it was made by going back: then the platform does not go back once more by itself.
    pub is_rollback: bool,
    /// How it comes into service.
    pub strategy: Strategy,
    /// How many of its instances may be unproven at once in a rolling deployment.
    pub surge: u32,
    /// How long it is watched after it has all traffic.
    pub bake_time: Span,
    /// The steps of its canary.
    pub canary: Vec<CanaryStep>,
    /// Whether visitors stay with the release that answered first.
    pub sticky: bool,
    /// How many instances it may have.
    pub scale: Scale,
    /// How many it is to have now.
    pub replicas: u32,
    /// How long requests under way may take after the switch.
    pub drain_timeout: Span,
    /// Between the signal that asks an instance to stop and the kill.
    pub kill_timeout: Span,
    /// Not healthy by then: failed.
    pub health_deadline: Span,
    /// An instance that has not answered for so long is started again; 0: never.
    pub restart_after: Span,
    /// Whether it has a command to run before any traffic.
    pub has_release_command: bool,
    /// Whether it has checks of its own.
    pub has_smoke: bool,
}

impl ReleaseFacts {
    /// Whether an instance counts as one of this release.
    pub fn owns(&self, instance: &Instance) -> bool {
        self.is(instance.release)
    }

    /// Whether a release is this one, or of the same contents.
    pub fn is(&self, release: ReleaseId) -> bool {
        release == self.id || self.like.contains(&release)
    }
}

/// How far a canary is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CanaryProgress {
    /// The step, from 0.
    pub step: u32,
    /// Since when.
    pub since: Timestamp,
}

/// What the proxies counted of two releases over the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Traffic {
    /// Of the new one.
    pub new: Sample,
    /// Of the old one.
    pub old: Sample,
}

/// What the proxies counted of a release.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Sample {
    /// Requests answered.
    pub requests: u64,
    /// Those answered with a 5xx status, or not at all.
    pub failed: u64,
    /// The 99th percentile of the time to the first byte of an answer, rounded up to a bucket's bound; 0 without any.
    pub p99_ms: u64,
}

/// The unfinished deployment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeploymentFacts {
    /// Which.
    pub id: DeploymentId,
    /// Where it stands.
    pub state: DeploymentState,
    /// What it brings into service.
    pub target: ReleaseFacts,
    /// Its steps so far, with the time each began.
    pub steps: BTreeMap<StepName, (StepState, Timestamp)>,
    /// Whether the image is on the machine; `None` when it was not asked, because it no longer matters.
    pub image_present: Option<bool>,
    /// How the release command stands; `None` when it was not asked.
    pub release_command: Option<CommandFacts>,
    /// How far its canary is; `None` before its first step has the traffic it wants.
    pub canary: Option<CanaryProgress>,
    /// Whether somebody asked for all traffic at once.
    pub promoted: bool,
}

/// How the release command stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandFacts {
    /// Not begun, as far as the engine knows.
    Absent,
    /// Under way.
    Running,
    /// Ended with this code.
    Ended {
        /// 0 is success.
        exit_code: i64,
    },
}

/// What probes say of an instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// Not proven yet; running since then.
    Unproven {
        /// Since when it runs.
        since: Timestamp,
    },
    /// Proven, and no reason to doubt it.
    Healthy,
    /// It was proven once and has failed several probes in a row.
    Failing {
        /// Since when it is called so.
        since: Timestamp,
    },
}

/// What proxies are told and what they have confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFacts {
    /// The published state.
    pub state: RouteState,
    /// The instances published with it.
    pub instances: BTreeSet<String>,
    /// Whether one of them has another address now than it was published with.
    pub moved: bool,
    /// How the traffic is shared, if not evenly.
    pub split: Option<Split>,
    /// Whether every proxy has it in force.
    pub acknowledged: bool,
    /// Instances that some proxy still has requests on.
    pub draining: BTreeSet<String>,
    /// Since when each running instance has not been routed.
    pub unrouted_since: BTreeMap<String, Timestamp>,
}

/// An operation that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpFailure {
    /// When it may be tried again.
    pub retry_at: Timestamp,
    /// Set when trying again cannot help: why, as a deployment's reason tells it.
    pub fatal: Option<(ReasonCode, String)>,
    /// The engine's words.
    pub error: String,
}
