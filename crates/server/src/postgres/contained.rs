//! PostgreSQL out of an image, for machines that have an engine and no PostgreSQL.
//!
//! Each program is run by this program under another command (`in-container`), which stands for it: output, signals
//! and exit code are passed through, and files have the same paths and owners inside as outside. So a cluster neither
//! knows nor cares where its programs come from.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use slipway_engine::PullProgress;
use slipway_engine::docker::{Attached, DockerEngine, Output};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;

use super::PostgresError;
use super::find::MAJOR_MIN;
use super::programs::{Binaries, Source, major};
use crate::config::Config;

/// The command that stands for a program.
const COMMAND: &str = "in-container";
/// Nobody's user, for what needs no files.
const NOBODY: u32 = 65534;
/// Signals on their way to the program.
const SIGNALS_MAX: usize = 16;

/// An image with PostgreSQL in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Image {
    /// This program.
    pub runner: PathBuf,
    /// The engine.
    pub docker_host: String,
    /// Its name.
    pub reference: String,
}

/// How programs of an image are run for one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Contained {
    /// The image.
    pub image: Image,
    /// As whom.
    pub uid: u32,
    /// With which group.
    pub gid: u32,
    /// What they see of this machine.
    pub directories: Vec<PathBuf>,
    /// Tells them who they are.
    pub passwd: Option<PathBuf>,
}

impl Contained {
    /// One of the programs, to be given its arguments.
    pub(super) fn command(&self, name: &str) -> Command {
        let mut command = Command::new(&self.image.runner);
        // Paths and numbers: there is nothing that could not be written.
        let told = serde_json::to_string(self).unwrap_or_default();
        command.env_clear().args([COMMAND, &told, name]);
        command
    }

    /// Stands for the program: gives its exit code.
    pub async fn run(self, command: Vec<String>) -> Result<u8, PostgresError> {
        let name = command.first().cloned().unwrap_or_default();
        let fail = |said: String| PostgresError::Program {
            program: format!("{name} in a container of {}", self.image.reference),
            said,
        };
        let mut signals = signals().map_err(|e| fail(e.to_string()))?;
        let attached = Attached {
            image: self.image.reference.clone(),
            command,
            uid: self.uid,
            gid: self.gid,
            directories: self.directories.clone(),
            passwd: self.passwd.clone(),
        };
        let engine = DockerEngine::new(&self.image.docker_host);
        let said = |output: Output, bytes: &[u8]| match output {
            Output::Stdout => write(std::io::stdout().lock(), bytes),
            Output::Stderr => write(std::io::stderr().lock(), bytes),
        };
        let code = engine.run_attached(&attached, &mut signals, said).await;
        Ok(u8::try_from(code.map_err(|e| fail(e.to_string()))?).unwrap_or(u8::MAX))
    }
}

fn write(mut to: impl Write, bytes: &[u8]) -> std::io::Result<()> {
    to.write_all(bytes)?;
    to.flush()
}

/// What is to be passed on, by name.
fn signals() -> std::io::Result<mpsc::Receiver<&'static str>> {
    let (sender, receiver) = mpsc::channel(SIGNALS_MAX);
    let tasks = tokio_util::task::TaskTracker::new();
    for (kind, name) in [
        (SignalKind::interrupt(), "SIGINT"),
        (SignalKind::terminate(), "SIGTERM"),
        (SignalKind::quit(), "SIGQUIT"),
        (SignalKind::hangup(), "SIGHUP"),
    ] {
        let mut given = signal(kind)?;
        let sender = sender.clone();
        tasks.spawn(async move { while given.recv().await.is_some() && sender.send(name).await.is_ok() {} });
    }
    Ok(receiver)
}

/// Brings the image here that the configuration names. Says whether it had to be pulled.
pub async fn bring_image(config: &Config, progress: PullProgress) -> Result<bool, PostgresError> {
    let engine = DockerEngine::new(&config.docker_host);
    let brought = engine.ensure_image(&config.postgres_image, progress).await;
    brought.map_err(|e| no_image(config, e.to_string()))
}

fn no_image(config: &Config, said: String) -> PostgresError {
    PostgresError::Image {
        image: config.postgres_image.as_given().to_owned(),
        said,
    }
}

/// The PostgreSQL of the image that the configuration names, which is pulled if it is not here.
///
/// To be called by who holds the lock on the data directory: what a killed platform left is removed.
pub async fn in_image(config: &Config, runner: &Path) -> Result<Binaries, PostgresError> {
    let fail = |said: String| no_image(config, said);
    if !config.docker_host.starts_with("unix://") {
        return Err(fail("the engine is on another machine than the data".into()));
    }
    DockerEngine::new(&config.docker_host)
        .remove_ended_attached(&super::directory(&config.data_dir))
        .await
        .map_err(|e| fail(e.to_string()))?;
    if bring_image(config, Arc::new(|_, _| {})).await? {
        tracing::info!(image = config.postgres_image.as_given(), "postgres.image_pulled");
    }
    let image = Image {
        runner: runner.to_owned(),
        docker_host: config.docker_host.clone(),
        reference: config.postgres_image.as_given().to_owned(),
    };
    let alone = Contained {
        image: image.clone(),
        uid: NOBODY,
        gid: NOBODY,
        directories: Vec::new(),
        passwd: None,
    };
    let mut version = alone.command("postgres");
    let output = version
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|e| fail(e.to_string()))?;
    match major(&output.stdout) {
        Some(major) if major >= MAJOR_MIN => Ok(Binaries {
            source: Source::Image(image),
            major,
        }),
        Some(major) => Err(fail(format!(
            "it has PostgreSQL {major}, and {MAJOR_MIN} is the oldest that will do"
        ))),
        None => Err(fail(String::from_utf8_lossy(&output.stderr).trim().to_owned())),
    }
}
