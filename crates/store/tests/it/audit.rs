//! The audit chain: without gaps under concurrency, never changed, and when somebody does it anyway, it shows.

use serde_json::json;
use slipway_domain::Timestamp;
use slipway_store::{AuditEntry, AuditFilter, AuditOutcome, Page, Store, Team};

use crate::db::{Db, with_store};
use crate::fixture::{add_team, base, new_app, new_environment, second, tx, web};

fn entry(team: Option<&Team>, action: &str) -> AuditEntry {
    AuditEntry {
        team: team.map(|t| t.id),
        actor: json!({"type": "token", "id": "tok_1", "name": "ana", "ip": "192.0.2.7"}),
        action: action.into(),
        target: json!({"type": "app", "name": "wäb \u{1f680} \"x\""}),
        outcome: AuditOutcome::Allowed,
        reason: None,
        request_id: Some("req_1".into()),
        trace_id: None,
        change: Some(
            json!({"before": {"replicas": 1, "ids": [3, 1, 2]}, "after": {"replicas": 2, "deep": {"b": null, "a": -7}}}),
        ),
    }
}

async fn append(store: &Store, entry: &AuditEntry, now: Timestamp) {
    let mut tx = tx(store).await;
    tx.append_audit(entry, now).await.expect("noted");
    tx.commit().await.expect("commits");
}

async fn verify(store: &Store) -> Result<u64, i64> {
    let mut tx = tx(store).await;
    tx.verify_audit(1, 1_000).await.expect("read")
}

