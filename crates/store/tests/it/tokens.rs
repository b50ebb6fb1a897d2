//! Tokens: only those that hold let a caller in.

use slipway_domain::access::Reach;
use slipway_domain::ids::TokenId;
use slipway_domain::token::{TokenHash, TokenKind};
use slipway_store::{Page, Team, TokenRow};

use crate::db::with_store;
use crate::fixture::{Counter, add_team, second, tx};

fn token(team: &Team, s: i64) -> TokenRow {
    TokenRow {
        id: TokenId::mint(second(s), &Counter),
        team: team.id,
        name: "ci".parse().expect("valid"),
        kind: TokenKind::Dpl,
        reach: Reach {
            scopes: vec!["deploy:app".parse().expect("valid"), "read:log".parse().expect("valid")],
            apps: Some(vec!["web".parse().expect("valid")]),
            environments: Some(Vec::new()),
        },
        created_at: second(s),
        created_by: "ana".into(),
        expires_at: Some(second(100)),
        revoked_at: None,
        last_used_at: None,
    }
}

#[tokio::test]
async fn a_token_lets_its_caller_in_until_it_expires_or_is_revoked() {
    with_store(async |_, store| {
        let team = add_team(&store, "default").await;
        let row = token(&team, 1);
        let hash = TokenHash([9; 32]);
        let mut tx = tx(&store).await;
        tx.insert_token(&row, &hash).await.expect("inserted");
        let caller = tx
            .caller_by_hash(&hash, second(99))
            .await
            .expect("asked")
            .expect("let in");
        assert_eq!((caller.token, caller.team, caller.kind), (row.id, team.id, row.kind));
        assert_eq!(caller.reach.apps, row.reach.apps);
        assert_eq!(caller.reach.environments, Some(Vec::new()), "none is not all");
        assert_eq!(caller.reach.scopes, row.reach.scopes);
        assert!(
            tx.caller_by_hash(&hash, second(100)).await.expect("asked").is_none(),
            "expired"
        );
        assert!(
            tx.caller_by_hash(&TokenHash([8; 32]), second(1))
                .await
                .expect("asked")
                .is_none()
        );
        assert!(tx.revoke_token(row.id, second(50)).await.expect("asked"));
        assert!(!tx.revoke_token(row.id, second(51)).await.expect("asked"));
        assert!(
            tx.caller_by_hash(&hash, second(60)).await.expect("asked").is_none(),
            "revoked"
        );
        let kept = tx.token(row.id).await.expect("read").expect("is there");
        assert_eq!(kept.revoked_at, Some(second(50)));
    })
    .await;
}

#[tokio::test]
async fn a_use_is_noted_at_most_once_a_minute() {
    with_store(async |_, store| {
        let team = add_team(&store, "default").await;
        let row = token(&team, 1);
        let mut tx = tx(&store).await;
        tx.insert_token(&row, &TokenHash([9; 32])).await.expect("inserted");
        for (now, noted) in [(10, 10), (60, 10), (70, 10), (71, 71)] {
            tx.touch_token(row.id, second(now)).await.expect("asked");
            let read = tx.token(row.id).await.expect("read").expect("is there");
            assert_eq!(read.last_used_at, Some(second(noted)), "at {now}");
        }
    })
    .await;
}

#[tokio::test]
async fn tokens_are_listed_by_team_newest_first() {
    with_store(async |_, store| {
        let (one, two) = (add_team(&store, "one").await, add_team(&store, "two").await);
        let mut tx = tx(&store).await;
        let mut ids = Vec::new();
        for n in 1..=3 {
            let row = token(&one, i64::from(n));
            tx.insert_token(&row, &TokenHash([n; 32])).await.expect("inserted");
            ids.push(row.id);
        }
        tx.insert_token(&token(&two, 4), &TokenHash([4; 32]))
            .await
            .expect("inserted");
        let first = tx
            .tokens(Some(one.id), &Page { limit: 2, after: None })
            .await
            .expect("read");
        assert_eq!(first.iter().map(|t| t.id).collect::<Vec<_>>(), [ids[2], ids[1]]);
        let after = first.last().map(|t| t.id);
        let rest = tx.tokens(Some(one.id), &Page { limit: 2, after }).await.expect("read");
        assert_eq!(rest.iter().map(|t| t.id).collect::<Vec<_>>(), [ids[0]]);
        let all = tx.tokens(None, &Page { limit: 10, after: None }).await.expect("read");
        assert_eq!(all.len(), 4);
    })
    .await;
}
