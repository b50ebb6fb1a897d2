//! Managed databases: each is looked at, and what the plan says is done.
//!
//! Promises: where a database stands is in its row, what its server does on the engine; what is remembered between two
//! looks only spares work. Every write is fenced by the lease.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use slipway_domain::database::{DatabasePasswords, DatabaseState, PORT};
use slipway_domain::domains::Reason;
use slipway_domain::ids::{DatabaseId, EnvironmentId};
use slipway_domain::observed::Observed;
use slipway_domain::ports::{DatabaseRoles, ServerError, ServerFacts, ServerLogin};
use slipway_domain::{Epoch, Timestamp};
use slipway_engine::{DatabaseSpec, EngineError, FoundDatabase};
use slipway_planner::databases::{Answer, DatabaseStep, DatabaseWorld, Server, plan};
use slipway_store::{Database, DatabaseFacts, StoreError, Tx};

use crate::operate::{OpError, credentials, has_no_room, in_use, overlaps};
use crate::session::Session;
use crate::settings::Deps;

/// How often it is asked which are due.
const TICK: Duration = Duration::from_secs(1);
/// So many are looked at at once.
const LOOKS_MAX: usize = 8;
/// What failed is tried again after this, and twice as long each time.
const PAUSE_FIRST: chrono::TimeDelta = chrono::TimeDelta::seconds(2);
const PAUSE_DOUBLINGS_MAX: u32 = 6;
/// How often a network is asked for in one look.
const SUBNETS_TRIED_MAX: u32 = 16;

/// What is remembered of one between two looks.
#[derive(Debug, Default, Clone)]
struct Memory {
    /// What was wanted at the last look.
    generation: i64,
    answer: Option<Answer>,
    failure: Option<Reason>,
    failures: u32,
    next: Option<Timestamp>,
}

type Memories = Arc<Mutex<HashMap<DatabaseId, Memory>>>;

/// Drives them for as long as the term lasts.
pub(crate) async fn drive(session: &Arc<Session>) {
    let memories = Memories::default();
    let busy: Arc<Mutex<HashSet<DatabaseId>>> = Arc::default();
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = session.databases.notified() => {}
        }
        let all = match all(&session.deps).await {
            Ok(all) => all,
            Err(error) => {
                tracing::warn!(%error, "databases.unknown: the database does not answer");
                continue;
            }
        };
        for id in due(&memories, all, session.deps.clock.now()) {
            {
                let mut busy = busy.lock();
                if busy.len() >= LOOKS_MAX || !busy.insert(id) {
                    continue;
                }
            }
            let (session, busy, memories) = (Arc::clone(session), Arc::clone(&busy), Arc::clone(&memories));
            let tasks = session.tasks.clone();
            tasks.spawn(async move {
                if let Err(error) = look(&session, &memories, id).await {
                    tracing::warn!(database = %id, %error, "database.not_looked_at");
                }
                busy.lock().remove(&id);
            });
        }
    }
}

async fn all(deps: &Deps) -> Result<Vec<(DatabaseId, i64)>, StoreError> {
    let mut tx = deps.store.begin().await?;
    tx.all_databases().await
}

/// Those whose time has come, and those of which something new is wanted.
fn due(memories: &Memories, all: Vec<(DatabaseId, i64)>, now: Timestamp) -> Vec<DatabaseId> {
    let mut memories = memories.lock();
    let here: HashSet<DatabaseId> = all.iter().map(|(id, _)| *id).collect();
    memories.retain(|id, _| here.contains(id));
    let is_due = |(id, generation): (DatabaseId, i64)| {
        let memory = memories.get(&id);
        let at = memory.and_then(|memory| memory.next);
        let is_new = memory.is_some_and(|memory| memory.generation != generation);
        (is_new || at.is_none_or(|at| at <= now)).then_some(id)
    };
    all.into_iter().filter_map(is_due).collect()
}

