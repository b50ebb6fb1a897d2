//! Idempotency keys: one request is first, its repetitions get its answer.

use serde_json::json;
use slipway_domain::Timestamp;
use slipway_domain::access::Reach;
use slipway_domain::ids::TokenId;
use slipway_domain::token::{TokenHash, TokenKind};
use slipway_store::{Idempotent, Store, StoredAnswer, TokenRow};

use crate::db::with_store;
use crate::fixture::{Counter, add_team, second, tx};

async fn token(store: &Store) -> TokenId {
    let team = add_team(store, "default").await;
    let row = TokenRow {
        id: TokenId::mint(second(0), &Counter),
        team: team.id,
        name: "ci".parse().expect("valid"),
        kind: TokenKind::Dpl,
        reach: Reach {
            scopes: vec!["deploy:app".parse().expect("valid")],
            apps: None,
            environments: None,
        },
        created_at: second(0),
        created_by: "ana".into(),
        expires_at: None,
        revoked_at: None,
        last_used_at: None,
    };
    let mut tx = tx(store).await;
    tx.insert_token(&row, &TokenHash([7; 32])).await.expect("inserted");
    tx.commit().await.expect("commits");
    row.id
}

async fn begin(store: &Store, token: TokenId, request: u8, now: Timestamp) -> Idempotent {
    let mut tx = tx(store).await;
    let first = tx
        .begin_idempotent(token, "k1", &[request; 32], now, second(0))
        .await
        .expect("asked");
    tx.commit().await.expect("commits");
    first
}

async fn finish(store: &Store, token: TokenId, taken_at: Timestamp, answer: &StoredAnswer) {
    let mut tx = tx(store).await;
    tx.finish_idempotent(token, "k1", taken_at, answer).await.expect("kept");
    tx.commit().await.expect("commits");
}

fn answer(body: &str) -> StoredAnswer {
    StoredAnswer {
        status: 202,
        headers: json!({"location": "/v1/deployments/dep_1"}),
        body: body.as_bytes().to_vec(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_requests_with_one_key_at_once_exactly_one_is_first() {
    with_store(async |_, store| {
        let token = token(&store).await;
        let racing: Vec<_> = (0..6)
            .map(|_| {
                let store = store.clone();
                tokio::spawn(async move { begin(&store, token, 1, second(1)).await })
            })
            .collect();
        let mut outcomes = Vec::new();
        for one in racing {
            outcomes.push(one.await.expect("no panic"));
        }
        let count = |wanted: &Idempotent| outcomes.iter().filter(|o| *o == wanted).count();
        assert_eq!((count(&Idempotent::Fresh), count(&Idempotent::InFlight)), (1, 5));
    })
    .await;
}

/// The second request arrives before the first one's key is committed: it waits for that, and is not first too.
#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_is_being_taken_is_waited_for() {
    with_store(async |db, store| {
        let token = token(&store).await;
        let mut first = tx(&store).await;
        let fresh = first
            .begin_idempotent(token, "k1", &[1; 32], second(1), second(0))
            .await;
        assert_eq!(fresh.expect("asked"), Idempotent::Fresh);
        let other = tokio::spawn({
            let store = store.clone();
            async move { begin(&store, token, 1, second(1)).await }
        });
        db.until_somebody_waits_for_a_lock().await;
        first.commit().await.expect("commits");
        assert_eq!(other.await.expect("no panic"), Idempotent::InFlight);
    })
    .await;
}

#[tokio::test]
async fn a_repetition_gets_the_first_answer_and_another_request_is_told_so() {
    with_store(async |_, store| {
        let token = token(&store).await;
        assert_eq!(begin(&store, token, 1, second(1)).await, Idempotent::Fresh);
        assert_eq!(begin(&store, token, 2, second(1)).await, Idempotent::Mismatch);
        finish(&store, token, second(1), &answer("first")).await;
        finish(&store, token, second(1), &answer("second")).await;
        assert_eq!(
            begin(&store, token, 1, second(2)).await,
            Idempotent::Replay(answer("first"))
        );
        assert_eq!(begin(&store, token, 2, second(2)).await, Idempotent::Mismatch);
    })
    .await;
}

#[tokio::test]
async fn a_key_given_up_can_be_taken_again() {
    with_store(async |_, store| {
        let token = token(&store).await;
        begin(&store, token, 1, second(1)).await;
        let forget = async |taken_at| {
            let mut tx = tx(&store).await;
            tx.forget_idempotent(token, "k1", taken_at).await.expect("asked");
            tx.commit().await.expect("commits");
        };
        forget(second(0)).await;
        let other = begin(&store, token, 1, second(2)).await;
        assert_eq!(other, Idempotent::InFlight, "it was another request that took it");
        forget(second(1)).await;
        assert_eq!(begin(&store, token, 2, second(2)).await, Idempotent::Fresh);
    })
    .await;
}

#[tokio::test]
async fn answers_are_kept_a_day_and_requests_that_never_ended_a_quarter_of_an_hour() {
    with_store(async |_, store| {
        let token = token(&store).await;
        let swept = async |s: i64| {
            let mut tx = tx(&store).await;
            let swept = tx.sweep_idempotent(second(s)).await.expect("swept");
            tx.commit().await.expect("commits");
            swept
        };
        begin(&store, token, 1, second(0)).await;
        assert_eq!(swept(15 * 60).await, 0);
        assert_eq!(swept(15 * 60 + 1).await, 1);
        begin(&store, token, 1, second(0)).await;
        finish(&store, token, second(0), &answer("kept")).await;
        assert_eq!(swept(24 * 3600).await, 0);
        assert_eq!(swept(24 * 3600 + 1).await, 1);
    })
    .await;
}
