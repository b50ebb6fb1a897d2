//! Hints from the database: something changed. The payload is not read; a poll stands behind every hint.

use sqlx::postgres::PgListener;

use crate::{Store, StoreError};

/// Something changed, or may have while the line was broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hint {
    /// An intent.
    Environments,
    /// What proxies must know.
    Routes,
    /// Something happened in a deployment.
    Events,
    /// A name that a team asks for.
    Domains,
    /// What is wanted of a managed database.
    Databases,
    /// The line was broken and is mended: anything may have changed.
    Reconnected,
}

/// A line of its own on which hints come.
#[derive(Debug)]
pub struct Hints {
    listener: PgListener,
}

impl Store {
    /// Opens a line for hints.
    #[tracing::instrument(name = "db.hints", level = "debug", skip_all)]
    pub async fn hints(&self) -> Result<Hints, StoreError> {
        let mut listener = PgListener::connect_with(&self.line()).await?;
        listener
            .listen_all([
                "slipway_environments",
                "slipway_routes",
                "slipway_events",
                "slipway_domains",
                "slipway_databases",
            ])
            .await?;
        Ok(Hints { listener })
    }
}

impl Hints {
    /// The next hint.
    pub async fn next(&mut self) -> Result<Hint, StoreError> {
        Ok(match self.listener.try_recv().await? {
            None => Hint::Reconnected,
            Some(n) => match n.channel() {
                "slipway_routes" => Hint::Routes,
                "slipway_events" => Hint::Events,
                "slipway_domains" => Hint::Domains,
                "slipway_databases" => Hint::Databases,
                _ => Hint::Environments,
            },
        })
    }
}
