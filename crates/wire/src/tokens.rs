//! API tokens. The text of one is shown once.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::access::Scope;
use slipway_domain::name::{AppName, EnvironmentName, TeamName, TokenName};
use slipway_domain::quantity::Span;
use slipway_domain::token::TokenKind;
use utoipa::ToSchema;

/// A token without its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Token {
    /// Its identifier.
    pub id: String,
    /// Its name, which stands in records as the actor.
    pub name: String,
    /// `pat`, `dpl` or `svc`.
    pub kind: String,
    /// Its team.
    pub team: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Only these apps; `null` means all of the team.
    #[schema(required)]
    pub apps: Option<Vec<String>>,
    /// Only these environments; `null` means all.
    #[schema(required)]
    pub environments: Option<Vec<String>>,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
    /// When it ends.
    #[schema(required)]
    pub expires_at: Option<DateTime<Utc>>,
    /// When it was revoked.
    #[schema(required)]
    pub revoked_at: Option<DateTime<Utc>>,
    /// When it was last used, to the minute.
    #[schema(required)]
    pub last_used_at: Option<DateTime<Utc>>,
}

/// A token just made, with its text for this one time.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct CreatedToken {
    /// The text. It cannot be shown again.
    pub token: String,
    /// What deserves a word: apps that are not there yet.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// The rest.
    #[serde(flatten)]
    pub info: Token,
}

impl std::fmt::Debug for CreatedToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CreatedToken {{ token: ****, info: {:?} }}", self.info)
    }
}

/// A token to be made: never wider than the one that makes it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What to call it.
    #[schema(value_type = String, example = "ci")]
    pub name: TokenName,
    /// What it may do: `admin` or verb:resource.
    #[schema(value_type = Vec<String>, example = json!(["deploy:app", "read:app"]))]
    pub scopes: Vec<Scope>,
    /// Only these apps.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub apps: Option<Vec<AppName>>,
    /// Only these environments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Vec<String>>)]
    pub environments: Option<Vec<EnvironmentName>>,
    /// How long it lives: `90d` if not given, at most `366d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, example = "90d")]
    pub expires_in: Option<Span>,
    /// What it is for: `dpl` (a pipeline), `svc` (a service) or `pat` (a person). Follows from the scopes if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub kind: Option<TokenKind>,
    /// The team it belongs to; only an administrator may give another than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub team: Option<TeamName>,
}
