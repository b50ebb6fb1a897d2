//! What is said when a deployment has ended: where the app answers, or why not and what to try next.
//!
//! Promises: pure text out of a deployment; nothing the app wrote can disturb the terminal.

use slipway_domain::Timestamp;
use slipway_domain::image::ImageReference;
use slipway_domain::release::ReleaseCause;

use crate::model::{Deployment, Probe, Reason};
use crate::show;
use crate::style::{Style, clean};

/// The most of a probe's body that is shown.
const BODY_CHARS_MAX: usize = 200;
/// The most log lines that are shown.
const LOG_LINES_MAX: usize = 50;

/// Where the lines about a deployment stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum View {
    /// At the end of a watch.
    Watch,
    /// Below the record of the deployment itself.
    Record,
}

/// The lines about a deployment that succeeded.
pub(crate) fn success(deployment: &Deployment, url: Option<&str>, style: Style, now: Timestamp) -> Vec<String> {
    let what = format!("{} {}", clean(&deployment.app), deployment.release_text());
    let took = show::elapsed(deployment.took_ms(now));
    let mut lines = vec![format!(
        "{} {} is live in {} after {took}",
        style.check(),
        style.strong(what.trim_end()),
        clean(&deployment.environment)
    )];
    lines.extend(url.map(|url| format!("  {}", clean(url))));
    lines
}

/// The lines about a deployment that ended in any other way.
///
/// `serves` tells whether the environment serves anything, if that is known.
pub(crate) fn failure(
    deployment: &Deployment,
    serves: Option<bool>,
    view: View,
    style: Style,
    now: Timestamp,
) -> Vec<String> {
    let took = show::elapsed(deployment.took_ms(now));
    let (app, id) = (clean(&deployment.app), clean(&deployment.id));
    let before = match serves {
        Some(true) => "what served before goes on serving",
        Some(false) => "nothing serves",
        None => "what served before is left alone",
    };
    let what = match deployment.state.as_str() {
        "failed" => format!("{app}: not deployed after {took}; {before}"),
        "aborted" => format!("{app}: the deployment was called off after {took}"),
        "superseded" => format!("{app}: a later deployment took the place of this one"),
        other => format!("{app}: the deployment ended as `{}` after {took}", clean(other)),
    };
    // Nothing failed where people changed their mind.
    let sign = match deployment.state.as_str() {
        "superseded" | "aborted" => style.warn(clean(&deployment.state)),
        _ => style.cross(),
    };
    let mut lines = vec![format!("{sign} {what} ({id})")];
    if let Some(reason) = &deployment.reason {
        explain(reason, style, &mut lines);
    }
    if matches!(deployment.state.as_str(), "failed" | "aborted")
        && matches!(
            deployment.cause(),
            Some(ReleaseCause::Env | ReleaseCause::Secrets | ReleaseCause::Spec)
        )
    {
        lines.push("  The change is kept, and the next release has it: mend it or take it back first.".into());
    }
    if let Some(next) = next_command(deployment, view) {
        lines.push(String::new());
        lines.push(format!("  Try next: {}", style.strong(next)));
    }
    lines
}

fn explain(reason: &Reason, style: Style, lines: &mut Vec<String>) {
    lines.push(String::new());
    lines.push(format!(
        "  {} {}",
        style.strong(clean(&reason.detail)),
        style.dim(format!("[{}]", clean(&reason.code)))
    ));
    if let Some(hint) = reason.hint.as_deref().filter(|h| !h.is_empty()) {
        lines.push(format!("  {}", clean(hint)));
    }
    if let Some(code) = reason.exit_code {
        let oom = if reason.oom_killed == Some(true) {
            " (killed: out of memory)"
        } else {
            ""
        };
        lines.push(format!("  Exit code: {code}{oom}"));
    } else if reason.oom_killed == Some(true) {
        lines.push("  Killed: out of memory".into());
    }
    if let Some(probe) = &reason.last_probe {
        lines.extend(probe_lines(probe, style));
    }
    if !reason.log_tail.is_empty() {
        let skipped = reason.log_tail.len().saturating_sub(LOG_LINES_MAX);
        lines.push("  The last the app wrote:".into());
        let tail = reason.log_tail.iter().skip(skipped);
        lines.extend(tail.map(|line| format!("  {} {}", style.edge(), style.dim(clean(line)))));
    }
}

fn probe_lines(probe: &Probe, style: Style) -> Vec<String> {
    let target = probe.target.as_deref().map(clean).unwrap_or_default();
    let outcome = match (probe.status, probe.location.as_deref(), probe.error.as_deref()) {
        (Some(status), Some(location), _) => format!("HTTP {status} to {}", clean(location)),
        (Some(status), None, _) => format!("HTTP {status}"),
        (None, _, Some(error)) => clean(error).into_owned(),
        // Where there is no path to ask, a port that opens is all there is to see.
        (None, _, None) if target.starts_with("tcp://") => "open".to_owned(),
        (None, _, None) => "no answer".to_owned(),
    };
    let mut lines = vec![format!("  Last probe: {target} {outcome}")];
    if let Some(body) = probe.body.as_deref().map(str::trim).filter(|b| !b.is_empty()) {
        let shown: String = body.chars().take(BODY_CHARS_MAX).collect();
        let more = if shown.len() < body.len() { style.ellipsis() } else { "" };
        lines.extend(
            shown
                .lines()
                .map(|line| format!("  {} {}", style.edge(), style.dim(clean(line)))),
        );
        if let (false, Some(last)) = (more.is_empty(), lines.last_mut()) {
            last.push_str(more);
        }
    }
    lines
}

