//! What must hold whatever breaks: calls of the engine that are cut, hang or end with a killed control plane, while
//! visitors come at a constant rate. The invariants are those of docs/RELIABILITY.md.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;

use chrono::Utc;
use serde_json::{Value, json};
use slipway_chaos::faults::http::HttpProxy;
use slipway_chaos::faults::postgres::{PostgresProxy, Upstream};
use slipway_chaos::faults::{Fault, Moment, Script};
use slipway_chaos::load::{Kind, Load, Mix, Report, Target};
use slipway_chaos::oracle::{
    Acknowledged, ContainerFact, DeploymentFact, Facts, Labels, Line, State, WantedFact, check, timeline,
};

use crate::platform::{Options, Platform, app_image, containers, docker, signal, until, wait};

const ENGINE: &str = "/var/run/docker.sock";

/// A container that is not the platform's; nothing may touch it.
struct Decoy(String);

impl Decoy {
    fn start(name: &str) -> Self {
        let id = docker(&[
            "run",
            "--detach",
            "--network",
            "none",
            "--name",
            name,
            "slipway-test/app:1",
        ]);
        Self(id.trim().to_owned())
    }

    fn is_alive(&self) -> bool {
        docker(&["inspect", "--format", "{{.State.Running}}", &self.0]).trim() == "true"
    }
}

impl Drop for Decoy {
    fn drop(&mut self) {
        // It is removed even when the test has failed.
        let _ = std::process::Command::new("docker")
            .args(["rm", "--force", &self.0])
            .output();
    }
}

fn spec() -> Value {
    json!({"health": {"path": "/healthz", "interval": "100ms", "deadline": "20s"}, "resources": {"memory": "64MiB"},
           "deploy": {"drain_timeout": "5s", "kill_timeout": "1s"}})
}

fn load(platform: &Platform, app: &str, mixes: &[Mix], seed: u64) -> Load {
    let target = Target {
        address: platform.https,
        host: format!("{app}.apps.localhost"),
        root_pem: std::fs::read(platform.data().join("ca/root.pem")).expect("the CA's root"),
        app: app.to_owned(),
    };
    wait(async { Load::start(target, mixes, seed) }).expect("a load")
}

/// A proxy that counts the round trips to the platform's database.
pub(crate) fn database_proxy(platform: &mut Platform) -> PostgresProxy {
    const NAME: &str = "SLIPWAY_DATABASE_URL";
    let variables = platform.variables();
    let url = &variables
        .iter()
        .find(|(name, _)| name == NAME)
        .expect("the test server's")
        .1;
    let (begin, rest) = url.split_once('@').expect("a user");
    let (address, database) = rest.split_once('/').expect("a database");
    let upstream = Upstream::Tcp(address.parse().expect("an address"));
    let proxy = wait(async { PostgresProxy::start(upstream, Script::new()) }).expect("a proxy");
    let url = format!("{begin}@{}/{database}", proxy.address());
    platform.set(NAME, url);
    proxy
}

/// A platform that reaches its engine and its database through proxies that count calls.
pub(crate) struct Between {
    pub(crate) platform: Platform,
    pub(crate) engine: HttpProxy,
    pub(crate) database: PostgresProxy,
    _dir: tempfile::TempDir,
}

impl Between {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let socket = dir.path().join("engine.sock");
        let engine = wait(async { HttpProxy::start(&socket, Path::new(ENGINE), Script::new()) }).expect("a proxy");
        let mut platform = Platform::prepare(Options {
            variables: vec![("SLIPWAY_DOCKER_HOST", format!("unix://{}", socket.display()))],
            ..Options::default()
        });
        let database = database_proxy(&mut platform);
        platform.up();
        Self {
            platform,
            engine,
            database,
            _dir: dir,
        }
    }
}

/// Such a platform with an app that is deployed again and again.
struct Scene {
    platform: Platform,
    engine: HttpProxy,
    database: PostgresProxy,
    decoy: Decoy,
    app: String,
    acknowledged: Vec<Acknowledged>,
    _dir: tempfile::TempDir,
}

