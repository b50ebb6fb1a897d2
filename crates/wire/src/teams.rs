//! Teams.

use chrono::{DateTime, Utc};
use serde::{Deserialize, Serialize};
use slipway_domain::limits::TeamLimits;
use slipway_domain::name::TeamName;
use slipway_domain::quantity::{Bytes, MilliCpu};
use utoipa::ToSchema;

/// An owner of apps, registries and tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Team {
    /// Its identifier.
    pub id: String,
    /// Its name.
    pub name: String,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// What it may use in all.
    pub limits: Limits,
}

/// What a team may use in all, counted with the most instances that each spec allows; what is left out is not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// Instances of all its environments that are not stopped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, example = 20)]
    pub instances: Option<u32>,
    /// Their memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "8GiB")]
    pub memory: Option<Bytes>,
    /// Their CPU.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false, example = "4")]
    pub cpu: Option<MilliCpu>,
}

impl From<TeamLimits> for Limits {
    fn from(limits: TeamLimits) -> Self {
        let TeamLimits { instances, memory, cpu } = limits;
        Self { instances, memory, cpu }
    }
}

impl From<Limits> for TeamLimits {
    fn from(limits: Limits) -> Self {
        let Limits { instances, memory, cpu } = limits;
        Self { instances, memory, cpu }
    }
}

/// A new team.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTeam {
    /// Its name.
    #[schema(value_type = String)]
    pub name: TeamName,
}