/// Looks at one, notes where it stands, and does what is to be done.
async fn look(session: &Session, memories: &Memories, id: DatabaseId) -> Result<(), StoreError> {
    let deps = &session.deps;
    let mut tx = deps.store.begin().await?;
    let Some(row) = tx.database_by_id(id).await? else {
        return Ok(());
    };
    let attached = tx.attachments(Some(id), None).await?;
    drop(tx);
    let attached: BTreeSet<EnvironmentId> = attached.into_iter().map(|a| a.environment).collect();
    let spec = match spec(deps, &row, session.epoch) {
        Ok(spec) => spec,
        Err(reason) => return note(session, &row, memories, &reason).await,
    };
    let found = deps.engine.database(id, &row.name).await;
    let mut memory = memories.lock().get(&id).cloned().unwrap_or_default();
    let world = world(deps, &row, &spec, &found, attached, &memory).await;
    let plan = plan(&world);
    if (plan.state, &plan.reason) != (row.status.state, &row.status.reason) {
        let mut tx = fenced(session).await?;
        tx.note_database(id, (plan.state, plan.reason.as_ref()), world.now)
            .await?;
        tx.commit().await?;
    }
    if plan.state != row.status.state {
        let reason = plan.reason.as_ref().map(|reason| reason.code.as_str());
        tracing::info!(database = %row.name, state = plan.state.as_str(), reason, "database.state");
    }
    let work = Work {
        session,
        row: &row,
        spec,
        found: found.ok().flatten(),
    };
    let (mut failure, mut did) = (None, false);
    for step in &plan.steps {
        match work.step(step, &mut memory).await {
            Ok(done) => did |= done,
            Err(error) => {
                tracing::warn!(database = %row.name, ?step, %error, "database.step_failed");
                failure = Some(told(&error));
                break;
            }
        }
    }
    let now = deps.clock.now();
    memory.generation = row.generation;
    memory.failures = if failure.is_some() {
        memory.failures.saturating_add(1)
    } else {
        0
    };
    let pause = PAUSE_FIRST * 2_i32.pow(memory.failures.min(PAUSE_DOUBLINGS_MAX));
    memory.next = Some(now + if failure.is_some() { pause } else { plan.again });
    // What was done may have changed where it stands.
    if failure.is_none() && did {
        memory.next = None;
    }
    memory.failure = failure;
    memories.lock().insert(id, memory);
    Ok(())
}

/// Notes why nothing can be done about one.
async fn note(session: &Session, row: &Database, memories: &Memories, why: &Reason) -> Result<(), StoreError> {
    let now = session.deps.clock.now();
    let mut tx = fenced(session).await?;
    tx.note_database(row.id, (row.status.state, Some(why)), now).await?;
    tx.commit().await?;
    let mut memories = memories.lock();
    let memory = memories.entry(row.id).or_default();
    memory.generation = row.generation;
    memory.failures = memory.failures.saturating_add(1);
    memory.next = Some(now + PAUSE_FIRST * 2_i32.pow(memory.failures.min(PAUSE_DOUBLINGS_MAX)));
    Ok(())
}

async fn fenced(session: &Session) -> Result<Tx, StoreError> {
    let mut tx = session.deps.store.begin().await?;
    tx.fence(session.epoch).await?;
    Ok(tx)
}

fn passwords(deps: &Deps, row: &Database) -> Result<DatabasePasswords, Reason> {
    let id = row.id.to_string();
    let context = DatabasePasswords::seal_context(row.team, &id);
    let opened = deps
        .sealer
        .open(context, &row.sealed_passwords)
        .map_err(|e| e.to_string());
    let parsed = opened.and_then(|s| DatabasePasswords::parse(&s).ok_or_else(|| "they are damaged".to_owned()));
    parsed.map_err(|error| Reason {
        code: "passwords_sealed".into(),
        detail: format!("Its passwords cannot be used: {error}."),
        hint: "Put back the master key that they were sealed with.".into(),
    })
}

/// What its server is made from; the subnet may still be to be found.
fn spec(deps: &Deps, row: &Database, epoch: Epoch) -> Result<DatabaseSpec, Reason> {
    Ok(DatabaseSpec {
        installation: deps.settings.installation.clone(),
        team: row.team,
        id: row.id,
        name: row.name.clone(),
        major: row.version.major(),
        image: row.pin.clone(),
        size: row.size,
        password: passwords(deps, row)?.superuser,
        subnet: row.status.subnet.clone().unwrap_or_default(),
        epoch,
    })
}

