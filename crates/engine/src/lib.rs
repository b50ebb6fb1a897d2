//! The container engine behind one trait: Docker, and a fake for tests of what stands above.

pub mod docker;
pub mod engine;
pub mod fake;

#[cfg(test)]
mod testing;

pub use engine::{
    Engine, EngineError, EngineEvent, EngineEvents, EngineInfo, GroupSpec, JobExit, JobState, LocalImage, NetworkSpec,
    Owner, PullProgress,
};
