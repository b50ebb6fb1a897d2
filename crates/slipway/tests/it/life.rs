//! The platform's own life: restarts, kills, upgrades, and what goes on meanwhile.

use serde_json::json;
use sha2::{Digest as _, Sha384};

use crate::platform::{Options, Platform, app_image, containers, docker, serves, signal, until};

fn spec() -> serde_json::Value {
    json!({"health": {"path": "/healthz", "interval": "200ms"}, "resources": {"memory": "64MiB"}})
}

#[test]
fn killed_processes_come_back_and_adopt_what_runs() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("keep", &spec());
    platform.deploy("keep", "1").expect(200);
    let before = containers("keep");
    for child in ["serve", "proxy"] {
        let pid = platform
            .child_pid(child)
            .unwrap_or_else(|| panic!("a child that runs `{child}`"));
        signal(pid, "KILL");
        until("another one runs", || platform.child_pid(child).filter(|p| *p != pid));
        until("the app answers", || {
            let host = "keep.apps.localhost";
            let client = platform.browser(host).build().expect("a client");
            let sent = crate::platform::wait(async { client.get(platform.url(host, "/echo")).send().await });
            sent.is_ok_and(|r| r.status() == 200).then_some(())
        });
    }
    until("the API answers", || {
        let address = std::net::TcpStream::connect(platform.api);
        address.is_ok().then_some(())
    });
    assert_eq!(containers("keep"), before, "nothing was made anew");
    platform.deploy("keep", "2").expect(200);
}

#[test]
fn a_call_whose_server_was_killed_is_repeated_with_its_key_and_nothing_is_deployed_twice() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut slow = spec();
    slow["env"] = json!({"MODE": "slow-start"});
    platform.app("repeated", &slow);
    let path = format!("/v1/deploy?image={}&app=repeated&wait=90s", app_image("1"));
    let call = || platform.try_call("POST", &path, &[("idempotency-key", "pipeline-7")]);
    std::thread::scope(|scope| {
        let first = scope.spawn(call);
        until("the deployment begins", || {
            let listed = platform.get("/v1/apps/repeated/deployments");
            listed["items"].get(0).map(drop)
        });
        signal(platform.child_pid("serve").expect("the control plane"), "KILL");
        assert!(first.join().expect("no panic").is_err(), "the connection broke");
    });
    let answer = until("the API answers", || call().ok()).expect(200);
    assert_eq!(answer["state"], "succeeded", "{answer}");
    let listed = platform.get("/v1/apps/repeated/deployments");
    assert_eq!(listed["items"].as_array().map(Vec::len), Some(1), "{listed}");
}

#[test]
fn the_proxy_serves_without_control_plane_and_database() {
    let mut platform = Platform::with(Options {
        private_postgres: true,
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform.app("alone", &spec());
    platform.deploy("alone", "1").expect(200);
    // The supervisor is stopped so that it does not bring back what is killed.
    signal(platform.pid(), "STOP");
    let serve = platform.child_pid("serve").expect("the control plane");
    signal(serve, "KILL");
    for _ in 0..20 {
        assert_eq!(platform.visit("alone.apps.localhost", "/echo").status, 200);
    }
    signal(platform.pid(), "CONT");
    platform.ready();
    platform.deploy("alone", "2").expect(200);
}

#[test]
fn apps_run_on_while_the_platform_is_stopped_and_are_found_again() {
    let mut platform = Platform::with(Options {
        private_postgres: true,
        ..Options::default()
    });
    platform.log_in_to_registry();
    platform.app("stay", &spec());
    platform.deploy("stay", "1").expect(200);
    let before = containers("stay");
    platform.down();
    assert_eq!(containers("stay"), before);
    platform.up();
    until("the app answers", || {
        (platform.visit("stay.apps.localhost", "/echo").status == 200).then_some(())
    });
    assert_eq!(containers("stay"), before);
}

#[test]
fn a_killed_instance_is_replaced_and_visitors_wait_for_the_next_one() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("phoenix", &spec());
    platform.deploy("phoenix", "1").expect(200);
    let id = containers("phoenix").remove(0).0;
    // Nothing that was sent after the end may fail: the proxy holds it until the next one answers.
    for end in [&["kill", &id][..], &["rm", "--force", &id]] {
        docker(end);
        for visit in 0..30 {
            let answer = platform.visit("phoenix.apps.localhost", "/echo");
            assert_eq!(answer.status, 200, "visit {visit} after {end:?}: {}", answer.text);
        }
    }
}

#[test]
fn f12_what_hands_did_to_an_instance_is_put_right_and_what_is_not_ours_is_left_alone() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("handled", &spec());
    platform.deploy("handled", "1").expect(200);
    let id = containers("handled").remove(0).0;
    let answers = || (platform.visit("handled.apps.localhost", "/echo").status == 200).then_some(());
    docker(&["rename", &id, &format!("renamed-{}", &id[..12])]);
    answers().expect("a name is nothing to a visitor");
    // Somebody's copy of our labels does not make a container ours.
    let label = format!("slipway.look=handled-{}", std::process::id());
    let copy = [
        "run",
        "--detach",
        "--network",
        "none",
        "--label",
        "slipway.environment=production",
    ];
    let foreign = docker(&[&copy[..], &["--label", &label, "slipway-test/app:1"]].concat());
    let network = "{{range $name, $n := .NetworkSettings.Networks}}{{$name}}{{end}}";
    let network = docker(&["inspect", "--format", network, &id]);
    docker(&["network", "disconnect", "--force", network.trim(), &id]);
    until("an instance without its network is replaced", || {
        let others = containers("handled")
            .iter()
            .any(|(other, state)| *other != id && state == "running");
        others.then(answers).flatten()
    });
    platform.deploy("handled", "2").expect(200);
    assert_eq!(
        docker(&["inspect", "--format", "{{.State.Running}}", foreign.trim()]).trim(),
        "true"
    );
    docker(&["rm", "--force", foreign.trim()]);
}

