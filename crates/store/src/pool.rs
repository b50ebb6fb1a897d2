//! The connections to the database: so many at most, and each is given back clean or not at all.
//!
//! Promises: who gets a connection gets one that has just answered; one that does not answer in time, or whose
//! transaction cannot be rolled back in time, is dropped and its place is free again. No silence of the database, at
//! whatever moment it begins, keeps a place for longer than these bounds.
//!
//! Not the pool of sqlx: it asks a connection that comes back without a bound, so that each one that falls silent right
//! then takes a place along for as long as the kernel believes in it.

use std::io::ErrorKind;
use std::time::Duration;

use deadpool::managed::{self, Metrics, Object, PoolConfig, PoolError, QueueMode, RecycleError, RecycleResult};
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection};
use tokio::runtime::Handle;

use crate::bounded::within;

/// A connection that nobody needed for so long is closed.
const IDLE_MAX: Duration = Duration::from_mins(1);
/// Between tries to connect to a server that is just starting.
const PAUSE_MIN: Duration = Duration::from_millis(10);
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// The connections.
#[derive(Debug, Clone)]
pub(crate) struct Pool {
    inner: managed::Pool<Connections>,
    options: PgConnectOptions,
    acquire_max: Duration,
}

/// Makes them and asks whether they still answer.
#[derive(Debug)]
struct Connections {
    options: PgConnectOptions,
    answer_max: Duration,
}

impl managed::Manager for Connections {
    type Type = PgConnection;
    type Error = sqlx::Error;

    async fn create(&self) -> Result<PgConnection, sqlx::Error> {
        PgConnection::connect_with(&self.options).await
    }

    async fn recycle(&self, connection: &mut PgConnection, _: &Metrics) -> RecycleResult<sqlx::Error> {
        within(self.answer_max, connection.ping())
            .await
            .map_err(RecycleError::Backend)
    }
}

impl Pool {
    /// Connects when somebody asks. A connection comes within `acquire_max`, or there is an error.
    pub(crate) fn new(options: PgConnectOptions, connections_max: u32, acquire_max: Duration) -> Self {
        let manager = Connections {
            options: options.clone(),
            // One that is silent must leave time to try others.
            answer_max: acquire_max / 3,
        };
        let config = PoolConfig {
            max_size: usize::try_from(connections_max).unwrap_or(usize::MAX),
            // What is not needed falls idle.
            queue_mode: QueueMode::Lifo,
            ..PoolConfig::default()
        };
        let inner = managed::Pool::builder(manager).config(config).build();
        Self {
            // Fails only for time-outs without a runtime, and there are none of its own.
            inner: inner.expect("a pool without time-outs of its own"),
            options,
            acquire_max,
        }
    }

    /// How connections are made.
    pub(crate) const fn options(&self) -> &PgConnectOptions {
        &self.options
    }

    /// A connection that answers.
    pub(crate) async fn get(&self) -> Result<Held, sqlx::Error> {
        self.inner.retain(|_, metrics| metrics.last_used() < IDLE_MAX);
        let tries = async {
            let mut pause = PAUSE_MIN;
            loop {
                match self.inner.get().await {
                    Ok(connection) => return Ok(connection),
                    Err(PoolError::Backend(error)) if is_starting(&error) => {
                        tokio::time::sleep(pause).await;
                        pause = (pause * 2).min(PAUSE_MAX);
                    }
                    Err(PoolError::Backend(error)) => return Err(error),
                    Err(_) => return Err(sqlx::Error::PoolClosed),
                }
            }
        };
        let got = tokio::time::timeout(self.acquire_max, tries).await;
        Ok(Held {
            connection: Some(got.unwrap_or(Err(sqlx::Error::PoolTimedOut))?),
            rollback_max: self.acquire_max,
            state: State::Clean,
        })
    }

    /// One connection apart, for a listener that asks a pool of the driver's when its line breaks.
    pub(crate) fn line(&self) -> PgPool {
        PgPoolOptions::new()
            .max_connections(1)
            .acquire_timeout(self.acquire_max)
            .connect_lazy_with(self.options.clone())
    }

    /// Hands out no more connections; those that are out are closed when they come back.
    pub(crate) fn close(&self) {
        self.inner.close();
    }
}

/// Whether the server may be there in a moment.
fn is_starting(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(error) => matches!(
            error.kind(),
            ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted
        ),
        // Starting up, and too many connections.
        sqlx::Error::Database(error) => matches!(error.code().as_deref(), Some("57P03" | "53300")),
        _ => false,
    }
}

/// How it stands with a connection's transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// There is none, and nothing is under way.
    Clean,
    /// It has begun or has not: no answer has come.
    Unclear,
    /// It is open.
    Open,
}

/// A connection that somebody has.
#[derive(Debug)]
pub(crate) struct Held {
    /// There until it is given back.
    connection: Option<Object<Connections>>,
    rollback_max: Duration,
    state: State,
}

impl Held {
    /// The connection itself.
    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        self.connection.as_mut().expect("it is there until the end")
    }

    /// Begins a transaction.
    pub(crate) async fn begin(&mut self) -> Result<(), sqlx::Error> {
        self.state = State::Unclear;
        self.connection().execute("begin").await?;
        self.state = State::Open;
        Ok(())
    }

    /// Ends the transaction.
    pub(crate) async fn commit(mut self) -> Result<(), sqlx::Error> {
        self.connection().execute("commit").await?;
        self.state = State::Clean;
        Ok(())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        let Some(mut connection) = self.connection.take() else {
            return;
        };
        let rollback_max = self.rollback_max;
        match (self.state, Handle::try_current()) {
            (State::Clean, _) => {}
            // At once: its locks are in others' way.
            (State::Open, Ok(runtime)) => drop(runtime.spawn(async move {
                let rolled_back = within(rollback_max, connection.execute("rollback")).await;
                if let Err(error) = rolled_back {
                    tracing::debug!(%error, "db.connection_dropped: its transaction could not be rolled back");
                    drop(Object::take(connection));
                }
            })),
            (State::Open | State::Unclear, _) => drop(Object::take(connection)),
        }
    }
}