/// Does what only somebody with the whole database in hand can do.
async fn tamper(db: &Db, statement: &str) {
    let all = format!(
        "alter table audit disable trigger audit_append_only; {statement}; alter table audit enable trigger audit_append_only"
    );
    db.execute(&all).await.expect("a superuser may");
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_appended_at_once_are_one_chain_without_gaps() {
    with_store(async |_, store| {
        let writers: Vec<_> = (0..20)
            .map(|n| {
                let store = store.clone();
                tokio::spawn(async move { append(&store, &entry(None, "app.create"), second(n)).await })
            })
            .collect();
        for writer in writers {
            writer.await.expect("no panic");
        }
        assert_eq!(verify(&store).await, Ok(20));
        let mut tx = tx(&store).await;
        let rows = tx
            .audit_rows(&AuditFilter::default(), &Page { limit: 50, after: None })
            .await
            .expect("read");
        let seqs: Vec<i64> = rows.iter().map(|r| r.seq).collect();
        assert_eq!(seqs, (1..=20).rev().collect::<Vec<_>>());
    })
    .await;
}

/// Time with nanoseconds, text beyond ASCII, nested values: what is hashed is what the database gives back.
#[tokio::test]
async fn what_is_read_back_hashes_the_same() {
    with_store(async |_, store| {
        let now = second(1) + std::time::Duration::from_nanos(123_456_789);
        append(&store, &entry(None, "spec.update"), now).await;
        assert_eq!(verify(&store).await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn a_change_rolled_back_leaves_no_row() {
    with_store(async |db, store| {
        let mut dropped = tx(&store).await;
        dropped
            .append_audit(&entry(None, "app.create"), second(1))
            .await
            .expect("noted");
        drop(dropped);
        append(&store, &entry(None, "app.delete"), second(2)).await;
        assert_eq!(db.number("select count(*) from audit").await, 1);
        assert_eq!(verify(&store).await, Ok(1));
    })
    .await;
}

/// One caller makes an app and an environment and records both, another records an environment: their locks are taken
/// in one order.
#[tokio::test(flavor = "multi_thread")]
async fn two_changes_recorded_at_once_do_not_deadlock() {
    with_store(async |db, store| {
        let (team, web_app, _) = web(&store).await;
        let mut one = tx(&store).await;
        let api = new_app(&team, "api");
        one.insert_app(&api).await.expect("inserted");
        one.append_audit(&entry(Some(&team), "app.create"), second(1))
            .await
            .expect("noted");

        let mut two = tx(&store).await;
        let staging = new_environment(&web_app, "staging");
        two.insert_environment(&staging, &base()).await.expect("inserted");

        let going_on = tokio::spawn({
            let (team, environment) = (team.clone(), new_environment(&api, "production"));
            async move {
                one.insert_environment(&environment, &base())
                    .await
                    .expect("waits, then goes on");
                one.append_audit(&entry(Some(&team), "environment.create"), second(1))
                    .await
                    .expect("noted");
                one.commit().await
            }
        });
        db.until_somebody_waits_for_a_lock().await;
        two.append_audit(&entry(Some(&team), "environment.create"), second(1))
            .await
            .expect("noted");
        two.commit().await.expect("does not wait for the other");
        going_on.await.expect("no panic").expect("commits");
        assert_eq!(verify(&store).await, Ok(3));
    })
    .await;
}

#[tokio::test]
async fn rows_are_neither_changed_nor_removed() {
    with_store(async |db, store| {
        append(&store, &entry(None, "app.create"), second(1)).await;
        for statement in ["update audit set action = 'x'", "delete from audit", "truncate audit"] {
            let refused = db.execute(statement).await.expect_err(statement);
            assert!(refused.contains("never changed or removed"), "{statement}: {refused}");
        }
        assert_eq!(verify(&store).await, Ok(1));
    })
    .await;
}

#[tokio::test]
async fn tampering_behind_the_trigger_is_found_at_the_row() {
    for (statement, broken_at) in [
        ("update audit set action = 'app.read' where seq = 3", 3),
        ("update audit set actor = '{\"name\": \"bob\"}' where seq = 2", 2),
        (
            "update audit set time = time + interval '1 microsecond' where seq = 1",
            1,
        ),
        ("update audit set change = null where seq = 4", 4),
        ("update audit set outcome = 'denied' where seq = 4", 4),
        ("delete from audit where seq = 3", 4),
        ("update audit set hash = prev_hash where seq = 3", 3),
        ("update audit set seq = 9 where seq = 5", 9),
        (
            "update audit set seq = 0 where seq = 2; update audit set seq = 2 where seq = 3; update audit set seq = 3 where seq = 0",
            2,
        ),
    ] {
        with_store(async |db, store| {
            for n in 1..=5 {
                append(&store, &entry(None, "app.create"), second(n)).await;
            }
            assert_eq!(verify(&store).await, Ok(5));
            tamper(&db, statement).await;
            assert_eq!(verify(&store).await, Err(broken_at), "{statement}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_chain_is_verified_piece_by_piece() {
    with_store(async |db, store| {
        for n in 1..=5 {
            append(&store, &entry(None, "app.create"), second(n)).await;
        }
        let mut reader = tx(&store).await;
        assert_eq!(reader.verify_audit(1, 2).await.expect("read"), Ok(2));
        assert_eq!(reader.verify_audit(3, 2).await.expect("read"), Ok(2));
        assert_eq!(reader.verify_audit(5, 2).await.expect("read"), Ok(1));
        assert_eq!(reader.verify_audit(6, 2).await.expect("read"), Ok(0));
        drop(reader);
        tamper(&db, "delete from audit where seq = 2").await;
        let mut reader = tx(&store).await;
        assert_eq!(
            reader.verify_audit(3, 2).await.expect("read"),
            Err(2),
            "the row before is missing"
        );
    })
    .await;
}

#[tokio::test]
async fn rows_are_found_by_team_action_and_time() {
    with_store(async |_, store| {
        let (one, two) = (add_team(&store, "one").await, add_team(&store, "two").await);
        append(&store, &entry(Some(&one), "app.create"), second(1)).await;
        append(&store, &entry(Some(&two), "app.create"), second(2)).await;
        append(&store, &entry(Some(&one), "deployment.create"), second(3)).await;
        let denied = AuditEntry {
            outcome: AuditOutcome::Denied,
            reason: Some("no such permission".into()),
            ..entry(Some(&one), "app.delete")
        };
        append(&store, &denied, second(4)).await;
        let found = async |filter: AuditFilter, after: Option<i64>| {
            let mut tx = tx(&store).await;
            let rows = tx.audit_rows(&filter, &Page { limit: 2, after }).await.expect("read");
            rows.iter().map(|r| r.seq).collect::<Vec<_>>()
        };
        let all = AuditFilter::default;
        assert_eq!(found(all(), None).await, [4, 3]);
        assert_eq!(found(all(), Some(3)).await, [2, 1]);
        let of_one = AuditFilter {
            team: Some(one.id),
            ..all()
        };
        assert_eq!(found(of_one.clone(), Some(4)).await, [3, 1]);
        let apps = AuditFilter {
            action: Some("app.".into()),
            ..of_one
        };
        assert_eq!(found(apps, None).await, [4, 1]);
        let window = AuditFilter {
            since: Some(second(2)),
            until: Some(second(3)),
            ..all()
        };
        assert_eq!(found(window, None).await, [3, 2]);
        let mut tx = tx(&store).await;
        let last = tx
            .audit_rows(&all(), &Page { limit: 1, after: None })
            .await
            .expect("read")
            .pop();
        let last = last.expect("one").entry;
        assert_eq!(
            (last.outcome, last.reason.as_deref()),
            (AuditOutcome::Denied, Some("no such permission"))
        );
    })
    .await;
}
