//! From evidence to the reason a person reads: what happened, the likely cause, and what to do next.
//!
//! Promises: every failure has a detail and a hint; a hint names the one setting or command that would change the
//! outcome, where there is one.

use std::net::SocketAddr;

use slipway_domain::deployment::{LastProbe, Reason, ReasonCode, StepName};
use slipway_domain::name::AppName;
use slipway_domain::observed::InstanceState;
use slipway_domain::quantity::{Bytes, Span};
use slipway_domain::spec::STAY_UP;

use crate::plan::Failure;

/// What was gathered about a failure. What could not be gathered is absent.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// The app, for commands to type.
    pub app: AppName,
    /// The port the spec says.
    pub port: u16,
    /// The health path the spec says.
    pub health_path: Option<String>,
    /// The health deadline the spec says.
    pub health_deadline: Span,
    /// The memory limit the spec says.
    pub memory: Bytes,
    /// Whether the root file system was read-only.
    pub read_only: bool,
    /// Whether it ran as a user of our choice.
    pub forced_user: bool,
    /// Whether the release served before, and its instances were healthy then.
    pub served: bool,
    /// The instance's last state.
    pub state: Option<InstanceState>,
    /// What the last probe saw.
    pub last_probe: Option<LastProbe>,
    /// Where its processes listen.
    pub listening: Vec<SocketAddr>,
    /// Its last lines.
    pub log_tail: Vec<String>,
}

/// The reason of a failure.
pub fn diagnose(failure: &Failure, evidence: &Evidence) -> Reason {
    let mut reason = match failure {
        Failure::Operation { code, detail } => {
            Reason::new(*code, detail.clone(), operation_hint(*code, detail, evidence))
        }
        Failure::Command { exit_code } => command(*exit_code, evidence),
        Failure::Exited { .. } => exited(evidence),
        Failure::Unhealthy { .. } => unhealthy(evidence),
        Failure::Overdue { step } => overdue(*step),
        Failure::Canary { detail } => Reason::new(
            ReasonCode::CanaryWorse,
            format!("the new release does worse than the old one: {detail}; all traffic is back on the old one"),
            format!(
                "the last it wrote is below; `deploy.canary` in the spec says what is allowed (`slipway spec show --app {}`)",
                evidence.app
            ),
        ),
        Failure::Cancelled { deleted: true } => Reason::new(
            ReasonCode::Cancelled,
            "the environment was deleted while the deployment was under way".into(),
            "deploy again if that was not meant: a deploy makes app and environment anew".into(),
        ),
        Failure::Cancelled { deleted: false } => Reason::new(
            ReasonCode::Cancelled,
            "the app was stopped while the deployment was under way".into(),
            format!("start it again with `slipway start --app {}`", evidence.app),
        ),
    };
    reason.last_probe.clone_from(&evidence.last_probe);
    reason.log_tail.clone_from(&evidence.log_tail);
    reason
}

fn operation_hint(code: ReasonCode, detail: &str, evidence: &Evidence) -> String {
    match code {
        ReasonCode::StartFailed if detail.contains("No command specified") => {
            "the image has neither ENTRYPOINT nor CMD: build it with the command that starts the app".into()
        }
        ReasonCode::ImageNotFound => "push the image again, then deploy".into(),
        ReasonCode::RegistryUnauthorized => {
            "set the registry's credentials with `slipway registries set HOST --username NAME`, then deploy".into()
        }
        ReasonCode::RegistryUnavailable => "check that this machine reaches the registry, then deploy again".into(),
        ReasonCode::DiskFull => {
            "free space on the engine's disk (`docker system df`), or lower SLIPWAY_DISK_FREE_MIN, then deploy again"
                .into()
        }
        ReasonCode::SecretUnavailable => {
            "restore the master key file the secrets were sealed with, or set the secrets again".into()
        }
        ReasonCode::NetworkPoolUsedUp => {
            "delete environments that nobody needs, or set SLIPWAY_NETWORK_POOL to a larger network and restart".into()
        }
        ReasonCode::UnknownRelease => "deploy again: that ends the standstill".into(),
        ReasonCode::SmokeFailed => {
            "the checks are `deploy.smoke` in the spec; nothing had traffic yet: mend the app or the check, then deploy again".into()
        }
        ReasonCode::StartFailed => format!(
            "check the image's entrypoint and the spec (`slipway spec show --app {}`); the message above is the engine's own",
            evidence.app
        ),
        _ => "run `slipway doctor` on the server, then deploy again".into(),
    }
}

