//! The fake engine behind the port.

use std::net::SocketAddr;

use async_trait::async_trait;
use slipway_domain::deployment::StepName;
use slipway_domain::ids::{EnvironmentId, ReleaseId};
use slipway_domain::image::{ImageReference, Pin};
use slipway_domain::name::VolumeName;
use slipway_domain::observed::Instance;
use slipway_domain::ports::{LogQuery, LogReceiver, PullPolicy, RegistryCredentials, ResolveError, Usage};
use slipway_domain::quantity::Span;
use slipway_domain::spec::KillSignal;

use super::logs::{FakeEvents, FakeLines};
use super::{FakeEngine, state};
use crate::engine::{
    Engine, EngineError, EngineEvents, EngineInfo, GroupSpec, JobState, LocalImage, NetworkSpec, PullProgress,
    SubnetsInUse,
};

/// The size of every image.
const IMAGE_BYTES: u64 = 1 << 20;

#[async_trait]
impl Engine for FakeEngine {
    async fn info(&self) -> Result<EngineInfo, EngineError> {
        let mut state = self.state.lock();
        state.enter("info", "")?;
        Ok(state.info.clone())
    }

    async fn resolve(
        &self,
        reference: &ImageReference,
        policy: PullPolicy,
        credentials: Option<&RegistryCredentials>,
    ) -> Result<Pin, ResolveError> {
        let mut state = self.state.lock();
        state.enter("resolve", reference).map_err(|error| match error {
            EngineError::Image(error) => error,
            other => ResolveError::EngineUnavailable(other.to_string()),
        })?;
        if policy == PullPolicy::Local {
            let given = reference.as_given();
            let id = state.local.get(given).cloned();
            let absent = || ResolveError::NotFound(format!("the engine has no image {given}"));
            return Ok(Pin::Local {
                id: id.ok_or_else(absent)?,
            });
        }
        let key = match reference.digest() {
            Some(digest) => format!("{}@{digest}", reference.name()),
            None => state::tagged(reference),
        };
        let image = state.ask_registry(&key, credentials)?;
        state.check_platform(image)?;
        Ok(Pin::Registry {
            name: reference.name(),
            registry: reference.registry().to_string(),
            digest: image.digest.clone(),
        })
    }

    async fn has_image(&self, image: &Pin) -> Result<bool, EngineError> {
        let mut state = self.state.lock();
        state.enter("has_image", image.engine_reference())?;
        Ok(state.has_image(image))
    }

    async fn pull(
        &self,
        image: &Pin,
        credentials: Option<&RegistryCredentials>,
        progress: PullProgress,
    ) -> Result<(), EngineError> {
        {
            let mut state = self.state.lock();
            let key = image.engine_reference();
            state.enter("pull", &key)?;
            if let Pin::Local { .. } = image {
                return Err(ResolveError::NotFound("the image was only on this machine and is gone".into()).into());
            }
            state.ask_registry(&key, credentials)?;
            state.pulled.insert(key);
        }
        progress(IMAGE_BYTES, IMAGE_BYTES);
        Ok(())
    }

    async fn subnets_in_use(&self) -> Result<SubnetsInUse, EngineError> {
        let mut state = self.state.lock();
        state.enter("subnets_in_use", "")?;
        let all = state.networks.values().chain(&state.foreign_subnets);
        Ok(all.cloned().collect())
    }

