//! Who leads: one at a time, by the database's time, and a former leader is refused.

use slipway_domain::Epoch;
use slipway_domain::deployment::{DeploymentEvent, StepName, StepState};
use slipway_domain::routing::RouteState;
use slipway_store::StoreError;
use uuid::Uuid;

use crate::db::with_store;
use crate::fixture::{LEASE, deploy, fenced, lead, second, tx, web};

const EXPIRE: &str = "update leases set expires_at = now() - interval '1 second'";

#[tokio::test]
async fn a_held_lease_is_not_given_to_another_and_to_its_holder_under_a_new_epoch() {
    with_store(async |_, store| {
        assert_eq!(lead(&store, 1).await, Some(Epoch(1)));
        assert_eq!(lead(&store, 2).await, None);
        assert_eq!(lead(&store, 1).await, Some(Epoch(2)));
        let mut late = tx(&store).await;
        let refused = late.fence(Epoch(1)).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn an_expired_lease_goes_to_the_next_under_a_higher_epoch() {
    with_store(async |db, store| {
        let old = lead(&store, 1).await.expect("free");
        db.execute(EXPIRE).await.expect("written");
        let mut first = tx(&store).await;
        let renewed = first
            .renew_lease(LEASE, Uuid::from_u128(1), old, 60_000)
            .await
            .expect("asked");
        assert!(!renewed, "what has run out cannot be prolonged");
        drop(first);
        let new = lead(&store, 2).await.expect("the time is up by the database's clock");
        assert_eq!(new, old.next());
        assert_eq!(lead(&store, 1).await, None);
        let mut second = tx(&store).await;
        assert!(
            second
                .renew_lease(LEASE, Uuid::from_u128(2), new, 60_000)
                .await
                .expect("asked")
        );
    })
    .await;
}

#[tokio::test]
async fn a_holder_that_slept_through_its_lease_gets_a_new_epoch() {
    with_store(async |db, store| {
        let old = lead(&store, 1).await.expect("free");
        db.execute(EXPIRE).await.expect("written");
        assert_eq!(lead(&store, 1).await, Some(old.next()));
    })
    .await;
}

#[tokio::test]
async fn a_lease_given_back_is_free_at_once() {
    with_store(async |_, store| {
        let epoch = lead(&store, 1).await.expect("free");
        let mut tx = tx(&store).await;
        tx.release_lease(LEASE, Uuid::from_u128(1), epoch)
            .await
            .expect("released");
        tx.commit().await.expect("commits");
        assert_eq!(lead(&store, 2).await, Some(epoch.next()));
    })
    .await;
}

#[tokio::test]
async fn a_former_leader_is_refused() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let old = lead(&store, 1).await.expect("free");
        db.execute(EXPIRE).await.expect("written");
        let mut late = tx(&store).await;
        assert!(
            matches!(late.fence(old).await, Err(StoreError::Fenced)),
            "the time is up"
        );
        drop(late);
        let new = lead(&store, 2).await.expect("free again");
        let mut late = tx(&store).await;
        assert!(
            matches!(late.fence(old).await, Err(StoreError::Fenced)),
            "another leads"
        );
        let refused = late.purge_environment(environment.id).await;
        assert!(matches!(refused, Err(StoreError::Fenced)), "{refused:?}");
        drop(late);
        drop(fenced(&store, new).await);
    })
    .await;
}

#[tokio::test]
async fn what_only_the_scheduler_writes_is_refused_without_a_fence() {
    with_store(async |_, store| {
        let (_, _, environment) = web(&store).await;
        let deployment = deploy(&store, environment.id, second(1)).await;
        let mut tx = tx(&store).await;
        let status = tx.status(environment.id).await.expect("read").expect("is there");
        let (id, now) = (deployment.id, second(2));
        let refused = [
            tx.save_status(environment.id, &status).await,
            tx.set_route(&environment, RouteState::Serving, &[], None)
                .await
                .map(drop),
            tx.start_deployment(id, now).await,
            tx.step_started(id, StepName::Pull, None, now).await,
            tx.step_finished(id, StepName::Pull, StepState::Succeeded, None, now)
                .await,
            tx.finish_deployment(id, DeploymentEvent::Abort, None, now).await,
            tx.purge_environment(environment.id).await,
        ];
        for result in refused {
            assert!(matches!(result, Err(StoreError::Fenced)), "{result:?}");
        }
    })
    .await;
}

/// The lease runs out while its holder writes: the next one waits until what was begun is written.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_leader_waits_for_a_write_that_was_begun_under_the_old_lease() {
    with_store(async |db, store| {
        let (_, _, environment) = web(&store).await;
        let mut first = tx(&store).await;
        let old = first
            .acquire_lease(LEASE, Uuid::from_u128(1), 700)
            .await
            .expect("asked")
            .expect("free");
        first.commit().await.expect("commits");
        let mut writing = fenced(&store, old).await;
        db.until("select count(*) from leases where expires_at < now()", |n| n == 1)
            .await;
        let taking = tokio::spawn({
            let store = store.clone();
            async move { lead(&store, 2).await }
        });
        db.until_somebody_waits_for_a_lock().await;
        assert!(!taking.is_finished());
        let status = writing.status(environment.id).await.expect("read").expect("is there");
        writing
            .save_status(environment.id, &status)
            .await
            .expect("still fenced");
        writing.commit().await.expect("commits");
        assert_eq!(taking.await.expect("no panic"), Some(old.next()));
    })
    .await;
}
