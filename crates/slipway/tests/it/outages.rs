//! What the platform does while its database or a registry is away, slow, locked or read-only: visitors notice nothing,
//! callers are told to come again, and afterwards everything goes on.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use slipway_chaos::faults::{Control, Fault, Script};

use crate::chaos::{Between, database_proxy};
use crate::own_registry::Registry;
use crate::platform::{Options, Platform, answer, psql, until, wait};

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "100ms", "deadline": "30s"}, "resources": {"memory": "64MiB"},
           "deploy": {"bake_time": "0s", "drain_timeout": "2s", "kill_timeout": "1s"}})
}

fn serves(platform: &Platform, app: &str) {
    for _ in 0..10 {
        platform.visit(&format!("{app}.apps.localhost"), "/echo").expect(200);
    }
}

/// A caller is told to come again.
fn is_told_to_come_again(platform: &Platform) {
    let answer = platform.call("GET", "/v1/apps", None);
    assert_eq!(answer.status, 503, "{}", answer.text);
    assert_eq!(answer.json()["code"], "database_unavailable");
    assert!(answer.headers.contains_key("retry-after"));
}

fn running(app: &str, platform: &Platform) {
    platform.log_in_to_registry();
    platform.app(app, &spec());
    platform.deploy(app, "1").expect(200);
}

#[test]
fn f21_a_keyed_call_that_lost_any_of_its_answers_from_the_database_may_soon_be_repeated() {
    let Between { platform, database, .. } = &Between::start();
    let before = database.control().calls();
    let counted = json!({"name": "counted"});
    platform
        .call_as(
            &platform.token(),
            "POST",
            "/v1/apps",
            Some(&counted),
            &[("idempotency-key", "counted")],
        )
        .expect(201);
    let trips = database.control().calls() - before;
    assert!(trips > 5, "{trips} round trips are no call");
    for trip in 1..=trips {
        let name = format!("cut{trip}");
        database
            .control()
            .follow(Script::new().at(database.control().calls() + trip, Fault::CutAfter));
        let key = [("idempotency-key", name.as_str())];
        let body = json!({"name": name});
        let answered = until("the call is answered", || {
            let answer = platform.call_as(&platform.token(), "POST", "/v1/apps", Some(&body), &key);
            (answer.status != 503 && !answer.text.contains("request_in_progress")).then_some(answer)
        });
        database.control().follow(Script::new());
        // Whoever repeats a call whose effect was never told meets that effect.
        let met = answered.status == 201 || answered.text.contains("already_exists");
        assert!(met, "cut at {trip}: {} {}", answered.status, answered.text);
    }
}

#[test]
fn a_log_that_nobody_reads_keeps_no_visitor_waiting_and_the_platform_from_stopping_neither() {
    let mut platform = Platform::prepare(Options::default());
    let (unread, log) = std::io::pipe().expect("a pipe");
    platform.begin_into(log.into());
    platform.ready();
    // Each has a line in the log: more than fits into the pipe.
    for _ in 0..400 {
        assert_eq!(platform.visit("nobody.apps.localhost", "/").status, 404);
    }
    platform.down();
    drop(unread);
}

#[test]
fn f20_a_database_that_is_away_or_silent_for_a_while_stops_no_visitor_and_is_found_again() {
    let mut platform = Platform::prepare(Options::default());
    let database = database_proxy(&mut platform);
    platform.up();
    running("cutoff", &platform);
    for (fault, tag) in [(Fault::CutBefore, "2"), (Fault::Hang, "1")] {
        let next = database.control().calls() + 1;
        database.control().follow(Script::new().onwards(next, fault));
        until("callers are told", || {
            (platform.call("GET", "/v1/apps", None).status == 503).then_some(())
        });
        is_told_to_come_again(&platform);
        serves(&platform, "cutoff");
        database.control().follow(Script::new());
        until("the database is found again", || {
            (platform.call("GET", "/v1/apps", None).status == 200).then_some(())
        });
        platform.deploy("cutoff", tag).expect(200);
    }
}

#[test]
fn i12_the_control_plane_says_which_part_is_away_and_goes_on_being_alive() {
    let between = Between::start();
    let (platform, engine, database) = (&between.platform, &between.engine, &between.database);
    let asked = |address: std::net::SocketAddr, path: &str| {
        let url = format!("http://{address}{path}");
        wait(async {
            let asked = reqwest::Client::new().get(url).timeout(Duration::from_secs(30));
            answer(asked.send().await.expect("it answers")).await
        })
    };
    let parts = |status: u16| {
        let told = until("it is noticed", || {
            let told = asked(platform.admin, "/readyz");
            (told.status == status).then(|| told.json())
        });
        assert_eq!(asked(platform.api, "/healthz").status, 200, "{told}");
        (
            told["database"] == "ok",
            told["engine"]
                .as_str()
                .unwrap_or_default()
                .starts_with(|c: char| c.is_ascii_digit()),
        )
    };
    assert_eq!(parts(200), (true, true));
    for fault in [Fault::CutBefore, Fault::Hang] {
        let from = |control: &Control| Script::new().onwards(control.calls() + 1, fault);
        engine.control().follow(from(engine.control()));
        assert_eq!(parts(503), (true, false), "{fault:?}");
        let (code, out, err) = platform.cli(&["doctor"]);
        assert!(
            code == 1 && out.contains("but the control plane is not ready"),
            "{out}{err}"
        );
        database.control().follow(from(database.control()));
        until("both are noticed", || (parts(503) == (false, false)).then_some(()));
        assert_eq!(asked(platform.api, "/readyz").status, 503, "{fault:?}");
        engine.control().follow(Script::new());
        until("the engine is found again", || {
            (parts(503) == (false, true)).then_some(())
        });
        database.control().follow(Script::new());
        assert_eq!(parts(200), (true, true), "{fault:?}");
    }
}