impl Scene {
    fn start(name: &str) -> Self {
        // What a run that was ended from outside has left must not be taken for this one's.
        let app = format!("{name}-{}", std::process::id());
        let Between {
            platform,
            engine,
            database,
            _dir: dir,
        } = Between::start();
        platform.log_in_to_registry();
        platform.app(&app, &spec());
        let mut scene = Self {
            decoy: Decoy::start(&format!("decoy-of-{app}")),
            platform,
            engine,
            database,
            app,
            acknowledged: Vec::new(),
            _dir: dir,
        };
        // Both images are on the machine from here on, so that each deploy makes about the same calls.
        for round in 0..2 {
            scene.deploy(round);
        }
        scene
    }

    /// Deploys as a pipeline does: with a key, again and again until there is an answer.
    fn deploy(&mut self, round: u64) -> Value {
        let tag = if round.is_multiple_of(2) { "1" } else { "2" };
        let path = format!("/v1/deploy?image={}&app={}&wait=60s", app_image(tag), self.app);
        let key = format!("round-{round}");
        let answer = until("the deploy is answered", || {
            let answer = self
                .platform
                .try_call("POST", &path, &[("idempotency-key", &key)])
                .ok()?;
            (![202, 409, 503].contains(&answer.status)).then_some(answer)
        });
        let deployment = match answer.status {
            200 => answer.json(),
            422 if answer.text.contains("\"deployment\"") => answer.json()["deployment"].clone(),
            _ => panic!("round {round}: {} {}", answer.status, answer.text),
        };
        self.acknowledged.push(Acknowledged {
            deployment: deployment["id"].as_str().expect("an id").to_owned(),
            environment: self.app.clone(),
            at: Utc::now(),
        });
        deployment
    }

    /// So many calls of the engine and round trips to the database a deploy makes.
    fn calls_of_a_deploy(&mut self) -> (u64, u64) {
        let count = |scene: &Self| (scene.engine.control().calls(), scene.database.control().calls());
        let before = count(self);
        self.deploy(2);
        until("the old instance is gone", || {
            (containers(&self.app).len() == 1).then_some(())
        });
        let after = count(self);
        (after.0 - before.0, after.1 - before.1)
    }

    /// Everything that can be seen from outside, when nothing is under way any more.
    fn facts(&self, report: Report) -> Facts {
        let listed = self.all(&format!("/v1/apps/{}/deployments?limit=200", self.app));
        let deployments = listed.iter().map(|d| self.deployment(d)).collect();
        let environment = self.platform.get(&format!("/v1/apps/{}/environments", self.app))["items"][0].clone();
        let containers = containers(&self.app).into_iter().map(|(id, state)| {
            let release = docker(&[
                "inspect",
                "--format",
                "{{index .Config.Labels \"slipway.release\"}}",
                &id,
            ]);
            ContainerFact {
                labels: Some(Labels {
                    release: release.trim().trim_start_matches('v').to_owned(),
                    app: self.app.clone(),
                    environment: self.app.clone(),
                }),
                running: state == "running",
                id,
            }
        });
        let audit = self.all("/v1/audit?action=deployment.create&limit=200");
        let recorded = |id: &str| u32::try_from(audit.iter().filter(|r| r["target"]["id"] == id).count()).expect("few");
        let mutations: BTreeMap<String, u32> = self
            .acknowledged
            .iter()
            .map(|a| (a.deployment.clone(), recorded(&a.deployment)))
            .collect();
        Facts {
            acknowledged: self.acknowledged.clone(),
            deployments,
            containers: containers.collect(),
            wanted: vec![WantedFact {
                environment: self.app.clone(),
                release: environment["serving"].to_string(),
                replicas: 1,
            }],
            decoy_alive: self.decoy.is_alive(),
            report,
            audit_valid: self.platform.get("/v1/audit/verify")["ok"] == true,
            audit_mutations: mutations,
            now: Utc::now(),
        }
    }