#[test]
fn an_instance_that_got_another_address_is_routed_there() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("address", &spec());
    platform.deploy("address", "1").expect(200);
    let before = containers("address");
    give_another_address(&before[0].0);
    until("the app answers", || serves(&platform, "address"));
    assert_eq!(containers("address"), before, "nothing was made anew");
}

/// The container runs on, with an address that nobody was told of.
fn give_another_address(container: &str) {
    let format = "{{range $name, $n := .NetworkSettings.Networks}}{{$name}} {{$n.IPAddress}}{{end}}";
    let text = docker(&["inspect", "--format", format, container]);
    let (network, address) = text.trim().split_once(' ').expect("a network and an address");
    let address: std::net::Ipv4Addr = address.parse().expect("an address");
    let other = std::net::Ipv4Addr::from(u32::from(address) + 3).to_string();
    docker(&["network", "disconnect", "--force", network, container]);
    docker(&["network", "connect", "--ip", &other, network, container]);
}

/// Stops all processes of a container where they stand, without the engine's knowledge.
fn freeze(container: &str) -> Vec<u32> {
    let processes = docker(&["top", container, "-o", "pid"]);
    let processes: Vec<u32> = processes.lines().filter_map(|line| line.trim().parse().ok()).collect();
    for pid in &processes {
        signal(*pid, "STOP");
    }
    processes
}

#[test]
fn an_app_that_hangs_is_started_again_and_says_so() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let mut spec = spec();
    spec["health"]["restart_after"] = json!("5s");
    spec["health"]["timeout"] = json!("1s");
    platform.app("hung", &spec);
    platform.deploy("hung", "1").expect(200);
    let instance = || platform.get("/v1/apps/hung/instances")["items"][0].clone();
    let before = instance();
    freeze(before["id"].as_str().expect("an id"));
    until("it was started again and serves", || {
        let now = instance();
        (now["restarts"] == 1 && now["health"] == "healthy").then_some(())
    });
    platform.visit("hung.apps.localhost", "/echo").expect(200);
    assert_ne!(instance()["started_at"], before["started_at"]);
    assert_eq!(
        instance()["last_exit"]["exit_code"],
        137,
        "it did not even hear the signal"
    );
    assert_eq!(instance()["last_exit"]["unresponsive"], true, "nobody else killed it");
}

#[test]
fn an_app_that_stops_answering_is_degraded_and_its_conditions_say_why() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("ill", &spec());
    platform.deploy("ill", "1").expect(200);
    let environment = || platform.get("/v1/apps/ill/environments")["items"][0].clone();
    let becomes = |state: &str| {
        until(&format!("it is {state}"), || {
            let listed = platform.get("/v1/apps/ill");
            (environment()["state"] == state && listed["environments"][0]["state"] == state).then(environment)
        })
    };
    becomes("running");
    let id = containers("ill").remove(0).0;
    let processes = freeze(&id);
    let ill = becomes("degraded");
    let ready = &ill["conditions"][0];
    assert_eq!(
        (&ready["type"], &ready["status"], &ready["reason"]),
        (&json!("Ready"), &json!(false), &json!("Unhealthy")),
        "{ill}"
    );
    for pid in &processes {
        signal(*pid, "CONT");
    }
    let well = becomes("running");
    assert_eq!(well["conditions"][0]["status"], true, "{well}");
    assert_eq!(containers("ill")[0].0, id, "the same instance");
}

