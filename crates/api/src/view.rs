//! From rows to bodies.

use http::{HeaderMap, HeaderValue, header};
use slipway_domain::deployment::DeploymentState;
use slipway_domain::ids::ReleaseId;
use slipway_domain::observed::UNKNOWN_RELEASE;
use slipway_store as store;
use slipway_store::Desired;
use slipway_wire::apps::{App, Condition, Environment, EnvironmentState, EnvironmentSummary};
use slipway_wire::deployments::Deployment;
use slipway_wire::events::Event;
use slipway_wire::releases::Release;
use slipway_wire::tokens::Token;

use crate::state::ApiSettings;

/// A `Location` header.
pub(crate) fn located(path: &str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    if let Ok(value) = HeaderValue::from_str(path) {
        headers.insert(header::LOCATION, value);
    }
    headers
}

/// The reason of a condition that says that an app ends again and again.
const CRASH_LOOP: &str = "CrashLoop";
/// What the scheduler calls an app that rests.
const ASLEEP: &str = "Asleep";

/// What an environment's state is in a word.
fn state(
    desired: Desired,
    settled: bool,
    serves: bool,
    unready: Option<&str>,
    last: Option<DeploymentState>,
) -> EnvironmentState {
    match (desired, last) {
        (Desired::Deleted, _) => EnvironmentState::Deleting,
        (_, _) if unready == Some(UNKNOWN_RELEASE) => EnvironmentState::Degraded,
        (Desired::Stopped, _) if !settled => EnvironmentState::Stopping,
        (Desired::Stopped, _) => EnvironmentState::Stopped,
        (Desired::Running, None) => EnvironmentState::Empty,
        // What waits for somebody's word changes nothing yet, for days perhaps.
        (Desired::Running, Some(DeploymentState::AwaitingApproval)) if !serves => EnvironmentState::Empty,
        (Desired::Running, Some(last)) if !last.is_final() && last != DeploymentState::AwaitingApproval => {
            EnvironmentState::Deploying
        }
        (Desired::Running, Some(_)) if !serves => EnvironmentState::Failed,
        (Desired::Running, Some(_)) if unready == Some(CRASH_LOOP) => EnvironmentState::CrashLoop,
        (Desired::Running, Some(_)) if unready == Some(ASLEEP) => EnvironmentState::Asleep,
        // A deployment that failed leaves things to put in order while the release before it serves as it should.
        (Desired::Running, Some(_)) if unready.is_none() => EnvironmentState::Running,
        (Desired::Running, Some(_)) => EnvironmentState::Degraded,
    }
}

/// An app with its environments, as far as the token sees them.
pub(crate) fn app(
    row: store::AppSummary,
    settings: &ApiSettings,
    sees: impl Fn(&store::EnvironmentSummary) -> bool,
) -> App {
    let app = row.app;
    let environments = row
        .environments
        .into_iter()
        .filter(|e| sees(e))
        .map(|e| EnvironmentSummary {
            url: settings.url(&app.name, &e.name),
            state: state(
                e.desired,
                e.settled,
                e.serving.is_some(),
                e.unready.as_deref(),
                e.last_deployment,
            ),
            release: e.serving.map(|n| n.0),
            settled: e.settled,
            staged: e.staged,
            last_deployment: e.last_deployment.map(|s| s.to_string()),
            name: e.name.to_string(),
        })
        .collect();
    App {
        id: app.id.to_string(),
        name: app.name.to_string(),
        team: app.team_name.to_string(),
        created_at: app.created_at,
        created_by: app.created_by,
        environments,
    }
}

/// What goes with an environment's own row.
pub(crate) struct Around {
    pub(crate) status: Option<store::EnvironmentStatus>,
    pub(crate) release: Option<slipway_domain::ReleaseNumber>,
    pub(crate) serving: Option<slipway_domain::ReleaseNumber>,
    pub(crate) last_deployment: Option<DeploymentState>,
}

/// An environment in full.
pub(crate) fn environment(row: store::Environment, around: Around, settings: &ApiSettings) -> Environment {
    let settled = around
        .status
        .as_ref()
        .is_some_and(|s| s.observed_generation == row.generation);
    let conditions = around.status.map(|s| s.conditions).unwrap_or_default();
    let unready = conditions.iter().find(|c| c.kind == "Ready" && !c.status);
    Environment {
        url: settings.url(&row.app_name, &row.name),
        id: row.id.to_string(),
        app: row.app_name.to_string(),
        name: row.name.to_string(),
        created_at: row.created_at,
        created_by: row.created_by,
        state: state(
            row.desired,
            settled,
            around.serving.is_some(),
            unready.map(|c| c.reason.as_str()),
            around.last_deployment,
        ),
        release: around.release.map(|n| n.0),
        serving: around.serving.map(|n| n.0),
        generation: row.generation.0,
        expires_at: row.expiry.map(|(_, at)| at),
        settled,
        staged: row.staged,
        conditions: conditions
            .into_iter()
            .map(|c| Condition {
                kind: c.kind,
                status: c.status,
                reason: c.reason,
                message: c.message,
                since: c.since,
            })
            .collect(),
    }
}