async fn world(
    deps: &Deps,
    row: &Database,
    spec: &DatabaseSpec,
    found: &Result<Option<FoundDatabase>, EngineError>,
    attached: BTreeSet<EnvironmentId>,
    memory: &Memory,
) -> DatabaseWorld {
    let server = match found {
        Ok(found) => Observed::Known(found.as_ref().map(|found| Server {
            running: found.running,
            exit_code: found.exit_code,
            oom_killed: found.oom_killed,
            settings: found.settings.clone(),
            environments: found.environments.clone(),
        })),
        Err(error) => Observed::Unknown {
            reason: error.to_string(),
        },
    };
    let needs_image = row.status.state == DatabaseState::Restoring
        || matches!(found, Ok(found) if found.as_ref().is_none_or(|f| f.settings != spec.settings()));
    let has_image = if needs_image {
        deps.engine.has_image(&row.pin).await.ok()
    } else {
        None
    };
    DatabaseWorld {
        deleted: row.deleted_at.is_some(),
        state: row.status.state,
        reason: row.status.reason.clone(),
        has_subnet: row.status.subnet.is_some(),
        was_ready: row.status.ready_at.is_some(),
        settings: spec.settings(),
        server,
        has_image,
        answer: memory.answer.clone(),
        failure: memory.failure.clone(),
        attached,
        now: deps.clock.now(),
    }
}

/// What a failure is called for people.
fn told(error: &OpError) -> Reason {
    let (code, hint) = match error {
        OpError::Engine(EngineError::Unavailable(_) | EngineError::Busy(_)) => {
            ("engine_unavailable", "It is tried again.")
        }
        OpError::Engine(EngineError::DiskFull(_)) => (
            "disk_full",
            "Make room on the engine's disk, or lower SLIPWAY_DISK_FREE_MIN. It is tried again.",
        ),
        OpError::Engine(EngineError::Image(_) | EngineError::NotFound(_)) => (
            "image_unavailable",
            "See SLIPWAY_POSTGRES_IMAGE and the registry it names. It is tried again.",
        ),
        OpError::PoolUsedUp(_) => (
            "network_pool_used_up",
            "Widen SLIPWAY_NETWORK_POOL, or remove what is not needed.",
        ),
        _ => (
            "server_not_made",
            "It is tried again; an operator finds more in the log of the platform.",
        ),
    };
    Reason {
        code: code.into(),
        detail: format!("{error}."),
        hint: hint.into(),
    }
}

/// One look's work.
struct Work<'a> {
    session: &'a Session,
    row: &'a Database,
    spec: DatabaseSpec,
    found: Option<FoundDatabase>,
}

