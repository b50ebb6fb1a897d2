//! A database that does not answer is told apart from one that refuses.

use std::time::{Duration, Instant};

use slipway_chaos::faults::postgres::PostgresProxy;
use slipway_chaos::faults::{Fault, Script};
use slipway_store::{Store, StoreError, StoreOptions};

use crate::db::with_store;
use crate::fixture::{tx, web};

fn short() -> StoreOptions {
    StoreOptions {
        connections_max: 1,
        acquire_ms_max: 300,
        statement_ms_max: 300,
        lock_ms_max: 200,
    }
}

#[tokio::test]
async fn a_server_that_is_not_there_is_unavailable() {
    // Bound and closed again: nothing listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a port")
        .port();
    let refused = Store::connect(&format!("postgres://nobody@127.0.0.1:{port}/none"), short()).await;
    assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
}

#[tokio::test]
async fn a_database_that_does_not_exist_is_not_called_unavailable() {
    with_store(async |db, _| {
        let url = db.url_of_another("slipway_store_never_made");
        let refused = Store::connect(&url, short()).await;
        assert!(
            matches!(&refused, Err(StoreError::Internal(text)) if text.contains("does not exist")),
            "{refused:?}"
        );
    })
    .await;
}

#[tokio::test]
async fn an_exhausted_pool_is_unavailable_and_answers_again_when_a_connection_is_free() {
    with_store(async |db, _| {
        let store = Store::connect(&db.url(), short()).await.expect("connects");
        let held = tx(&store).await;
        let refused = store.begin().await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
        drop(held);
        store.ping().await.expect("answers");
    })
    .await;
}

#[tokio::test]
async fn a_lock_that_is_not_given_in_time_is_unavailable() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let mut holder = tx(&store).await;
        holder.lock_environment(environment.id).await.expect("locks");
        let impatient = Store::connect(&db.url(), short()).await.expect("connects");
        let mut waiter = tx(&impatient).await;
        let refused = waiter.lock_environment(environment.id).await;
        assert!(matches!(refused, Err(StoreError::Unavailable(_))), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn connections_that_the_server_closed_are_made_anew() {
    with_store(async |db, store| {
        let (_, app, _) = web(&store).await;
        let mut caught = tx(&store).await;
        caught.app_by_name(&app.name).await.expect("answers");
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity
             where datname = current_database() and pid <> pg_backend_pid()",
        )
        .await
        .expect("killed");
        let cut = caught.app_by_name(&app.name).await;
        assert!(matches!(cut, Err(StoreError::Unavailable(_))), "{cut:?}");
        drop(caught);
        let mut tx = tx(&store).await;
        assert!(tx.app_by_name(&app.name).await.expect("answers").is_some());
    })
    .await;
}

/// There is one place, and the silence begins at each of the round trips that using it takes, giving it back included.
#[tokio::test]
async fn a_connection_that_falls_silent_at_any_moment_gives_its_place_back() {
    with_store(async |db, store| {
        drop(store);
        let proxy = PostgresProxy::start(db.upstream(), Script::new());
        let proxy = proxy.expect("a proxy");
        let store = Store::connect(&db.url_through(proxy.address().port()), short())
            .await
            .expect("connects");
        let used = async || {
            let mut tx = store.begin().await?;
            tx.key_check().await?;
            tx.commit().await
        };
        used().await.expect("nothing is in its way");
        let before = proxy.control().calls();
        used().await.expect("nothing is in its way");
        let trips = proxy.control().calls() - before;
        assert!(trips >= 4, "{trips} round trips are no transaction");
        for trip in 1..=trips {
            let silent_at = proxy.control().calls() + trip;
            proxy.control().follow(Script::new().at(silent_at, Fault::Hang));
            while proxy.control().calls() < silent_at {
                // Fails where the silence falls on it.
                drop(used().await);
            }
            let begun = Instant::now();
            while let Err(error) = used().await {
                assert!(begun.elapsed() < Duration::from_secs(30), "silent at {trip}: {error}");
            }
        }
    })
    .await;
}
