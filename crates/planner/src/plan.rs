//! What the planner decides: steps, and when to look again.

use std::collections::BTreeSet;

use slipway_domain::alert::AlertKind;
use slipway_domain::deployment::{ReasonCode, StepName, StepState};
use slipway_domain::ids::{DeploymentId, ReleaseId};
use slipway_domain::rest::Rest;
use slipway_domain::routing::{RouteState, Split};
use slipway_domain::{ReleaseNumber, Timestamp};

/// A batch of independent, idempotent steps and a time to look again.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    /// What to do now.
    pub steps: Vec<Step>,
    /// When to look again at the latest, if nothing happens before.
    pub wake: Option<Timestamp>,
    /// Whether what is desired is so, for this generation.
    pub settled: bool,
}

/// What let a step of a canary go on to the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Judged {
    /// So many requests of the new release, and nothing spoke against it.
    Requests(u64),
    /// Only so many came, in twice the step's time.
    TooFew(u64),
    /// What the proxies counted is not known.
    Uncounted,
}

/// One thing to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The deployment is taken up.
    Begin(DeploymentId),
    /// A step of the deployment changes.
    Mark(DeploymentId, StepName, StepState),
    /// A long operation begins, unless it is under way.
    Start(Op),
    /// Proxies are told this from now on.
    Publish(Route),
    /// The deployment has succeeded; its release serves.
    Succeed(DeploymentId),
    /// The deployment has failed.
    Fail(DeploymentId, Failure),
    /// A step of the deployment's canary begins to count, from 0, and what the one before it was judged by.
    Canary(DeploymentId, u32, Option<Judged>),
    /// The release that serves fails within its bake time: a deployment of the one before begins.
    RollBack {
        /// What serves and fails.
        from: ReleaseId,
        /// What served before.
        to: ReleaseId,
        /// Why.
        failure: Failure,
    },
    /// So many instances are wanted from now on.
    Scale(u32),
    /// The environment goes to rest, rests deeper, or wakes.
    Rest(Rest),
    /// Somebody is to be told: of which release, and why in a sentence.
    Raise(AlertKind, ReleaseId, String),
    /// What somebody was told of is over.
    Clear(AlertKind),
    /// The number was given to a release that the database does not know: it is not given again.
    PassNumber(ReleaseNumber),
    /// The environment's last traces go.
    Purge,
}

/// What proxies are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// What to do with requests.
    pub state: RouteState,
    /// Instances to forward to.
    pub instances: BTreeSet<String>,
    /// How the traffic is shared; evenly over the instances if not given.
    pub split: Option<Split>,
}

impl Route {
    /// No instance: a page, or a wait.
    pub fn nowhere(state: RouteState) -> Self {
        Self {
            state,
            instances: BTreeSet::new(),
            split: None,
        }
    }

    /// Evenly to these instances.
    pub fn serving(instances: BTreeSet<String>) -> Self {
        Self {
            state: RouteState::Serving,
            instances,
            split: None,
        }
    }
}

/// An operation that takes time; at most one of each is under way.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Op {
    /// Bring the release's image to the machine.
    Pull(ReleaseId),
    /// Begin the release command.
    Command(ReleaseId),
    /// Remove what the release command left.
    RemoveCommand(ReleaseId),
    /// Make these slots of the release run.
    Apply(ReleaseId, BTreeSet<u32>),
    /// Make the checks that the release declares for itself.
    Smoke(ReleaseId),
    /// Make an instance that is frozen or has ended go on, as it is.
    Resume(String),
    /// Freeze an instance.
    Pause(String),
    /// Stop an instance and keep it.
    Stop(String),
    /// Stop and remove an instance.
    Remove(String),
    /// Remove the network and the volumes of a deleted environment.
    Clean,
}

/// Why a deployment failed, before the evidence is gathered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// An operation cannot succeed.
    Operation {
        /// For scripts.
        code: ReasonCode,
        /// The engine's or the registry's words.
        detail: String,
    },
    /// The release command ended with an error or ran too long.
    Command {
        /// Its exit code; `None` when it ran too long.
        exit_code: Option<i64>,
    },
    /// An instance ended by itself.
    Exited {
        /// Which.
        instance: String,
    },
    /// An instance was not healthy in time.
    Unhealthy {
        /// Which.
        instance: String,
    },
    /// A step took longer than it may, for a reason outside the app.
    Overdue {
        /// Which.
        step: StepName,
    },
    /// The new release of a canary does worse than the old one.
    Canary {
        /// What was compared, in a sentence.
        detail: String,
    },
    /// The environment was stopped meanwhile, or is being deleted.
    Cancelled {
        /// Whether it is being deleted.
        deleted: bool,
    },
}
