//! Managed databases, with a real server out of an image that a registry has.

use serde_json::{Value, json};

use crate::domains::with_app;
use crate::platform::{Options, Platform, containers, docker, registry, until};

/// The major version that the test scripts make an image of.
fn version() -> String {
    let found = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = found
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .max();
    newest.expect("PostgreSQL is installed").to_string()
}

pub(crate) fn platform() -> Platform {
    Platform::with(Options {
        variables: vec![(
            "SLIPWAY_POSTGRES_IMAGE",
            format!("{}/slipway-test/postgres:{{version}}", registry()),
        )],
        ..Options::default()
    })
}

fn database(platform: &Platform, name: &str) -> Value {
    platform.get(&format!("/v1/databases/{name}"))
}

/// The container of a database's server.
fn server(name: &str) -> String {
    let filter = format!("label=slipway.database={name}");
    docker(&["ps", "--all", "--quiet", "--no-trunc", "--filter", &filter])
        .trim()
        .to_owned()
}

/// What a variable of an app's instance is.
fn variable(container: &str, name: &str) -> Option<String> {
    // It may be gone by now.
    let asked = std::process::Command::new("docker")
        .args([
            "inspect",
            "--format",
            "{{range .Config.Env}}{{println .}}{{end}}",
            container,
        ])
        .output()
        .expect("docker");
    let all = String::from_utf8_lossy(&asked.stdout);
    let found = all.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
    found.map(str::to_owned)
}

fn network(container: &str) -> String {
    let format = "{{range $name, $_ := .NetworkSettings.Networks}}{{println $name}}{{end}}";
    docker(&["inspect", "--format", format, container]).trim().to_owned()
}

/// What `psql` says inside the network of an app, and whether it ended well.
pub(crate) fn psql_beside(container: &str, url: &str, statement: &str) -> (bool, String) {
    let image = "slipway-test/postgres:1";
    let network = network(container);
    let psql = [
        "psql",
        "--no-psqlrc",
        "--tuples-only",
        "--no-align",
        url,
        "--command",
        statement,
    ];
    let ran = std::process::Command::new("docker")
        .args(["run", "--rm", "--network", &network, image])
        .args(psql)
        .output()
        .expect("docker");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
}

/// What `psql` says inside the server's container, as a role that needs no password there.
pub(crate) fn psql_inside(name: &str, role: &str, database: &str, statement: &str) -> (bool, String) {
    let ran = std::process::Command::new("docker")
        .args([
            "exec",
            &server(name),
            "psql",
            "--no-psqlrc",
            "--tuples-only",
            "--no-align",
        ])
        .args(["--username", role, "--dbname", database, "--command", statement])
        .output()
        .expect("docker");
    let said = [ran.stdout, ran.stderr].concat();
    (ran.status.success(), String::from_utf8_lossy(&said).trim().to_owned())
}

fn instance(app: &str) -> String {
    let all = containers(app);
    all.last().expect("an instance").0.clone()
}

/// The instance that is told how to reach a database, and what it is told.
pub(crate) fn told(app: &str) -> (String, String) {
    until("a release with the secret runs", || {
        let all = containers(app).into_iter();
        all.filter(|(_, state)| state == "running")
            .find_map(|(id, _)| variable(&id, "DATABASE_URL").map(|url| (id, url)))
    })
}

pub(crate) fn made(platform: &Platform, name: &str) {
    platform.log_in_to_registry();
    let (code, out, err) = platform.cli(&["db", "create", name, "--postgres", &version(), "--memory", "128MiB"]);
    assert_eq!(code, 0, "{out}{err}{}", platform.log());
    assert!(err.contains(&format!("{name} is ready")), "{out}{err}");
}

