//! Jobs: one claimer each, found again when its worker dies, and a zombie's word does not count.

use std::collections::BTreeSet;
use std::time::Duration;

use serde_json::json;
use slipway_domain::ids::JobId;
use slipway_store::{Job, JobOutcome, NewJob, Store};

use crate::db::with_store;
use crate::fixture::{Counter, tx};

fn job(key: Option<&str>, attempts_max: i32) -> NewJob {
    // Long ago, since jobs are due by the database's time.
    let past = slipway_domain::clock::testing::at(1_000_000_000_000);
    NewJob {
        id: JobId::mint(past, &Counter),
        kind: "dump".into(),
        dedupe_key: key.map(str::to_owned),
        payload: json!({"of": "platform"}),
        run_at: past,
        attempts_max,
        created_at: past,
    }
}

async fn enqueue(store: &Store, job: &NewJob) -> bool {
    let mut tx = tx(store).await;
    let added = tx.enqueue_job(job).await.expect("asked");
    tx.commit().await.expect("commits");
    added
}

async fn claim(store: &Store) -> Option<Job> {
    let mut tx = tx(store).await;
    let claimed = tx.claim_job(&["dump".to_owned()], 60_000).await.expect("asked");
    tx.commit().await.expect("commits");
    claimed
}

#[tokio::test(flavor = "multi_thread")]
async fn many_claimers_get_each_job_once() {
    with_store(async |_, store| {
        for _ in 0..5 {
            assert!(enqueue(&store, &job(None, 3)).await);
        }
        let claimers: Vec<_> = (0..8)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { claim(&store).await.map(|j| (j.id, j.attempt)) })
            })
            .collect();
        let mut claimed = Vec::new();
        for claimer in claimers {
            claimed.extend(claimer.await.expect("no panic"));
        }
        let unique: BTreeSet<_> = claimed.iter().map(|(id, _)| *id).collect();
        assert_eq!((claimed.len(), unique.len()), (5, 5));
        assert!(claimed.iter().all(|(_, attempt)| *attempt == 1));
    })
    .await;
}

#[tokio::test]
async fn two_claimers_of_one_job_do_not_wait_for_each_other() {
    with_store(async |_, store| {
        enqueue(&store, &job(None, 3)).await;
        let kinds = ["dump".to_owned()];
        let mut first = tx(&store).await;
        assert!(first.claim_job(&kinds, 60_000).await.expect("asked").is_some());
        let mut second = tx(&store).await;
        assert!(second.claim_job(&kinds, 60_000).await.expect("asked").is_none());
        drop(first);
        // The line of a dropped transaction is rolled back when its pool gets to it.
        let mut again = None;
        for _ in 0..500 {
            again = second.claim_job(&kinds, 60_000).await.expect("asked");
            if again.is_some() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(again.is_some(), "the claim was rolled back");
        assert!(
            second
                .claim_job(&["other".to_owned()], 60_000)
                .await
                .expect("asked")
                .is_none()
        );
    })
    .await;
}

#[tokio::test]
async fn a_key_is_unfinished_once_and_free_again_afterwards() {
    with_store(async |_, store| {
        assert!(enqueue(&store, &job(Some("today"), 3)).await);
        assert!(!enqueue(&store, &job(Some("today"), 3)).await);
        let claimed = claim(&store).await.expect("due");
        let mut tx = tx(&store).await;
        let done = tx.finish_job(claimed.id, claimed.attempt, JobOutcome::Done, None).await;
        assert!(done.expect("asked"));
        tx.commit().await.expect("commits");
        assert!(enqueue(&store, &job(Some("today"), 3)).await);
    })
    .await;
}

#[tokio::test]
async fn a_zombie_that_comes_back_is_refused() {
    with_store(async |db, store| {
        enqueue(&store, &job(None, 3)).await;
        let zombie = claim(&store).await.expect("due");
        db.execute("update jobs set lease_until = now() - interval '1 second'")
            .await
            .expect("written");
        let mut reaper = tx(&store).await;
        assert_eq!(reaper.reap_jobs().await.expect("asked"), 1);
        reaper.commit().await.expect("commits");
        let second = claim(&store).await.expect("due again");
        assert_eq!((second.id, second.attempt), (zombie.id, 2));

        let mut tx = tx(&store).await;
        assert!(
            !tx.heartbeat_job(zombie.id, zombie.attempt, 60_000)
                .await
                .expect("asked")
        );
        let late = tx.finish_job(zombie.id, zombie.attempt, JobOutcome::Done, None).await;
        assert!(!late.expect("asked"));
        let late = tx
            .retry_job(zombie.id, zombie.attempt, job(None, 1).run_at, "late")
            .await;
        assert!(!late.expect("asked"));
        assert!(
            tx.heartbeat_job(second.id, second.attempt, 60_000)
                .await
                .expect("asked")
        );
        assert!(
            tx.finish_job(second.id, second.attempt, JobOutcome::Done, None)
                .await
                .expect("asked")
        );
    })
    .await;
}

#[tokio::test]
async fn a_job_is_given_up_after_its_last_attempt_however_the_attempts_ended() {
    with_store(async |db, store| {
        enqueue(&store, &job(None, 2)).await;
        let first = claim(&store).await.expect("due");
        let mut again = tx(&store).await;
        let past = job(None, 1).run_at;
        assert!(again.retry_job(first.id, 1, past, "no space").await.expect("asked"));
        again.commit().await.expect("commits");
        let second = claim(&store).await.expect("one attempt is left");
        let mut again = tx(&store).await;
        assert!(again.retry_job(second.id, 2, past, "no space").await.expect("asked"));
        again.commit().await.expect("commits");
        assert!(claim(&store).await.is_none());
        assert_eq!(
            db.number("select count(*) from jobs where outcome = 'failed' and error = 'no space'")
                .await,
            1
        );

        enqueue(&store, &job(None, 1)).await;
        claim(&store).await.expect("due");
        db.execute("update jobs set lease_until = now() - interval '1 second' where finished_at is null")
            .await
            .expect("written");
        let mut reaper = tx(&store).await;
        assert_eq!(reaper.reap_jobs().await.expect("asked"), 1);
        reaper.commit().await.expect("commits");
        assert!(claim(&store).await.is_none());
        assert_eq!(
            db.number("select count(*) from jobs where error = 'the worker died'")
                .await,
            1
        );
    })
    .await;
}
