//! `POST /v1/apps/{app}/promote`: the image of one environment to another: the same digest, never a rebuild.

use axum::response::Response;
use slipway_domain::release::ReleaseCause;
use slipway_wire::deployments::Deployment;
use slipway_wire::releases::Promotion;
use slipway_wire::{Code, Problem};

use crate::accept::Change;
use crate::call::Call;
use crate::deployments::create::WaitParams;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names, Params};
use crate::release::Place;
use crate::wait::Wait;

/// Bring what serves in one environment to another.
#[utoipa::path(post, path = "/v1/apps/{app}/promote", tag = "releases", operation_id = "promote",
    params(("app" = String, Path, description = "The app's name."), WaitParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = Promotion,
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment),
        (status = 409, description = "There is nothing to promote.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn promote(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<WaitParams>,
    Json(body): Json<Promotion>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    if body.from == body.to {
        return Err(ApiError::member(
            Code::InvalidBody,
            "/to",
            format!(
                "It comes from {} already: name another environment to bring it to.",
                body.from
            ),
        ));
    }
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let from = call.environment(&mut tx, &app, Some(&body.from)).await?;
    let Some(good) = tx.last_good_release(from.id, None).await? else {
        let detail = format!(
            "Nothing ever served successfully in {} of {}: there is nothing to promote.",
            from.name, app.name
        );
        return Err(ApiError::Refused(Code::NothingDeployed, detail));
    };
    // Made beforehand, with a spec of its own: a name that is mistyped must not become an environment.
    let seen = match call.environment(&mut tx, &app, Some(&body.to)).await {
        Err(ApiError::Refused(Code::NotFound, detail)) => {
            let make = format!("`slipway environments create {} -a {}` makes it.", body.to, app.name);
            return Err(ApiError::Refused(Code::NotFound, format!("{detail} {make}")));
        }
        other => other?,
    };
    let environment = call.lock(&mut tx, &app, &seen).await?;

    let place = Place {
        app: &app,
        environment: &environment,
    };
    let message = Some(format!("promoted from {} {}", from.name, good.number));
    let change = Change::Image {
        image: good.image,
        pin: good.pin,
        cause: ReleaseCause::Promote,
        strategy: None,
    };
    let deployment = call.release(&mut tx, &place, change, message).await?;
    tx.commit().await?;
    call.wake();
    call.answer(deployment, wait).await
}