#[test]
fn an_environment_whose_subnet_was_taken_meanwhile_gets_another() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("moved", &spec());
    platform.deploy("moved", "1").expect(200);
    let network = || docker(&["network", "ls", "--quiet", "--filter", "label=slipway.app=moved"]);
    let subnet = |id: &str| {
        docker(&[
            "network",
            "inspect",
            "--format",
            "{{(index .IPAM.Config 0).Subnet}}",
            id.trim(),
        ])
    };
    let (id, before) = (network(), subnet(&network()));
    platform
        .call("POST", "/v1/apps/moved/stop?wait=90s", Some(&json!({})))
        .expect(200);
    docker(&["network", "rm", id.trim()]);
    docker(&[
        "network",
        "create",
        "--subnet",
        before.trim(),
        &format!("foreign-{}", platform.pid()),
    ]);
    platform
        .call("POST", "/v1/apps/moved/start?wait=90s", Some(&json!({})))
        .expect(200);
    assert_eq!(platform.visit("moved.apps.localhost", "/echo").status, 200);
    assert_ne!(subnet(&network()), before);
}

#[test]
fn the_last_of_two_intents_wins_and_the_other_is_superseded() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("race", &spec());
    let path = |tag: &str| format!("/v1/deploy?image={}&app=race", app_image(tag));
    let first = platform.call("POST", &path("1"), None).expect(202);
    let second = platform
        .call("POST", &format!("{}&wait=90s", path("2")), None)
        .expect(200);
    assert_eq!(second["state"], "succeeded");
    let first = platform.get(&format!("/v1/deployments/{}", first["id"].as_str().expect("id")));
    assert!(
        ["superseded", "succeeded"].contains(&first["state"].as_str().expect("state")),
        "{first}"
    );
    assert_eq!(
        platform.visit("race.apps.localhost", "/echo").expect(200)["release"],
        "2"
    );
}

#[test]
fn the_command_line_deploys_and_explains() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    let (code, out, err) = platform.cli(&["deploy", &app_image("1"), "--app", "typed"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(format!("{out}{err}").contains("typed.apps.localhost"), "{out}{err}");
    let (code, out, err) = platform.cli(&["--json", "status", "--app", "typed"]);
    assert_eq!(code, 0, "{err}");
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok(), "{out}");
    let (code, _, err) = platform.cli(&["deploy", &app_image("no-such-tag"), "--app", "typed"]);
    assert_eq!(code, 1, "{err}");
    let (code, _, err) = platform.cli(&["no-such-command"]);
    assert_eq!(code, 2, "{err}");
    let (code, _, err) = platform.cli(&["backup", "list"]);
    assert_eq!(code, 2, "{err}");
    assert!(err.contains("`slipway backup` is not there yet"), "{err}");
}

/// The names in a JSON object, each as often as it is written.
fn names_in(object: &str) -> Vec<String> {
    struct Names(Vec<String>);
    impl<'de> serde::Deserialize<'de> for Names {
        fn deserialize<D: serde::Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
            source.deserialize_map(Visit)
        }
    }
    struct Visit;
    impl<'de> serde::de::Visitor<'de> for Visit {
        type Value = Names;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("an object")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut map: A) -> Result<Names, A::Error> {
            let mut names = Vec::new();
            while let Some((name, _)) = map.next_entry::<String, serde::de::IgnoredAny>()? {
                names.push(name);
            }
            Ok(Names(names))
        }
    }
    serde_json::from_str::<Names>(object)
        .unwrap_or_else(|e| panic!("{e}: {object}"))
        .0
}

#[test]
fn every_line_of_the_log_is_one_object_without_a_doubled_name() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("logged", &spec());
    platform.deploy("logged", "1").expect(200);
    platform.visit("logged.apps.localhost", "/echo").expect(200);
    let failing = json!({"env": {"MODE": "exit"}, "health": {"path": "/healthz", "deadline": "4s"}});
    platform
        .call("PUT", "/v1/apps/logged/spec?apply=false", Some(&failing))
        .expect(204);
    platform.deploy("logged", "1").expect(422);
    signal(platform.child_pid("serve").expect("the control plane"), "KILL");
    until("it is said that the control plane ended", || {
        platform.log().contains("child.ended").then_some(())
    });
    platform.down();
    let log = platform.log();
    let lines: Vec<&str> = log.lines().filter(|l| l.starts_with('{')).collect();
    assert!(lines.len() > 20, "{log}");
    for line in lines {
        let mut names = names_in(line);
        let written = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), written, "{line}");
    }
}

