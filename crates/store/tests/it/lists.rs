//! Lists: complete, in order, page by page, and found by index however much history there is.

use slipway_domain::deployment::DeploymentState;
use slipway_domain::ids::DeploymentId;
use slipway_domain::name::AppName;
use slipway_store::{AppSummary, Page, Store, StoreOptions};

use crate::db::{Db, with_store};
use crate::fixture::{add_app, add_team, base, deploy, new_environment, second, tx, web};

/// A thousand apps of ten teams with a hundred deployments each, every one of its own release.
const HISTORY: &str = "
    insert into teams select gen_random_uuid(), 'team' || n, now() from generate_series(1, 10) n;
    insert into apps select gen_random_uuid(), (select id from teams where name = 'team' || (1 + n % 10)),
        'app' || lpad(n::text, 4, '0'), now(), 'ana' from generate_series(1, 1000) n;
    insert into environments (id, team_id, app_id, name, created_at, created_by, spec, last_release_number)
        select gen_random_uuid(), team_id, id, 'production', now(), 'ana', '{}', 100 from apps;
    insert into environment_status (environment_id) select id from environments;
    insert into releases (id, team_id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good)
        select gen_random_uuid(), e.team_id, e.id, n, 'registry.test/app',
            jsonb_build_object('from', 'local', 'id', 'sha256:' || repeat('ab', 32)), '{}', '{}', 'deploy', now(), 'ana', true
        from environments e, generate_series(1, 100) n;
    update environment_status s set serving_release_id = r.id
        from releases r where r.environment_id = s.environment_id and r.number = 100;
    insert into deployments (id, team_id, app_id, environment_id, release_id, generation, state, strategy, cause,
                             created_at, created_by, started_at, finished_at)
        select gen_random_uuid(), r.team_id, e.app_id, e.id, r.id, r.number, 'succeeded', 'rolling', 'deploy',
            now(), 'ana', now(), now() from releases r join environments e on e.id = r.environment_id;
    analyze;";

/// Writes the history and begins to count what is read only then: a session's counts are written when it ends.
async fn write_history(db: &Db) {
    db.execute(HISTORY).await.expect("written");
    db.until(
        "select count(*) from pg_stat_user_tables where relname = 'deployments' and n_tup_ins = 100000",
        |n| n == 1,
    )
    .await;
    db.execute("select pg_stat_reset()").await.expect("reset");
}

async fn names(store: &Store, only: Option<&[AppName]>, page: Page<String>) -> Vec<String> {
    let mut tx = tx(store).await;
    let apps = tx.apps(None, only, &page).await.expect("listed");
    apps.iter().map(|s| s.app.name.to_string()).collect()
}

#[tokio::test]
async fn apps_are_listed_by_name_with_how_they_stand() {
    with_store(async |db, store| {
        let (team, app, production) = web(&store).await;
        let (gone, _) = add_app(&store, &team, "gone").await;
        let other = add_team(&store, "other").await;
        add_app(&store, &other, "api").await;
        let mut api = tx(&store).await;
        api.insert_environment(&new_environment(&app, "staging"), &base())
            .await
            .expect("inserted");
        api.delete_app(gone.id, second(9)).await.expect("marked");
        api.commit().await.expect("commits");
        deploy(&store, production.id, second(1)).await;
        let last = deploy(&store, production.id, second(2)).await;
        let serve = "update environment_status set serving_release_id = (select id from releases where number = 1)
                     where environment_id in (select environment_id from releases)";
        db.execute(serve).await.expect("written");

        let page = |limit, after: Option<&str>| Page {
            limit,
            after: after.map(str::to_owned),
        };
        assert_eq!(names(&store, None, page(10, None)).await, ["api", "web"]);
        assert_eq!(names(&store, None, page(1, None)).await, ["api"]);
        assert_eq!(names(&store, None, page(1, Some("api"))).await, ["web"]);
        let only: Vec<AppName> = vec!["web".parse().expect("valid"), "nope".parse().expect("valid")];
        assert_eq!(names(&store, Some(&only), page(10, None)).await, ["web"]);
        assert_eq!(
            names(&store, Some(&[]), page(10, None)).await,
            Vec::<String>::new(),
            "none is not all"
        );

        let mut tx = tx(&store).await;
        let mut of_team = tx.apps(Some(team.id), None, &page(10, None)).await.expect("listed");
        let AppSummary {
            app: listed,
            environments,
        } = of_team.pop().expect("one");
        assert_eq!((listed, of_team.len()), (app, 0));
        let [one, two] = &environments[..] else {
            panic!("{environments:?}")
        };
        assert_eq!((one.name.as_str(), two.name.as_str()), ("production", "staging"));
        assert_eq!(one.last_deployment, Some(last.state));
        assert_eq!((one.serving.map(|n| n.0), one.settled), (Some(1), false));
        assert_eq!((two.serving, two.last_deployment, two.settled), (None, None, true));
    })
    .await;
}

