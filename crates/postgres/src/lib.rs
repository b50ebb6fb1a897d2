//! Speaks to the servers of managed databases.
//!
//! Promises: what is made is made once and found the next time; no password is in any log, the server's own included;
//! every question has a deadline.

mod adopt;
mod replication;
mod roles;
mod sql;

use std::time::Duration;

use slipway_domain::ports::{BoxFuture, DatabaseRoles, DatabaseServers, ServerError, ServerFacts, ServerLogin};

pub use adopt::{Adopted, adopt};
pub use replication::{
    BACKUP_ROLE, BaseBackup, BaseEnd, BaseEvent, BaseStart, Replication, ReplicationError, Slot, SlotName,
    SystemIdentity, WalEvent, WalStream,
};

/// All that is asked of a server at once ends within that.
pub(crate) const QUESTION_MAX: Duration = Duration::from_secs(20);

/// The servers of managed databases, as they are reached from here.
#[derive(Debug, Clone, Copy, Default)]
pub struct Servers;

impl DatabaseServers for Servers {
    fn prepare<'a>(
        &'a self,
        login: &'a ServerLogin,
        roles: &'a DatabaseRoles,
    ) -> BoxFuture<'a, Result<ServerFacts, ServerError>> {
        Box::pin(async move {
            let prepared = tokio::time::timeout(QUESTION_MAX, roles::prepare(login, roles));
            let too_long = || ServerError::Away(format!("it did not answer within {} s", QUESTION_MAX.as_secs()));
            prepared.await.unwrap_or_else(|_| Err(too_long()))
        })
    }
}
