//! `?wait=`: an answer when the deployment has ended.
//!
//! Promises: hints make it quick, a look every second makes it certain; the number of waiting calls is bounded; a server
//! that shuts down answers with what is known.

use std::time::Duration;

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_domain::database::DatabaseState;
use slipway_domain::deployment::DeploymentState;
use slipway_domain::ids::{DatabaseId, DeploymentId, EnvironmentId, RunId};
use slipway_domain::quantity::Span;
use slipway_domain::release::{Release, ReleaseCause};
use slipway_store::{Deployment, Run, Tx};
use slipway_wire::Code;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::forecast::forecast;
use crate::state::Shared;
use crate::view;

/// The longest wait.
const WAIT_MAX: Span = Span::from_secs(600);
/// Without any hint, how long until the next look.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long to wait, if at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Wait(Option<Span>);

impl Wait {
    /// Reads `?wait=`.
    pub(crate) fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self(None)) };
        let span: Span = text
            .parse()
            .map_err(|e: slipway_domain::quantity::QuantityError| ApiError::parameter("wait", e.to_string()))?;
        if span > WAIT_MAX {
            return Err(ApiError::parameter(
                "wait",
                format!("give at most {WAIT_MAX}; the deployment goes on after that"),
            ));
        }
        Ok(Self(Some(span)))
    }
}

/// Something may have happened: an event was appended, a second went by, or the server ends.
pub(crate) struct Hints {
    events: tokio::sync::watch::Receiver<u64>,
    shutdown: tokio::sync::watch::Receiver<bool>,
}

impl Hints {
    /// Begins to listen: before the first look, so that nothing falls in between.
    pub(crate) fn new(state: &Shared) -> Self {
        let mut events = state.events.clone();
        events.mark_unchanged();
        Self {
            events,
            shutdown: state.shutdown.clone(),
        }
    }

    /// Whether the server ends.
    pub(crate) fn is_shutdown(&self) -> bool {
        *self.shutdown.borrow()
    }

    /// The next hint, at the latest in a second.
    pub(crate) async fn next(&mut self) {
        let pause = tokio::time::sleep(LOOK_EVERY);
        tokio::pin!(pause);
        // A closed channel means that hints no longer come: then only the pause counts.
        tokio::select! {
            () = &mut pause => {}
            Ok(()) = self.events.changed() => {}
            Ok(()) = self.shutdown.changed() => {}
        }
    }
}

impl Shared {
    /// A place among the streams and waiting calls.
    pub(crate) fn stream_permit(&self) -> Result<OwnedSemaphorePermit> {
        std::sync::Arc::clone(&self.streams).try_acquire_owned().map_err(|_| {
            ApiError::Refused(
                Code::TooManyRequests,
                "Too many streams and waiting calls are open. Ask without `wait`, or try again shortly.".into(),
            )
        })
    }
}

impl Call {
    /// Looks until the deployment has ended or the time is up.
    async fn until_final(&self, id: DeploymentId, limit: Span) -> Result<Option<Deployment>> {
        let _permit = self.state.stream_permit()?;
        let deadline = Instant::now() + limit.to_std();
        let mut hints = Hints::new(&self.state);
        loop {
            let mut tx = self.begin().await?;
            let found = tx.deployment(id).await?;
            drop(tx);
            let ended = found.as_ref().is_none_or(|d| d.state.is_final());
            if ended || hints.is_shutdown() || Instant::now() >= deadline {
                return Ok(found);
            }
            let _ = tokio::time::timeout_at(deadline, hints.next()).await;
        }
    }

    /// The answer to a call that started a deployment: 202, or after waiting 200, or why it failed.
    pub(crate) async fn answer(&self, deployment: Deployment, Wait(wait): Wait) -> Result<Response> {
        let id = deployment.id;
        let deployment = match wait {
            Some(limit) => self.until_final(id, limit).await?.unwrap_or(deployment),
            None => deployment,
        };
        let state = deployment.state;
        let body = self.shown(deployment).await?;
        match state {
            DeploymentState::Failed | DeploymentState::Aborted | DeploymentState::Superseded => {
                Err(ApiError::Failed(Box::new(body)))
            }
            DeploymentState::Succeeded => {
                Ok((StatusCode::OK, view::located(&location(id)), axum::Json(body)).into_response())
            }
            DeploymentState::Pending | DeploymentState::Running | DeploymentState::AwaitingApproval => {
                Ok((StatusCode::ACCEPTED, view::located(&location(id)), axum::Json(body)).into_response())
            }
        }
    }

    /// Looks until the database is ready, cannot be made, or the time is up; not at all without a wait.
    pub(crate) async fn until_database_ready(&self, id: DatabaseId, Wait(wait): Wait) -> Result<()> {
        let Some(limit) = wait else { return Ok(()) };
        let _permit = self.state.stream_permit()?;
        let deadline = Instant::now() + limit.to_std();
        let mut hints = Hints::new(&self.state);
        loop {
            let mut tx = self.begin().await?;
            let found = tx.database_by_id(id).await?;
            drop(tx);
            let state = found.map(|database| database.status.state);
            let ended = state.is_none_or(|s| matches!(s, DatabaseState::Ready | DatabaseState::Failed));
            if ended || hints.is_shutdown() || Instant::now() >= deadline {
                return Ok(());
            }
            let _ = tokio::time::timeout_at(deadline, hints.next()).await;
        }
    }

