//! A whole API with a database, and the scheduler's part played by the test.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use slipway_api::{ApiSettings, ApiState};
use slipway_domain::access::Reach;
use slipway_domain::clock::testing::at;
use slipway_domain::deployment::{DeploymentEvent, Reason, ReasonCode, StepName, StepState};
use slipway_domain::ids::{DeploymentId, TeamId, TokenId};
use slipway_domain::token::{Token, TokenKind};
use slipway_domain::{Clock as _, Epoch};
use slipway_store::{Store, Team, TokenRow, Tx};
use slipway_testkit::openapi::Document;
use tokio::sync::watch;

use crate::client::Answer;
use crate::db::{Db, with_store};
use crate::ports::{AnyCertificate, Counter, EmptyDns, EmptyZones, Engine, Mirror, Ports, Registry, TestClock};

/// Method, route and status of a request.
pub(crate) type Told = (&'static str, Option<String>, u16);

/// All there is.
pub(crate) struct World {
    pub(crate) router: axum::Router,
    pub(crate) document: Document,
    pub(crate) store: Store,
    pub(crate) db: Db,
    pub(crate) ports: Ports,
    /// The administrator's token.
    pub(crate) admin: String,
    pub(crate) team: TeamId,
    events: watch::Sender<u64>,
    pub(crate) shutdown: watch::Sender<bool>,
    wakes: Arc<AtomicU64>,
    /// Requests as they were told of.
    pub(crate) answered: Arc<std::sync::Mutex<Vec<Told>>>,
    epoch: tokio::sync::Mutex<Option<Epoch>>,
}

/// Runs a test in a world of its own.
pub(crate) async fn in_world<F: Future<Output = ()>>(test: impl FnOnce(Arc<World>) -> F) {
    with_store(async |db, store| {
        let world = World::new(db, store).await;
        test(Arc::new(world)).await;
    })
    .await;
}

impl World {
    async fn new(db: Db, store: Store) -> Self {
        let ports = Ports {
            registry: Arc::new(Registry::default()),
            engine: Arc::new(Engine::default()),
            clock: Arc::new(TestClock::new()),
        };
        let mut settings = ApiSettings::new("apps.localhost".parse().expect("a name"), 8443, "0.0.0-test");
        settings.resolve_timeout = Duration::from_millis(300);
        settings.streams_max = 4;
        settings.staging_directory = Some("https://staging.example/dir".into());
        let ((events, events_seen), (shutdown, shutdown_seen)) = (watch::channel(0), watch::channel(false));
        let wakes = Arc::new(AtomicU64::new(0));
        let woken = Arc::clone(&wakes);
        let answered = Arc::default();
        let seen: Arc<std::sync::Mutex<Vec<Told>>> = Arc::clone(&answered);
        let state = ApiState {
            store: store.clone(),
            resolver: Arc::clone(&ports.registry) as _,
            instances: Arc::clone(&ports.engine) as _,
            inspector: Arc::new(EmptyDns),
            zones: Arc::new(EmptyZones),
            checker: Arc::new(AnyCertificate),
            sealer: Arc::new(Mirror),
            clock: Arc::clone(&ports.clock) as _,
            entropy: Arc::new(Counter),
            started_at: ports.clock.now(),
            settings,
            wake: Arc::new(move || {
                woken.fetch_add(1, Ordering::Relaxed);
            }),
            events: events_seen,
            trace: |_, headers| {
                headers
                    .get("traceparent")
                    .and_then(|v| v.to_str().ok())
                    .map(str::to_owned)
            },
            observe: Arc::new(move |a| {
                let told = (a.method, a.route.map(str::to_owned), a.status.as_u16());
                seen.lock().expect("no panic").push(told);
            }),
            shutdown: shutdown_seen,
        };
        let document = serde_json::to_value(slipway_api::openapi()).expect("serializes");
        let mut world = Self {
            router: slipway_api::router(state),
            document: Document::new(document),
            store,
            db,
            team: TeamId::mint(ports.clock.now(), &Counter),
            ports,
            admin: String::new(),
            events,
            shutdown,
            wakes,
            answered,
            epoch: tokio::sync::Mutex::new(None),
        };
        world.insert_team(world.team, "default").await;
        world.admin = world.token_of(world.team, &["admin"], json!({})).await;
        world
    }

    async fn insert_team(&self, id: TeamId, name: &str) {
        let mut tx = self.tx().await;
        let name = name.parse().expect("a name");
        let team = Team {
            id,
            name,
            created_at: self.ports.clock.now(),
            limits: slipway_domain::limits::TeamLimits::default(),
        };
        tx.insert_team(&team).await.expect("inserted");
        tx.commit().await.expect("commits");
    }

    /// Another team.
    pub(crate) async fn other_team(&self, name: &str) -> TeamId {
        let id = TeamId::mint(self.ports.clock.now(), &Counter);
        self.insert_team(id, name).await;
        id
    }

    /// A token of the first team.
    pub(crate) async fn token(&self, scopes: &[&str], narrowed: Value) -> String {
        self.token_of(self.team, scopes, narrowed).await
    }

    /// A token of a team, narrowed to `apps` and `environments` if they are given.
    pub(crate) async fn token_of(&self, team: TeamId, scopes: &[&str], narrowed: Value) -> String {
        let now = self.ports.clock.now();
        let token = Token::mint(TokenKind::Pat, &Counter);
        let row = TokenRow {
            id: TokenId::mint(now, &Counter),
            team,
            name: "tester".parse().expect("a name"),
            kind: token.kind(),
            reach: Reach {
                scopes: scopes.iter().map(|s| s.parse().expect("a scope")).collect(),
                apps: serde_json::from_value(narrowed["apps"].clone()).expect("names"),
                environments: serde_json::from_value(narrowed["environments"].clone()).expect("names"),
            },
            created_at: now,
            created_by: "test".into(),
            expires_at: Some(now + chrono::TimeDelta::days(90)),
            revoked_at: None,
            last_used_at: None,
        };
        let mut tx = self.tx().await;
        tx.insert_token(&row, &token.hash()).await.expect("inserted");
        tx.commit().await.expect("commits");
        token.expose().to_owned()
    }

    pub(crate) async fn tx(&self) -> Tx {
        self.store.begin().await.expect("begins")
    }

    /// A transaction as the scheduler has them, under its lease.
    pub(crate) async fn scheduler_tx(&self) -> Tx {
        let mut held = self.epoch.lock().await;
        if held.is_none() {
            let holder = slipway_domain::ids::uuid_v7(at(0), &Counter);
            let mut tx = self.tx().await;
            *held = tx.acquire_lease("scheduler", holder, 600_000).await.expect("asked");
            tx.commit().await.expect("commits");
        }
        let mut tx = self.tx().await;
        tx.fence(held.expect("nobody else leads")).await.expect("leads");
        tx
    }

    /// How often the scheduler was told that there is something to do.
    pub(crate) fn wakes(&self) -> u64 {
        self.wakes.load(Ordering::Relaxed)
    }

    /// An event was appended.
    pub(crate) fn hint(&self) {
        self.events.send_modify(|n| *n += 1);
    }

    /// Deploys an image and lets it succeed.
    pub(crate) async fn deployed(&self, app: &str, image: &str) -> Answer {
        let answer = self
            .post(&format!("/v1/apps/{app}/deployments"), json!({"image": image}))
            .await;
        assert_eq!(answer.status, 202, "{}", answer.text);
        self.succeed(&answer.json).await;
        answer
    }

    /// The scheduler brings a deployment to success.
    pub(crate) async fn succeed(&self, deployment: &Value) {
        self.finish(deployment, None).await;
    }

    /// The scheduler gives up on a deployment.
    pub(crate) async fn fail(&self, deployment: &Value) {
        let reason = Reason {
            code: ReasonCode::Exited,
            detail: "The process ended with exit code 3.".into(),
            hint: "Look at the last lines it wrote.".into(),
            exit_code: Some(3),
            oom_killed: Some(false),
            last_probe: None,
            log_tail: vec!["cannot open config".into()],
        };
        self.finish(deployment, Some(reason)).await;
    }

    async fn finish(&self, deployment: &Value, reason: Option<Reason>) {
        let id = id_of(deployment);
        let now = self.ports.clock.now();
        let mut tx = self.scheduler_tx().await;
        tx.start_deployment(id, now).await.expect("starts");
        tx.step_started(id, StepName::Pull, None, now).await.expect("a step");
        tx.step_finished(id, StepName::Pull, StepState::Succeeded, Some("12 MiB"), now)
            .await
            .expect("a step");
        let event = if reason.is_some() {
            DeploymentEvent::Fail
        } else {
            DeploymentEvent::Succeed
        };
        tx.finish_deployment(id, event, reason.as_ref(), now)
            .await
            .expect("finishes");
        if event == DeploymentEvent::Succeed {
            let row = tx.deployment(id).await.expect("reads").expect("is there");
            let mut status = tx.status(row.environment).await.expect("reads").expect("is there");
            status.serving = Some(row.release);
            status.observed_generation = row.generation;
            tx.save_status(row.environment, &status).await.expect("saves");
        }
        tx.commit().await.expect("commits");
        self.hint();
    }

    /// The newest deployment of an app, in any environment.
    pub(crate) async fn newest(&self, app: &str) -> Value {
        self.get(&format!("/v1/apps/{app}/deployments?limit=1")).await.json["items"][0].clone()
    }
}

/// The identifier of a deployment as answered.
pub(crate) fn id_of(deployment: &Value) -> DeploymentId {
    deployment["id"]
        .as_str()
        .expect("an id")
        .parse()
        .expect("a deployment's id")
}

/// Looks until something is there; ten seconds at most.
pub(crate) async fn until<T, F: Future<Output = Option<T>>>(mut look: impl FnMut() -> F) -> T {
    for _ in 0..500 {
        if let Some(found) = look().await {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never became so");
}
