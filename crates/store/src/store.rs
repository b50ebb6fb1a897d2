//! The pool, transactions and migrations.
//!
//! Promises: locks of a transaction are taken in one order, the audit chain's last; what only the scheduler may write
//! is refused in a transaction that did not check its lease; a database that is silent is an error in time (see
//! `bounded.rs`); a migration waits as long as it takes, and for its turn.

use std::str::FromStr;
use std::time::Duration;

use slipway_domain::{Epoch, Timestamp};
use sqlx::migrate::Migrator;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, PgConnection};

use crate::AuditEntry;
use crate::bounded::{Bounded, within};
use crate::error::StoreError;
use crate::pool::{Held, Pool};

/// All migrations, embedded.
static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// For one statement of a migration, and for its turn.
const MIGRATION_MS_MAX: u64 = 600_000;

/// The database ends a slow statement by itself; so long after that it is taken for silent.
const SILENCE: Duration = Duration::from_secs(2);

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
    pool: Pool,
    silence_max: Duration,
}

/// A transaction.
#[derive(Debug)]
pub struct Tx {
    connection: Held,
    silence_max: Duration,
    /// Under which the lease was found held in this transaction.
    pub(crate) epoch: Option<Epoch>,
    /// What is appended to the audit chain at the end.
    pub(crate) audit: Vec<(AuditEntry, Timestamp)>,
}

impl Store {
    /// Connects; fails when the database does not answer, with what the first connection met: a pool would only say
    /// that it waited.
    pub async fn connect(url: &str, options: StoreOptions) -> Result<Self, StoreError> {
        let connect = PgConnectOptions::from_str(url)?.application_name("slipway").options([
            ("statement_timeout", options.statement_ms_max.to_string()),
            ("lock_timeout", options.lock_ms_max.to_string()),
            ("idle_in_transaction_session_timeout", "60000".to_owned()),
        ]);
        let acquire_max = Duration::from_millis(options.acquire_ms_max);
        let first = tokio::time::timeout(acquire_max, PgConnection::connect_with(&connect)).await;
        let first = first.map_err(|_| {
            let (host, port) = (connect.get_host(), connect.get_port());
            let waited_s = acquire_max.as_secs();
            StoreError::Unavailable(format!("nothing came from {host} port {port} within {waited_s} s"))
        })?;
        first?.close().await?;
        let pool = Pool::new(connect, options.connections_max, acquire_max);
        let silence_max = Duration::from_millis(options.statement_ms_max) + SILENCE;
        Ok(Self { pool, silence_max })
    }

    /// Begins a transaction.
    #[tracing::instrument(name = "db.begin", level = "debug", skip_all)]
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let mut connection = self.pool.get().await?;
        within(self.silence_max, connection.begin()).await?;
        Ok(Tx {
            connection,
            silence_max: self.silence_max,
            epoch: None,
            audit: Vec::new(),
        })
    }

    /// Whether the database answers.
    #[tracing::instrument(name = "db.ping", level = "debug", skip_all)]
    pub async fn ping(&self) -> Result<(), StoreError> {
        let mut held = self.pool.get().await?;
        Ok(within(self.silence_max, held.connection().ping()).await?)
    }

    /// Closes all connections; those of transactions when these end.
    pub fn close(&self) {
        self.pool.close();
    }

    pub(crate) fn line(&self) -> PgPool {
        self.pool.line()
    }

    /// How the schema stands to this program.
    #[tracing::instrument(name = "db.schema_state", level = "debug", skip_all)]
    pub async fn schema_state(&self) -> Result<SchemaState, StoreError> {
        let mut held = self.pool.get().await?;
        schema_state(held.connection(), self.silence_max).await
    }

    /// Applies what is missing, one process at a time, and says how much it was. Refuses a newer schema.
    ///
    /// On lines of its own with long time limits: building an index may take minutes, and a second process waits.
    #[tracing::instrument(name = "db.migrate", level = "debug", skip_all)]
    pub async fn migrate(&self) -> Result<usize, StoreError> {
        let patient = self.pool.options().clone().options([
            ("statement_timeout", MIGRATION_MS_MAX),
            ("lock_timeout", MIGRATION_MS_MAX),
            ("idle_in_transaction_session_timeout", MIGRATION_MS_MAX),
        ]);
        // One connection to hold the turn, one to do the work.
        let pool = PgPoolOptions::new().max_connections(2).connect_with(patient).await?;
        let mut turn = pool.begin().await?;
        sqlx::query!("select pg_advisory_xact_lock(hashtext('slipway.migrate')) as locked")
            .fetch_one(&mut *turn)
            .await?;
        let applied = migrate(&pool).await;
        turn.rollback().await?;
        pool.close().await;
        applied
    }
}

async fn schema_state(connection: &mut PgConnection, silence_max: Duration) -> Result<SchemaState, StoreError> {
    let known = MIGRATOR.iter().map(|m| m.version).max().unwrap_or(0);
    let table = sqlx::query_scalar!("select to_regclass('_sqlx_migrations')::text")
        .fetch_one(Bounded::new(connection, silence_max))
        .await?;
    if table.is_none() {
        return Ok(SchemaState::Pending(MIGRATOR.iter().count()));
    }
    let applied = sqlx::query_scalar!("select version from _sqlx_migrations where success")
        .fetch_all(Bounded::new(connection, silence_max))
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

async fn migrate(pool: &PgPool) -> Result<usize, StoreError> {
    let mut connection = pool.acquire().await?;
    let state = schema_state(&mut connection, Duration::from_millis(MIGRATION_MS_MAX)).await?;
    drop(connection);
    match state {
        SchemaState::Current => Ok(0),
        SchemaState::Newer { found, known } => Err(StoreError::SchemaNewer { found, known }),
        SchemaState::Pending(count) => {
            MIGRATOR
                .run(pool)
                .await
                .map_err(|e| StoreError::Internal(e.to_string()))?;
            Ok(count)
        }
    }
}

impl Tx {
    /// Makes everything done in it last, and its audit rows with it.
    #[tracing::instrument(name = "db.commit", level = "debug", skip_all)]
    pub async fn commit(mut self) -> Result<(), StoreError> {
        self.write_audit().await?;
        Ok(within(self.silence_max, self.connection.commit()).await?)
    }

    /// The epoch under which this transaction is fenced; what only the scheduler writes asks for it.
    pub(crate) fn fenced(&self) -> Result<Epoch, StoreError> {
        self.epoch.ok_or(StoreError::Fenced)
    }

    pub(crate) fn c(&mut self) -> Bounded<'_> {
        Bounded::new(self.connection.connection(), self.silence_max)
    }
}
