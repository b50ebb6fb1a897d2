//! The port to a container engine.
//!
//! Promises: it speaks of instance groups — so many slots of one release of one environment — not of single
//! containers, so that one planner can serve one engine now and a cluster later. Every verb is idempotent, has a
//! deadline of its own, and touches only what carries our labels.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use async_trait::async_trait;
use slipway_domain::ids::{DatabaseId, EnvironmentId, ReleaseId, RunId, TeamId};
use slipway_domain::image::{Digest, ImageReference, Pin};
use slipway_domain::name::{AppName, DatabaseName, EnvironmentName, VolumeName};
use slipway_domain::observed::Instance;
use slipway_domain::ports::{LogQuery, LogReceiver, PullPolicy, RegistryCredentials, ResolveError, Usage};
use slipway_domain::quantity::Span;
use slipway_domain::secret::Secret;
use slipway_domain::spec::{KillSignal, Mount, Resources, RunAs};
use slipway_domain::{Epoch, Generation, ReleaseNumber};

use crate::database::{DatabaseSpec, FileStream, FoundDatabase, RecoveringServer};

/// Why the engine did not do what was asked; callers decide by the variant, people read the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// It cannot be reached, or did not answer in time: nothing is known, try again.
    #[error("the container engine does not answer: {0}")]
    Unavailable(String),
    /// It is at work on the same thing or out of something for the moment: try again.
    #[error("the container engine is busy: {0}")]
    Busy(String),
    /// The thing is not there.
    #[error("the container engine has no such thing: {0}")]
    NotFound(String),
    /// The registry refused or lacks the image.
    #[error(transparent)]
    Image(#[from] ResolveError),
    /// Another network has a part of the subnet, or is being made or removed there.
    #[error("the subnet is taken: {0}")]
    SubnetTaken(String),
    /// The disk is full.
    #[error("not enough space on the engine's disk: {0}")]
    DiskFull(String),
    /// The engine will never do it as asked: a bad command, user, mount or limit.
    #[error("{0}")]
    Refused(String),
}

impl EngineError {
    /// Whether trying the same again later can help.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Unavailable(_)
                | Self::Busy(_)
                | Self::SubnetTaken(_)
                | Self::Image(ResolveError::Unavailable(_) | ResolveError::EngineUnavailable(_))
        )
    }
}

/// Whose things these are: what goes into the labels `slipway.team`, `.app`, `.environment`, `.release`,
/// `.generation`, `.epoch` (and `.installation`, `.environment-id`, `.release-id`, `.slot`, `.role`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Which of the installations that share the engine, if any.
    pub installation: String,
    /// The team.
    pub team: TeamId,
    /// The app.
    pub app: AppName,
    /// The environment.
    pub environment: EnvironmentName,
    /// The environment's identifier.
    pub environment_id: EnvironmentId,
    /// The intent under which it is made.
    pub generation: Generation,
    /// The lease under which it is made.
    pub epoch: Epoch,
}

/// What every instance of a group is made from.
#[derive(Debug, Clone)]
pub struct GroupSpec {
    /// Whose it is.
    pub owner: Owner,
    /// The release's identifier.
    pub release: ReleaseId,
    /// The release's number.
    pub release_number: ReleaseNumber,
    /// The image.
    pub image: Pin,
    /// The port the app listens on.
    pub port: u16,
    /// Plain variables, platform variables included except `SLIPWAY_INSTANCE`, which the engine adds per instance.
    pub env: BTreeMap<String, String>,
    /// Secret variables.
    pub secrets: BTreeMap<String, Secret>,
    /// Bounds.
    pub resources: Resources,
    /// Whether the root file system is read-only.
    pub read_only: bool,
    /// As whom it runs.
    pub user: RunAs,
    /// Named volumes, made on first use.
    pub mounts: Vec<Mount>,
    /// The signal that asks it to stop.
    pub kill_signal: KillSignal,
    /// Between the signal and the kill.
    pub kill_timeout: Span,
}

/// Which one-off command: each has one container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Job {
    /// The release command of a release.
    Release(ReleaseId),
    /// A run of a command, asked for or by the clock.
    Run(RunId),
}

/// What the container of a one-off command is called.
pub fn job_container(job: Job) -> String {
    match job {
        Job::Release(release) => format!("slipway-job-{release}-release_command"),
        Job::Run(run) => format!("slipway-{run}"),
    }
}