    async fn ensure_network(&self, network: &NetworkSpec) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        let environment = network.owner.environment_id;
        state.enter("ensure_network", environment)?;
        if state.networks.contains_key(&environment) {
            return Ok(());
        }
        let taken = state.networks.values().chain(&state.foreign_subnets).any(|s| *s == network.subnet);
        if taken {
            return Err(EngineError::Refused("Pool overlaps with other one on this address space".into()));
        }
        state.networks.insert(environment, network.subnet.clone());
        Ok(())
    }

    async fn remove_network(&self, environment: EnvironmentId) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.enter("remove_network", environment)?;
        if state.instances.values().any(|i| i.environment == environment && i.is_running()) {
            return Err(EngineError::Busy(format!("network slipway-{environment} has active endpoints")));
        }
        state.networks.remove(&environment);
        Ok(())
    }

    async fn apply_group(&self, group: &GroupSpec, slots: &[u32]) -> Result<(), EngineError> {
        let now = self.clock.now();
        let mut state = self.state.lock();
        let about = format!("{} {} {slots:?}", group.owner.environment_id, group.release_number);
        state.enter("apply_group", about)?;
        state.prepare(group)?;
        slots.iter().try_for_each(|slot| state.run(group, *slot, now))
    }

    async fn observe(&self, environment: Option<EnvironmentId>) -> Result<Vec<Instance>, EngineError> {
        let mut state = self.state.lock();
        state.enter("observe", environment.map(|e| e.to_string()).unwrap_or_default())?;
        let all = state.instances.values();
        let mut found: Vec<Instance> = all
            .filter(|i| environment.is_none_or(|e| i.environment == e))
            .cloned()
            .collect();
        found.sort_by(|a, b| (a.release_number, a.slot, &a.id).cmp(&(b.release_number, b.slot, &b.id)));
        Ok(found)
    }

    async fn remove_instance(&self, id: &str, _signal: KillSignal, _timeout: Span) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.enter("remove_instance", id)?;
        state.remove_instance(id);
        Ok(())
    }

    async fn start_job(&self, group: &GroupSpec, purpose: StepName, _command: &[String]) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.enter("start_job", group.release)?;
        state.prepare(group)?;
        state.start_job(group, purpose.as_str());
        Ok(())
    }

    async fn job(&self, release: ReleaseId, purpose: StepName) -> Result<JobState, EngineError> {
        let mut state = self.state.lock();
        state.enter("job", release)?;
        let job = state.jobs.get(&(release, purpose.as_str()));
        Ok(job.cloned().unwrap_or(JobState::Absent))
    }

    async fn remove_job(&self, release: ReleaseId, purpose: StepName) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.enter("remove_job", release)?;
        state.jobs.remove(&(release, purpose.as_str()));
        Ok(())
    }

    async fn listening(&self, id: &str) -> Vec<SocketAddr> {
        let mut state = self.state.lock();
        if state.enter("listening", id).is_err() {
            return Vec::new();
        }
        state.listening.get(id).cloned().unwrap_or_default()
    }

    async fn log_tail(&self, id: &str, lines_max: u32) -> Result<Vec<String>, EngineError> {
        let mut state = self.state.lock();
        state.enter("log_tail", id)?;
        if !state.instances.contains_key(id) {
            return Err(EngineError::NotFound(format!("No such container: {id}")));
        }
        let mut lines: Vec<String> = state.lines.iter().filter(|l| l.instance == id).map(|l| l.line.clone()).collect();
        let tail = usize::try_from(lines_max).unwrap_or(usize::MAX);
        Ok(lines.split_off(lines.len().saturating_sub(tail)))
    }

    async fn logs(&self, environment: EnvironmentId, query: LogQuery) -> Result<Box<dyn LogReceiver>, EngineError> {
        let mut state = self.state.lock();
        state.enter("logs", environment)?;
        Ok(Box::new(FakeLines::new(&state, environment, query)))
    }

    async fn usage(&self, instances: &[String]) -> Vec<(String, Usage)> {
        let mut state = self.state.lock();
        if state.enter("usage", instances.join(" ")).is_err() {
            return Vec::new();
        }
        let of = |id: &String| Some((id.clone(), *state.usage.get(id)?));
        instances.iter().filter_map(of).collect()
    }

    async fn images(&self) -> Result<Vec<LocalImage>, EngineError> {
        let mut state = self.state.lock();
        state.enter("images", "")?;
        let local = state.local.iter().map(|(tag, id)| LocalImage {
            id: id.clone(),
            repo_digests: Vec::new(),
            tags: vec![tag.clone()],
            size_bytes: IMAGE_BYTES,
        });
        let pulled = state.pulled.iter().filter_map(|reference| {
            Some(LocalImage {
                id: reference.split_once('@')?.1.parse().ok()?,
                repo_digests: vec![reference.clone()],
                tags: Vec::new(),
                size_bytes: IMAGE_BYTES,
            })
        });
        Ok(local.chain(pulled).collect())
    }

    async fn remove_image(&self, reference: &str) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        state.enter("remove_image", reference)?;
        state.pulled.remove(reference);
        state.local.remove(reference);
        Ok(())
    }

    async fn remove_volume(&self, environment: EnvironmentId, volume: &VolumeName) -> Result<(), EngineError> {
        let mut state = self.state.lock();
        let name = format!("{environment}/{volume}");
        state.enter("remove_volume", &name)?;
        state.volumes.remove(&name);
        Ok(())
    }

    async fn disk(&self) -> Result<(u64, u64), EngineError> {
        let mut state = self.state.lock();
        state.enter("disk", "")?;
        let unknown = || EngineError::NotFound("the disk cannot be looked at from here".into());
        state.disk.ok_or_else(unknown)
    }

    async fn events(&self) -> Result<Box<dyn EngineEvents>, EngineError> {
        let mut state = self.state.lock();
        state.enter("events", "")?;
        Ok(Box::new(FakeEvents(state.events.subscribe())))
    }
}
