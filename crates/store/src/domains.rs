//! `domains`: host names and whose they are.

use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::{AppName, DomainName, EnvironmentName, HostName};

use crate::row::parse;
use crate::{StoreError, Tx};

impl Tx {
    /// Gives each environment its name below this base domain; how many had another. Names of their owners' own stay.
    #[tracing::instrument(name = "db.move_platform_domains", level = "debug", skip_all)]
    pub async fn move_platform_domains(&mut self, base: &HostName) -> Result<usize, StoreError> {
        let rows = sqlx::query!(
            "select d.host, a.name as app, e.name as environment
             from domains d join environments e on e.id = d.environment_id join apps a on a.id = e.app_id
             where d.kind = 'platform' for update of d"
        )
        .fetch_all(self.c())
        .await?;
        let mut moved = 0;
        for row in rows {
            let app: AppName = parse(&row.app, "apps", "name", &row.host)?;
            let environment: EnvironmentName = parse(&row.environment, "environments", "name", &row.host)?;
            let host = HostName::of(&app, &environment, base);
            if host.as_str() == row.host {
                continue;
            }
            sqlx::query!("update domains set host = $1 where host = $2", host.as_str(), row.host)
                .execute(self.c())
                .await?;
            moved += 1;
        }
        if moved > 0 {
            self.bump_routes().await?;
        }
        Ok(moved)
    }

    /// The host names of an environment, the platform's own first.
    #[tracing::instrument(name = "db.domains", level = "debug", skip_all)]
    pub async fn domains(&mut self, environment: EnvironmentId) -> Result<Vec<DomainName>, StoreError> {
        let rows = sqlx::query_scalar!(
            "select host from domains where environment_id = $1 order by kind desc, host",
            environment.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.iter().map(|h| parse(h, "domains", "host", &environment)).collect()
    }
}
