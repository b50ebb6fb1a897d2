//! A program of the platform's own that runs in a container as if it ran here: its output is ours, signals are passed
//! on, its exit code comes back, and its files are this machine's under the same paths.
//!
//! Promises: it has no network, no capability and a read-only root; what a run that was cut off left behind is found
//! again by its labels; nothing of anybody else's is touched.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, RestartPolicy, RestartPolicyNameEnum,
};
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, KillContainerOptions, ListContainersOptions, StartContainerOptions,
    WaitContainerOptions,
};
use futures_util::StreamExt;
use slipway_domain::image::ImageReference;
use tokio::sync::mpsc;

use crate::docker::{DockerEngine, QUESTION, WORK, containers, images, labels, within};
use crate::engine::{EngineError, PullProgress};

/// The role of these containers: neither an app's nor a one-off command's.
const ROLE: &str = "platform";
/// Where the files of the platform they belong to are.
const HOME: &str = "slipway.platform-files";
/// A shared memory segment of a small database with some parallel work.
const SHM_BYTES: i64 = 128 << 20;
const TMPFS: &str = "rw,noexec,nosuid,nodev,size=64m,mode=1777";

/// A program and where it runs.
#[derive(Debug, Clone)]
pub struct Attached {
    /// The image, which must be here.
    pub image: String,
    /// The program and its arguments.
    pub command: Vec<String>,
    /// As whom it runs.
    pub uid: u32,
    /// With which group.
    pub gid: u32,
    /// Directories of this machine that it sees under the same paths; the first says whose it is.
    pub directories: Vec<PathBuf>,
    /// What it takes for `/etc/passwd`: programs ask who they are.
    pub passwd: Option<PathBuf>,
}

/// Which of its outputs a piece comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Output {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Attached {
    fn home(&self) -> String {
        self.directories
            .first()
            .map(|d| d.display().to_string())
            .unwrap_or_default()
    }

    fn body(&self) -> ContainerCreateBody {
        let bind = |source: &PathBuf, target: String, read_only| Mount {
            typ: Some(MountType::BIND),
            source: Some(source.display().to_string()),
            target: Some(target),
            read_only: Some(read_only),
            ..Mount::default()
        };
        let directories = self.directories.iter().map(|d| bind(d, d.display().to_string(), false));
        let passwd = self.passwd.iter().map(|f| bind(f, "/etc/passwd".to_owned(), true));
        ContainerCreateBody {
            image: Some(self.image.clone()),
            entrypoint: self.command.first().map(|program| vec![program.clone()]),
            cmd: Some(self.command.iter().skip(1).cloned().collect()),
            user: Some(format!("{}:{}", self.uid, self.gid)),
            env: Some(vec!["LC_ALL=C.UTF-8".to_owned()]),
            working_dir: Some("/".to_owned()),
            attach_stdout: Some(true),
            attach_stderr: Some(true),
            labels: Some(HashMap::from([
                (labels::ROLE.to_owned(), ROLE.to_owned()),
                (HOME.to_owned(), self.home()),
            ])),
            host_config: Some(HostConfig {
                mounts: Some(directories.chain(passwd).collect()),
                network_mode: Some("none".to_owned()),
                // Process and user ids mean the same inside and outside, so that what the program writes into its pid
                // file, and whose its files are, can be told from here.
                pid_mode: Some("host".to_owned()),
                userns_mode: Some("host".to_owned()),
                readonly_rootfs: Some(true),
                tmpfs: Some(HashMap::from([("/tmp".to_owned(), TMPFS.to_owned())])),
                shm_size: Some(SHM_BYTES),
                cap_drop: Some(vec!["ALL".to_owned()]),
                security_opt: Some(vec!["no-new-privileges:true".to_owned()]),
                // What it says is read as it is said.
                log_config: Some(HostConfigLogConfig {
                    typ: Some("none".to_owned()),
                    config: None,
                }),
                restart_policy: Some(RestartPolicy {
                    name: Some(RestartPolicyNameEnum::NO),
                    maximum_retry_count: None,
                }),
                ..HostConfig::default()
            }),
            ..ContainerCreateBody::default()
        }
    }
}