/// How a one-off command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JobExit {
    /// The exit code.
    pub exit_code: i64,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// Its last lines, as many as were asked for.
    pub log_tail: Vec<String>,
}

/// The container of a run, as its labels tell of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundRun {
    /// Which run.
    pub run: RunId,
    /// Where it runs.
    pub environment: EnvironmentId,
    /// The release whose image it has.
    pub release: ReleaseId,
    /// What it runs, as the engine shows it.
    pub command: String,
}

/// What the engine has of one one-off command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobState {
    /// Never begun, or its container is gone.
    Absent,
    /// Under way.
    Running,
    /// Ended.
    Ended(JobExit),
}

/// One of our networks, or the room for one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NetworkSpec {
    /// Whose it is.
    pub owner: Owner,
    /// The subnet we allocated.
    pub subnet: String,
}

/// What was found of networks on the engine: every subnet in use there, ours or not.
pub type SubnetsInUse = Vec<String>;

/// How the engine stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineInfo {
    /// Its version.
    pub version: String,
    /// The API version it speaks at most.
    pub api_version: String,
    /// Where it keeps images and containers.
    pub root_dir: String,
    /// `linux`.
    pub os: String,
    /// In Go's spelling.
    pub architecture: String,
    /// Whether containers survive its restart.
    pub live_restore: bool,
}

/// One local image of ours or anybody's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalImage {
    /// The image id.
    pub id: Digest,
    /// `name@sha256:…` under which it was pulled.
    pub repo_digests: Vec<String>,
    /// Tags that point at it: somebody else's interest.
    pub tags: Vec<String>,
    /// Its size.
    pub size_bytes: u64,
}

/// Something that happened on the engine to one of our containers: a hint to look again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EngineEvent {
    /// Whose container.
    pub environment: EnvironmentId,
    /// Docker's word for it: `start`, `die`, `oom`, `destroy`, ….
    pub action: String,
}

/// A bounded stream of hints; it ends when the connection does.
#[async_trait]
pub trait EngineEvents: Send {
    /// The next hint.
    async fn next(&mut self) -> Option<EngineEvent>;
}

