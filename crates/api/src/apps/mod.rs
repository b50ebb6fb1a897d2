//! `/v1/apps`.

pub(crate) mod change;
pub(crate) mod create;
pub(crate) mod delete;
pub(crate) mod get;
pub(crate) mod list;

use slipway_domain::name::AppName;
use slipway_store::{Page, Tx};

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::view;

impl Call {
    /// One app as callers read it.
    pub(crate) async fn app_shown(&self, tx: &mut Tx, name: &AppName) -> Result<slipway_wire::apps::App> {
        let only = [name.clone()];
        let found = tx.apps(None, Some(&only), &Page { limit: 1, after: None }).await?.pop();
        let row = found.ok_or_else(|| ApiError::not_found("app", name))?;
        Ok(view::app(row, &self.state.settings, |e| {
            self.caller.reach.sees_environment(&e.name)
        }))
    }
}
