//! What an app asks for: the spec of one environment, which is also the manifest `slipway.toml`.
//!
//! Promises: a [`Spec`] is valid as a whole. One parser serves the API, the manifest and the database, and it
//! reports every problem at once with a JSON pointer (RFC 6901) and, for an unknown key, the nearest known one.

mod parse;
mod section;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::cron::Schedule;
use crate::name::{CronName, EnvironmentName, VariableName, VolumeName};
use crate::quantity::{Bytes, Decimal, MilliCpu, Span};

pub use parse::{Manifest, RUN_TIMEOUT_DEFAULT, RUN_TIMEOUT_MS, SpecErrors, check_command, check_variable};
pub use section::{FieldError, FieldErrorKind, kind_of};

/// What an app asks for in one environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Spec {
    /// The port the app listens on; also given to it as `PORT`.
    pub internal_port: u16,
    /// Plain variables.
    pub env: BTreeMap<VariableName, String>,
    /// What must be there before a deploy starts.
    pub secrets: Secrets,
    /// How the platform finds out that an instance is well.
    pub health: Health,
    /// How a release comes into service.
    pub deploy: Deploy,
    /// How many instances.
    pub scale: Scale,
    /// Bounds on each instance.
    pub resources: Resources,
    /// The run defaults that may be waived.
    pub security: Security,
    /// Bounds on requests.
    pub http: Http,
    /// Names that visitors may bring along.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_demand_tls: Option<OnDemandTls>,
    /// Named volumes.
    pub mounts: Vec<Mount>,
    /// Commands that run by the clock.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cron: Vec<CronJob>,
}

/// Secrets a release needs.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Secrets {
    /// Names that must be set.
    pub required: Vec<VariableName>,
}

/// The health gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Health {
    /// The path to GET; without one a TCP connect and [`STAY_UP`] of staying up count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Between probes; the first ones come faster.
    pub interval: Span,
    /// For one probe.
    pub timeout: Span,
    /// Not healthy by then: the deploy fails.
    pub deadline: Span,
    /// An instance that has served and has not been healthy for so long is started again; 0: never.
    pub restart_after: Span,
}

/// How long an app without a health path must stay up after its port first opened.
pub const STAY_UP: Span = Span::from_secs(5);

/// How a release comes into service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Deploy {
    /// The strategy.
    pub strategy: Strategy,
    /// How many unproven instances may start at once beside those that serve; a quarter of the wanted count if not
    /// given. Of `rolling` only.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_surge: Option<u32>,
    /// For so long after the switch a release that fails is taken back by the platform; with `bluegreen` the old
    /// instances run on meanwhile.
    pub bake_time: Span,
    /// The steps of a canary; empty for other strategies.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub canary: Vec<CanaryStep>,
    /// Whether a visitor stays with the release that answered first while there are two.
    pub sticky: bool,
    /// Whether a new image waits until another token than the one that asked for it approves.
    pub approval: bool,
    /// The environment that gets a new image too, once it has come into service here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub promote_to: Option<EnvironmentName>,
    /// Checks of the app's own, made before any traffic.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub smoke: Vec<Smoke>,
    /// Run once, before any traffic; its failure stops the deploy.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub release_command: Vec<String>,
    /// How long requests under way may take after the switch.
    pub drain_timeout: Span,
    /// Between the signal and the kill.
    pub kill_timeout: Span,
    /// The signal that asks the app to stop.
    pub kill_signal: KillSignal,
}

/// The way traffic moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Strategy {
    /// Instance by instance, never below the wanted count.
    Rolling,
    /// A whole new group beside the old, one switch, and the old group kept for the bake time.
    BlueGreen,
    /// A whole new group that gets the traffic in shares, judged against the old one at each.
    Canary,
    /// The old instances stop before the new ones start; requests wait meanwhile.
    Recreate,
}

impl Strategy {
    /// The word in the spec.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rolling => "rolling",
            Self::BlueGreen => "bluegreen",
            Self::Canary => "canary",
            Self::Recreate => "recreate",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Rolling, Self::BlueGreen, Self::Canary, Self::Recreate]
            .into_iter()
            .find(|s| s.as_str() == text)
    }
}

/// One step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct CanaryStep {
    /// The new release's share of the traffic, in percent, 1 to 99.
    pub weight: u32,
    /// How long it has this share.
    pub hold: Span,
    /// It may answer so much more of its requests with an error than the old release does.
    pub max_error_rate: Decimal,
    /// Its 99th percentile of latency may be so many times the old release's.
    pub max_p99_ratio: Decimal,
}