    /// The run as it is when it has ended or the time is up; nothing without a wait.
    pub(crate) async fn until_run_ended(&self, id: RunId, Wait(wait): Wait) -> Result<Option<Run>> {
        let Some(limit) = wait else { return Ok(None) };
        let _permit = self.state.stream_permit()?;
        let deadline = Instant::now() + limit.to_std();
        let mut hints = Hints::new(&self.state);
        loop {
            let mut tx = self.begin().await?;
            let found = tx.run(id).await?;
            drop(tx);
            let ended = found.as_ref().is_none_or(|run| run.state.is_final());
            if ended || hints.is_shutdown() || Instant::now() >= deadline {
                return Ok(found);
            }
            let _ = tokio::time::timeout_at(deadline, hints.next()).await;
        }
    }

    /// Whether the intent for an environment was carried out within the wait.
    pub(crate) async fn until_settled(&self, id: EnvironmentId, Wait(wait): Wait) -> Result<bool> {
        let Some(limit) = wait else { return Ok(false) };
        let _permit = self.state.stream_permit()?;
        let deadline = Instant::now() + limit.to_std();
        let mut hints = Hints::new(&self.state);
        loop {
            let mut tx = self.begin().await?;
            let row = tx.environment_by_id(id).await?;
            let status = tx.status(id).await?;
            drop(tx);
            let settled = row
                .zip(status)
                .is_none_or(|(e, s)| s.observed_generation == e.generation);
            if settled || hints.is_shutdown() || Instant::now() >= deadline {
                return Ok(settled);
            }
            let _ = tokio::time::timeout_at(deadline, hints.next()).await;
        }
    }

    /// A deployment as callers read it, with the warnings of its release's spec and of going back.
    pub(crate) async fn shown(&self, deployment: Deployment) -> Result<slipway_wire::deployments::Deployment> {
        let mut tx = self.begin().await?;
        let mut warnings = Vec::new();
        if let Some(release) = tx.release(deployment.release).await? {
            warnings = release.warnings();
            if deployment.state == DeploymentState::Succeeded && !release.good {
                warnings.push(format!(
                    "{} was taken back by the platform: it failed after it had taken over, as the deployment after this one says",
                    release.number
                ));
            }
            warnings.extend(not_undone(&mut tx, &release).await?);
            warnings.extend(other_scale(&mut tx, &release).await?);
            warnings.extend(fixed_scale(&mut tx, &release).await?);
            warnings.extend(forecast(&mut tx, &deployment, &release.spec).await?);
        }
        if deployment.state == DeploymentState::Pending && !tx.is_scheduled().await? {
            warnings.push("no control plane schedules at the moment: this begins when one does (`slipway serve` with the role `scheduler`)".into());
        }
        drop(tx);
        Ok(view::deployment(deployment, &self.state.settings, warnings))
    }
}

/// Says of a release made by going back which release commands ran since: going back does not undo them.
async fn not_undone(tx: &mut Tx, release: &Release) -> Result<Option<String>> {
    let root = match release.same_as {
        Some(root) => tx.release(root).await?,
        None => None,
    };
    let Some(root) = root else { return Ok(None) };
    let ran = tx
        .release_commands_between(release.environment, root.number, release.number)
        .await?;
    if ran.is_empty() {
        return Ok(None);
    }
    let ran: Vec<String> = ran.iter().map(ToString::to_string).collect();
    Ok(Some(format!(
        "the release command ran in {} since {} was made, and going back does not undo what it changed: check that {} works with it",
        ran.join(", "),
        root.number,
        root.number
    )))
}

/// What going back changes in the number of instances, which a release brings along like the rest of its spec.
async fn other_scale(tx: &mut Tx, release: &Release) -> Result<Option<String>> {
    if !release.cause.is_rollback() {
        return Ok(None);
    }
    let before = tx.last_good_release(release.environment, Some(release.number)).await?;
    let (now, before) = (release.spec.scale, before.map(|b| b.spec.scale));
    let changed = before.filter(|before| (before.floor(), before.ceiling()) != (now.floor(), now.ceiling()));
    Ok(changed.map(|before| {
        format!(
            "going back brings its number of instances along: at least {}, where it was {}; `slipway scale` changes it",
            now.floor(),
            before.floor()
        )
    }))
}

/// That a number of instances was set which leaves the load nothing to decide any more.
async fn fixed_scale(tx: &mut Tx, release: &Release) -> Result<Option<String>> {
    let now = release.spec.scale;
    if release.cause != ReleaseCause::Scale || now.floor() != now.ceiling() {
        return Ok(None);
    }
    let before = tx.last_good_release(release.environment, Some(release.number)).await?;
    let followed = before.map(|b| b.spec.scale).filter(|b| b.floor() != b.ceiling());
    Ok(followed.map(|before| {
        format!(
            "the number of instances followed the load, up to {}, and is {} now whatever the load: `slipway spec set scale.max=N` lets it follow again",
            before.ceiling(),
            now.floor()
        )
    }))
}

/// Where a deployment is found.
pub(crate) fn location(id: DeploymentId) -> String {
    format!("/v1/deployments/{id}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_are_durations_of_at_most_ten_minutes() {
        for (text, expected) in [
            (None, Some(None)),
            (Some("120s"), Some(Some(120_000))),
            (Some("10m"), Some(Some(600_000))),
            (Some("0s"), Some(Some(0))),
            (Some("11m"), None),
            (Some("120"), None),
            (Some(""), None),
        ] {
            let read = Wait::parse(text).ok().map(|w| w.0.map(Span::as_millis));
            assert_eq!(read, expected, "{text:?}");
        }
    }
}