impl DockerEngine {
    /// Runs the program to its end and gives its exit code. `said` hears its output, `signals` are passed on to it.
    pub async fn run_attached(
        &self,
        program: &Attached,
        signals: &mut mpsc::Receiver<&'static str>,
        mut said: impl FnMut(Output, &[u8]) -> std::io::Result<()>,
    ) -> Result<i64, EngineError> {
        let docker = self.docker().await?;
        let made = docker.create_container(None::<CreateContainerOptions>, program.body());
        let id = within(WORK, made).await?.id;
        let ended = run(docker, &id, signals, &mut said).await;
        let removed = containers::discard(docker, &id).await;
        let code = ended?;
        removed.map(|()| code)
    }

    /// Removes programs that have ended, or never began, of runs that were cut off: to be called while none begins or
    /// ends. `directory` is the first one they were given.
    pub async fn remove_ended_attached(&self, directory: &Path) -> Result<(), EngineError> {
        let docker = self.docker().await?;
        let ours = vec![
            format!("{}={ROLE}", labels::ROLE),
            format!("{HOME}={}", directory.display()),
        ];
        let ended = ["created", "exited", "dead"].map(str::to_owned).to_vec();
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([
                ("label".to_owned(), ours),
                ("status".to_owned(), ended),
            ])),
            ..ListContainersOptions::default()
        };
        for left in within(QUESTION, docker.list_containers(Some(options))).await? {
            if let Some(id) = left.id {
                containers::discard(docker, &id).await?;
            }
        }
        Ok(())
    }

    /// Brings an image here under its own name, unless it is here. Says whether it had to be pulled.
    pub async fn ensure_image(&self, reference: &ImageReference, progress: PullProgress) -> Result<bool, EngineError> {
        let docker = self.docker().await?;
        match within(QUESTION, docker.inspect_image(reference.as_given())).await {
            Ok(_) => return Ok(false),
            Err(EngineError::NotFound(_)) => {}
            Err(error) => return Err(error),
        }
        images::bring(docker, reference, None, progress).await?;
        Ok(true)
    }
}

async fn run(
    docker: &Docker,
    id: &str,
    signals: &mut mpsc::Receiver<&'static str>,
    said: &mut impl FnMut(Output, &[u8]) -> std::io::Result<()>,
) -> Result<i64, EngineError> {
    let options = AttachContainerOptions {
        stream: true,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
    };
    // Before the start, so that no word is lost.
    let mut output = within(WORK, docker.attach_container(id, Some(options))).await?.output;
    within(WORK, docker.start_container(id, None::<StartContainerOptions>)).await?;
    loop {
        let piece = tokio::select! {
            piece = output.next() => piece,
            Some(signal) = signals.recv() => {
                kill(docker, id, signal).await;
                continue;
            }
        };
        let heard = match piece {
            None | Some(Err(_)) => break,
            Some(Ok(LogOutput::StdErr { message })) => said(Output::Stderr, &message),
            Some(Ok(LogOutput::StdOut { message } | LogOutput::Console { message })) => said(Output::Stdout, &message),
            Some(Ok(LogOutput::StdIn { .. })) => Ok(()),
        };
        // Nobody reads any more: a program on a pipe would be told by a signal.
        if heard.is_err() {
            kill(docker, id, "SIGPIPE").await;
        }
    }
    exit_code(docker, id, signals).await
}

async fn kill(docker: &Docker, id: &str, signal: &str) {
    let options = KillContainerOptions {
        signal: signal.to_owned(),
    };
    // It may have ended in this very moment.
    let _ = within(WORK, docker.kill_container(id, Some(options))).await;
}

/// Waits for its end: it may have closed its outputs, or the engine its connection, before.
async fn exit_code(docker: &Docker, id: &str, signals: &mut mpsc::Receiver<&'static str>) -> Result<i64, EngineError> {
    let options = WaitContainerOptions {
        condition: "not-running".to_owned(),
    };
    let mut wait = Box::pin(docker.wait_container(id, Some(options)));
    loop {
        let ended = tokio::select! {
            ended = wait.next() => ended,
            Some(signal) = signals.recv() => {
                kill(docker, id, signal).await;
                continue;
            }
        };
        return match ended {
            Some(Ok(ended)) => Ok(ended.status_code),
            Some(Err(bollard::errors::Error::DockerContainerWaitError { code, .. })) => Ok(code),
            Some(Err(error)) => Err(super::errors::map(error)),
            None => Err(EngineError::Unavailable(format!("it did not tell how {id} ended"))),
        };
    }
}