/// A deployment.
pub(crate) fn deployment(row: store::Deployment, settings: &ApiSettings, warnings: Vec<String>) -> Deployment {
    Deployment {
        url: settings.url(&row.app_name, &row.environment_name),
        id: row.id.to_string(),
        app: row.app_name.to_string(),
        environment: row.environment_name.to_string(),
        release: row.release_number.0,
        image: row.image,
        digest: row.digest.to_string(),
        state: row.state.into(),
        strategy: row.strategy,
        cause: row.cause.as_str().into(),
        reason: row.reason.map(Into::into),
        steps: row.steps.into_iter().map(Into::into).collect(),
        created_at: row.created_at,
        started_at: row.started_at,
        finished_at: row.finished_at,
        created_by: row.created_by,
        message: row.message,
        warnings,
    }
}

/// An event.
pub(crate) fn event(row: store::Event) -> Event {
    Event {
        id: row.id,
        kind: row.kind,
        time: row.time,
        step: row.step.map(|s| s.as_str().into()),
        message: row.message,
    }
}

/// A release of an environment.
pub(crate) fn release(
    row: slipway_domain::release::Release,
    environment: &store::Environment,
    current: Option<ReleaseId>,
) -> Release {
    Release {
        id: row.id.to_string(),
        release: row.number.0,
        app: environment.app_name.to_string(),
        environment: environment.name.to_string(),
        image: row.image,
        digest: row.pin.digest().to_string(),
        cause: row.cause.as_str().into(),
        good: row.good,
        current: current == Some(row.id),
        created_at: row.created_at,
        created_by: row.created_by,
    }
}

/// A token without its text.
pub(crate) fn token(row: store::TokenRow, team: &str) -> Token {
    let texts = |items: Vec<String>| items;
    Token {
        id: row.id.to_string(),
        name: row.name.to_string(),
        kind: row.kind.as_str().into(),
        team: team.into(),
        scopes: row.reach.scopes.iter().map(ToString::to_string).collect(),
        apps: row
            .reach
            .apps
            .map(|a| texts(a.iter().map(ToString::to_string).collect())),
        environments: row
            .reach
            .environments
            .map(|e| texts(e.iter().map(ToString::to_string).collect())),
        created_at: row.created_at,
        created_by: row.created_by,
        expires_at: row.expires_at,
        revoked_at: row.revoked_at,
        last_used_at: row.last_used_at,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_says_how_people_are_served() {
        let failed = Some(DeploymentState::Failed);
        for (settled, serves, unready, last, shown) in [
            (true, false, None, None, EnvironmentState::Empty),
            (
                false,
                true,
                None,
                Some(DeploymentState::Running),
                EnvironmentState::Deploying,
            ),
            (
                true,
                true,
                None,
                Some(DeploymentState::AwaitingApproval),
                EnvironmentState::Running,
            ),
            (
                true,
                false,
                None,
                Some(DeploymentState::AwaitingApproval),
                EnvironmentState::Empty,
            ),
            (true, false, Some("Unhealthy"), failed, EnvironmentState::Failed),
            // What a failed deployment leaves to be put in order is nothing to visitors.
            (false, true, None, failed, EnvironmentState::Running),
            (true, true, Some("Unhealthy"), failed, EnvironmentState::Degraded),
            (true, true, Some(CRASH_LOOP), failed, EnvironmentState::CrashLoop),
            (true, true, Some(ASLEEP), failed, EnvironmentState::Asleep),
            (false, false, Some(UNKNOWN_RELEASE), None, EnvironmentState::Degraded),
        ] {
            assert_eq!(
                state(Desired::Running, settled, serves, unready, last),
                shown,
                "{unready:?}"
            );
        }
        assert_eq!(
            state(Desired::Stopped, false, true, None, failed),
            EnvironmentState::Stopping
        );
        assert_eq!(
            state(Desired::Stopped, true, true, None, failed),
            EnvironmentState::Stopped
        );
        assert_eq!(
            state(Desired::Stopped, true, true, Some(UNKNOWN_RELEASE), failed),
            EnvironmentState::Degraded,
            "it runs all the same"
        );
    }
}