#[test]
fn a_platform_whose_names_get_no_certificates_is_ready_all_the_same() {
    let platform = Platform::with(Options {
        variables: vec![("SLIPWAY_BASE_DOMAIN", "paas.example.com".into())],
        ..Options::default()
    });
    assert!(platform.is_ready(), "{}", platform.log());
}

#[test]
fn the_platform_counts_what_it_does_and_names_every_request() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("counted", &spec());
    platform.deploy("counted", "1").expect(200);
    platform.visit("counted.apps.localhost", "/echo").expect(200);
    let scrape = |address: std::net::SocketAddr| {
        crate::platform::wait(async {
            let answer = reqwest::get(format!("http://{address}/metrics"))
                .await
                .expect("metrics");
            answer.text().await.expect("a text")
        })
    };
    let control = scrape(platform.admin);
    assert!(
        control.contains("slipway_deploys_total{result=\"succeeded\",reason=\"none\"} 1"),
        "{control}"
    );
    let posted = "http_server_request_duration_seconds_count{method=\"POST\",route=\"/v1/deploy\",status=\"2xx\"} 1";
    assert!(control.contains(posted), "{control}");
    until("the proxy counted the visit", || {
        let text = scrape(platform.proxy_admin);
        let line = text
            .lines()
            .find(|l| l.starts_with("http_server_request_duration_seconds_count") && l.contains("counted"));
        line.is_some().then_some(())
    });
    let answer = platform.call_as(
        &platform.token(),
        "GET",
        "/v1/apps",
        None,
        &[("x-request-id", "mine-1")],
    );
    assert_eq!(answer.headers["x-request-id"], "mine-1");
}

#[test]
fn a_program_that_is_older_than_its_database_says_so_and_touches_nothing_while_the_apps_serve_on() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("older", &spec());
    platform.deploy("older", "1").expect(200);
    platform.down();
    platform.sql(
        "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
         values (9001, 'from the future', true, '', 1)",
    );
    platform.begin();
    until("it says what to do", || {
        platform.log().contains("upgrade the program").then_some(())
    });
    let (code, out, err) = platform.cli(&["up", "--detach"]);
    assert!(
        code == 1 && err.contains("the control plane cannot start"),
        "whoever waits for it is told at once: {code} {out}{err}"
    );
    until("the proxy serves from its copy", || {
        let host = "older.apps.localhost";
        let client = platform.browser(host).build().expect("a client");
        let sent = crate::platform::wait(async { client.get(platform.url(host, "/echo")).send().await });
        sent.is_ok_and(|r| r.status() == 200).then_some(())
    });
    // A program that knows the schema takes over.
    platform.sql("delete from _sqlx_migrations where version = 9001");
    platform.ready();
    platform.deploy("older", "2").expect(200);
}

#[test]
fn a_platform_whose_addresses_are_taken_says_so_and_leaves_nothing_behind() {
    let platform = Platform::start();
    let place = tempfile::tempdir().expect("a directory");
    let other = place.path().join("another");
    let mut second = platform.command(&["up", "--detach"]);
    let output = second
        .env("SLIPWAY_DATA_DIR", &other)
        .output()
        .expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(
        said.contains("is in use by another program") && said.contains("SLIPWAY_API_LISTEN"),
        "{said}"
    );
    assert!(!other.exists());
}

#[test]
fn a_database_of_the_first_version_is_brought_forward_at_the_start() {
    let mut platform = Platform::prepare(Options::default());
    let first = include_str!("../../../../migrations/0001_platform.sql");
    platform.sql(first);
    platform.sql(
        "create table _sqlx_migrations (version bigint primary key, description text not null,
             installed_on timestamptz not null default now(), success boolean not null, checksum bytea not null,
             execution_time bigint not null)",
    );
    let sum = format!("\\x{}", hex::encode(Sha384::digest(first)));
    platform.sql(&format!(
        "insert into _sqlx_migrations values (1, 'platform', now(), true, '{sum}', 1)"
    ));
    platform.up();
    platform.get("/v1/apps");
}

