//! An engine in memory, for tests of what stands above.
//!
//! Promises: it keeps the rules of the port (every verb idempotent, images and networks must be there, gone already
//! is fine) and nothing happens in it by itself: what an image does, which call fails and what crashes is said by the
//! test, and time comes from the clock it is given.

mod logs;
mod port;
mod state;

use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use slipway_domain::Clock;
use slipway_domain::ids::{EnvironmentId, ReleaseId};
use slipway_domain::image::{Digest, ImageReference, Platform};
use slipway_domain::observed::{Instance, InstanceState};
use slipway_domain::ports::{LogLine, LogStream, Usage};
use slipway_domain::deployment::StepName;
use tokio::sync::broadcast;

use crate::engine::{EngineError, EngineEvent, EngineInfo, JobExit, JobState};
use state::State;

/// Hints and lines that may wait for a slow reader.
const WAITING_MAX: usize = 1024;

/// An image in the fake registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FakeImage {
    /// Its digest.
    pub digest: Digest,
    /// Platforms it is for; empty for one that names none.
    pub platforms: Vec<Platform>,
    /// User and password without which it is not given.
    pub login: Option<(String, String)>,
}

/// What an image does when it is started.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Behaviour {
    /// It runs. The instance in slot `n` is reached at the address `n` (modulo their number); without any, nowhere.
    Runs(Vec<SocketAddr>),
    /// It ends at once.
    Exits {
        /// The exit code.
        exit_code: i64,
        /// Whether for want of memory.
        oom_killed: bool,
    },
    /// The engine cannot start it.
    FailsToStart(String),
}

/// What a one-off command does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JobBehaviour {
    /// It ends at once.
    Ends(JobExit),
    /// It runs until the test ends it.
    Runs,
}

/// One call the engine was asked for: the verb, and what it was about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The name of the trait's function.
    pub verb: &'static str,
    /// Image, environment, container or release.
    pub about: String,
}

/// An engine in memory. Clones are the same engine.
#[derive(Clone)]
pub struct FakeEngine {
    state: Arc<Mutex<State>>,
    clock: Arc<dyn Clock>,
}

impl FakeEngine {
    /// An engine with nothing in it, on `linux/amd64`.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            state: Arc::new(Mutex::new(State::new())),
            clock,
        }
    }

    /// Puts an image into the registry that the reference names, under its tag (`latest` without one) and digest.
    pub fn publish(&self, reference: &ImageReference, image: FakeImage) {
        self.state.lock().publish(reference, image);
    }

    /// Takes the tag out of the registry again.
    pub fn unpublish(&self, reference: &ImageReference) {
        self.state.lock().registry.remove(&state::tagged(reference));
    }

    /// Puts an image onto the engine only, under a reference.
    pub fn load(&self, reference: &ImageReference, id: Digest) {
        self.state.lock().local.insert(reference.as_given().to_owned(), id);
    }

    /// Says what instances of the image with this digest do from the next start on. Without a word they run.
    pub fn behave(&self, image: &Digest, behaviour: Behaviour) {
        self.state.lock().behaviours.insert(image.clone(), behaviour);
    }

    /// Says what one-off commands of the image do. Without a word they end well.
    pub fn behave_job(&self, image: &Digest, behaviour: JobBehaviour) {
        self.state.lock().job_behaviours.insert(image.clone(), behaviour);
    }

    /// The next `calls` calls that can fail do so in this way.
    pub fn fail_next(&self, calls: usize, error: &EngineError) {
        self.state.lock().failures.extend(std::iter::repeat_n(error.clone(), calls));
    }

    /// While it is away no call is answered; instances run on. Readers of hints and logs lose their connection.
    pub fn set_away(&self, away: bool) {
        let mut state = self.state.lock();
        state.away = away;
        if away {
            state.cut_streams();
        }
    }

    /// Ends every stream of hints, as a broken connection does.
    pub fn end_events(&self) {
        self.state.lock().events = broadcast::Sender::new(WAITING_MAX);
    }

    /// What the engine says of itself.
    pub fn set_info(&self, info: EngineInfo) {
        self.state.lock().info = info;
    }

    /// Free and total bytes of its disk; `None` where it cannot be told.
    pub fn set_disk(&self, free_and_total_bytes: Option<(u64, u64)>) {
        self.state.lock().disk = free_and_total_bytes;
    }

    /// A subnet that somebody else uses.
    pub fn use_subnet(&self, subnet: &str) {
        self.state.lock().foreign_subnets.push(subnet.to_owned());
    }

    /// What a container uses.
    pub fn set_usage(&self, id: &str, usage: Usage) {
        self.state.lock().usage.insert(id.to_owned(), usage);
    }

    /// Where a container's processes listen.
    pub fn set_listening(&self, id: &str, addresses: Vec<SocketAddr>) {
        self.state.lock().listening.insert(id.to_owned(), addresses);
    }

    /// The process in a container ends.
    pub fn crash(&self, id: &str, exit_code: i64, oom_killed: bool) {
        let finished_at = Some(self.clock.now());
        let exited = InstanceState::Exited {
            exit_code,
            oom_killed,
            finished_at,
        };
        let mut state = self.state.lock();
        if oom_killed {
            state.tell_of(id, "oom");
        }
        state.become_state(id, exited);
        state.tell_of(id, "die");
    }

    /// Somebody removes a container behind our back.
    pub fn lose(&self, id: &str) {
        self.state.lock().remove_instance(id);
    }

    /// Somebody cleans up images behind our back.
    pub fn lose_images(&self) {
        let mut state = self.state.lock();
        state.pulled.clear();
        state.local.clear();
    }

    /// A one-off command that runs comes to its end.
    pub fn end_job(&self, release: ReleaseId, purpose: StepName, exit: JobExit) {
        let mut state = self.state.lock();
        if let Some(job) = state.jobs.get_mut(&(release, purpose.as_str())) {
            *job = JobState::Ended(exit);
        }
    }

    /// An instance writes a line.
    pub fn write(&self, id: &str, stream: LogStream, text: &str) {
        let time = self.clock.now();
        let mut state = self.state.lock();
        let Some(instance) = state.instances.get(id) else { return };
        let line = LogLine {
            time,
            stream,
            instance: id.to_owned(),
            release: instance.release_number,
            line: text.to_owned(),
        };
        state.write(line);
    }

    /// All instances, in the order they were made.
    pub fn instances(&self) -> Vec<Instance> {
        self.state.lock().instances.values().cloned().collect()
    }

    /// Environments that have a network.
    pub fn networks(&self) -> Vec<EnvironmentId> {
        self.state.lock().networks.keys().copied().collect()
    }

    /// Volumes, as `<environment>/<volume>`.
    pub fn volumes(&self) -> Vec<String> {
        self.state.lock().volumes.iter().cloned().collect()
    }

    /// The latest calls, oldest first, at most 10,000.
    pub fn calls(&self) -> Vec<Call> {
        self.state.lock().calls.iter().cloned().collect()
    }

    /// How often a verb was asked for.
    pub fn count(&self, verb: &str) -> usize {
        self.state.lock().calls.iter().filter(|c| c.verb == verb).count()
    }

    /// Sends a hint, as the engine does for things the test does not make happen.
    pub fn tell(&self, environment: EnvironmentId, action: &str) {
        self.state.lock().tell(EngineEvent {
            environment,
            action: action.to_owned(),
        });
    }
}
