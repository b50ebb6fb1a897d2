//! A connection whose answers have to come in time.
//!
//! Promises: a statement ends within its bound, also when the database says nothing at all: its own `statement_timeout`
//! ends what is slow, this ends what is silent, such as a machine without power or a stopped process, of which a
//! connection may not learn for a quarter of an hour. A connection that was silent is not used again: see `pool.rs`.

use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::BoxStream;
use sqlx::postgres::{PgQueryResult, PgRow, PgStatement, PgTypeInfo};
use sqlx::{Describe, Either, Execute, Executor, PgConnection, Postgres, SqlStr};
use tokio_stream::StreamExt as _;

/// A connection, and how long each answer may take.
#[derive(Debug)]
pub(crate) struct Bounded<'c> {
    connection: &'c mut PgConnection,
    silence_max: Duration,
}

impl<'c> Bounded<'c> {
    pub(crate) const fn new(connection: &'c mut PgConnection, silence_max: Duration) -> Self {
        Self {
            connection,
            silence_max,
        }
    }
}

/// An answer within a bound.
pub(crate) async fn within<T>(
    silence_max: Duration,
    answer: impl Future<Output = Result<T, sqlx::Error>>,
) -> Result<T, sqlx::Error> {
    let answer = tokio::time::timeout(silence_max, answer).await;
    answer.unwrap_or_else(|_| Err(silent(silence_max)))
}

fn silent(silence_max: Duration) -> sqlx::Error {
    let told = format!("no answer to a statement within {} s", silence_max.as_secs());
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, told))
}

impl<'c> Executor<'c> for Bounded<'c> {
    type Database = Postgres;

    fn fetch_many<'e, 'q: 'e, E>(self, query: E) -> BoxStream<'e, Result<Either<PgQueryResult, PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        let silence_max = self.silence_max;
        let rows = self.connection.fetch_many(query).timeout(silence_max);
        Box::pin(rows.map(move |row| row.unwrap_or_else(|_| Err(silent(silence_max)))))
    }

    fn fetch_optional<'e, 'q: 'e, E>(self, query: E) -> BoxFuture<'e, Result<Option<PgRow>, sqlx::Error>>
    where
        'c: 'e,
        E: 'q + Execute<'q, Postgres>,
    {
        Box::pin(within(self.silence_max, self.connection.fetch_optional(query)))
    }

    fn prepare_with<'e>(
        self,
        sql: SqlStr,
        parameters: &'e [PgTypeInfo],
    ) -> BoxFuture<'e, Result<PgStatement, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(within(self.silence_max, self.connection.prepare_with(sql, parameters)))
    }

    fn describe<'e>(self, sql: SqlStr) -> BoxFuture<'e, Result<Describe<Postgres>, sqlx::Error>>
    where
        'c: 'e,
    {
        Box::pin(within(self.silence_max, self.connection.describe(sql)))
    }
}