/// The one command that most likely helps; none where the hint says all there is to do.
fn next_command(deployment: &Deployment, view: View) -> Option<String> {
    let scope = scope(deployment);
    let reason = deployment.reason.as_ref()?;
    // The image alone does not bring back what a rollback was to bring back.
    let again = || {
        let image = deployment.image.as_deref().filter(|_| !deployment.is_rollback())?;
        Some(format!("slipway deploy {}{scope}", clean(image)))
    };
    match reason.code.as_str() {
        "registry_unauthorized" => {
            let host = deployment
                .image
                .as_deref()
                .and_then(|i| i.parse::<ImageReference>().ok())?;
            Some(format!("slipway registries set {} --username NAME", host.registry()))
        }
        "image_not_found"
        | "registry_unavailable"
        | "engine_unavailable"
        | "disk_full"
        | "proxy_unavailable"
        | "cancelled" => again(),
        "secret_unavailable" => Some(format!("slipway secrets list{scope}")),
        // The hint says how, with the command where one helps.
        "superseded" | "aborted" | "wrong_port" | "oom_killed" | "port_closed" | "loopback_only"
        | "health_redirect" | "health_status" | "health_timeout" => None,
        // What the failed release wrote is gone with its containers; the deployment keeps the last lines.
        _ => (view == View::Watch).then(|| format!("slipway deployments show {}", clean(&deployment.id))),
    }
}

/// The options that name the deployment's app and environment again.
fn scope(deployment: &Deployment) -> String {
    let environment = match deployment.environment.as_str() {
        "" | "production" => String::new(),
        other => format!(" -e {}", clean(other)),
    };
    format!(" -a {}{environment}", clean(&deployment.app))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::env;
    use serde_json::json;

    fn plain() -> Style {
        Style::of(false, &env(&[]))
    }

    fn deployment(reason: &serde_json::Value) -> Deployment {
        Deployment::read(json!({
            "id": "dep_1", "app": "web", "environment": "staging", "release": 7, "image": "registry.example.com/web:1",
            "state": "failed", "reason": reason, "created_at": "2026-01-01T00:00:00Z",
            "finished_at": "2026-01-01T00:01:03.250Z",
        }))
        .expect("a deployment")
    }

    #[test]
    fn a_failure_says_why_and_shows_the_evidence() {
        let reason = json!({
            "code": "health_status", "detail": "The health path answers 503.", "hint": "Look at the log.",
            "exit_code": null, "last_probe": {"at": "2026-01-01T00:01:00Z", "target": "http://10.0.0.2:8080/healthz",
            "status": 503, "body": "no database\u{1b}[2J"}, "log_tail": ["\u{1b}[31mboom\u{1b}[0m", "second"],
        });
        let now = slipway_domain::clock::testing::at(0);
        assert_eq!(
            failure(&deployment(&reason), Some(true), View::Watch, plain(), now),
            [
                "failed web: not deployed after 1m 03s; what served before goes on serving (dep_1)",
                "",
                "  The health path answers 503. [health_status]",
                "  Look at the log.",
                "  Last probe: http://10.0.0.2:8080/healthz HTTP 503",
                "  | no database",
                "  The last the app wrote:",
                "  | boom",
                "  | second",
            ]
        );
    }

    #[test]
    fn a_next_command_is_named_only_where_one_helps() {
        let registry = Some("slipway registries set registry.example.com --username NAME");
        let again = Some("slipway deploy registry.example.com/web:1 -a web -e staging");
        let show = Some("slipway deployments show dep_1");
        for (code, watched, recorded) in [
            ("registry_unauthorized", registry, registry),
            ("registry_unavailable", again, again),
            ("wrong_port", None, None),
            ("superseded", None, None),
            ("port_closed", None, None),
            ("loopback_only", None, None),
            ("health_redirect", None, None),
            ("health_status", None, None),
            ("health_timeout", None, None),
            ("exited", show, None),
            ("a_code_of_the_future", show, None),
        ] {
            let reason = json!({"code": code, "detail": "d", "hint": "h", "log_tail": []});
            let of = |view| next_command(&deployment(&reason), view);
            assert_eq!(of(View::Watch).as_deref(), watched, "{code}");
            assert_eq!(of(View::Record).as_deref(), recorded, "{code}");
        }
    }

    #[test]
    fn a_rollback_is_not_tried_again_by_deploying_its_image() {
        let mut back = deployment(&json!({"code": "disk_full", "detail": "d", "log_tail": []}));
        back.cause = "rollback".into();
        assert_eq!(next_command(&back, View::Watch), None);
    }

    #[test]
    fn only_what_serves_goes_on_serving() {
        let failed = deployment(&json!(null));
        for (serves, told) in [
            (Some(false), "nothing serves"),
            (None, "what served before is left alone"),
        ] {
            let lines = failure(
                &failed,
                serves,
                View::Watch,
                plain(),
                slipway_domain::clock::testing::at(0),
            );
            assert_eq!(
                lines,
                [format!("failed web: not deployed after 1m 03s; {told} (dep_1)")]
            );
        }
    }

    #[test]
    fn a_change_whose_deployment_failed_or_was_called_off_is_said_to_be_kept() {
        for (state, cause, kept) in [
            ("failed", "spec", true),
            ("aborted", "env", true),
            ("superseded", "spec", false),
            ("aborted", "deploy", false),
        ] {
            let mut ended = deployment(&json!(null));
            (ended.state, ended.cause) = (state.into(), cause.into());
            let now = slipway_domain::clock::testing::at(0);
            let lines = failure(&ended, None, View::Watch, plain(), now);
            assert_eq!(
                lines.iter().any(|l| l.contains("The change is kept")),
                kept,
                "{state} {cause}"
            );
        }
    }
}
