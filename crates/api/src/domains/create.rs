//! `POST /v1/apps/{app}/domains`: asks for a name. What is to be done with DNS comes with the answer.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use slipway_domain::domains::{COOL_DOWN, Unfit, unfit};
use slipway_domain::ids::DomainId;
use slipway_domain::name::{DomainName, HostName};
use slipway_domain::ports::Claim;
use slipway_store::{App, Environment, NewCustomDomain, Tx};
use slipway_wire::domains::{Domain, NewDomain};
use slipway_wire::{Code, Problem};

use super::{spelled, spelled_host};
use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Json, Names};
use crate::view::located;

/// So many an app may have.
const DOMAINS_MAX: i64 = 200;

/// Add a domain.
#[utoipa::path(post, path = "/v1/apps/{app}/domains", tag = "domains", operation_id = "domain_create",
    params(("app" = String, Path, description = "The app's name."),
        ("Idempotency-Key" = Option<String>, Header, description = "Makes a repeated call the same call.")),
    request_body = NewDomain,
    responses(
        (status = 201, description = "Added, with the records to make and what DNS says now.", body = Domain),
        (status = 409, description = "The name is taken.", body = Problem, content_type = "application/problem+json")))]
pub(crate) async fn domain_create(
    call: Call,
    Names(app): Names<String>,
    Json(body): Json<NewDomain>,
) -> Result<Response> {
    let host = spelled(&body.host, "/host")?;
    let redirect_to = body
        .redirect_to
        .as_deref()
        .map(|to| spelled_host(to, "/redirect_to"))
        .transpose()?;
    let mut tx = call.begin().await?;
    let (app, environment) = call.locked(&mut tx, &app, body.environment.as_ref()).await?;
    let routed_proves = check_free(&call, &mut tx, &app, &host).await?;
    if let Some(to) = &redirect_to {
        check_redirect(&call, &mut tx, &app, &environment, &host, to).await?;
    }
    let mut token = [0_u8; 16];
    call.state.entropy.fill(&mut token);
    let new = NewCustomDomain {
        id: DomainId::mint(call.now(), call.state.entropy.as_ref()),
        host: host.clone(),
        team: app.team,
        environment: environment.id,
        token: hex::encode(token),
        redirect_to,
        on_demand: false,
        created_at: call.now(),
        created_by: call.caller.name.to_string(),
    };
    let zones = tx.zones_open_to(app.team).await?;
    tx.insert_custom_domain(&new).await?;
    let change = json!({"environment": environment.name, "redirect_to": new.redirect_to});
    let target = Target::new("domain", new.id, &host);
    call.audit(&mut tx, Some(app.team), "domain.create", target, Some(change))
        .await?;
    tx.commit().await?;

    // The records to make are known without DNS, but what it says now is what people want to see beside them.
    let claim = Claim {
        host: host.clone(),
        token: new.token,
        routed_proves,
        is_proven: false,
        is_anothers: false,
        zones,
    };
    let inspection = call.state.inspector.inspect(claim).await;
    let mut tx = call.begin().await?;
    let row = call.domain(&mut tx, &app, host.as_str()).await?;
    let path = format!("/v1/apps/{}/domains/{host}", app.name);
    let made = call.domain_shown(row, Some(&inspection));
    Ok((StatusCode::CREATED, located(&path), axum::Json(made)).into_response())
}

/// Refuses what the team may not ask for; whether records that point here will prove that it is the team's.
async fn check_free(call: &Call, tx: &mut Tx, app: &App, host: &DomainName) -> Result<bool> {
    let settings = &call.state.settings;
    match unfit(host, &settings.base_domain, settings.api_domain.as_ref()) {
        Some(Unfit::BelowBase) => {
            let base = &settings.base_domain;
            let detail = format!("Names below {base} are the apps' own. Bring a domain of yours along.");
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        Some(Unfit::Api) => {
            let detail = format!("The platform itself answers at {host}. Choose another name.");
            return Err(ApiError::Refused(Code::Conflict, detail));
        }
        Some(Unfit::Registry) => {
            let lowest = host.bare();
            let detail =
                format!("{lowest} is nobody's alone: names below it are registered by many. Give one of those.");
            return Err(ApiError::member(Code::InvalidName, "/host", detail));
        }
        None => {}
    }
    if let Some(own) = tx.custom_domain_of_team(app.team, host).await? {
        let detail = format!(
            "{host} is a domain of {}/{} already: `slipway domains check {host} -a {}` says how it stands.",
            own.app_name, own.environment_name, own.app_name
        );
        return Err(ApiError::Refused(Code::AlreadyExists, detail));
    }
    let others = tx.other_teams(app.team, host).await?;
    if others.has_it {
        let detail = format!("{host} is another team's. If it is yours, ask the platform's operator.");
        return Err(ApiError::Refused(Code::AlreadyExists, detail));
    }
    if let Some(until) = others
        .released_at
        .map(|at| at + COOL_DOWN)
        .filter(|until| *until > call.now())
    {
        let detail = format!(
            "{host} was another team's until a short while ago. It can be added again after {}.",
            until.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
        );
        return Err(ApiError::Refused(Code::Conflict, detail));
    }
    let added = tx.count_added_domains(app.id).await?;
    if added >= DOMAINS_MAX {
        let detail = format!("The app has {DOMAINS_MAX} domains already. Remove one first.");
        return Err(ApiError::Refused(Code::InvalidBody, detail));
    }
    Ok(!others.have_a_word())
}

/// Whether visitors may be sent on there: to a name of the same environment that sends nobody on itself.
pub(super) async fn check_redirect(
    call: &Call,
    tx: &mut Tx,
    app: &App,
    environment: &Environment,
    host: &DomainName,
    to: &HostName,
) -> Result<()> {
    let to_domain = DomainName::from(to.clone());
    if host.is_wildcard() {
        let detail = "A wildcard's visitors cannot be sent on. Add each name by itself with `redirect_to`.";
        return Err(ApiError::given("/redirect_to", detail));
    }
    let platform = HostName::of(&app.name, &environment.name, &call.state.settings.base_domain);
    let own = tx
        .custom_domain(app.id, &to_domain)
        .await?
        .filter(|d| d.environment == environment.id);
    let leads_on = own.as_ref().is_some_and(|d| d.redirect_to.is_some());
    if to_domain != *host && !leads_on && (own.is_some() || *to == platform) {
        return Ok(());
    }
    let detail = if to_domain == *host {
        format!("{to} cannot send its visitors to itself.")
    } else if leads_on {
        format!("{to} sends its visitors on itself. Name the last one.")
    } else {
        format!(
            "Visitors can be sent on to another name of {}/{}: add {to} first.",
            app.name, environment.name
        )
    };
    Err(ApiError::given("/redirect_to", detail))
}