#[tokio::test]
async fn deployments_go_on_where_the_page_before_ended() {
    with_store(async |_, store| {
        let (_, app, production) = web(&store).await;
        let staging = new_environment(&app, "staging");
        let mut api = tx(&store).await;
        api.insert_environment(&staging, &base()).await.expect("inserted");
        api.commit().await.expect("commits");
        let mut made = Vec::new();
        for n in 1..=5 {
            let environment = if n == 3 { staging.id } else { production.id };
            made.push(deploy(&store, environment, second(n)).await.id);
        }
        let mut tx = tx(&store).await;
        let mut read = async |environment, limit, after: Option<DeploymentId>| {
            let page = tx
                .deployments(app.id, environment, &Page { limit, after })
                .await
                .expect("listed");
            page.iter().map(|d| d.id).collect::<Vec<_>>()
        };
        assert_eq!(read(None, 2, None).await, [made[4], made[3]]);
        assert_eq!(read(None, 9, Some(made[3])).await, [made[2], made[1], made[0]]);
        assert_eq!(read(Some(staging.id), 9, None).await, [made[2]]);
        assert_eq!(read(Some(production.id), 2, Some(made[4])).await, [made[3], made[1]]);
    })
    .await;
}

async fn rows_read(db: &Db, table: &str) -> i64 {
    let read = format!(
        "select coalesce(seq_tup_read + idx_tup_fetch, 0)::bigint from pg_stat_user_tables where relname = '{table}'"
    );
    db.number(&read).await
}

/// What a list costs is what is on the page, not what lies behind it.
#[tokio::test]
async fn a_long_history_is_not_read_for_a_page() {
    with_store(async |db, store| {
        drop(store);
        write_history(&db).await;
        let options = StoreOptions {
            connections_max: 1,
            ..StoreOptions::default()
        };
        let store = Store::connect(&db.url(), options).await.expect("connects");
        // More often than it takes the server to settle on one plan for all arguments.
        for n in 0..20 {
            let after = Some(format!("app{:04}", n * 40));
            let mut tx = tx(&store).await;
            let page = tx.apps(None, None, &Page { limit: 50, after }).await.expect("listed");
            assert_eq!(page.len(), 50);
            let last = page[0].environments[0].last_deployment;
            assert_eq!(last, Some(DeploymentState::Succeeded));
            let app = page[0].app.id;
            let deployments = tx
                .deployments(app, None, &Page { limit: 50, after: None })
                .await
                .expect("listed");
            assert_eq!(deployments.len(), 50);
            assert_eq!(tx.due_environments().await.expect("read"), []);
        }
        // The server counts for good when the connection ends.
        store.close();
        let read = db.until(
            "select coalesce(idx_scan, 0) from pg_stat_user_tables where relname = 'deployments'",
            |n| n >= 1_000,
        );
        read.await;
        // Twenty times fifty apps and fifty deployments, with some for what the planner looks up.
        let rows = rows_read(&db, "deployments").await;
        assert!(rows < 6_000, "{rows} of 100,000 deployments were read");
        let rows = rows_read(&db, "releases").await;
        assert!(rows < 6_000, "{rows} of 100,000 releases were read");
    })
    .await;
}

#[tokio::test]
async fn removing_an_environment_does_not_look_through_the_history_of_others() {
    with_store(async |db, store| {
        drop(store);
        write_history(&db).await;
        let store = db.store().await;
        let epoch = crate::fixture::lead(&store, 1).await.expect("free");
        let mut reader = tx(&store).await;
        let id = reader.all_environment_ids().await.expect("read")[0];
        drop(reader);
        let mut scheduler = crate::fixture::fenced(&store, epoch).await;
        scheduler.purge_environment(id).await.expect("purged");
        scheduler.commit().await.expect("commits");
        store.close();
        db.until(
            "select n_tup_del from pg_stat_user_tables where relname = 'releases'",
            |n| n == 100,
        )
        .await;
        let rows = rows_read(&db, "deployments").await;
        assert!(rows < 2_000, "{rows} of 100,000 deployments were read");
    })
    .await;
}
