//! `/v1/dns`: zones that the platform may change, a team's or its own. Credentials go in and never come out.
//!
//! Promises: a team cannot have the platform call an address of its choice.

pub(crate) mod check;
pub(crate) mod delete;
pub(crate) mod list;
pub(crate) mod put;

use serde::Deserialize;
use slipway_domain::ids::TeamId;
use slipway_domain::name::{HostName, TeamName};
use slipway_store::Tx;
use slipway_wire::Code;
use slipway_wire::dns::DnsZone;

use crate::call::Call;
use crate::error::{ApiError, Result};

/// Whose zones.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct OwnerParams {
    /// The team, for an administrator; the token's own if not given.
    #[param(value_type = Option<String>)]
    pub(crate) team: Option<TeamName>,
    /// The platform's own zones, for an administrator.
    #[serde(default)]
    pub(crate) platform: bool,
}

impl Call {
    /// Whose zones are meant; `None` for the platform's.
    async fn zone_owner(&self, tx: &mut Tx, params: &OwnerParams) -> Result<Option<TeamId>> {
        if !params.platform {
            return Ok(Some(self.team_or_own(tx, params.team.as_ref()).await?.id));
        }
        self.demand_admin("use the platform's own zones")?;
        if params.team.is_some() {
            return Err(ApiError::Refused(
                Code::InvalidParameter,
                "Give `team` or `platform`, not both.".into(),
            ));
        }
        Ok(None)
    }
}

fn shown(row: slipway_store::DnsZone) -> DnsZone {
    DnsZone {
        zone: row.zone.to_string(),
        provider: row.provider,
        settings: row.settings,
        platform: row.team.is_none(),
        delegation: row.for_delegation,
        error: row.error,
        updated_at: row.updated_at,
        updated_by: row.updated_by,
    }
}

fn existing(zone: &str) -> Result<HostName> {
    zone.parse().map_err(|_| ApiError::not_found("zone", &zone))
}
