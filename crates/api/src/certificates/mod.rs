//! `/v1/certificates`: those in use and those to be had. Keys never come out.

pub(crate) mod list;
pub(crate) mod renew;
pub(crate) mod revoke;
pub(crate) mod roll;
pub(crate) mod root;

use slipway_store::{CertificateOwner, Tx};

use crate::call::Call;
use crate::domains::spelled;
use crate::error::{ApiError, Result};

impl Call {
    /// Whose the certificate for a name is, if the caller may know of it: the platform's own are the administrators'.
    async fn certificate(&self, tx: &mut Tx, name: &str) -> Result<CertificateOwner> {
        let missing = || ApiError::not_found("certificate", &name);
        let spelled = spelled(name, "/name").map_err(|_| missing())?;
        let found = tx.certificate_owner(spelled.as_str()).await?.ok_or_else(missing)?;
        let sees_app = found.app.as_ref().is_some_and(|app| self.caller.reach.sees_app(app));
        let sees_environment = found
            .environment
            .as_ref()
            .is_some_and(|e| self.caller.reach.sees_environment(e));
        let is_theirs = found.team == Some(self.caller.team) && sees_app && sees_environment;
        if is_theirs || self.caller.is_admin() {
            Ok(found)
        } else {
            Err(missing())
        }
    }
}