    /// A list to its last page.
    fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut page = self.platform.get(path);
        loop {
            items.extend(page["items"].as_array().expect("items").iter().cloned());
            let Some(cursor) = page["next_cursor"].as_str() else {
                return items;
            };
            page = self.platform.get(&format!("{path}&cursor={cursor}"));
        }
    }

    fn deployment(&self, shown: &Value) -> DeploymentFact {
        let time = |member: &str| shown[member].as_str().and_then(|t| t.parse().ok());
        DeploymentFact {
            id: shown["id"].as_str().expect("an id").to_owned(),
            environment: self.app.clone(),
            state: State::parse(shown["state"].as_str().expect("a state")).expect("a known state"),
            reason: shown["reason"]["code"].as_str().map(str::to_owned),
            release: shown["release"].to_string(),
            created_at: time("created_at").expect("a time"),
            finished_at: time("finished_at"),
            deadline: None,
        }
    }

    /// Waits until one container is left, then judges.
    fn judge(&self, report: Report) {
        until("one instance is left", || {
            let left = containers(&self.app);
            (left.len() == 1 && left[0].1 == "running").then_some(())
        });
        let seed = report.seed;
        let violations = check(&self.facts(report));
        if !violations.is_empty() {
            let calls = self.engine.control().log();
            let calls = calls
                .iter()
                .map(|c| Line::new(c.at, "engine", format!("{} {}", c.number, c.what)));
            let found: Vec<String> = violations.iter().map(ToString::to_string).collect();
            panic!("{}\n{}", found.join("\n"), timeline(seed, calls.collect()));
        }
    }
}

const VISITORS: [Mix; 1] = [Mix {
    kind: Kind::Http1,
    per_second: 20,
}];

/// One deploy for each of the calls that a deploy makes, from the `first` on every `step`-th, with a fault at that call.
/// `CHAOS_EVERY=1` takes every one.
fn at_calls(name: &str, first: u64, step: usize, break_it: impl Fn(&Scene, u64)) {
    let every = std::env::var("CHAOS_EVERY").is_ok_and(|v| v == "1");
    let (first, step) = if every { (1, 1) } else { (first, step) };
    let mut scene = Scene::start(name);
    let (calls, _) = scene.calls_of_a_deploy();
    assert!(calls > 5, "{calls} calls are no deploy");
    rounds(scene, (first..=calls).step_by(step), |scene, call| {
        break_it(scene, scene.engine.control().calls() + call);
    });
}

/// One deploy for each of these calls, broken there; then everything must be as if nothing had been broken.
fn rounds(mut scene: Scene, calls: impl Iterator<Item = u64>, break_it: impl Fn(&Scene, u64)) {
    let load = load(&scene.platform, &scene.app, &VISITORS, 7);
    let mut took = Vec::new();
    for (round, call) in (3..).zip(calls) {
        break_it(&scene, call);
        let began = Instant::now();
        let ended = scene.deploy(round);
        assert_eq!(ended["state"], "succeeded", "broken at call {call}: {ended:#}");
        took.push((began.elapsed(), call));
        scene.engine.control().follow(Script::new());
        scene.database.control().follow(Script::new());
    }
    let report = wait(load.stop());
    took.sort_unstable();
    if let [.., (slowest, call)] = took[..] {
        let (median, _) = took[took.len() / 2];
        eprintln!(
            "{} deploys broken: {median:?} median, {slowest:?} slowest (call {call}); {report}",
            took.len()
        );
    }
    scene.judge(report);
}

/// Kills the control plane when a call comes, before or after its effect.
fn kill_at(scene: &Scene, call: u64, moment: Moment) {
    let held = scene.engine.control().at_call(call, moment);
    let serve = scene.platform.child_pid("serve");
    std::thread::spawn(move || {
        // A round may make fewer calls than the one before: then nothing is killed in it.
        if let (Ok(held), Some(serve)) = (wait(held), serve) {
            signal_if_there(serve);
            drop(held);
        }
    });
}

