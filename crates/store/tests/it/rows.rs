//! A row that does not parse names its table, column and identifier. It is never a panic and never a default.

use slipway_domain::ids::EnvironmentId;
use slipway_store::{Page, Store, StoreError};

use crate::db::{Db, with_store};
use crate::fixture::{deploy, second, tx, web};

/// What the store says after the row was spoilt.
async fn spoilt(statement: &str, read: impl AsyncFnOnce(&Store, EnvironmentId) -> Result<(), StoreError>) -> String {
    let mut said = String::new();
    with_store(async |db: Db, store: Store| {
        let (_, _, environment) = web(&store).await;
        deploy(&store, environment.id, second(1)).await;
        db.execute(statement).await.expect("the database takes it");
        said = match read(&store, environment.id).await {
            Err(StoreError::Inconsistent { table, column, id }) if !id.is_empty() => format!("{table}.{column}"),
            other => format!("{other:?}"),
        };
    })
    .await;
    said
}

#[tokio::test]
async fn a_release_that_does_not_parse_is_named() {
    for (statement, column) in [
        (
            "update releases set spec = '{\"internal_port\": \"many\"}'",
            "releases.spec",
        ),
        ("update releases set spec = '{\"unknown_key\": 1}'", "releases.spec"),
        ("update releases set spec = '[]'", "releases.spec"),
        ("update releases set pin = '{\"from\": \"the moon\"}'", "releases.pin"),
        (
            "update releases set secrets = '{\"TOKEN\": \"sec_x\"}'",
            "releases.secrets",
        ),
        ("update releases set cause = 'boredom'", "releases.cause"),
    ] {
        let said = spoilt(statement, async |store, id| {
            let page = Page { limit: 10, after: None };
            tx(store).await.releases(id, &page).await.map(drop)
        });
        assert_eq!(said.await, column, "{statement}");
    }
}

#[tokio::test]
async fn an_environment_or_its_world_that_does_not_parse_is_named() {
    for (statement, column) in [
        ("update environments set spec = 'null'", "environments.spec"),
        ("update environments set name = 'Not A Name'", "environments.name"),
        (
            "alter table environments drop constraint environments_desired_check;
             update environments set desired = 'dreaming'",
            "environments.desired",
        ),
        ("update apps set name = 'x'", "apps.name"),
        (
            "update environment_status set conditions = '{}'",
            "environment_status.conditions",
        ),
        (
            "update environment_status set instances = '[{\"slot\": -1}]'",
            "environment_status.instances",
        ),
        ("delete from environment_status", "environment_status.environment_id"),
        (
            "insert into routes select id, 'flying', '[]', 1 from environments",
            "routes.state",
        ),
        (
            "insert into routes select id, 'serving', '{\"a\": 1}', 1 from environments",
            "routes.groups",
        ),
        (
            "alter table deployments drop constraint deployments_state_check;
             update deployments set cause = 'boredom'",
            "deployments.cause",
        ),
        (
            "insert into deployment_steps select id, 'dance', 'running', now() from deployments",
            "deployment_steps.name",
        ),
        (
            "alter table deployment_steps drop constraint deployment_steps_state_check;
             insert into deployment_steps select id, 'pull', 'stuck', now(), now() from deployments",
            "deployment_steps.state",
        ),
    ] {
        let said = spoilt(statement, async |store, id| {
            tx(store).await.load_world(id).await.map(drop)
        });
        assert_eq!(said.await, column, "{statement}");
    }
}

#[tokio::test]
async fn a_deployment_that_does_not_parse_is_named_in_lists_too() {
    for (statement, column) in [
        (
            "alter table deployments drop constraint deployments_state_check;
             update deployments set state = 'confused'",
            "deployments.state",
        ),
        (
            "update deployments set state = 'failed', finished_at = now(), reason = '{\"code\": \"gremlins\"}'",
            "deployments.reason",
        ),
    ] {
        let said = spoilt(statement, async |store, id| {
            let mut tx = tx(store).await;
            let environment = tx.environment_by_id(id).await?.expect("is there");
            let page = Page { limit: 10, after: None };
            tx.deployments(environment.app, None, &page).await.map(drop)
        });
        assert_eq!(said.await, column, "{statement}");
    }
    let state = "alter table deployments drop constraint deployments_state_check;
                 update deployments set state = 'confused'";
    let said = spoilt(state, async |store, _| {
        let page = Page { limit: 10, after: None };
        tx(store).await.apps(None, None, &page).await.map(drop)
    });
    assert_eq!(said.await, "deployments.state");
}

#[tokio::test]
async fn what_a_snapshot_is_made_from_is_named_when_it_does_not_parse() {
    for (statement, column) in [
        ("update domains set host = 'not a host'", "domains.host"),
        (
            "insert into routes select id, 'serving', '\"none\"', 1 from environments",
            "routes.groups",
        ),
        (
            "insert into certificates (id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at,
                                       renew_at)
             values (gen_random_uuid(), '{}', 'ca', 'pem', '\\x00', 1, now(), now(), now(), now())",
            "certificates.names",
        ),
    ] {
        let said = spoilt(statement, async |store, _| {
            tx(store).await.snapshot_rows().await.map(drop)
        });
        assert_eq!(said.await, column, "{statement}");
    }
}

#[tokio::test]
async fn subnets_events_and_audit_rows_that_do_not_parse_are_named() {
    let said = spoilt("update environments set subnet = 'everywhere'", async |store, _| {
        let mut tx = tx(store).await;
        let app = tx.app_by_name(&"web".parse().expect("valid")).await?.expect("is there");
        let other = crate::fixture::new_environment(&app, "staging");
        tx.insert_environment(&other, &crate::fixture::base()).await?;
        let pool = "10.90.0.0/16".parse().expect("valid");
        tx.allocate_subnet(other.id, pool, &[]).await.map(drop)
    });
    assert_eq!(said.await, "environments.subnet");

    let event = "insert into events (team_id, deployment_id, type, time, step, message)
                 select team_id, id, 'step.running', now(), 'dance', '' from deployments";
    let said = spoilt(event, async |store, id| {
        let world = tx(store).await.load_world(id).await?.expect("is there");
        let deployment = world.deployment.expect("unfinished").id;
        tx(store).await.events_after(deployment, 0, 10).await.map(drop)
    });
    assert_eq!(said.await, "events.step");

    let audit = "alter table audit drop constraint audit_outcome_check;
                 insert into audit (seq, time, actor, action, target, outcome, prev_hash, hash)
                 values (1, now(), '{}', 'x', '{}', 'perhaps', decode(repeat('00', 32), 'hex'), decode(repeat('00', 32), 'hex'))";
    let said = spoilt(audit, async |store, _| {
        let page = Page { limit: 10, after: None };
        let filter = slipway_store::AuditFilter::default();
        tx(store).await.audit_rows(&filter, &page).await.map(drop)
    });
    assert_eq!(said.await, "audit.outcome");
}
