//! The database of a test of the store, past the store.

use std::time::Duration;

use slipway_chaos::faults::postgres::Upstream;
use slipway_store::{Store, StoreOptions};
use slipway_testkit::postgres::with_database;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row};

/// An empty database.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    options: PgConnectOptions,
}

/// Runs a test with an empty database.
pub(crate) async fn with_empty<F: Future<Output = ()>>(test: impl FnOnce(Db) -> F) {
    with_database("slipway_store", async |options| test(Db { options }).await).await;
}

/// Runs a test with a migrated database.
pub(crate) async fn with_store<F: Future<Output = ()>>(test: impl FnOnce(Db, Store) -> F) {
    with_empty(async |db| {
        let store = db.store().await;
        store.migrate().await.expect("migrates");
        test(db, store).await;
    })
    .await;
}

impl Db {
    /// Where it is.
    pub(crate) fn url(&self) -> String {
        self.options.to_url_lossy().to_string()
    }

    /// Where another database of its server is.
    pub(crate) fn url_of_another(&self, name: &str) -> String {
        self.options.clone().database(name).to_url_lossy().to_string()
    }

    /// Where its server is, for a proxy before it.
    pub(crate) fn upstream(&self) -> Upstream {
        let port = self.options.get_port();
        if let Some(folder) = self.options.get_socket() {
            return Upstream::Unix(folder.join(format!(".s.PGSQL.{port}")));
        }
        let address = format!("{}:{port}", self.options.get_host());
        Upstream::Tcp(address.parse().expect("an address"))
    }

    /// Where it is behind a proxy on this machine.
    pub(crate) fn url_through(&self, port: u16) -> String {
        let options = self.options.clone().host("127.0.0.1").port(port);
        options.to_url_lossy().to_string()
    }

    /// A pool on it.
    pub(crate) async fn store(&self) -> Store {
        Store::connect(&self.url(), StoreOptions::default())
            .await
            .expect("connects")
    }

    /// A line past the store, as the superuser.
    pub(crate) async fn raw(&self) -> PgConnection {
        self.options.connect().await.expect("connects")
    }

    /// Runs statements past the store; what they say is the error's text.
    pub(crate) async fn execute(&self, statements: &str) -> Result<(), String> {
        let mut connection = self.raw().await;
        let done = sqlx::raw_sql(AssertSqlSafe(statements.to_owned()))
            .execute(&mut connection)
            .await;
        connection.close().await.expect("closes");
        done.map(drop).map_err(|e| e.to_string())
    }

    /// Comes back when a statement in this database waits for a lock that another transaction holds.
    pub(crate) async fn until_somebody_waits_for_a_lock(&self) {
        self.until(
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'",
            |waiting| waiting > 0,
        )
        .await;
    }

    /// Comes back when the number is as wanted; fails after ten seconds.
    pub(crate) async fn until(&self, query: &str, wanted: impl Fn(i64) -> bool) -> i64 {
        for _ in 0..500 {
            let number = self.number(query).await;
            if wanted(number) {
                return number;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("it never became as wanted: {query}");
    }

    /// One number past the store.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let mut connection = self.raw().await;
        let row = sqlx::query(AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut connection)
            .await;
        connection.close().await.expect("closes");
        row.expect("the query is right").get(0)
    }
}