fn signal_if_there(pid: u32) {
    if Path::new(&format!("/proc/{pid}")).exists() {
        signal(pid, "KILL");
    }
}

#[test]
fn f02_a_control_plane_killed_before_any_call_of_a_deploy_goes_on_and_loses_nothing() {
    at_calls("killed-before", 1, 5, |scene, call| {
        kill_at(scene, call, Moment::Before);
    });
}

#[test]
fn f02_a_control_plane_killed_after_the_effect_of_any_call_goes_on_and_does_nothing_twice() {
    at_calls("killed-after", 3, 5, |scene, call| kill_at(scene, call, Moment::After));
}

#[test]
fn f02_a_call_that_had_its_effect_and_was_never_answered_is_found_done() {
    at_calls("cut-after", 1, 1, |scene, call| {
        scene.engine.control().follow(Script::new().at(call, Fault::CutAfter));
    });
}

#[test]
fn f31_a_call_that_hangs_is_given_up_and_tried_again() {
    at_calls("hangs", 3, 8, |scene, call| {
        scene.engine.control().follow(Script::new().at(call, Fault::Hang));
    });
}

/// About so many rounds, spread over the many round trips to the database; with `CHAOS_EVERY=1` the second number.
fn at_round_trips(name: &str, fault: Fault, (some, all): (u64, u64)) {
    let mut scene = Scene::start(name);
    let (_, trips) = scene.calls_of_a_deploy();
    assert!(trips > 20, "{trips} round trips are no deploy");
    let every = std::env::var("CHAOS_EVERY").is_ok_and(|v| v == "1");
    let wanted = if every { all } else { some };
    let step = usize::try_from(trips / wanted).expect("few").max(1);
    rounds(scene, (1..=trips).step_by(step), |scene, call| {
        let call = scene.database.control().calls() + call;
        scene.database.control().follow(Script::new().at(call, fault));
    });
}

#[test]
fn f21_a_statement_that_had_its_effect_and_was_never_answered_is_found_done() {
    at_round_trips("commit-cut", Fault::CutAfter, (12, u64::MAX));
}

#[test]
fn f21_a_statement_that_never_arrived_is_made_again() {
    at_round_trips("never-sent", Fault::CutBefore, (12, u64::MAX));
}

#[test]
fn f20_a_statement_that_meets_silence_is_given_up_and_everything_goes_on() {
    // Each is given up after 12 s: all of them would take three hours.
    at_round_trips("silent", Fault::Hang, (6, 100));
}

/// A number out of the environment, for the soak.
fn number(name: &str, default: u32) -> u32 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn i04_no_request_of_any_kind_is_lost_over_rolling_deploys() {
    let platform = Platform::start();
    platform.log_in_to_registry();
    platform.app("many", &spec());
    platform.deploy("many", "1").expect(200);
    let (deploys, per_second) = (number("CHAOS_DEPLOYS", 20), number("CHAOS_PER_SECOND", 100));
    let kinds = [
        (Kind::Http1, per_second * 45 / 100),
        (Kind::Http2, per_second * 45 / 100),
        (Kind::WebSocket, per_second * 8 / 100),
        (Kind::Sse, 4),
        (Kind::Upload { bytes: 10 << 20 }, 1),
    ];
    let mixes = kinds.map(|(kind, per_second)| Mix { kind, per_second });
    let load = load(&platform, "many", &mixes, 11);
    for round in 0..deploys {
        let deployed = platform.deploy("many", if round % 2 == 0 { "2" } else { "1" });
        assert_eq!(deployed.status, 200, "{}", deployed.text);
    }
    let report = wait(load.stop());
    eprintln!("{deploys} deploys: {report}");
    assert!(report.lost_count == 0 && report.unsent == 0, "{report}");
    let met = u32::try_from(report.by_release.len()).expect("few");
    assert!(met > deploys * 3 / 4, "the visitors met many releases: {report}");
}
