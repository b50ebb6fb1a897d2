//! Teams, apps, environments, releases and deployments to test with.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use slipway_domain::clock::testing::at;
use slipway_domain::deployment::{Reason, ReasonCode};
use slipway_domain::ids::{AppId, DeploymentId, EnvironmentId, ReleaseId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::name::HostName;
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::spec::Spec;
use slipway_domain::{Entropy, Epoch, Generation, ReleaseNumber, Timestamp};
use slipway_store::{App, Deployment, Desired, Environment, NewDeployment, Store, Team, Tx};
use uuid::Uuid;

/// Bytes that are never the same twice, so that identifiers differ.
#[derive(Debug)]
pub(crate) struct Counter;

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        let count = COUNT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
        for (place, byte) in buffer
            .iter_mut()
            .rev()
            .zip(count.iter().rev().chain(std::iter::repeat(&0)))
        {
            *place = *byte;
        }
    }
}

/// So many seconds into the test's own time.
pub(crate) fn second(s: i64) -> Timestamp {
    at(1_800_000_000_000 + s * 1000)
}

pub(crate) fn base() -> HostName {
    "apps.localhost".parse().expect("valid")
}

pub(crate) async fn tx(store: &Store) -> Tx {
    store.begin().await.expect("begins")
}

pub(crate) async fn add_team(store: &Store, name: &str) -> Team {
    let team = Team {
        id: TeamId::mint(second(0), &Counter),
        name: name.parse().expect("valid"),
        created_at: second(0),
        limits: slipway_domain::limits::TeamLimits::default(),
    };
    let mut tx = tx(store).await;
    tx.insert_team(&team).await.expect("inserted");
    tx.commit().await.expect("commits");
    team
}

pub(crate) fn new_app(team: &Team, name: &str) -> App {
    App {
        id: AppId::mint(second(0), &Counter),
        team: team.id,
        team_name: team.name.clone(),
        name: name.parse().expect("valid"),
        created_at: second(0),
        created_by: "ana".into(),
    }
}

pub(crate) fn new_environment(app: &App, name: &str) -> Environment {
    Environment {
        id: EnvironmentId::mint(second(0), &Counter),
        team: app.team,
        app: app.id,
        app_name: app.name.clone(),
        name: name.parse().expect("valid"),
        created_at: second(0),
        created_by: "ana".into(),
        spec: Spec::default(),
        spec_generation: 1,
        staged: false,
        generation: Generation(0),
        desired: Desired::Running,
        release: None,
        subnet: None,
        last_release_number: ReleaseNumber(0),
        expiry: None,
        decided_at: second(0),
    }
}

/// An app with one environment.
pub(crate) async fn add_app(store: &Store, team: &Team, name: &str) -> (App, Environment) {
    let app = new_app(team, name);
    let environment = new_environment(&app, "production");
    let mut tx = tx(store).await;
    tx.insert_app(&app).await.expect("inserted");
    tx.insert_environment(&environment, &base()).await.expect("inserted");
    tx.commit().await.expect("commits");
    (app, environment)
}

/// A store with a team, an app and its environment.
pub(crate) async fn web(store: &Store) -> (Team, App, Environment) {
    let team = add_team(store, "default").await;
    let (app, environment) = add_app(store, &team, "web").await;
    (team, app, environment)
}

pub(crate) fn pin(n: u8) -> Pin {
    Pin::Registry {
        name: "registry.test/web".into(),
        registry: "registry.test".into(),
        digest: format!("sha256:{}", format!("{n:02x}").repeat(32))
            .parse()
            .expect("valid"),
    }
}

pub(crate) fn new_release(environment: EnvironmentId, number: ReleaseNumber, spec: Spec) -> Release {
    Release {
        id: ReleaseId::mint(second(number.0), &Counter),
        environment,
        number,
        image: "registry.test/web:latest".into(),
        pin: pin(u8::try_from(number.0).expect("a test has few releases")),
        spec,
        secrets: BTreeMap::new(),
        cause: ReleaseCause::Deploy,
        created_at: second(number.0),
        created_by: "ana".into(),
        same_as: None,
        good: false,
    }
}

/// Accepts a deploy the way a caller does: lock, supersede, release, intent, deployment.
pub(crate) async fn accept(tx: &mut Tx, id: EnvironmentId, spec: Spec, now: Timestamp) -> Deployment {
    let environment = tx.lock_environment(id).await.expect("locks").expect("is there");
    let number = tx.next_release_number(id).await.expect("numbered");
    let later = (DeploymentId::mint(now, &Counter), number);
    tx.supersede_unfinished(id, later, now).await.expect("supersedes");
    let release = new_release(id, number, spec);
    tx.insert_release(environment.team, &release).await.expect("inserted");
    let generation = tx
        .set_intent(id, environment.generation, Desired::Running, Some(release.id), now)
        .await
        .expect("nobody else");
    let deployment = NewDeployment {
        state: slipway_domain::deployment::DeploymentState::Pending,
        id: DeploymentId::mint(now, &Counter),
        team: environment.team,
        app: environment.app,
        environment: id,
        release: release.id,
        generation,
        strategy: "rolling".into(),
        cause: ReleaseCause::Deploy,
        message: Some("try it".into()),
        trace_context: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        created_at: now,
        created_by: "ana".into(),
    };
    tx.insert_deployment(&deployment).await.expect("inserted");
    tx.deployment(deployment.id).await.expect("read").expect("is there")
}

/// The same, committed.
pub(crate) async fn deploy(store: &Store, id: EnvironmentId, now: Timestamp) -> Deployment {
    let mut tx = tx(store).await;
    let deployment = accept(&mut tx, id, Spec::default(), now).await;
    tx.commit().await.expect("commits");
    deployment
}

pub(crate) const LEASE: &str = "scheduler";

/// Takes the scheduler's lease for a minute.
pub(crate) async fn lead(store: &Store, holder: u128) -> Option<Epoch> {
    let mut tx = tx(store).await;
    let epoch = tx
        .acquire_lease(LEASE, Uuid::from_u128(holder), 60_000)
        .await
        .expect("asked");
    tx.commit().await.expect("commits");
    epoch
}

/// A transaction that the scheduler may write in.
pub(crate) async fn fenced(store: &Store, epoch: Epoch) -> Tx {
    let mut tx = tx(store).await;
    tx.fence(epoch).await.expect("the lease is held");
    tx
}

pub(crate) fn reason(code: ReasonCode) -> Reason {
    Reason {
        code,
        detail: "nothing listens on port 8080".into(),
        hint: "listen on $PORT".into(),
        exit_code: None,
        oom_killed: None,
        last_probe: None,
        log_tail: vec!["starting".into()],
    }
}