fn command(exit_code: Option<i64>, evidence: &Evidence) -> Reason {
    let (detail, hint) = match exit_code {
        Some(code) => (
            format!("the release command ended with exit code {code}; no traffic was moved"),
            waiver(evidence).unwrap_or_else(|| "the command's last lines are below; mend it and deploy again".into()),
        ),
        None => (
            "the release command did not end within 10 minutes and was stopped; no traffic was moved".into(),
            "the last it wrote is below: where that is the app serving, the image takes no command in the place of its own; otherwise make it shorter, or run long work outside of deploys".into(),
        ),
    };
    Reason {
        exit_code,
        ..Reason::new(ReasonCode::ReleaseCommandFailed, detail, hint)
    }
}

fn exited(evidence: &Evidence) -> Reason {
    let Some(InstanceState::Exited {
        exit_code, oom_killed, ..
    }) = &evidence.state
    else {
        return Reason::new(
            ReasonCode::Exited,
            "the app ended by itself right after it was started".into(),
            last_lines(evidence),
        );
    };
    if *oom_killed {
        let detail = format!(
            "the app was killed because it used more than its {} of memory",
            evidence.memory
        );
        let hint = format!(
            "give it more (`slipway spec set --app {} resources.memory={}`), or make the app use less",
            evidence.app,
            Bytes(evidence.memory.0.saturating_mul(2))
        );
        return Reason {
            exit_code: Some(*exit_code),
            oom_killed: Some(true),
            ..Reason::new(ReasonCode::OomKilled, detail, hint)
        };
    }
    let detail = match exit_code {
        0 => "the app ended by itself with exit code 0; an app must keep running".into(),
        126 | 127 => format!("the app's command could not be run (exit code {exit_code})"),
        137 => "the app was killed (exit code 137)".into(),
        139 => "the app crashed with a segmentation fault (exit code 139)".into(),
        code => format!("the app ended by itself with exit code {code}"),
    };
    let hint = not_run(*exit_code, evidence)
        .or_else(|| waiver(evidence))
        .or_else(|| missing_variable(evidence))
        .unwrap_or_else(|| last_lines(evidence));
    Reason {
        exit_code: Some(*exit_code),
        oom_killed: Some(false),
        ..Reason::new(ReasonCode::Exited, detail, hint)
    }
}

fn last_lines(evidence: &Evidence) -> String {
    if evidence.log_tail.is_empty() {
        return "it wrote nothing: let it say on standard error why it ends, and deploy again".into();
    }
    "its last lines are below; mend it and deploy again".into()
}

/// Why a command cannot be run although it may be there: execve(2) calls an interpreter or a loader that is missing by
/// the same name as a program that is missing.
fn not_run(exit_code: i64, evidence: &Evidence) -> Option<String> {
    let says = |what: &str| evidence.log_tail.iter().any(|line| line.contains(what));
    match exit_code {
        126 | 127 if says("Permission denied") => {
            Some("the file is there and may not be run: `COPY --chmod=755`, or `chmod +x` before the image is built".into())
        }
        127 => Some(
            "either the image has no such file (look at ENTRYPOINT and CMD), or it has the file and lacks what the file needs to run: the C library and loader of a program that is linked dynamically (link it statically, or use a base image that has them), or the interpreter in a script's first line"
                .into(),
        ),
        126 => Some("the file is no program of this machine's: build it for this platform".into()),
        _ => None,
    }
}

/// The one setting that would let an app run that fails under the secure defaults.
fn waiver(evidence: &Evidence) -> Option<String> {
    let says = |needles: &[&str]| {
        evidence.log_tail.iter().any(|l| {
            let line = l.to_ascii_lowercase();
            needles.iter().any(|n| line.contains(n))
        })
    };
    let app = &evidence.app;
    if evidence.read_only && says(&["read-only file system", "erofs"]) {
        return Some(format!(
            "the app writes to its own file system, which is read-only: write to /tmp or a volume, or waive it with `slipway spec set --app {app} security.read_only=false`"
        ));
    }
    if evidence.forced_user
        && says(&[
            "permission denied",
            "operation not permitted",
            "eacces",
            "eperm",
            "must be run as root",
        ])
    {
        return Some(format!(
            "the app lacks a right as the user it is given: let it run unprivileged, or waive it with `slipway spec set --app {app} security.user=image`"
        ));
    }
    None
}

/// A variable the app complains about.
fn missing_variable(evidence: &Evidence) -> Option<String> {
    let complains = |line: &str| {
        let line = line.to_ascii_lowercase();
        [
            "not set",
            "missing",
            "required",
            "undefined",
            "must be set",
            "keyerror",
            "not defined",
        ]
        .iter()
        .any(|n| line.contains(n))
    };
    let is_name = |word: &str| {
        word.len() >= 3
            && word.contains(|c: char| c.is_ascii_uppercase())
            && word
                .bytes()
                .all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_')
            && (word.contains('_') || word.len() >= 4)
    };
    let name = evidence.log_tail.iter().rev().filter(|l| complains(l)).find_map(|l| {
        l.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')
            .find(|w| is_name(w) && !matches!(*w, "ERROR" | "FATAL" | "WARN" | "PANIC"))
    })?;
    let app = &evidence.app;
    Some(format!(
        "the app seems to miss the variable {name}: set it with `slipway env set --app {app} {name}=…` or, if it is secret, `slipway secrets set --app {app} {name}`"
    ))
}

