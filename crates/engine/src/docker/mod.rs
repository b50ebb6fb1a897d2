//! The Docker Engine API, from 20.10 (API 1.41) on.
//!
//! Every engine is spoken to in the oldest form that it knows from there on (`version`), so that its answers do not
//! depend on how new it is. Where an engine no longer knows that form, some fields are missing: only fields that every
//! version since 1.41 has are read, what is missing is told as such, never guessed, and fields that newer engines have
//! taken away (`NetworkSettings.IPAddress`, `VirtualSize`) are not used. Tests ask an engine, and play one of the
//! newest form.
//!
//! What is looked at on this machine rather than through the engine (its disk, the sockets of a container's network
//! namespace) is looked at only when the engine is reached through a Unix socket.

mod attached;
mod containers;
mod create;
mod databases;
mod errors;
mod events;
mod follow;
mod going;
mod images;
mod installation;
mod jobs;
mod labels;
mod lines;
mod listening;
mod logs;
mod networks;
mod observe;
mod restores;
mod stats;
mod system;
mod tar;
mod version;
mod volumes;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use std::collections::BTreeSet;

use bollard::{API_DEFAULT_VERSION, Docker};
use parking_lot::Mutex;
use slipway_domain::ids::{DatabaseId, EnvironmentId, ReleaseId};
use slipway_domain::image::{ImageReference, Pin};
use slipway_domain::name::{DatabaseName, VolumeName};
use slipway_domain::observed::Instance;
use slipway_domain::ports::{LogQuery, LogReceiver, PullPolicy, RegistryCredentials, ResolveError, Usage};
use slipway_domain::quantity::Span;

pub use attached::{Attached, Output};

use crate::database::{DatabaseSpec, FileStream, FoundDatabase, RecoveringServer};
use crate::engine::{
    Engine, EngineError, EngineEvents, EngineInfo, FoundRun, GroupSpec, Job, JobState, LocalImage, NetworkSpec,
    PullProgress, SubnetsInUse,
};

/// Longer than any call may take: each call has its own deadline here.
const CLIENT_SECONDS_MAX: u64 = 3600 * 24;
/// For questions.
const QUESTION: Duration = Duration::from_secs(10);
/// For making and starting: one that is never answered is made again, and is done well within half a minute.
const WORK: Duration = Duration::from_secs(25);
/// For what takes longer the more there is of it: removing, and carrying files over.
const BULK: Duration = Duration::from_mins(1);

/// A Docker engine at an address.
#[derive(Clone)]
pub struct DockerEngine {
    host: Arc<str>,
    docker: Arc<OnceLock<Docker>>,
    /// In which version of the API.
    spoken: version::Spoken,
    /// The last CPU reading of each container, to tell use from total.
    readings: Arc<Mutex<stats::Readings>>,
    /// What this process is removing.
    going: Arc<going::Going>,
    /// Held while a network is made.
    making_network: Arc<tokio::sync::Mutex<()>>,
}

impl DockerEngine {
    /// An engine at `unix:///path`, `tcp://host:port` or `http://host:port`. It need not answer yet.
    pub fn new(host: &str) -> Self {
        Self {
            host: host.into(),
            docker: Arc::default(),
            spoken: version::Spoken::default(),
            readings: Arc::default(),
            going: Arc::default(),
            making_network: Arc::default(),
        }
    }

    /// Whether the engine runs on this machine.
    fn is_local(&self) -> bool {
        self.host.starts_with("unix://")
    }

    /// The client. Made anew until it can be: a socket that is not there yet may come.
    fn client(&self) -> Result<&Docker, EngineError> {
        if let Some(docker) = self.docker.get() {
            return Ok(docker);
        }
        let made = if self.is_local() {
            Docker::connect_with_unix(&self.host, CLIENT_SECONDS_MAX, API_DEFAULT_VERSION)
        } else {
            Docker::connect_with_http(&self.host, CLIENT_SECONDS_MAX, API_DEFAULT_VERSION)
        };
        let docker = made.map_err(|e| EngineError::Unavailable(format!("{}: {e}", self.host)))?;
        Ok(self.docker.get_or_init(|| self.spoken.put_into(docker)))
    }