impl Default for CanaryStep {
    fn default() -> Self {
        Self {
            weight: 10,
            hold: Span::from_secs(300),
            max_error_rate: Decimal::from_millionths(10_000),
            max_p99_ratio: Decimal::from_millionths(1_500_000),
        }
    }
}

/// A check: a GET to a new instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Smoke {
    /// The path and query.
    pub path: String,
    /// The status it must answer with.
    pub status: u16,
    /// A text that must be in its body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
}

/// Signals that ask a process to stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum KillSignal {
    /// The usual one.
    #[serde(rename = "SIGTERM")]
    Term,
    /// What a terminal sends.
    #[serde(rename = "SIGINT")]
    Int,
    /// What some servers take as "finish, then stop".
    #[serde(rename = "SIGQUIT")]
    Quit,
    /// What others take for it.
    #[serde(rename = "SIGUSR1")]
    Usr1,
}

impl KillSignal {
    /// The name in the spec and for the engine.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Term => "SIGTERM",
            Self::Int => "SIGINT",
            Self::Quit => "SIGQUIT",
            Self::Usr1 => "SIGUSR1",
        }
    }
}

/// How many instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Scale {
    /// At least so many; with 0 an idle app sleeps and wakes on the first request.
    pub min: u32,
    /// At most so many; `min` if not given, and at least 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max: Option<u32>,
    /// So many requests in flight per instance are wanted; more start another, where `max` allows it.
    pub concurrency: u32,
    /// Without any request for so long, an app with `min = 0` sleeps.
    pub idle_timeout: Span,
    /// For so long an idle app is only frozen, in memory, before it is stopped.
    pub pause_for: Span,
}

impl Scale {
    /// Always so many, of which none sleeps.
    pub const fn fixed(count: u32) -> Self {
        Self {
            min: count,
            max: None,
            concurrency: 80,
            idle_timeout: Span::from_secs(900),
            pause_for: Span::from_secs(0),
        }
    }

    /// The least that run while it is awake.
    pub fn floor(&self) -> u32 {
        self.min.max(1)
    }

    /// The most that may run.
    pub fn ceiling(&self) -> u32 {
        self.max.unwrap_or(self.min).max(self.floor())
    }

    /// Whether an idle app sleeps.
    pub const fn sleeps(&self) -> bool {
        self.min == 0
    }

    /// Whether the number of instances follows the requests.
    pub fn follows_load(&self) -> bool {
        self.ceiling() > self.floor()
    }
}

/// The most instances one environment may have.
pub const REPLICAS_MAX: u32 = 32;

/// Bounds on each instance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Resources {
    /// CPU time per wall time.
    pub cpu: MilliCpu,
    /// Memory; swap is not added to it.
    pub memory: Bytes,
    /// Processes and threads.
    pub pids: u32,
}

/// The run defaults that may be waived, each shown as a warning when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Security {
    /// Whether the root file system is read-only (with a writable `/tmp` in memory).
    pub read_only: bool,
    /// As whom it runs.
    pub user: RunAs,
}

/// As whom an app runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunAs {
    /// This numeric user and group.
    Uid(u32),
    /// The image's own user.
    Image,
}

impl Serialize for RunAs {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Uid(uid) => s.collect_str(uid),
            Self::Image => s.serialize_str("image"),
        }
    }
}

/// Bounds on requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Http {
    /// The longest request body.
    pub max_body: Bytes,
    /// To the first response byte.
    pub request_timeout: Span,
    /// Requests in flight at one instance; the proxy's own bound if not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_in_flight: Option<u32>,
    /// Requests that wait for a place at an instance.
    pub queue: u32,
    /// How long one waits.
    pub queue_timeout: Span,
}

/// Names that nobody added and that visitors come with: the app is asked whether it serves them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OnDemandTls {
    /// The path and query to GET, with `domain` added to the query; any 2xx says yes.
    pub ask: String,
    /// So many names the environment may get in this way.
    pub max: u32,
}

/// A named volume at a path.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Mount {
    /// The volume, made on first use and kept.
    pub volume: VolumeName,
    /// An absolute path in the container.
    pub path: String,
}

/// A command that runs by the clock, in a container of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CronJob {
    /// Its name in the environment, under which its history is kept.
    pub name: CronName,
    /// When.
    pub schedule: Schedule,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// What happens when its time comes and the last one is still under way.
    pub concurrency: Concurrency,
    /// After so long it is ended.
    pub timeout: Span,
}