#[test]
fn f20_a_database_that_was_shut_by_hand_is_away_like_any_other() {
    let platform = Platform::start();
    running("shut", &platform);
    let (_, url) = platform
        .variables()
        .iter()
        .find(|(name, _)| name == "SLIPWAY_DATABASE_URL")
        .expect("the test server's");
    let name = url.rsplit('/').next().expect("a database").to_owned();
    psql(&format!("alter database {name} allow_connections false"));
    psql(&format!(
        "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    ));
    until("callers are told", || {
        (platform.call("GET", "/v1/apps", None).status == 503).then_some(())
    });
    is_told_to_come_again(&platform);
    serves(&platform, "shut");
    psql(&format!("alter database {name} allow_connections true"));
    until("the database is found again", || {
        (platform.call("GET", "/v1/apps", None).status == 200).then_some(())
    });
}

#[test]
fn f22_a_slow_database_makes_deploys_slower_and_no_more() {
    let mut platform = Platform::prepare(Options::default());
    let database = database_proxy(&mut platform);
    platform.up();
    running("slow", &platform);
    let late = Fault::Delay(Duration::from_millis(100));
    let next = database.control().calls() + 1;
    database.control().follow(Script::new().onwards(next, late));
    platform.deploy("slow", "2").expect(200);
    serves(&platform, "slow");
}

/// A session that holds a lock until it is dropped.
struct Locker(Child);

impl Locker {
    fn hold(platform: &Platform, table: &str) -> Self {
        let (_, url) = platform
            .variables()
            .iter()
            .find(|(name, _)| name == "SLIPWAY_DATABASE_URL")
            .expect("the test server's");
        let statement = format!("begin; lock table {table} in access exclusive mode; select pg_sleep(600)");
        let child = Command::new("psql")
            .args([url, "--quiet", "--command", &statement])
            .stdout(Stdio::null())
            .spawn()
            .expect("psql runs");
        let locker = Self(child);
        until("the lock is held", || {
            let held = "select count(*) from pg_locks where mode = 'AccessExclusiveLock' and granted and database =
                        (select oid from pg_database where datname = current_database()) and relation is not null";
            (platform.sql(held).trim() != "0").then_some(())
        });
        locker
    }
}

impl Drop for Locker {
    fn drop(&mut self) {
        // It may have ended by itself; the server notices at its next word to the client.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn f22_a_lock_that_somebody_holds_is_waited_for_up_to_a_bound() {
    let platform = Platform::start();
    running("locked", &platform);
    let locker = Locker::hold(&platform, "environments");
    is_told_to_come_again(&platform);
    serves(&platform, "locked");
    platform.sql("select pg_terminate_backend(pid) from pg_stat_activity where query like '%pg_sleep(600)%' and pid <> pg_backend_pid()");
    drop(locker);
    platform.deploy("locked", "2").expect(200);
}

#[test]
fn f23_a_database_that_is_read_only_refuses_changes_and_nothing_else() {
    let platform = Platform::start();
    running("frozen", &platform);
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
               where datname = current_database() and pid <> pg_backend_pid()";
    let name = platform.sql("select current_database()").trim().to_owned();
    psql(&format!("alter database {name} set default_transaction_read_only = on"));
    platform.sql(cut);
    let answer = until("changes are refused", || {
        let answer = platform.call("POST", "/v1/apps", Some(&json!({"name": "another"})));
        (answer.status != 201).then_some(answer)
    });
    assert_eq!(
        (answer.status, &answer.json()["code"]),
        (503, &json!("database_unavailable"))
    );
    serves(&platform, "frozen");
    psql(&format!(
        "alter database {name} set default_transaction_read_only = off"
    ));
    platform.sql(cut);
    until("changes are taken again", || {
        (platform.call("GET", "/v1/apps", None).status == 200).then_some(())
    });
    until("it is deployed", || {
        (platform.deploy("frozen", "2").status == 200).then_some(())
    });
}

#[test]
fn f06_a_rollback_needs_no_registry_and_a_deploy_without_one_is_refused() {
    let mut registry = Registry::start();
    let (first, second) = (registry.push("1"), registry.push("2"));
    let platform = Platform::start();
    platform.app("back", &spec());
    for image in [&first, &second] {
        let path = format!("/v1/deploy?image={image}&app=back&wait=60s");
        platform.call("POST", &path, None).expect(200);
    }
    registry.stop();
    let back = platform.call("POST", "/v1/apps/back/rollback?wait=60s", Some(&json!({})));
    assert_eq!(back.expect(200)["image"], json!(first));
    let refused = platform.call("POST", &format!("/v1/deploy?image={second}&app=back"), None);
    assert_eq!(
        (refused.status, &refused.json()["code"]),
        (503, &json!("registry_unavailable"))
    );
    serves(&platform, "back");
}
