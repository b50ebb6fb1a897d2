//! `POST /v1/apps/{app}/rollback`: a new release with the contents of an earlier good one.

use axum::response::Response;
use slipway_domain::ReleaseNumber;
use slipway_domain::release::Release;
use slipway_store::{Environment, Tx};
use slipway_wire::deployments::Deployment;
use slipway_wire::releases::Rollback;
use slipway_wire::{Code, Problem};

use crate::accept::Change;
use crate::call::Call;
use crate::deployments::create::WaitParams;
use crate::error::{ApiError, Result};
use crate::extract::{MaybeJson, Names, Params};
use crate::release::{Place, current_release};
use crate::wait::Wait;

/// So many releases of the same contents in a row are looked past.
const ALIKE_MAX: u32 = 100;

/// Go back to an earlier release.
#[utoipa::path(post, path = "/v1/apps/{app}/rollback", tag = "releases", operation_id = "rollback",
    params(("app" = String, Path, description = "The app's name."), WaitParams,
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body(content = Option<Rollback>, description = "May be left out."),
    responses(
        (status = 200, description = "It succeeded (with `wait`).", body = Deployment),
        (status = 202, description = "Accepted, or still running when the wait was over.", body = Deployment),
        (status = 409, description = "There is nothing to go back to.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn rollback(
    call: Call,
    Names(app): Names<String>,
    Params(params): Params<WaitParams>,
    MaybeJson(body): MaybeJson<Rollback>,
) -> Result<Response> {
    let wait = Wait::parse(params.wait.as_deref())?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, body.environment.as_ref()).await?;

    let target = target(&mut tx, &environment, body.release).await?;

    let place = Place {
        app: &app,
        environment: &environment,
    };
    let given_up = if environment.staged {
        ", without the changes that were staged"
    } else {
        ""
    };
    let message = Some(format!("rollback to {}{given_up}", target.number));
    let deployment = call
        .release(&mut tx, &place, Change::Rollback(Box::new(target)), message)
        .await?;
    tx.commit().await?;
    call.wake();
    call.answer(deployment, wait).await
}

/// The release that is meant: the named one, or the last good one before the current.
async fn target(tx: &mut Tx, environment: &Environment, named: Option<ReleaseNumber>) -> Result<Release> {
    if let Some(number) = named {
        let found = tx.release_by_number(environment.id, number).await?;
        let Some(release) = found else {
            let (app, of) = (&environment.app_name, &environment.name);
            let detail = format!(
                "{of} of {app} has no release {number}. `slipway releases -a {app} -e {of}` lists those there are."
            );
            return Err(ApiError::Refused(Code::NotFound, detail));
        };
        if release.good {
            return Ok(release);
        }
        return Err(ApiError::member(
            Code::ReleaseNotGood,
            "/release",
            format!(
                "{number} never served successfully, so it is nothing to go back to. Choose a good one, or deploy its image again."
            ),
        ));
    }
    let (app, of) = (&environment.app_name, &environment.name);
    if environment.release.is_none() {
        let detail = format!("Nothing was deployed to {of} of {app} yet. Deploy an image first.");
        return Err(ApiError::Refused(Code::NothingDeployed, detail));
    }
    // What runs is newer than all that is known: going back leads to what was known last.
    if tx.stands_still(environment.id).await?
        && let Some(known) = current_release(tx, environment).await?.filter(|r| r.good)
    {
        return Ok(known);
    }
    before_current(tx, environment).await?.ok_or_else(|| {
        let detail = format!(
            "{of} of {app} has no earlier release that was good and differs from the newest one, which is meant to run. `slipway releases -a {app} -e {of}` lists what there is: name one, or deploy another image."
        );
        ApiError::Refused(Code::NoEarlierRelease, detail)
    })
}

/// The last good release before the current one with other contents: one before a restart, or before a deploy of the
/// same once more, is nothing to go back to.
async fn before_current(tx: &mut Tx, environment: &Environment) -> Result<Option<Release>> {
    let Some(current) = current_release(tx, environment).await? else {
        return Ok(None);
    };
    // After going back, the one before is that of what was gone back to: to go back twice is to go back further.
    let mut number = tx.release(current.root()).await?.map(|root| root.number);
    for _ in 0..ALIKE_MAX {
        let Some(release) = tx.last_good_release(environment.id, number).await? else {
            return Ok(None);
        };
        if !release.has_contents_of(&current) {
            return Ok(Some(release));
        }
        number = Some(release.number);
    }
    Ok(None)
}