/// Progress of a pull, for people.
pub type PullProgress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// A container engine.
#[async_trait]
pub trait Engine: Send + Sync + 'static {
    /// What it is; also the cheapest question whether it answers.
    async fn info(&self) -> Result<EngineInfo, EngineError>;

    /// What a reference is right now, with the platform checked.
    async fn resolve(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Pin, ResolveError>;

    /// Whether the pinned image is here.
    async fn has_image(&self, image: &Pin) -> Result<bool, EngineError>;

    /// Brings the pinned image here. `progress` hears (done, total) bytes.
    async fn pull(
        &self,
        image: &Pin,
        credentials: Option<&RegistryCredentials>,
        progress: PullProgress,
    ) -> Result<(), EngineError>;

    /// Every subnet that networks on this engine use, to allocate around.
    async fn subnets_in_use(&self) -> Result<SubnetsInUse, EngineError>;

    /// Makes the environment's network if it is not there.
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), EngineError>;

    /// Removes the environment's network if it is there and empty.
    async fn remove_network(&self, environment: EnvironmentId) -> Result<(), EngineError>;

    /// Makes the slots `slots` of the group run: creates what is missing, starts what is created or has exited, thaws
    /// what is frozen, leaves what runs. Images, network and volumes: volumes are made here, image and network must be there.
    async fn apply_group(&self, group: &GroupSpec, slots: &[u32]) -> Result<(), EngineError>;

    /// All instances of ours, on the whole engine or of one environment.
    async fn observe(&self, environment: Option<EnvironmentId>) -> Result<Vec<Instance>, EngineError>;

    /// Thaws an instance that is frozen, starts one that has ended, as it was made.
    async fn resume_instance(&self, id: &str) -> Result<(), EngineError>;

    /// Freezes the instance's processes where they are. Frozen, ended or gone already is fine.
    async fn pause_instance(&self, id: &str) -> Result<(), EngineError>;

    /// Asks the instance to stop, with the signal it was made with, and kills it after the time-out. Ended or gone
    /// already is fine.
    async fn stop_instance(&self, id: &str, timeout: Span) -> Result<(), EngineError>;

    /// Stops the instance in the same way and removes it. Gone already is fine.
    async fn remove_instance(&self, id: &str, timeout: Span) -> Result<(), EngineError>;

    /// Starts the one-off command `command` in a container of the group's making, once for each job.
    async fn start_job(&self, group: &GroupSpec, job: Job, command: &[String]) -> Result<(), EngineError>;

    /// How it stands; of one that ended with its last `lines_max` lines.
    async fn job(&self, job: Job, lines_max: u32) -> Result<JobState, EngineError>;

    /// Kills and removes its container.
    async fn remove_job(&self, job: Job) -> Result<(), EngineError>;

    /// The releases of which a release command has left its container, or still runs.
    async fn jobs(&self, environment: EnvironmentId) -> Result<BTreeSet<ReleaseId>, EngineError>;

    /// The containers of one-off commands that are no release commands, of all environments.
    async fn runs(&self) -> Result<Vec<FoundRun>, EngineError>;

    /// Addresses the instance's processes listen on, as its network namespace tells: to explain why a port is
    /// closed. Empty where the platform does not let us look.
    async fn listening(&self, id: &str) -> Vec<std::net::SocketAddr>;

    /// The last lines of an instance or ended container, at most `lines_max`.
    async fn log_tail(&self, id: &str, lines_max: u32) -> Result<Vec<String>, EngineError>;

    /// What the instances of an environment write, oldest first.
    async fn logs(&self, environment: EnvironmentId, query: LogQuery) -> Result<Box<dyn LogReceiver>, EngineError>;

    /// What the instances use right now; those that cannot be read are left out.
    async fn usage(&self, instances: &[String]) -> Vec<(String, Usage)>;

    /// Images on the engine.
    async fn images(&self) -> Result<Vec<LocalImage>, EngineError>;

    /// Removes the image under this reference, unless a container uses it; says whether it is gone.
    async fn remove_image(&self, reference: &str) -> Result<bool, EngineError>;

    /// Removes a volume of a deleted environment.
    async fn remove_volume(&self, environment: EnvironmentId, volume: &VolumeName) -> Result<(), EngineError>;

    /// Makes the server of a managed database run as wanted; one that was made from something else is made anew.
    async fn apply_database(&self, spec: &DatabaseSpec) -> Result<(), EngineError>;

    /// The server of a managed database, if there is one.
    async fn database(&self, id: DatabaseId, name: &DatabaseName) -> Result<Option<FoundDatabase>, EngineError>;

    /// Lets the apps of an environment find a database under its name: the environment's network must be there.
    async fn connect_database(
        &self,
        database: &FoundDatabase,
        name: &DatabaseName,
        environment: EnvironmentId,
    ) -> Result<(), EngineError>;

    /// Has the apps of an environment find it no more.
    async fn disconnect_database(
        &self,
        database: &FoundDatabase,
        environment: EnvironmentId,
    ) -> Result<(), EngineError>;

    /// Makes room for the files of a database that is restored: an empty volume, and the network. What an earlier attempt
    /// left goes.
    async fn begin_restore(&self, spec: &DatabaseSpec) -> Result<(), EngineError>;

    /// Unpacks a tar archive among them.
    async fn unpack_restore(&self, spec: &DatabaseSpec, archive: FileStream) -> Result<(), EngineError>;

    /// Puts one file among them.
    async fn put_restore(&self, spec: &DatabaseSpec, path: &str, content: &[u8]) -> Result<(), EngineError>;

    /// Starts a server that recovers them, with settings beside its own; one that did so before goes.
    async fn recover(&self, spec: &DatabaseSpec, settings: &[(&str, String)]) -> Result<(), EngineError>;

    /// How the server that recovers stands, if there is one.
    async fn recovering(&self, id: DatabaseId) -> Result<Option<RecoveringServer>, EngineError>;

    /// Ends and removes the server that recovers; the files stay.
    async fn end_restore(&self, id: DatabaseId) -> Result<(), EngineError>;

    /// Removes the server of a managed database with its network and its files.
    async fn remove_database(&self, id: DatabaseId, name: &DatabaseName) -> Result<(), EngineError>;

    /// Free and total bytes of the disk that holds images, when it can be told.
    async fn disk(&self) -> Result<(u64, u64), EngineError>;

    /// Hints about our containers.
    async fn events(&self) -> Result<Box<dyn EngineEvents>, EngineError>;
}