impl Serialize for CronJob {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;
        let mut fields = s.serialize_struct("CronJob", 6)?;
        fields.serialize_field("name", self.name.as_str())?;
        fields.serialize_field("schedule", &self.schedule.to_string())?;
        fields.serialize_field("timezone", self.schedule.zone())?;
        fields.serialize_field("command", &self.command)?;
        fields.serialize_field("concurrency", self.concurrency.as_str())?;
        fields.serialize_field("timeout", &self.timeout)?;
        fields.end()
    }
}

/// What happens when a command's time comes and its last run is still under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// The new one is skipped, and its history says so.
    Forbid,
    /// The last one is called off.
    Replace,
    /// They run beside each other.
    Allow,
}

impl Concurrency {
    /// The word in the spec.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Forbid => "forbid",
            Self::Replace => "replace",
            Self::Allow => "allow",
        }
    }
}

impl Default for Spec {
    fn default() -> Self {
        Self {
            internal_port: 8080,
            env: BTreeMap::new(),
            secrets: Secrets::default(),
            health: Health {
                path: None,
                interval: Span::from_secs(1),
                timeout: Span::from_secs(5),
                deadline: Span::from_secs(60),
                restart_after: Span::from_secs(60),
            },
            deploy: Deploy {
                strategy: Strategy::Rolling,
                max_surge: None,
                bake_time: Span::from_secs(120),
                canary: Vec::new(),
                sticky: false,
                approval: false,
                promote_to: None,
                smoke: Vec::new(),
                release_command: Vec::new(),
                drain_timeout: Span::from_secs(30),
                kill_timeout: Span::from_secs(30),
                kill_signal: KillSignal::Term,
            },
            scale: Scale::fixed(1),
            resources: Resources {
                cpu: MilliCpu(500),
                memory: Bytes(256 << 20),
                pids: 256,
            },
            security: Security {
                read_only: true,
                user: RunAs::Uid(65_532),
            },
            http: Http {
                max_body: Bytes(100 << 20),
                request_timeout: Span::from_secs(60),
                max_in_flight: None,
                queue: 100,
                queue_timeout: Span::from_secs(5),
            },
            on_demand_tls: None,
            mounts: Vec::new(),
            cron: Vec::new(),
        }
    }
}

impl Spec {
    /// The spec as scripts read it: what [`Spec::from_json`] takes back unchanged.
    pub fn to_json(&self) -> serde_json::Value {
        // A struct of strings, numbers and maps with string keys cannot fail to serialize.
        serde_json::to_value(self).unwrap_or_default()
    }

    /// The same spec brought into service in another way. What belongs to its own way only is left out.
    #[must_use]
    pub fn with_strategy(&self, strategy: Strategy) -> Self {
        let mut spec = self.clone();
        let deploy = &mut spec.deploy;
        if deploy.strategy == strategy {
            return spec;
        }
        deploy.strategy = strategy;
        deploy.max_surge = None;
        deploy.sticky = false;
        deploy.canary = if strategy == Strategy::Canary {
            vec![CanaryStep::default()]
        } else {
            Vec::new()
        };
        spec
    }

    /// What weakens the defaults or leaves a gap, in sentences for people.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.health.path.is_none() {
            warnings.push(
                "no health path: an open port and 5 s of staying up count as healthy; set `health.path` to let the app speak for itself".into(),
            );
        }
        if !self.security.read_only {
            warnings
                .push("`security.read_only = false`: the app may change its own files until it is restarted".into());
        }
        match self.security.user {
            RunAs::Uid(0) => warnings.push("`security.user = \"0\"`: the app runs as root inside its container".into()),
            RunAs::Image => {
                warnings.push(
                    "`security.user = \"image\"`: the image decides as whom the app runs, which may be root".into(),
                );
            }
            RunAs::Uid(_) => {}
        }
        if self.deploy.strategy == Strategy::Recreate {
            warnings.push(
                "`deploy.strategy = \"recreate\"`: nobody is served while the old instances stop and the new ones start; requests wait meanwhile, for 30 s at most".into(),
            );
        } else if !self.mounts.is_empty() {
            warnings.push(format!(
                "the app has a volume: during a {} deploy the old and the new instance both use it; `deploy.strategy = \"recreate\"` stops the old one first",
                self.deploy.strategy.as_str()
            ));
        }
        warnings
    }
}

#[cfg(test)]
mod tests;
