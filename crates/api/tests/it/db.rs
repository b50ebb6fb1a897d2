//! The database of a test of the API, past the API.

use slipway_store::{Store, StoreOptions};
use slipway_testkit::postgres::with_database;
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, Row};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::task::{AbortHandle, JoinSet};

/// A migrated database.
#[derive(Debug, Clone)]
pub(crate) struct Db {
    options: PgConnectOptions,
    relay: AbortHandle,
}

/// A way to the server that can be cut.
async fn relay(server: PgConnectOptions) -> (u16, AbortHandle) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("bound").port();
    let task = tokio::spawn(async move {
        // Connections end with this set, and the set with the task.
        let mut connections = JoinSet::new();
        while let Ok((mut near, _)) = listener.accept().await {
            let server = server.clone();
            connections.spawn(async move {
                let done = if let Some(folder) = server.get_socket() {
                    let path = folder.join(format!(".s.PGSQL.{}", server.get_port()));
                    let mut far = UnixStream::connect(path).await.expect("the server answers");
                    copy_bidirectional(&mut near, &mut far).await
                } else {
                    let address = (server.get_host().to_owned(), server.get_port());
                    let mut far = TcpStream::connect(address).await.expect("the server answers");
                    copy_bidirectional(&mut near, &mut far).await
                };
                drop(done);
            });
        }
    });
    (port, task.abort_handle())
}

/// Runs a test with a migrated database.
pub(crate) async fn with_store<F: Future<Output = ()>>(test: impl FnOnce(Db, Store) -> F) {
    with_database("slipway_api", async |options| {
        let (port, relay) = relay(options.clone()).await;
        let through = options.clone().host("127.0.0.1").port(port);
        let url = through.to_url_lossy().to_string();
        let impatient = StoreOptions {
            acquire_ms_max: 1_000,
            ..StoreOptions::default()
        };
        let store = Store::connect(&url, impatient).await.expect("connects");
        store.migrate().await.expect("migrates");
        test(Db { options, relay }, store).await;
    })
    .await;
}

impl Db {
    /// Takes the server away from the API: open connections end, new ones are refused. The test's own still work.
    pub(crate) async fn take_away(&self) {
        self.relay.abort();
        // The connections it holds end when it does, and with it those of the store.
        while !self.relay.is_finished() {
            tokio::task::yield_now().await;
        }
    }

    /// One number past the store.
    pub(crate) async fn number(&self, query: &str) -> i64 {
        let mut connection = self.options.connect().await.expect("connects");
        let row = sqlx::query(AssertSqlSafe(query.to_owned()))
            .fetch_one(&mut connection)
            .await;
        connection.close().await.expect("closes");
        row.expect("the query is right").get(0)
    }

    /// Runs a statement past the store.
    pub(crate) async fn execute(&self, statement: &str) {
        let mut connection = self.options.connect().await.expect("connects");
        sqlx::raw_sql(AssertSqlSafe(statement.to_owned()))
            .execute(&mut connection)
            .await
            .expect("the statement is right");
    }

    /// How many rows there are of everything that a refused deploy must not leave behind.
    pub(crate) async fn rows(&self) -> i64 {
        self.number(
            "select (select count(*) from apps) + (select count(*) from environments) + (select count(*) from releases)
                  + (select count(*) from deployments) + (select count(*) from events)",
        )
        .await
    }
}
