//! `/v1/teams`.

pub(crate) mod create;
pub(crate) mod limits;
pub(crate) mod list;

use slipway_wire::teams::Team;

fn shown(row: &slipway_store::Team) -> Team {
    Team {
        id: row.id.to_string(),
        name: row.name.to_string(),
        created_at: row.created_at,
        limits: row.limits.into(),
    }
}
