//! The pool, transactions and migrations.

use std::str::FromStr;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{PgConnection, Postgres, Transaction};

use crate::error::StoreError;

/// All migrations, embedded.
static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// How the pool behaves.
#[derive(Debug, Clone, Copy)]
pub struct StoreOptions {
    /// Connections at most.
    pub connections_max: u32,
    /// To get a connection.
    pub acquire_ms_max: u64,
    /// For one statement.
    pub statement_ms_max: u64,
    /// To get a lock.
    pub lock_ms_max: u64,
}

impl Default for StoreOptions {
    fn default() -> Self {
        Self {
            connections_max: 10,
            acquire_ms_max: 3_000,
            statement_ms_max: 10_000,
            lock_ms_max: 5_000,
        }
    }
}

/// How the schema stands to this program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SchemaState {
    /// All migrations are applied.
    Current,
    /// So many are not.
    Pending(usize),
    /// The database was migrated by a newer program.
    Newer {
        /// In the database.
        found: i64,
        /// In the program.
        known: i64,
    },
}

/// The database. A clone shares the pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: PgPool,
}

/// A transaction.
#[derive(Debug)]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
}

impl Store {
    /// Connects; fails when the database does not answer.
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(url)?.application_name("slipway").options([
            ("statement_timeout", options.statement_ms_max.to_string()),
            ("lock_timeout", options.lock_ms_max.to_string()),
            ("idle_in_transaction_session_timeout", "60000".to_owned()),
        ]);
        let pool = PgPoolOptions::new()
            .max_connections(options.connections_max)
            .acquire_timeout(Duration::from_millis(options.acquire_ms_max))
            .idle_timeout(Duration::from_mins(1))
            .connect_with(connect)
            .await?;
        Ok(Self { pool })
    }

    /// Begins a transaction.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        Ok(Tx {
            inner: self.pool.begin().await?,
        })
    }

    /// Whether the database answers.
    pub async fn ping(&self) -> Result<(), StoreError> {
        sqlx::query!("select 1 as one").fetch_one(&self.pool).await?;
        Ok(())
    }

    pub(crate) const fn pool(&self) -> &PgPool {
        &self.pool
    }

    /// How the schema stands to this program.
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let known = MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0);
        let table = sqlx::query_scalar!("select to_regclass('_sqlx_migrations')::text")
            .fetch_one(&self.pool)
            .await?;
        if table.is_none() {
            return Ok(SchemaState::Pending(MIGRATOR.iter().count()));
        }
        let applied = sqlx::query_scalar!("select version from _sqlx_migrations where success")
            .fetch_all(&self.pool)
            .await?;
        let found = applied.iter().copied().max().unwrap_or(0);
        if found > known {
            return Ok(SchemaState::Newer { found, known });
        }
        let pending = MIGRATOR.iter().filter(|m| !applied.contains(&m.version)).count();
        Ok(if pending == 0 {
            SchemaState::Current
        } else {
            SchemaState::Pending(pending)
        })
    }

    /// Applies what is missing, one process at a time, and says how much it was. Refuses a newer schema.
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        match self.schema_state().await? {
            SchemaState::Current => Ok(0),
            SchemaState::Newer { found, known } => Err(StoreError::SchemaNewer { found, known }),
            SchemaState::Pending(count) => {
                MIGRATOR
                    .run(&self.pool)
                    .await
                    .map_err(|e| StoreError::Internal(e.to_string()))?;
                Ok(count)
            }
        }
    }
}

impl Tx {
    /// Makes everything done in it last.
    pub async fn commit(self) -> Result<(), StoreError> {
        Ok(self.inner.commit().await?)
    }

    pub(crate) fn c(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}