    /// The client, once it is known what the engine speaks.
    async fn docker(&self) -> Result<&Docker, EngineError> {
        let docker = self.client()?;
        if !self.spoken.is_agreed() {
            self.spoken.agree(docker).await?;
        }
        Ok(docker)
    }
}

/// A call with a deadline.
async fn within<T>(
    limit: Duration,
    call: impl Future<Output = Result<T, bollard::errors::Error>>,
) -> Result<T, EngineError> {
    match tokio::time::timeout(limit, call).await {
        Ok(result) => result.map_err(errors::map),
        Err(_) => Err(EngineError::Unavailable(format!(
            "no answer within {} s",
            limit.as_secs()
        ))),
    }
}

/// Not being there is fine.
fn or_gone(result: Result<(), EngineError>) -> Result<(), EngineError> {
    match result {
        Err(EngineError::NotFound(_)) => Ok(()),
        other => other,
    }
}

#[async_trait]
impl Engine for DockerEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let docker = self.client()?;
        // Whoever answers now may be another one than last time.
        let version = self.spoken.agree(docker).await?;
        system::info(docker, version).await
    }

    async fn resolve(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Pin, ResolveError> {
        let docker = self
            .docker()
            .await
            .map_err(|e| ResolveError::EngineUnavailable(e.to_string()))?;
        match policy {
            PullPolicy::Registry => images::resolve(docker, reference, credentials).await,
            PullPolicy::Local => images::resolve_local(docker, reference).await,
        }
    }

    async fn has_image(&self, image: &Pin) -> Result<bool, EngineError> {
        images::has(self.docker().await?, image).await
    }

    async fn pull(
        &self,
        image: &Pin,
        credentials: Option<&RegistryCredentials>,
        progress: PullProgress,
    ) -> Result<(), EngineError> {
        images::pull(self.docker().await?, image, credentials, progress).await
    }

    async fn subnets_in_use(&self) -> Result<SubnetsInUse, EngineError> {
        networks::subnets(self.docker().await?).await
    }

    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), EngineError> {
        networks::ensure(self.docker().await?, &self.making_network, network).await
    }

    async fn remove_network(&self, environment: EnvironmentId) -> Result<(), EngineError> {
        networks::remove(self.docker().await?, environment).await
    }

    async fn apply_group(&self, group: &GroupSpec, slots: &[u32]) -> Result<(), EngineError> {
        containers::apply(self.docker().await?, group, slots).await
    }

    async fn observe(&self, environment: Option<EnvironmentId>) -> Result<Vec<Instance>, EngineError> {
        observe::instances(self.docker().await?, &self.going, environment).await
    }

    async fn resume_instance(&self, id: &str) -> Result<(), EngineError> {
        containers::resume(self.docker().await?, id).await
    }

    async fn pause_instance(&self, id: &str) -> Result<(), EngineError> {
        containers::pause(self.docker().await?, id).await
    }

    async fn stop_instance(&self, id: &str, timeout: Span) -> Result<(), EngineError> {
        containers::stop(self.docker().await?, id, timeout).await
    }

    async fn remove_instance(&self, id: &str, timeout: Span) -> Result<(), EngineError> {
        let _noted = self.going.note(id);
        containers::remove(self.docker().await?, id, timeout).await
    }

    async fn start_job(&self, group: &GroupSpec, job: Job, command: &[String]) -> Result<(), EngineError> {
        jobs::start(self.docker().await?, group, job, command).await
    }

    async fn job(&self, job: Job, lines_max: u32) -> Result<JobState, EngineError> {
        jobs::state(self.docker().await?, job, lines_max).await
    }

    async fn remove_job(&self, job: Job) -> Result<(), EngineError> {
        jobs::remove(self.docker().await?, job).await
    }

    async fn runs(&self) -> Result<Vec<FoundRun>, EngineError> {
        jobs::runs(self.docker().await?).await
    }

    async fn jobs(&self, environment: EnvironmentId) -> Result<BTreeSet<ReleaseId>, EngineError> {
        jobs::of(self.docker().await?, environment).await
    }

    async fn listening(&self, id: &str) -> Vec<std::net::SocketAddr> {
        if !self.is_local() {
            return Vec::new();
        }
        let Ok(docker) = self.docker().await else {
            return Vec::new();
        };
        match observe::process(docker, id).await {
            Some((pid, container)) => listening::of_container(pid, &container).await,
            None => Vec::new(),
        }
    }

    async fn log_tail(&self, id: &str, lines_max: u32) -> Result<Vec<String>, EngineError> {
        logs::tail(self.docker().await?, id, lines_max).await
    }

    async fn logs(&self, environment: EnvironmentId, query: LogQuery) -> Result<Box<dyn LogReceiver>, EngineError> {
        logs::of_environment(self.docker().await?, environment, query).await
    }

    async fn usage(&self, instances: &[String]) -> Vec<(String, Usage)> {
        let Ok(docker) = self.docker().await else {
            return Vec::new();
        };
        stats::usage(docker, &self.readings, instances).await
    }

    async fn images(&self) -> Result<Vec<LocalImage>, EngineError> {
        images::list(self.docker().await?).await
    }

    async fn remove_image(&self, reference: &str) -> Result<bool, EngineError> {
        images::remove(self.docker().await?, reference).await
    }

    async fn remove_volume(&self, environment: EnvironmentId, volume: &VolumeName) -> Result<(), EngineError> {
        volumes::remove(self.docker().await?, environment, volume).await
    }

    async fn apply_database(&self, spec: &DatabaseSpec) -> Result<(), EngineError> {
        databases::apply(self.docker().await?, &self.making_network, spec).await
    }

    async fn database(&self, id: DatabaseId, name: &DatabaseName) -> Result<Option<FoundDatabase>, EngineError> {
        databases::find(self.docker().await?, id, name).await
    }

    async fn connect_database(
        &self,
        database: &FoundDatabase,
        name: &DatabaseName,
        environment: EnvironmentId,
    ) -> Result<(), EngineError> {
        databases::connect(self.docker().await?, database, name, environment).await
    }

    async fn disconnect_database(
        &self,
        database: &FoundDatabase,
        environment: EnvironmentId,
    ) -> Result<(), EngineError> {
        databases::disconnect(self.docker().await?, database, environment).await
    }

    async fn remove_database(&self, id: DatabaseId, name: &DatabaseName) -> Result<(), EngineError> {
        databases::remove(self.docker().await?, id, name).await
    }

    async fn begin_restore(&self, spec: &DatabaseSpec) -> Result<(), EngineError> {
        restores::begin(self.docker().await?, &self.making_network, spec).await
    }

    async fn unpack_restore(&self, spec: &DatabaseSpec, archive: FileStream) -> Result<(), EngineError> {
        restores::unpack(self.docker().await?, spec, archive).await
    }

    async fn put_restore(&self, spec: &DatabaseSpec, path: &str, content: &[u8]) -> Result<(), EngineError> {
        restores::put(self.docker().await?, spec, path, content).await
    }

    async fn recover(&self, spec: &DatabaseSpec, settings: &[(&str, String)]) -> Result<(), EngineError> {
        restores::recover(self.docker().await?, spec, settings).await
    }

    async fn recovering(&self, id: DatabaseId) -> Result<Option<RecoveringServer>, EngineError> {
        restores::find(self.docker().await?, id).await
    }

    async fn end_restore(&self, id: DatabaseId) -> Result<(), EngineError> {
        restores::end(self.docker().await?, id).await
    }

    async fn disk(&self) -> Result<(u64, u64), EngineError> {
        if !self.is_local() {
            return Err(EngineError::NotFound(format!(
                "the disk of the engine at {} is elsewhere",
                self.host
            )));
        }
        system::disk(self.docker().await?).await
    }

    async fn events(&self) -> Result<Box<dyn EngineEvents>, EngineError> {
        let docker = self.client()?;
        // An engine that was replaced has ended the stream before this one.
        self.spoken.agree(docker).await?;
        events::follow(docker).await
    }
}