#[test]
fn uninstalling_takes_what_runs_and_takes_or_leaves_the_data_as_asked() {
    let mut platform = Platform::start();
    platform.log_in_to_registry();
    let mut spec = spec();
    spec["mounts"] = json!([{"volume": "files", "path": "/files"}]);
    platform.app("leaving", &spec);
    platform.deploy("leaving", "1").expect(200);
    let volumes = || docker(&["volume", "ls", "--quiet", "--filter", "label=slipway.app=leaving"]);
    let networks = || docker(&["network", "ls", "--quiet", "--filter", "label=slipway.app=leaving"]);
    assert_eq!(volumes().lines().count(), 1);

    for (arguments, says) in [
        (&["uninstall"][..], "<--keep-data|--delete-data>"),
        (&["uninstall", "--keep-data"], "--yes"),
    ] {
        let (code, out, err) = platform.cli(arguments);
        assert!(code != 0 && err.contains(says), "{out}{err}");
    }
    assert_eq!(containers("leaving").len(), 1, "nothing was changed");

    // A directory of its own, since the platform is not to be stopped yet.
    let other = tempfile::tempdir().expect("a directory");
    let precious = other.path().join("precious");
    std::fs::write(&precious, "not the platform's").expect("written");
    let uninstall = |host: &str| {
        let mut command = platform.command(&["uninstall", "--delete-data", "--yes"]);
        command
            .env("SLIPWAY_DATA_DIR", other.path())
            .env("SLIPWAY_DOCKER_HOST", host);
        let output = command.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        (output.status.code(), said)
    };
    let (code, said) = uninstall("unix:///nowhere.sock");
    assert!(code == Some(1) && said.contains("there is no installation"), "{said}");
    std::fs::write(other.path().join("installation"), "another").expect("written");
    let (code, said) = uninstall("unix:///nowhere.sock");
    assert!(code == Some(1) && said.contains("is untouched"), "{said}");
    let (code, said) = uninstall("unix:///var/run/docker.sock");
    assert!(code == Some(0) && said.contains("look at what is left"), "{said}");
    assert!(precious.exists() && !other.path().join("installation").exists());

    let (code, out, err) = platform.cli(&["uninstall", "--keep-data"]);
    assert!(code == 2 && err.contains("add --yes"), "{out}{err}");
    let (code, out, err) = platform.cli(&["uninstall", "--keep-data", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(containers("leaving").is_empty() && networks().is_empty(), "{out}{err}");
    assert_eq!(volumes().lines().count(), 1, "the data stays");
    platform.ended();
    platform.up();
    until("the app is back with its data", || {
        (platform.visit("leaving.apps.localhost", "/echo").status == 200).then_some(())
    });

    // The volumes are found again when nothing else is left.
    let (code, out, err) = platform.cli(&["uninstall", "--keep-data", "--yes"]);
    assert_eq!((code, volumes().lines().count()), (0, 1), "{out}{err}");
    let (code, out, err) = platform.cli(&["uninstall", "--delete-data", "--yes"]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("SLIPWAY_DATABASE_URL was left alone"), "{out}");
    assert!(
        containers("leaving").is_empty() && networks().is_empty() && volumes().is_empty(),
        "{out}{err}"
    );
    let left = std::fs::read_dir(platform.data()).expect("the test's own log is in it");
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["up.log"], "nothing of the platform's");
    platform.ended();
}

#[test]
fn a_database_that_does_not_answer_is_told_of_at_once_and_the_doctor_knows_what_waits() {
    // Somebody who takes the connection and says nothing.
    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = silent.local_addr().expect("its address");
    let mut platform = Platform::start();
    let (code, out, err) = platform.cli(&["doctor"]);
    assert!(
        out.contains("and is ready") && !out.contains("has others than these"),
        "{code} {out}{err}"
    );
    let (_, out, err) = platform.cli(&["doctor", "--disk-free-min", "99%"]);
    assert!(
        out.contains("has others than these: disk_free_min is `1%`, not `99%`"),
        "{out}{err}"
    );
    let nowhere = platform.data().join("nowhere").display().to_string();
    let (_, out, err) = platform.cli(&["doctor", "--data-dir", &nowhere]);
    assert!(!std::path::Path::new(&nowhere).exists(), "{out}{err}");
    platform.down();
    platform.set("SLIPWAY_DATABASE_URL", format!("postgres://slipway@{address}/slipway"));
    platform.begin();
    until("it says what it waits for", || {
        platform.log().contains("database.awaited").then_some(())
    });
    let told = until("callers are told", || {
        platform
            .try_call("GET", "/v1/apps", &[])
            .ok()
            .filter(|a| a.status == 503)
    });
    assert_eq!(told.json()["code"], "database_unavailable", "{}", told.text);
    assert!(told.headers.contains_key("retry-after"));
    let (code, out, err) = platform.cli(&["doctor"]);
    assert_eq!(code, 1, "{out}{err}");
    assert!(out.contains("the control plane is not ready"), "{out}");
    assert!(
        out.contains(&format!("nothing came from 127.0.0.1 port {}", address.port())),
        "{out}"
    );
    let mut waiting = platform.command(&["up", "--detach"]);
    waiting.stdout(std::process::Stdio::piped());
    let mut waiting = waiting.spawn().expect("the binary runs");
    let mut said = std::io::BufReader::new(waiting.stdout.take().expect("piped"));
    let mut line = String::new();
    std::io::BufRead::read_line(&mut said, &mut line).expect("text");
    waiting.kill().expect("it waits");
    waiting.wait().expect("it ended");
    assert!(
        line.contains("SLIPWAY_DATABASE_URL") && line.contains("Waiting for it"),
        "{line}"
    );
}

#[test]
fn an_administrators_token_that_was_ended_stays_so_while_another_is_left() {
    let mut platform = Platform::start();
    let first = platform.token();
    let list = platform.get("/v1/tokens");
    let path = format!("/v1/tokens/{}", list["items"][0]["id"].as_str().expect("an id"));
    let refused = platform.call("DELETE", &path, None).expect(409);
    assert!(
        refused["detail"].to_string().contains("last token with `admin`"),
        "{refused}"
    );

    let other = json!({"name": "boss", "scopes": ["admin"]});
    let of_a_team = json!({"name": "boss", "scopes": ["admin"], "team": "default"});
    let refused = platform.call("POST", "/v1/tokens", Some(&of_a_team)).expect(422);
    assert_eq!(refused["errors"][0]["pointer"], "/team", "{refused}");
    let other = platform.call("POST", "/v1/tokens", Some(&other)).expect(201);
    let other = other["token"].as_str().expect("a token").to_owned();
    assert_eq!(platform.call_as(&other, "DELETE", &path, None, &[]).status, 204);
    platform.down();
    platform.up();
    assert_eq!(platform.token(), first, "the file is as it was");
    assert_eq!(platform.call("GET", "/v1/apps", None).status, 401);
    assert_eq!(platform.call_as(&other, "GET", "/v1/apps", None, &[]).status, 200);

    // Where none is left there is a new one.
    platform.sql("update tokens set expires_at = now() where name = 'boss'");
    platform.down();
    platform.up();
    assert_ne!(platform.token(), first);
    assert_eq!(platform.call("GET", "/v1/apps", None).status, 200);
}

#[test]
fn what_a_killed_platform_left_is_stopped_and_a_lost_key_is_told_to_everybody_who_asks() {
    let mut platform = Platform::with(Options {
        private_postgres: true,
        ..Options::default()
    });
    signal(platform.pid(), "KILL");
    platform.ended();
    let (code, out, err) = platform.cli(&["down"]);
    assert!(code == 0 && out.contains("Postgres that it had left"), "{out}{err}");
    let (_, out, err) = platform.cli(&["down"]);
    assert!(out.contains("does not run"), "{out}{err}");

    let key = platform.data().join("master.key");
    let aside = key.with_extension("aside");
    std::fs::rename(&key, &aside).expect("lost");
    let (code, out, err) = platform.cli(&["doctor"]);
    assert!(code == 1 && out.contains("master.key is missing"), "{out}{err}");
    let (code, out, err) = platform.cli(&["up", "--detach"]);
    assert!(code == 1 && err.contains("master.key is missing"), "{out}{err}");
    assert!(err.lines().count() <= 3, "one reason, and where the log is: {err}");
    let answer = until("callers are told", || platform.try_call("GET", "/v1/apps", &[]).ok());
    assert_eq!((answer.status, &answer.json()["code"]), (503, &json!("not_started")));
    let (code, out, err) = platform.cli(&["doctor"]);
    assert!(
        code == 1 && out.contains("cannot start: the master key file"),
        "{out}{err}"
    );
    std::fs::rename(&aside, &key).expect("put back");
    until("it starts by itself", || platform.is_ready().then_some(()));
    assert_eq!(platform.call("GET", "/v1/apps", None).status, 200);
    let (code, out, err) = platform.cli(&["down"]);
    assert_eq!(code, 0, "{out}{err}");
}
