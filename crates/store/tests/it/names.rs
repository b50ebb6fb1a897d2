//! Uniqueness is the database's word: each constraint comes back as what it means.

use slipway_domain::ids::{TeamId, TokenId};
use slipway_domain::token::{TokenHash, TokenKind};
use slipway_store::{Constraint, StoreError, Team, TokenRow};

use crate::db::with_store;
use crate::fixture::{Counter, add_team, base, fenced, lead, new_app, new_environment, second, tx, web};

fn duplicate(result: &Result<(), StoreError>) -> Option<Constraint> {
    match result {
        Err(StoreError::Duplicate(constraint)) => Some(*constraint),
        _ => None,
    }
}

#[tokio::test]
async fn a_second_team_app_or_environment_of_a_name_is_told_apart() {
    with_store(async |_, store| {
        let (team, app, _) = web(&store).await;
        let other = add_team(&store, "other").await;

        let mut a = tx(&store).await;
        let same = Team {
            id: TeamId::mint(second(1), &Counter),
            ..team.clone()
        };
        assert_eq!(duplicate(&a.insert_team(&same).await), Some(Constraint::TeamName));
        let mut b = tx(&store).await;
        let taken = new_app(&other, "web");
        assert_eq!(duplicate(&b.insert_app(&taken).await), Some(Constraint::AppName));
        let mut c = tx(&store).await;
        let again = new_environment(&app, "production");
        let refused = c.insert_environment(&again, &base()).await;
        assert_eq!(duplicate(&refused), Some(Constraint::EnvironmentName));
    })
    .await;
}

#[tokio::test]
async fn environments_move_to_another_base_domain_and_proxies_are_told() {
    with_store(async |_, store| {
        let (_, _, web) = web(&store).await;
        let version = tx(&store).await.route_version().await.expect("read");
        let elsewhere = "example.org".parse().expect("a name");
        let mut api = tx(&store).await;
        assert_eq!(api.move_platform_domains(&elsewhere).await.expect("moved"), 1);
        api.commit().await.expect("commits");
        let mut reader = tx(&store).await;
        let hosts = reader.domains(web.id).await.expect("read");
        assert_eq!(
            hosts.iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["web.example.org"]
        );
        let moved = reader.route_version().await.expect("read");
        assert!(moved > version);
        assert_eq!(
            reader.move_platform_domains(&elsewhere).await.expect("nothing to do"),
            0
        );
        assert_eq!(reader.route_version().await.expect("read"), moved);
    })
    .await;
}

#[tokio::test]
async fn a_host_name_that_is_taken_is_told_apart() {
    with_store(async |db, store| {
        let (_, app, production) = web(&store).await;
        let custom = format!(
            "insert into domains (host, team_id, environment_id, kind, created_at)
             values ('web--staging.apps.localhost', '{}', '{}', 'custom', now())",
            production.team.uuid(),
            production.id.uuid()
        );
        db.execute(&custom).await.expect("inserted");
        let mut tx = tx(&store).await;
        let staging = new_environment(&app, "staging");
        let refused = tx.insert_environment(&staging, &base()).await;
        assert_eq!(duplicate(&refused), Some(Constraint::Domain));
    })
    .await;
}

#[tokio::test]
async fn one_token_text_is_one_token() {
    with_store(async |_, store| {
        let team = add_team(&store, "default").await;
        let token = || TokenRow {
            id: TokenId::mint(second(1), &Counter),
            team: team.id,
            name: "ci".parse().expect("valid"),
            kind: TokenKind::Dpl,
            reach: slipway_domain::access::Reach {
                scopes: vec!["admin".parse().expect("valid")],
                apps: None,
                environments: None,
            },
            created_at: second(1),
            created_by: "ana".into(),
            expires_at: None,
            revoked_at: None,
            last_used_at: None,
        };
        let mut tx = tx(&store).await;
        tx.insert_token(&token(), &TokenHash([1; 32])).await.expect("inserted");
        let refused = tx.insert_token(&token(), &TokenHash([1; 32])).await;
        assert_eq!(duplicate(&refused), Some(Constraint::TokenHash));
    })
    .await;
}

#[tokio::test]
async fn a_deleted_environments_name_is_taken_until_it_is_gone() {
    with_store(async |_, store| {
        let (_, app, _) = web(&store).await;
        let staging = new_environment(&app, "staging");
        let mut api = tx(&store).await;
        api.insert_environment(&staging, &base()).await.expect("inserted");
        api.delete_environment(staging.id, second(9)).await.expect("marked");
        api.commit().await.expect("commits");
        let again = new_environment(&app, "staging");
        let mut api = tx(&store).await;
        let refused = api.insert_environment(&again, &base()).await;
        assert_eq!(duplicate(&refused), Some(Constraint::EnvironmentName));
        drop(api);
        let epoch = lead(&store, 1).await.expect("free");
        let mut scheduler = fenced(&store, epoch).await;
        scheduler.purge_environment(staging.id).await.expect("purged");
        scheduler.commit().await.expect("commits");
        let mut api = tx(&store).await;
        api.insert_environment(&again, &base()).await.expect("the name is free");
        let hosts = api.domains(again.id).await.expect("read");
        assert_eq!(
            hosts.first().map(ToString::to_string).as_deref(),
            Some("web--staging.apps.localhost")
        );
    })
    .await;
}
