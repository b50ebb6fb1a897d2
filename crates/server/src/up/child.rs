//! One child: started, watched, restarted with growing pauses, and stopped.

use std::os::fd::OwnedFd;
use std::process::Stdio;
use std::time::Duration;

use command_fds::{CommandFdExt, FdMapping};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, Command};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// One that refuses to start is tried again, in case somebody has mended what it said.
const REFUSED_PAUSE_MIN: Duration = Duration::from_secs(2);
/// A child that lived so long is started again at once.
const STEADY: Duration = Duration::from_mins(1);

/// How a child is started and stopped.
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) program: std::path::PathBuf,
    pub(crate) arguments: Vec<String>,
    pub(crate) variables: Vec<(String, String)>,
    /// Listening sockets, from descriptor 3 on.
    pub(crate) sockets: Vec<(&'static str, OwnedFd)>,
    /// Where its output goes; else where the parent's goes.
    pub(crate) output: Option<OwnedFd>,
    /// What asks it to stop.
    pub(crate) signal: Signal,
    /// After so long it is killed.
    pub(crate) stop_max: Duration,
}

impl Spec {
    fn start(&self) -> std::io::Result<Child> {
        let mut command = std::process::Command::new(&self.program);
        command
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(k, v)| (k, v)))
            .stdin(Stdio::null());
        command.env(super::PARENT_VARIABLE, std::process::id().to_string());
        let mut mappings = Vec::new();
        for (place, (_, socket)) in (3..).zip(&self.sockets) {
            mappings.push(FdMapping {
                parent_fd: socket.try_clone()?,
                child_fd: place,
            });
        }
        if !mappings.is_empty() {
            let names: Vec<&str> = self.sockets.iter().map(|(name, _)| *name).collect();
            command
                .env("LISTEN_FDS", mappings.len().to_string())
                .env("LISTEN_FDNAMES", names.join(":"));
            command
                .fd_mappings(mappings)
                .map_err(|e| std::io::Error::other(e.to_string()))?;
        }
        if let Some(output) = &self.output {
            command.stdout(output.try_clone()?).stderr(output.try_clone()?);
        }
        // A group of its own, so that an interrupt typed at the terminal reaches only the parent.
        std::os::unix::process::CommandExt::process_group(&mut command, 0);
        Command::from(command).kill_on_drop(true).spawn()
    }

    /// Keeps the child running until told to stop, then stops it. `refuses` is told whether it refuses to start.
    pub(crate) async fn keep(&self, stop: &CancellationToken, refuses: impl Fn(bool)) {
        let mut pause = PAUSE_MIN;
        while !stop.is_cancelled() {
            let begun = Instant::now();
            match self.start() {
                Ok(mut child) => {
                    refuses(false);
                    tracing::info!(child = self.name, pid = child.id(), "child.started");
                    tokio::select! {
                        status = child.wait() => {
                            let code = status.as_ref().ok().and_then(std::process::ExitStatus::code);
                            let gave_up = code == Some(super::REFUSED.into());
                            refuses(gave_up);
                            let status = status.map_or_else(|e| e.to_string(), |s| s.to_string());
                            if gave_up {
                                pause = pause.max(REFUSED_PAUSE_MIN);
                                let again_s = pause.as_secs();
                                tracing::error!(child = self.name, again_s, "child.refused: it says why, and is tried again");
                            } else {
                                tracing::warn!(child = self.name, %status, "child.ended: it is started again");
                            }
                        }
                        () = stop.cancelled() => {
                            self.end(child).await;
                            return;
                        }
                    }
                }
                Err(error) => tracing::error!(child = self.name, %error, "child.not_started"),
            }
            if begun.elapsed() > STEADY {
                pause = PAUSE_MIN;
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = stop.cancelled() => return,
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
    }

    async fn end(&self, mut child: Child) {
        if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw) {
            // It may have ended in this very moment.
            let _ = kill_process(pid, self.signal);
        }
        if tokio::time::timeout(self.stop_max, child.wait()).await.is_err() {
            tracing::warn!(child = self.name, "child.killed: it did not stop in time");
            let _ = child.kill().await;
        }
        tracing::info!(child = self.name, "child.stopped");
    }
}
