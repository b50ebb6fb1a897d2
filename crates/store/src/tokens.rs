//! `tokens`: only the SHA-256 of their text. Written by the API.

use slipway_domain::Timestamp;
use slipway_domain::access::{Caller, Reach};
use slipway_domain::ids::{TeamId, TokenId};
use slipway_domain::name::TokenName;
use slipway_domain::token::{TokenHash, TokenKind};

use crate::row::{bad, parse};
use crate::{Page, StoreError, Tx};

/// A token without its text.
#[derive(Debug, Clone)]
pub struct TokenRow {
    /// Its identifier.
    pub id: TokenId,
    /// Its team.
    pub team: TeamId,
    /// What people call it.
    pub name: TokenName,
    /// What it is for.
    pub kind: TokenKind,
    /// What it may reach.
    pub reach: Reach,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it.
    pub created_by: String,
    /// When it ends; never only for the first administrator.
    pub expires_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
    /// When it was used last, to the minute.
    pub last_used_at: Option<Timestamp>,
}

struct Row {
    id: uuid::Uuid,
    team_id: uuid::Uuid,
    name: String,
    kind: String,
    scopes: Vec<String>,
    apps: Option<Vec<String>>,
    environments: Option<Vec<String>>,
    created_at: Timestamp,
    created_by: String,
    expires_at: Option<Timestamp>,
    revoked_at: Option<Timestamp>,
    last_used_at: Option<Timestamp>,
}

fn list<T: std::str::FromStr>(texts: &[String], column: &'static str, id: TokenId) -> Result<Vec<T>, StoreError> {
    texts
        .iter()
        .map(|t| t.parse().map_err(|_| bad("tokens", column, &id)))
        .collect()
}

impl TryFrom<Row> for TokenRow {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = TokenId::from_uuid(r.id);
        Ok(Self {
            id,
            team: TeamId::from_uuid(r.team_id),
            name: parse(&r.name, "tokens", "name", &id)?,
            kind: parse(&r.kind, "tokens", "kind", &id)?,
            reach: Reach {
                scopes: list(&r.scopes, "scopes", id)?,
                apps: r.apps.map(|a| list(&a, "apps", id)).transpose()?,
                environments: r.environments.map(|e| list(&e, "environments", id)).transpose()?,
            },
            created_at: r.created_at,
            created_by: r.created_by,
            expires_at: r.expires_at,
            revoked_at: r.revoked_at,
            last_used_at: r.last_used_at,
        })
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<String> {
    items.iter().map(ToString::to_string).collect()
}

impl Tx {
    /// Adds a token.
    #[tracing::instrument(name = "db.insert_token", level = "debug", skip_all)]
    pub async fn insert_token(&mut self, token: &TokenRow, hash: &TokenHash) -> Result<(), StoreError> {
        let apps = token.reach.apps.as_deref().map(texts);
        let environments = token.reach.environments.as_deref().map(texts);
        sqlx::query!(
            "insert into tokens (id, team_id, name, kind, hash, scopes, apps, environments, created_at, created_by, expires_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
            token.id.uuid(),
            token.team.uuid(),
            token.name.as_str(),
            token.kind.as_str(),
            &hash.0[..],
            &texts(&token.reach.scopes),
            apps.as_deref(),
            environments.as_deref(),
            token.created_at,
            token.created_by,
            token.expires_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Who calls with this token, if it is neither revoked nor expired.
    #[tracing::instrument(name = "db.caller_by_hash", level = "debug", skip_all)]
    pub async fn caller_by_hash(&mut self, hash: &TokenHash, now: Timestamp) -> Result<Option<Caller>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, team_id, name, kind, scopes, apps, environments, created_at, created_by, expires_at, revoked_at, last_used_at
             from tokens where hash = $1 and revoked_at is null and (expires_at is null or expires_at > $2)",
            &hash.0[..],
            now
        )
        .fetch_optional(self.c())
        .await?;
        let token = row.map(TokenRow::try_from).transpose()?;
        Ok(token.map(|t| Caller {
            token: t.id,
            kind: t.kind,
            name: t.name,
            team: t.team,
            reach: t.reach,
        }))
    }

    /// Notes a use, at most once a minute.
    #[tracing::instrument(name = "db.touch_token", level = "debug", skip_all)]
    pub async fn touch_token(&mut self, id: TokenId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update tokens set last_used_at = $2
             where id = $1 and (last_used_at is null or last_used_at < $2::timestamptz - interval '1 minute')",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Tokens of a team, or of all, newest first.
    #[tracing::instrument(name = "db.tokens", level = "debug", skip_all)]
    pub async fn tokens(&mut self, team: Option<TeamId>, page: &Page<TokenId>) -> Result<Vec<TokenRow>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select id, team_id, name, kind, scopes, apps, environments, created_at, created_by, expires_at, revoked_at, last_used_at
             from tokens where ($1::uuid is null or team_id = $1) and id < coalesce($2, 'ffffffff-ffff-ffff-ffff-ffffffffffff'::uuid)
             order by id desc limit $3",
            team.map(TeamId::uuid),
            page.after.map(TokenId::uuid),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(TokenRow::try_from).collect()
    }

    /// By identifier.
    #[tracing::instrument(name = "db.token", level = "debug", skip_all)]
    pub async fn token(&mut self, id: TokenId) -> Result<Option<TokenRow>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, team_id, name, kind, scopes, apps, environments, created_at, created_by, expires_at, revoked_at, last_used_at
             from tokens where id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(TokenRow::try_from).transpose()
    }

    /// Whether an administrator is left beside this token: one that is neither revoked nor over. Those there are are
    /// locked, so that two that go at once do not each count on the other.
    #[tracing::instrument(name = "db.is_other_admin_left", level = "debug", skip_all)]
    pub async fn is_other_admin_left(&mut self, beside: Option<TokenId>, now: Timestamp) -> Result<bool, StoreError> {
        let all = sqlx::query_scalar!(
            "select id from tokens where 'admin' = any(scopes) and revoked_at is null and (expires_at is null or expires_at > $1)
             order by id for no key update",
            now
        )
        .fetch_all(self.c())
        .await?;
        Ok(all.iter().any(|id| beside.is_none_or(|beside| *id != beside.uuid())))
    }

    /// Revokes a token; false when it was revoked or never there.
    #[tracing::instrument(name = "db.revoke_token", level = "debug", skip_all)]
    pub async fn revoke_token(&mut self, id: TokenId, now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update tokens set revoked_at = $2 where id = $1 and revoked_at is null",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }
}
