//! `/v1/apps/{app}/domains/{host}/trial`: an order at the CA's staging directory, which spends no budget and of which
//! nothing comes but an answer.

use http::StatusCode;
use slipway_wire::domains::{DomainTrial, TrialState};
use slipway_wire::{Code, Problem};

use super::reason;
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Names;

fn shown(trial: slipway_store::Trial) -> DomainTrial {
    DomainTrial {
        state: match (&trial.ended_at, &trial.error) {
            (None, _) => TrialState::Running,
            (Some(_), None) => TrialState::Succeeded,
            (Some(_), Some(_)) => TrialState::Failed,
        },
        ca: trial.ca,
        asked_at: trial.asked_at,
        ended_at: trial.ended_at,
        reason: trial.error.map(reason),
    }
}

/// Try out whether a certificate could be got for a domain.
#[utoipa::path(post, path = "/v1/apps/{app}/domains/{host}/trial", tag = "domains", operation_id = "trial_create",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    responses((status = 202, description = "It is under way.", body = DomainTrial),
        (status = 409, description = "The domain is not proven, or no CA has a staging directory.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn trial_create(
    call: Call,
    Names((app, host)): Names<(String, String)>,
) -> Result<(StatusCode, axum::Json<DomainTrial>)> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.proven_domain(&mut tx, &app, &host).await?;
    let refused = |detail: String| Err(ApiError::Refused(Code::Conflict, detail));
    if row.host.is_local() {
        return refused(format!(
            "The certificate of {} comes from the internal CA: there is nothing to try.",
            row.host
        ));
    }
    let Some(ca) = call.state.settings.staging_directory.clone() else {
        return refused(
            "No staging directory is known for the CA: an operator names one in SLIPWAY_ACME_STAGING.".into(),
        );
    };
    tx.ask_trial(row.id, &ca, call.now()).await?;
    let target = Target::new("domain", row.id, &row.host);
    call.audit(&mut tx, Some(app.team), "certificate.try", target, None)
        .await?;
    let trial = tx.trial(row.id).await?;
    tx.commit().await?;
    let trial = trial.ok_or_else(|| ApiError::Internal("a trial that was just asked for is gone".into()))?;
    Ok((StatusCode::ACCEPTED, axum::Json(shown(trial))))
}

/// Show how the last trial went.
#[utoipa::path(get, path = "/v1/apps/{app}/domains/{host}/trial", tag = "domains", operation_id = "trial_get",
    params(("app" = String, Path, description = "The app's name."), ("host" = String, Path, description = "The name.")),
    responses((status = 200, description = "How it went, or stands.", body = DomainTrial)))]
pub(crate) async fn trial_get(
    call: Call,
    Names((app, host)): Names<(String, String)>,
) -> Result<axum::Json<DomainTrial>> {
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let row = call.domain(&mut tx, &app, &host).await?;
    let trial = tx.trial(row.id).await?;
    trial
        .map(|t| axum::Json(shown(t)))
        .ok_or_else(|| ApiError::not_found("trial", &host))
}
