//! `domains`: host names and whose they are.

use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::HostName;

use crate::row::parse;
use crate::{StoreError, Tx};

impl Tx {
    /// The host names of an environment, the platform's own first.
    #[tracing::instrument(name = "db.domains", level = "debug", skip_all)]
    pub async fn domains(&mut self, environment: EnvironmentId) -> Result<Vec<HostName>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select host from domains where environment_id = $1 order by kind desc, host",
            environment.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.iter().map(|h| parse(h, "domains", "host", &environment)).collect()
    }
}
