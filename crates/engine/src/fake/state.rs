//! What is in the fake engine, and the rules by which it changes.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::SocketAddr;

use slipway_domain::Timestamp;
use slipway_domain::ids::{EnvironmentId, ReleaseId};
use slipway_domain::image::{Digest, ImageReference, Pin, Platform};
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::ports::{LogLine, RegistryCredentials, ResolveError, Usage};
use tokio::sync::broadcast;

use crate::engine::{EngineError, EngineEvent, EngineInfo, GroupSpec, JobExit, JobState};
use crate::fake::{Behaviour, Call, FakeImage, JobBehaviour, WAITING_MAX};

/// Calls that are remembered.
const CALLS_MAX: usize = 10_000;
/// Lines that are kept of all instances together.
const LINES_MAX: usize = 10_000;

pub(super) struct State {
    pub(super) info: EngineInfo,
    pub(super) disk: Option<(u64, u64)>,
    pub(super) away: bool,
    pub(super) failures: VecDeque<EngineError>,
    pub(super) calls: VecDeque<Call>,
    /// Images in registries by `name:tag` and `name@digest`.
    pub(super) registry: BTreeMap<String, FakeImage>,
    /// Images of the engine alone, by reference.
    pub(super) local: BTreeMap<String, Digest>,
    /// Images that were pulled, by `name@digest`.
    pub(super) pulled: BTreeSet<String>,
    pub(super) behaviours: HashMap<Digest, Behaviour>,
    pub(super) job_behaviours: HashMap<Digest, JobBehaviour>,
    pub(super) instances: BTreeMap<String, Instance>,
    pub(super) jobs: BTreeMap<(ReleaseId, &'static str), JobState>,
    pub(super) networks: BTreeMap<EnvironmentId, String>,
    pub(super) foreign_subnets: Vec<String>,
    pub(super) volumes: BTreeSet<String>,
    pub(super) usage: HashMap<String, Usage>,
    pub(super) listening: HashMap<String, Vec<SocketAddr>>,
    pub(super) lines: VecDeque<LogLine>,
    pub(super) events: broadcast::Sender<EngineEvent>,
    pub(super) written: broadcast::Sender<(EnvironmentId, LogLine)>,
    made: u64,
}

/// `name:tag`, as the registry files it.
pub(super) fn tagged(reference: &ImageReference) -> String {
    format!("{}:{}", reference.name(), reference.tag().unwrap_or("latest"))
}

impl State {
    pub(super) fn new() -> Self {
        Self {
            info: EngineInfo {
                version: "20.10.24".into(),
                api_version: "1.41".into(),
                root_dir: "/var/lib/docker".into(),
                os: "linux".into(),
                architecture: "amd64".into(),
                live_restore: true,
            },
            disk: Some((50 << 30, 100 << 30)),
            away: false,
            failures: VecDeque::new(),
            calls: VecDeque::new(),
            registry: BTreeMap::new(),
            local: BTreeMap::new(),
            pulled: BTreeSet::new(),
            behaviours: HashMap::new(),
            job_behaviours: HashMap::new(),
            instances: BTreeMap::new(),
            jobs: BTreeMap::new(),
            networks: BTreeMap::new(),
            foreign_subnets: Vec::new(),
            volumes: BTreeSet::new(),
            usage: HashMap::new(),
            listening: HashMap::new(),
            lines: VecDeque::new(),
            events: broadcast::Sender::new(WAITING_MAX),
            written: broadcast::Sender::new(WAITING_MAX),
            made: 0,
        }
    }

    /// Notes the call, and lets it fail when it must.
    pub(super) fn enter(&mut self, verb: &'static str, about: impl ToString) -> Result<(), EngineError> {
        if self.calls.len() == CALLS_MAX {
            self.calls.pop_front();
        }
        self.calls.push_back(Call {
            verb,
            about: about.to_string(),
        });
        if self.away {
            return Err(EngineError::Unavailable("connection refused".into()));
        }
        self.failures.pop_front().map_or(Ok(()), Err)
    }

    pub(super) fn cut_streams(&mut self) {
        self.events = broadcast::Sender::new(WAITING_MAX);
        self.written = broadcast::Sender::new(WAITING_MAX);
    }

    pub(super) fn publish(&mut self, reference: &ImageReference, image: FakeImage) {
        let by_digest = format!("{}@{}", reference.name(), image.digest);
        self.registry.insert(by_digest, image.clone());
        self.registry.insert(tagged(reference), image);
    }

    fn platform(&self) -> Platform {
        Platform {
            os: self.info.os.clone(),
            architecture: self.info.architecture.clone(),
        }
    }

