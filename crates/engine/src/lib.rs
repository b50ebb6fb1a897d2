//! The container engine behind one trait: Docker, from 20.10 on.

pub mod database;
pub mod docker;
pub mod engine;

#[cfg(test)]
mod testing;

pub use database::{DatabaseSpec, FileStream, FoundDatabase, RecoveringServer};
pub use engine::{
    Engine, EngineError, EngineEvent, EngineEvents, EngineInfo, FoundRun, GroupSpec, Job, JobExit, JobState,
    LocalImage, NetworkSpec, Owner, PullProgress, job_container,
};