#[test]
fn a_database_is_made_and_reached_by_the_apps_that_may_and_by_nobody_else() {
    let platform = platform();
    with_app(&platform, "shop");
    with_app(&platform, "other");
    made(&platform, "shop-data");
    let found = database(&platform, "shop-data");
    assert_eq!(found["state"], "ready", "{found}");
    assert!(
        found["server_version"]
            .as_str()
            .is_some_and(|v| v.starts_with(&version())),
        "{found}"
    );
    assert!(
        found["size_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20),
        "{found}"
    );

    let (code, out, err) = platform.cli(&["db", "attach", "shop-data", "-a", "shop"]);
    assert_eq!(code, 0, "{out}{err}");
    let (app, url) = told("shop");
    assert!(url.contains("@shop-data.db.internal:5432/shop_data"), "{url}");
    let write = "create table orders (id int primary key); insert into orders values (7); select sum(id) from orders";
    assert_eq!(
        psql_beside(&app, &url, write),
        (true, "CREATE TABLE\nINSERT 0 1\n7".into())
    );
    let (ok, said) = psql_beside(&instance("other"), &url, "select 1");
    assert!(!ok && said.contains("could not translate host name"), "{said}");

    let (code, out, err) = platform.cli(&["db"]);
    assert!(
        code == 0 && out.contains("shop/production") && out.contains("ready"),
        "{out}{err}"
    );
    let (ok, said) = psql_inside("shop-data", "shop_data", "postgres", "select 1");
    assert!(!ok && said.contains("permission denied"), "{said}");
    assert_eq!(
        psql_inside(
            "shop-data",
            "shop_data_reader",
            "shop_data",
            "select count(*) from orders"
        ),
        (true, "1".into())
    );
    let (ok, said) = psql_inside("shop-data", "shop_data_reader", "shop_data", "delete from orders");
    assert!(!ok && said.contains("read-only"), "{said}");
    assert_eq!(
        psql_inside("shop-data", "postgres", "postgres", "show data_checksums"),
        (true, "on".into())
    );
}

#[test]
fn a_server_that_dies_comes_back_with_its_data_and_one_that_is_gone_is_made_anew() {
    let platform = platform();
    with_app(&platform, "durable");
    made(&platform, "durable");
    let (code, out, err) = platform.cli(&["db", "attach", "durable", "-a", "durable"]);
    assert_eq!(code, 0, "{out}{err}");
    let (app, url) = told("durable");
    let answers = |statement: &str| psql_beside(&app, &url, statement);
    assert!(answers("create table kept (id int); insert into kept values (1)").0);
    let before = server("durable");
    docker(&["kill", &before]);
    until("it answers again", || {
        (answers("select count(*) from kept") == (true, "1".into())).then_some(())
    });
    docker(&["rm", "--force", &server("durable")]);
    until("another one has its files", || {
        (answers("select count(*) from kept") == (true, "1".into())).then_some(())
    });
    assert_ne!(server("durable"), before);
    until("it is said to be ready", || {
        (database(&platform, "durable")["state"] == "ready").then_some(())
    });
}

#[test]
fn a_database_goes_only_when_it_is_insisted_on_and_then_with_all_that_is_of_it() {
    let mut platform = platform();
    with_app(&platform, "leaver");
    made(&platform, "leaver");
    let (code, out, err) = platform.cli(&["db", "attach", "leaver", "-a", "leaver"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = platform.cli(&["db", "delete", "leaver", "--yes"]);
    assert!(code == 1 && err.contains("slipway db detach leaver -a leaver"), "{err}");

    let (code, out, err) = platform.cli(&["db", "detach", "leaver", "-a", "leaver"]);
    assert_eq!(code, 0, "{out}{err}");
    until("the app is told no more", || {
        let told = containers("leaver")
            .into_iter()
            .filter(|(id, _)| variable(id, "DATABASE_URL").is_some());
        (told.count() == 0).then_some(())
    });
    until("its network is left", || {
        network(&server("leaver")).lines().count().eq(&1).then_some(())
    });
    let id = docker(&[
        "inspect",
        "--format",
        "{{index .Config.Labels \"slipway.database-id\"}}",
        &server("leaver"),
    ]);
    let volume = format!("slipway-{}-data", id.trim());
    assert_eq!(
        docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]).trim(),
        volume
    );
    let (code, out, err) = platform.cli(&["db", "delete", "leaver", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    until("nothing is left", || {
        let volumes = docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]);
        let gone = platform.call("GET", "/v1/databases/leaver", None).status == 404;
        (volumes.trim().is_empty() && server("leaver").is_empty() && gone).then_some(())
    });
    platform.down();
}

#[test]
fn an_app_goes_though_a_database_is_in_its_network_and_the_database_stays() {
    let platform = platform();
    with_app(&platform, "passing");
    made(&platform, "staying");
    let (code, out, err) = platform.cli(&["db", "attach", "staying", "-a", "passing"]);
    assert_eq!(code, 0, "{out}{err}");
    let (code, _, err) = platform.cli(&["apps", "delete", "passing", "--yes"]);
    assert!(code == 1 && err.contains("staying"), "{err}");
    let (code, out, err) = platform.cli(&["apps", "delete", "passing", "--yes", "--force"]);
    assert_eq!(code, 0, "{out}{err}");
    until("the app is gone", || {
        (platform.call("GET", "/v1/apps/passing", None).status == 404).then_some(())
    });
    let found = database(&platform, "staying");
    assert_eq!(
        (&found["state"], &found["attached"]),
        (&json!("ready"), &json!([])),
        "{found}"
    );
    assert_eq!(network(&server("staying")).lines().count(), 1);
}

#[test]
fn what_cannot_be_a_database_is_refused_with_what_to_do() {
    let platform = platform();
    let make = |body: Value| platform.call("POST", "/v1/databases", Some(&body));
    for (body, pointer, said) in [
        (json!({"name": "postgres"}), "/name", "keeps for itself"),
        (json!({"name": "x", "version": "15"}), "/name", "2 to 40 characters"),
        (json!({"name": "orders", "version": "9.6"}), "/version", "15 or later"),
        (json!({"name": "orders", "memory": "32MiB"}), "/memory", "64MiB"),
        (
            json!({"name": "orders", "connections": 900}),
            "/connections",
            "Give more memory",
        ),
        (
            json!({"name": "orders", "environment": "staging"}),
            "/environment",
            "Name the app",
        ),
        (json!({"name": "orders", "engine": "mysql"}), "/engine", "postgres"),
    ] {
        let answer = make(body.clone());
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        assert!(
            answer.text.contains(pointer) && answer.text.contains(said),
            "{body}: {}",
            answer.text
        );
    }
    let (code, _, err) = platform.cli(&["db", "create", "orders", "--postgres", "16"]);
    assert!(
        code == 1 && err.contains("postgres:16"),
        "an image that is nowhere: {err}"
    );
    let (code, _, err) = platform.cli(&["db", "show", "orders"]);
    assert!(code == 1 && err.contains("orders"), "{err}");
}
