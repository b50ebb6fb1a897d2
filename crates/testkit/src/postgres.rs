//! A database of its own for each test, on the server of `SLIPWAY_TEST_DATABASE_URL`, dropped when the test ends.

use std::panic::AssertUnwindSafe;
use std::str::FromStr as _;

use futures_util::FutureExt as _;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions as _};
use uuid::Uuid;

/// Where the server is if nobody says.
pub const SERVER: &str = "postgres://postgres@127.0.0.1:5499/postgres";

/// The URL of the server, as a superuser.
pub fn server_url() -> String {
    std::env::var("SLIPWAY_TEST_DATABASE_URL").unwrap_or_else(|_| SERVER.to_owned())
}

/// Runs a test with an empty database, whose name begins with what is given, and drops it whatever comes of the test.
///
/// # Panics
///
/// As the test does; and where there is no such server, or its user may not make databases.
pub async fn with_database<F: Future<Output = ()>>(prefix: &str, test: impl FnOnce(PgConnectOptions) -> F) {
    let server = PgConnectOptions::from_str(&server_url()).expect("SLIPWAY_TEST_DATABASE_URL is a Postgres URL");
    let name = format!("{prefix}_{}", Uuid::now_v7().simple());
    execute(&server, format!("create database {name}")).await;
    let outcome = AssertUnwindSafe(test(server.clone().database(&name)))
        .catch_unwind()
        .await;
    execute(&server, format!("drop database if exists {name} with (force)")).await;
    if let Err(panic) = outcome {
        std::panic::resume_unwind(panic);
    }
}

async fn execute(server: &PgConnectOptions, statement: String) {
    let mut connection = server
        .connect()
        .await
        .expect("a Postgres server answers at SLIPWAY_TEST_DATABASE_URL");
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await
        .expect("the user of SLIPWAY_TEST_DATABASE_URL may create and drop databases");
}
