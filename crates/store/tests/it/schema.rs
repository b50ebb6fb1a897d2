//! Migrations: applied once, one process at a time, and never against a newer schema.

use slipway_store::{SchemaState, StoreError};

use crate::db::with_empty;

const MIGRATIONS: &str = "select count(*) from _sqlx_migrations where success";

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_migrate_at_once_and_each_migration_is_applied_by_one() {
    with_empty(async |db| {
        let mut migrating = Vec::new();
        for _ in 0..4 {
            let store = db.store().await;
            migrating.push(tokio::spawn(async move { store.migrate().await }));
        }
        let mut applied = 0;
        for one in migrating {
            applied += one.await.expect("no panic").expect("migrates");
        }
        assert_eq!(i64::try_from(applied).expect("few"), db.number(MIGRATIONS).await);
        assert!(applied > 0);
        let store = db.store().await;
        assert_eq!(store.schema_state().await.expect("read"), SchemaState::Current);
        assert_eq!(store.migrate().await.expect("nothing to do"), 0);
    })
    .await;
}

#[tokio::test]
async fn an_empty_database_is_pending() {
    with_empty(async |db| {
        let store = db.store().await;
        assert!(matches!(store.schema_state().await, Ok(SchemaState::Pending(n)) if n > 0));
        store.ping().await.expect("answers before it is migrated");
    })
    .await;
}

#[tokio::test]
async fn an_older_program_refuses_a_newer_schema() {
    with_empty(async |db| {
        let store = db.store().await;
        store.migrate().await.expect("migrates");
        let newer = "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
                     values (9001, 'from the future', true, '\\x00', 1)";
        db.execute(newer).await.expect("inserted");
        let state = store.schema_state().await.expect("read");
        assert!(matches!(state, SchemaState::Newer { found: 9001, .. }), "{state:?}");
        let refused = store.migrate().await;
        assert!(
            matches!(refused, Err(StoreError::SchemaNewer { found: 9001, known }) if known < 9001),
            "{refused:?}"
        );
        let text = refused.expect_err("refused").to_string();
        assert!(text.contains("upgrade the program"), "{text}");
    })
    .await;
}

/// Every column that holds a fact for people to read in the database has its table's comment to start from.
#[tokio::test]
async fn every_table_says_what_it_is_for() {
    with_empty(async |db| {
        db.store().await.migrate().await.expect("migrates");
        let silent = "select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
                      where n.nspname = 'public' and c.relkind = 'r' and c.relname <> '_sqlx_migrations'
                        and obj_description(c.oid) is null";
        assert_eq!(db.number(silent).await, 0);
    })
    .await;
}

/// Removing a row looks at every table that points to it: each such column must begin an index.
#[tokio::test]
async fn every_reference_that_is_followed_backwards_has_an_index() {
    with_empty(async |db| {
        db.store().await.migrate().await.expect("migrates");
        let bare = "select count(*) from pg_constraint f
                    where f.contype = 'f' and f.connamespace = 'public'::regnamespace
                      and f.confrelid in ('environments'::regclass, 'releases'::regclass, 'deployments'::regclass, 'apps'::regclass)
                      and not exists (select 1 from pg_index i where i.indrelid = f.conrelid and i.indkey[0] = f.conkey[1])";
        assert_eq!(db.number(bare).await, 0);
    })
    .await;
}