fn unhealthy(evidence: &Evidence) -> Reason {
    let path = evidence.health_path.as_deref().unwrap_or("");
    let deadline = evidence.health_deadline;
    let Some(probe) = &evidence.last_probe else {
        return Reason::new(
            ReasonCode::HealthTimeout,
            format!("the app was not healthy within {deadline}, and no probe could be made"),
            "run `slipway doctor` on the server: the platform may not reach its containers' network".into(),
        );
    };
    if let Some(location) = &probe.location {
        return Reason::new(
            ReasonCode::HealthRedirect,
            format!("{path} answers with status {} and sends the probe to {location}", probe.status.unwrap_or_default()),
            "let the health path answer 200 by itself: no login, no redirect to HTTPS (the platform ends TLS before the app)".into(),
        );
    }
    if let Some(status) = probe.status {
        let hint = match status {
            404 => format!("the app has no {path}: set `health.path` to a path that answers 200"),
            401 | 403 => format!("{path} asks for a login: let it answer 200 without one"),
            _ => "the probe's body and the app's last lines are below".into(),
        };
        return Reason::new(
            ReasonCode::HealthStatus,
            if evidence.served {
                format!("{path} answers with status {status}, though it was healthy before")
            } else {
                format!("{path} still answers with status {status} after {deadline}")
            },
            hint,
        );
    }
    silent(evidence, probe)
}

/// The port gave no answer: who listens where says why.
fn silent(evidence: &Evidence, probe: &LastProbe) -> Reason {
    let (port, deadline, app) = (evidence.port, evidence.health_deadline, &evidence.app);
    if evidence.health_path.is_none() && probe.error.is_none() {
        return Reason::new(
            ReasonCode::HealthTimeout,
            format!("the app opened port {port} so late that it had not stayed open for {STAY_UP} within {deadline}"),
            "raise `health.deadline`, or set `health.path`: there one good answer is enough".into(),
        );
    }
    let on_port: Vec<&SocketAddr> = evidence.listening.iter().filter(|a| a.port() == port).collect();
    if !on_port.is_empty() && on_port.iter().all(|a| a.ip().is_loopback()) {
        return Reason::new(
            ReasonCode::LoopbackOnly,
            format!(
                "the app listens on {} only, where nobody outside its container reaches it",
                on_port[0]
            ),
            format!("let it listen on 0.0.0.0:{port}"),
        );
    }
    if on_port.is_empty() {
        if let Some(other) = evidence
            .listening
            .iter()
            .find(|a| !a.ip().is_loopback())
            .or(evidence.listening.first())
        {
            return Reason::new(
                ReasonCode::WrongPort,
                format!(
                    "nothing listens on port {port}, but the app listens on port {}",
                    other.port()
                ),
                format!(
                    "let it listen on $PORT, or say so: `slipway spec set --app {app} internal_port={}`",
                    other.port()
                ),
            );
        }
        return Reason::new(
            ReasonCode::PortClosed,
            if evidence.served {
                format!("nothing listens on port {port} any more")
            } else {
                format!("nothing listened on port {port} within {deadline}")
            },
            format!(
                "let the app listen on 0.0.0.0:$PORT ({port}), or raise `health.deadline` if it needs longer to start"
            ),
        );
    }
    Reason::new(
        ReasonCode::HealthTimeout,
        format!(
            "the app listens on port {port}, but the probe got no answer: {}",
            probe.error.as_deref().unwrap_or("no answer in time")
        ),
        "raise `health.timeout` if the answer takes long, or `health.deadline` if the start does".into(),
    )
}

fn overdue(step: StepName) -> Reason {
    match step {
        StepName::Switch => Reason::new(
            ReasonCode::ProxyUnavailable,
            "the new release is healthy, but not every proxy confirmed the switch within 60 s; the old release keeps the traffic".into(),
            "look at the proxy: `slipway doctor` on its machine, or its /readyz".into(),
        ),
        StepName::Pull => Reason::new(
            ReasonCode::RegistryUnavailable,
            "the image did not arrive within 30 minutes".into(),
            "check the registry and the line to it, then deploy again".into(),
        ),
        _ => Reason::new(
            ReasonCode::EngineUnavailable,
            "the container engine did not do what it was asked in time".into(),
            "run `slipway doctor` on the server, then deploy again".into(),
        ),
    }
}
