//! Hints come after a commit, and only then.

use std::time::Duration;

use slipway_store::{Hint, Hints};

use crate::db::with_store;
use crate::fixture::{deploy, second, tx, web};

async fn next(hints: &mut Hints) -> Hint {
    tokio::time::timeout(Duration::from_secs(10), hints.next())
        .await
        .expect("a hint comes")
        .expect("the line holds")
}

#[tokio::test]
async fn an_accepted_deploy_is_hinted_once_it_is_committed() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let mut hints = store.hints().await.expect("listens");
        let mut dropped = tx(&store).await;
        dropped.bump_routes().await.expect("bumped");
        drop(dropped);
        deploy(&store, environment.id, second(1)).await;
        assert_eq!(
            next(&mut hints).await,
            Hint::Environments,
            "what was rolled back is not hinted"
        );
        let mut api = tx(&store).await;
        api.bump_routes().await.expect("bumped");
        api.commit().await.expect("commits");
        assert_eq!(next(&mut hints).await, Hint::Routes);
        deploy(&store, environment.id, second(2)).await;
        let mut both = [next(&mut hints).await, next(&mut hints).await];
        both.sort_by_key(|h| format!("{h:?}"));
        assert_eq!(
            both,
            [Hint::Environments, Hint::Events],
            "the one that was superseded says so"
        );
    })
    .await;
}

#[tokio::test]
async fn a_broken_line_is_mended_and_says_so() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let mut hints = store.hints().await.expect("listens");
        let kill = "select pg_terminate_backend(pid) from pg_stat_activity
                    where datname = current_database() and query ilike 'listen%'";
        db.execute(kill).await.expect("killed");
        assert_eq!(next(&mut hints).await, Hint::Reconnected);
        deploy(&store, environment.id, second(1)).await;
        assert_eq!(next(&mut hints).await, Hint::Environments);
    })
    .await;
}
