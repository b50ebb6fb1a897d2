//! `/v1/registries`: pull credentials of the token's team. Passwords go in and never come out.

pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;
pub(crate) mod put;

use slipway_domain::image::RegistryHost;
use slipway_wire::registries::Registry;

use crate::error::{ApiError, Result};

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
