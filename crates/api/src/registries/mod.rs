//! `/v1/registries`: pull credentials of a team. Passwords go in and never come out.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod put;

use serde::Deserialize;
use slipway_domain::image::RegistryHost;
use slipway_domain::name::TeamName;
use slipway_wire::registries::Registry;

use crate::error::{ApiError, Result};

/// Whose credentials.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct TeamParams {
    /// The team, for an administrator; the token's own if not given.
    #[param(value_type = Option<String>)]
    pub(crate) team: Option<TeamName>,
}

fn shown(row: slipway_store::Registry) -> Registry {
    Registry {
        host: row.host.to_string(),
        username: row.username,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    }
}

fn existing(host: &str) -> Result<RegistryHost> {
    host.parse().map_err(|_| ApiError::not_found("registry", &host))
}
