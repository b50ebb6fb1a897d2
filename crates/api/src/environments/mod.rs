//! `/v1/apps/{app}/environments`.

pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod list;

use slipway_domain::ids::ReleaseId;
use slipway_store::{Environment, Page, Tx};

use crate::call::Call;
use crate::error::Result;
use crate::view::{self, Around};

impl Call {
    /// An environment as callers read it.
    pub(crate) async fn environment_shown(
        &self,
        tx: &mut Tx,
        row: Environment,
    ) -> Result<slipway_wire::apps::Environment> {
        let status = tx.status(row.id).await?;
        let release = number(tx, row.release).await?;
        let serving = number(tx, status.as_ref().and_then(|s| s.serving)).await?;
        let newest = tx
            .deployments(row.app, Some(row.id), &Page { limit: 1, after: None })
            .await?;
        let last_deployment = newest.first().map(|d| d.state);
        Ok(view::environment(
            row,
            Around {
                status,
                release,
                serving,
                last_deployment,
            },
            &self.state.settings,
        ))
    }
}

async fn number(tx: &mut Tx, id: Option<ReleaseId>) -> Result<Option<slipway_domain::ReleaseNumber>> {
    Ok(match id {
        Some(id) => tx.release(id).await?.map(|r| r.number),
        None => None,
    })
}