    /// The image under `key`, if these credentials may have it.
    pub(super) fn ask_registry(
        &self,
        key: &str,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<&FakeImage, ResolveError> {
        let image = self
            .registry
            .get(key)
            .ok_or_else(|| ResolveError::NotFound(format!("there is no image {key} in the registry")))?;
        let given = credentials.map(|c| (c.username.as_str(), c.password.expose()));
        let wanted = image.login.as_ref().map(|(user, password)| (user.as_str(), password.as_str()));
        if wanted.is_some() && wanted != given {
            return Err(ResolveError::Unauthorized(format!("the registry refuses access to {key}")));
        }
        Ok(image)
    }

    pub(super) fn check_platform(&self, image: &FakeImage) -> Result<(), ResolveError> {
        let wanted = self.platform();
        if image.platforms.is_empty() || image.platforms.contains(&wanted) {
            return Ok(());
        }
        Err(ResolveError::Platform {
            wanted,
            offered: image.platforms.clone(),
        })
    }

    pub(super) fn has_image(&self, image: &Pin) -> bool {
        match image {
            Pin::Registry { .. } => self.pulled.contains(&image.engine_reference()),
            Pin::Local { id } => self.local.values().any(|i| i == id),
        }
    }

    /// Image and network must be there before anything can be made of a group.
    pub(super) fn prepare(&mut self, group: &GroupSpec) -> Result<(), EngineError> {
        if !self.has_image(&group.image) {
            let image = group.image.engine_reference();
            return Err(EngineError::NotFound(format!("No such image: {image}")));
        }
        let environment = group.owner.environment_id;
        if !self.networks.contains_key(&environment) {
            return Err(EngineError::NotFound(format!("network slipway-{environment} not found")));
        }
        let volumes = group.mounts.iter().map(|m| format!("{environment}/{}", m.volume));
        self.volumes.extend(volumes);
        Ok(())
    }

    /// Makes one slot run: what runs is left, what has ended is started again, what is missing is made.
    pub(super) fn run(&mut self, group: &GroupSpec, slot: u32, now: Timestamp) -> Result<(), EngineError> {
        let there = self.instances.values().find(|i| {
            i.environment == group.owner.environment_id && i.release == group.release && i.slot == slot
        });
        let id = match there {
            Some(instance) if instance.is_running() => return Ok(()),
            Some(instance) => instance.id.clone(),
            None => self.create(group, slot),
        };
        let behaviour = self.behaviours.get(group.image.digest());
        match behaviour.cloned().unwrap_or(Behaviour::Runs(Vec::new())) {
            Behaviour::FailsToStart(why) => Err(EngineError::Refused(why)),
            Behaviour::Runs(addresses) => {
                self.become_state(&id, InstanceState::Running { started_at: now });
                let place = usize::try_from(slot).unwrap_or(0).checked_rem(addresses.len());
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.address = place.map(|p| addresses[p]);
                }
                self.tell_of(&id, "start");
                Ok(())
            }
            Behaviour::Exits { exit_code, oom_killed } => {
                self.tell_of(&id, "start");
                self.become_state(
                    &id,
                    InstanceState::Exited {
                        exit_code,
                        oom_killed,
                        finished_at: Some(now),
                    },
                );
                self.tell_of(&id, "die");
                Ok(())
            }
        }
    }

    fn create(&mut self, group: &GroupSpec, slot: u32) -> String {
        self.made += 1;
        // As long as the engine's own, and in the order of their making.
        let id = format!("{:064x}", self.made);
        let instance = Instance {
            id: id.clone(),
            environment: group.owner.environment_id,
            release: group.release,
            release_number: group.release_number,
            slot,
            epoch: group.owner.epoch,
            state: InstanceState::Created,
            address: None,
            restarts: 0,
        };
        self.instances.insert(id.clone(), instance);
        self.tell_of(&id, "create");
        id
    }

    pub(super) fn become_state(&mut self, id: &str, state: InstanceState) {
        if let Some(instance) = self.instances.get_mut(id) {
            instance.state = state;
            if !instance.is_running() {
                instance.address = None;
            }
        }
    }

    pub(super) fn remove_instance(&mut self, id: &str) {
        self.tell_of(id, "destroy");
        self.instances.remove(id);
    }

    /// Begins a one-off command, unless it was begun before.
    pub(super) fn start_job(&mut self, group: &GroupSpec, purpose: &'static str) {
        let behaviour = self.job_behaviours.get(group.image.digest());
        let state = match behaviour {
            Some(JobBehaviour::Runs) => JobState::Running,
            Some(JobBehaviour::Ends(exit)) => JobState::Ended(exit.clone()),
            None => JobState::Ended(JobExit {
                exit_code: 0,
                oom_killed: false,
                log_tail: Vec::new(),
            }),
        };
        self.jobs.entry((group.release, purpose)).or_insert(state);
    }

    pub(super) fn write(&mut self, line: LogLine) {
        let environment = self.instances.get(&line.instance).map(|i| i.environment);
        if self.lines.len() == LINES_MAX {
            self.lines.pop_front();
        }
        self.lines.push_back(line.clone());
        if let Some(environment) = environment {
            // Fails only when nobody follows.
            let _ = self.written.send((environment, line));
        }
    }

    pub(super) fn tell_of(&self, id: &str, action: &str) {
        if let Some(instance) = self.instances.get(id) {
            self.tell(EngineEvent {
                environment: instance.environment,
                action: action.to_owned(),
            });
        }
    }

    pub(super) fn tell(&self, event: EngineEvent) {
        // Fails only when nobody listens.
        let _ = self.events.send(event);
    }
}
