//! `POST /v1/tokens`: a new token, shown once. Never wider and never longer-lived than the one that makes it.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;
use slipway_domain::Timestamp;
use slipway_domain::access::{Reach, Scope, Verb};
use slipway_domain::ids::TokenId;
use slipway_domain::name::AppName;
use slipway_domain::quantity::Span;
use slipway_domain::token::{Token, TokenKind};
use slipway_store::{TokenRow, Tx};
use slipway_wire::tokens::{CreatedToken, NewToken};
use slipway_wire::{Code, Problem};

use crate::audit::Target;
use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::Json;
use crate::view::{self, located};

const DAY_MS: u64 = 24 * 3600 * 1000;
const LIFE_DEFAULT: Span = Span::from_millis(90 * DAY_MS);
const LIFE_MAX: Span = Span::from_millis(366 * DAY_MS);
const LIFE_MIN: Span = Span::from_secs(60);
const LIST_MAX: usize = 100;

/// Make a token.
#[utoipa::path(post, path = "/v1/tokens", tag = "tokens", operation_id = "token_create",
    params(("Idempotency-Key" = Option<String>, Header,
        description = "Makes a repeated call the same call; the kept answer is sealed, since it holds the text.")),
    request_body = NewToken,
    responses(
        (status = 201, description = "Made. The text is shown this once.", body = CreatedToken),
        (status = 404, description = "No such team, or the token may not know of it.", body = Problem,
            content_type = "application/problem+json")))]
pub(crate) async fn token_create(call: Call, Json(body): Json<NewToken>) -> Result<Response> {
    let reach = parse_reach(&body)?;
    if !call.caller.reach.covers(&reach) {
        return Err(ApiError::Refused(
            Code::TokenTooWide,
            "A token can only be handed on narrower: ask for scopes, apps and environments that your own token has."
                .into(),
        ));
    }
    let mut tx = call.begin().await?;
    let team = call.team_or_own(&mut tx, body.team.as_ref()).await?;
    let own_end = tx.token(call.caller.token).await?.and_then(|t| t.expires_at);
    let now = call.now();
    let expires_at = parse_end(body.expires_in, own_end, now)?;

    let token = Token::mint(
        body.kind.unwrap_or_else(|| kind_for(&reach.scopes)),
        call.state.entropy.as_ref(),
    );
    let row = TokenRow {
        id: TokenId::mint(now, call.state.entropy.as_ref()),
        team: team.id,
        name: body.name,
        kind: token.kind(),
        reach,
        created_at: now,
        created_by: call.caller.name.to_string(),
        expires_at: Some(expires_at),
        revoked_at: None,
        last_used_at: None,
    };
    tx.insert_token(&row, &token.hash()).await?;
    let warnings = call
        .strange(&mut tx, row.reach.apps.as_deref().unwrap_or_default())
        .await?;
    let change = json!({
        "scopes": row.reach.scopes, "apps": row.reach.apps, "environments": row.reach.environments,
        "expires_at": expires_at.to_rfc3339(),
    });
    let target = Target::new("token", row.id, &row.name);
    call.audit(&mut tx, Some(team.id), "token.create", target, Some(change))
        .await?;
    tx.commit().await?;
    let location = located(&format!("/v1/tokens/{}", row.id));
    let info = view::token(row, team.name.as_str());
    let created = CreatedToken {
        token: token.expose().to_owned(),
        warnings,
        info,
    };
    Ok((StatusCode::CREATED, location, axum::Json(created)).into_response())
}

impl Call {
    /// A word on each app that is not there: a pipeline's token may come before its app, or the name is mistyped.
    async fn strange(&self, tx: &mut Tx, apps: &[AppName]) -> Result<Vec<String>> {
        let mut warnings = Vec::new();
        for name in apps {
            match self.app(tx, name.as_str()).await {
                Ok(_) => {}
                Err(ApiError::Refused(_, detail)) => warnings.push(detail),
                Err(error) => return Err(error),
            }
        }
        Ok(warnings)
    }
}

fn parse_reach(body: &NewToken) -> Result<Reach> {
    let refuse = |pointer: &str, detail: String| Err(ApiError::member(Code::InvalidBody, pointer, detail));
    if body.scopes.is_empty() || body.scopes.len() > LIST_MAX {
        return refuse("/scopes", format!("Give 1 to {LIST_MAX} scopes, such as `deploy:app`."));
    }
    let lists = [
        ("/apps", body.apps.as_ref().map(Vec::len)),
        ("/environments", body.environments.as_ref().map(Vec::len)),
    ];
    for (pointer, length) in lists {
        if length.is_some_and(|n| n == 0 || n > LIST_MAX) {
            return refuse(pointer, format!("Give 1 to {LIST_MAX} names, or leave it out for all."));
        }
    }
    let mut scopes = body.scopes.clone();
    scopes.sort_unstable();
    scopes.dedup();
    if scopes.contains(&Scope::Admin) && (body.apps.is_some() || body.environments.is_some()) {
        return refuse(
            "/scopes",
            "`admin` reaches everything and cannot be narrowed; use single scopes instead.".into(),
        );
    }
    if scopes.contains(&Scope::Admin) && body.team.is_some() {
        return refuse(
            "/team",
            "`admin` reaches all teams: leave `team` out, or use single scopes for one team.".into(),
        );
    }
    Ok(Reach {
        scopes,
        apps: body.apps.clone(),
        environments: body.environments.clone(),
    })
}

/// When the token ends: as asked, by default in 90 days, never after the token that makes it.
fn parse_end(life: Option<Span>, own_end: Option<Timestamp>, now: Timestamp) -> Result<Timestamp> {
    let refuse = |detail: String| Err(ApiError::member(Code::InvalidBody, "/expires_in", detail));
    let wanted = life.unwrap_or(LIFE_DEFAULT);
    if wanted > LIFE_MAX || wanted < LIFE_MIN {
        return refuse("A token lasts 1m to 366d: give `expires_in` (`--expires-in`) within that.".into());
    }
    let end = now + wanted.to_chrono();
    match own_end {
        Some(own) if end > own && life.is_some() => Err(ApiError::member(
            Code::TokenTooWide,
            "/expires_in",
            format!(
                "Your own token ends at {}; one made with it cannot last longer.",
                own.to_rfc3339()
            ),
        )),
        Some(own) => Ok(end.min(own)),
        None => Ok(end),
    }
}

/// What a token is for, when nobody says.
fn kind_for(scopes: &[Scope]) -> TokenKind {
    let deploys = scopes
        .iter()
        .any(|s| matches!(s, Scope::One(p) if p.verb == Verb::Deploy));
    if deploys { TokenKind::Dpl } else { TokenKind::Pat }
}

#[cfg(test)]
mod tests {
    use slipway_domain::clock::testing::at;

    use super::*;

    #[test]
    fn a_token_ends_in_ninety_days_and_never_after_its_maker() {
        let day = |n: i64| at(n * 86_400_000);
        let life = |t: &str| Some(t.parse::<Span>().expect("span"));
        for (wanted, own, expected) in [
            (None, None, Some(day(90))),
            (None, Some(day(10)), Some(day(10))),
            (life("366d"), None, Some(day(366))),
            (life("5d"), Some(day(10)), Some(day(5))),
            (life("11d"), Some(day(10)), None),
            (life("1s"), None, None),
        ] {
            assert_eq!(parse_end(wanted, own, at(0)).ok(), expected, "{wanted:?} {own:?}");
        }
    }
}