impl Work<'_> {
    /// Takes a step; whether there was anything to do.
    async fn step(&self, step: &DatabaseStep, memory: &mut Memory) -> Result<bool, OpError> {
        let engine = &self.session.deps.engine;
        match (step, &self.found) {
            (DatabaseStep::Pull, _) => self.pull().await?,
            (DatabaseStep::Name, _) => self.subnet(None).await.map(drop)?,
            (DatabaseStep::Apply, _) => {
                memory.answer = None;
                self.apply().await?;
            }
            (DatabaseStep::Ask, _) => self.ask(memory).await?,
            (DatabaseStep::Connect(environment), Some(found)) => {
                match engine.connect_database(found, &self.row.name, *environment).await {
                    // Its network is not there yet: whoever makes it lets it reach the database.
                    Err(EngineError::NotFound(_)) => return Ok(false),
                    other => other?,
                }
            }
            (DatabaseStep::Disconnect(environment), Some(found)) => {
                engine.disconnect_database(found, *environment).await?;
            }
            (DatabaseStep::Connect(_) | DatabaseStep::Disconnect(_), None) => return Ok(false),
            (DatabaseStep::Remove, _) => {
                engine.remove_database(self.row.id, &self.row.name).await?;
                let mut tx = fenced(self.session).await?;
                tx.purge_database(self.row.id).await?;
                tx.commit().await?;
                tracing::info!(database = %self.row.name, "database.purged");
            }
        }
        Ok(true)
    }

    async fn pull(&self) -> Result<(), OpError> {
        let deps = &self.session.deps;
        if let Some((free, total)) = has_no_room(deps).await {
            let floor = deps.settings.disk_free_min;
            let text =
                format!("{free} of {total} bytes are free, which is less than SLIPWAY_DISK_FREE_MIN allows ({floor})");
            return Err(EngineError::DiskFull(text).into());
        }
        let progress = Arc::new(|_done: u64, _total: u64| {});
        let credentials = credentials(deps, self.row.team, &self.row.pin).await?;
        Ok(deps.engine.pull(&self.row.pin, credentials.as_ref(), progress).await?)
    }

    /// Its network gets another subnet when somebody else has come into the one it had.
    async fn apply(&self) -> Result<(), OpError> {
        let deps = &self.session.deps;
        let mut spec = self.spec.clone();
        if spec.subnet.is_empty() {
            spec.subnet = self.subnet(None).await?;
        }
        for _ in 0..SUBNETS_TRIED_MAX {
            match deps.engine.apply_database(&spec).await {
                Err(EngineError::SubnetTaken(_)) if overlaps(&in_use(deps).await?, &spec.subnet) => {
                    spec.subnet = self.subnet(Some(&spec.subnet)).await?;
                }
                other => return Ok(other?),
            }
        }
        Err(EngineError::SubnetTaken(format!("{}, and those before it", spec.subnet)).into())
    }

    async fn subnet(&self, lost: Option<&str>) -> Result<String, OpError> {
        let deps = &self.session.deps;
        let taken = in_use(deps).await?;
        let pool = deps.settings.network_pool;
        let mut tx = fenced(self.session).await?;
        let subnet = tx.allocate_database_subnet(self.row.id, lost, pool, &taken).await?;
        tx.commit().await?;
        subnet.ok_or_else(|| OpError::PoolUsedUp(format!("every network of the pool {pool} is used")))
    }

    async fn ask(&self, memory: &mut Memory) -> Result<(), OpError> {
        let deps = &self.session.deps;
        let Some(address) = self.found.as_ref().and_then(|found| found.address) else {
            return Ok(());
        };
        let passwords = passwords(deps, self.row).map_err(|reason| OpError::Sealed(reason.detail))?;
        let login = ServerLogin {
            address: SocketAddr::new(address, PORT),
            password: passwords.superuser,
        };
        let roles = DatabaseRoles {
            name: self.row.name.clone(),
            owner_password: passwords.owner,
            reader_password: passwords.reader,
            backup_password: passwords.backup,
            connections: self.row.size.connections,
        };
        let answer = deps.servers.prepare(&login, &roles).await;
        memory.answer = Some(Answer {
            at: deps.clock.now(),
            trouble: match &answer {
                Ok(facts) => wrong_version(self.row, facts),
                Err(error) => Some(trouble(error)),
            },
        });
        if let Ok(ServerFacts { version, size_bytes }) = answer {
            let facts = DatabaseFacts {
                server_version: version,
                size_bytes,
            };
            let mut tx = fenced(self.session).await?;
            tx.note_database_facts(self.row.id, &facts).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

/// Where the image is another version's than was asked for.
fn wrong_version(row: &Database, facts: &ServerFacts) -> Option<Reason> {
    let major = facts
        .version
        .split(['.', ' '])
        .next()
        .and_then(|word| word.parse().ok());
    (major != Some(row.version.major())).then(|| Reason {
        code: "wrong_version".into(),
        detail: format!("The image {} is PostgreSQL {}, not {}.", row.image, facts.version, row.version),
        hint: "Delete it and ask for the version that the image has, or set SLIPWAY_POSTGRES_IMAGE with `{version}` in it.".into(),
    })
}

/// Why a server that runs cannot be used.
fn trouble(error: &ServerError) -> Reason {
    let (code, hint) = match error {
        ServerError::Away(_) => (
            "not_answering",
            "It is asked again by itself: a server that has just begun needs a moment.",
        ),
        ServerError::Refused(_) => (
            "server_refused",
            "It is asked again; an operator finds more in the log of its container.",
        ),
    };
    Reason {
        code: code.into(),
        detail: format!("Its server said: {error}."),
        hint: hint.into(),
    }
}

/// Lets an environment, whose network is there, reach the databases that it may reach.
pub(crate) async fn attach(deps: &Deps, environment: EnvironmentId) -> Result<(), OpError> {
    let mut tx = deps.store.begin().await?;
    let attached = tx.attachments(None, Some(environment)).await?;
    drop(tx);
    for attachment in attached {
        let name = &attachment.database_name;
        let Some(found) = deps
            .engine
            .database(attachment.database, &attachment.database_name)
            .await?
        else {
            let text = format!("the database {name} has no server yet: `slipway db show {name}` says why");
            return Err(OpError::Database(text));
        };
        deps.engine.connect_database(&found, name, environment).await?;
    }
    Ok(())
}

/// Has an environment that goes reach none any more.
pub(crate) async fn detach(deps: &Deps, environment: EnvironmentId, epoch: Epoch) -> Result<(), OpError> {
    let mut tx = deps.store.begin().await?;
    let attached = tx.attachments(None, Some(environment)).await?;
    if attached.is_empty() {
        return Ok(());
    }
    tx.fence(epoch).await?;
    tx.detach_databases(environment).await?;
    tx.commit().await?;
    for attachment in attached {
        if let Some(found) = deps
            .engine
            .database(attachment.database, &attachment.database_name)
            .await?
        {
            deps.engine.disconnect_database(&found, environment).await?;
        }
    }
    Ok(())
}
