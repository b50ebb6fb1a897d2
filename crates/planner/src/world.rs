//! What the planner is told about one environment: intent from the database, instances from the engine, health
//! from the probes, and what the proxies acknowledged.

use std::collections::{BTreeMap, BTreeSet};

use slipway_domain::Timestamp;
use slipway_domain::deployment::{DeploymentState, ReasonCode, StepName, StepState};
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::observed::{Instance, Observed};
use slipway_domain::quantity::Span;
use slipway_domain::routing::RouteState;

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
    /// The unfinished deployment, if there is one.
    pub deployment: Option<DeploymentFacts>,
    /// The deployment that has succeeded and whose old instances are still on their way out.
    pub draining: Option<DeploymentId>,
    /// Whether the last deployment failed, for what visitors are told while nothing serves.
    pub last_failed: bool,
    /// Instances on the engine.
    pub instances: Observed<Vec<Instance>>,
    /// What probes say of each running instance.
    pub health: BTreeMap<String, Health>,
    /// What proxies are told and what they have confirmed.
    pub route: RouteFacts,
    /// Operations under way.
    pub running: BTreeSet<Op>,
    /// Operations that failed, and when they may be tried again.
    pub failed: BTreeMap<Op, OpFailure>,
    /// Whether network and volumes of a deleted environment are gone.
    pub cleaned: bool,
    /// When an exited slot may be started again.
    pub restart_at: BTreeMap<(ReleaseId, u32), Timestamp>,
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
pub struct ReleaseFacts {
    /// Which.
    pub id: ReleaseId,
    /// How many instances it wants.
    pub replicas: u32,
    /// How long requests under way may take after the switch.
    pub drain_timeout: Span,
    /// Not healthy by then: failed.
    pub health_deadline: Span,
    /// Whether it has a command to run before any traffic.
    pub has_release_command: bool,
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
    /// It was proven once and has failed several probes in a row since.
    Failing,
}

/// What proxies are told and what they have confirmed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteFacts {
    /// The published state.
    pub state: RouteState,
    /// The instances published with it.
    pub instances: BTreeSet<String>,
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
