//! What containers write from now on.
//!
//! Promises: a follower sees instances that start later and those that start again, from their first line; no line
//! is passed on twice; everything ends when the reader is gone or the engine's hints end.

use std::collections::BTreeMap;

use bollard::Docker;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use slipway_domain::Timestamp;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::ports::{LogLine, LogQuery};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::docker::lines::{Assembler, Source, fits};
use crate::docker::logs::{options, sources};
use crate::engine::EngineEvents;

/// A follower says that its container has stopped writing; so many may wait to be heard.
const ENDED_MAX: usize = 16;

/// One reader's view of an environment.
pub(crate) struct Following {
    docker: Docker,
    environment: EnvironmentId,
    query: LogQuery,
    sender: mpsc::Sender<LogLine>,
    tasks: TaskTracker,
    /// The newest line of each container that was passed on or left out.
    seen: BTreeMap<String, Timestamp>,
    /// Containers that are read now, and whether they started again meanwhile.
    active: BTreeMap<String, bool>,
}

impl Following {
    pub(crate) fn new(
        docker: Docker,
        environment: EnvironmentId,
        query: LogQuery,
        sender: mpsc::Sender<LogLine>,
        tasks: TaskTracker,
        seen: BTreeMap<String, Timestamp>,
    ) -> Self {
        Self {
            docker,
            environment,
            query,
            sender,
            tasks,
            seen,
            active: BTreeMap::new(),
        }
    }

    /// Passes new lines on until the reader is gone.
    pub(crate) async fn run(mut self, first: Vec<Source>, mut hints: Box<dyn EngineEvents>) {
        let (ended, mut endings) = mpsc::channel(ENDED_MAX);
        for source in first {
            self.begin(source, &ended);
        }
        loop {
            tokio::select! {
                hint = hints.next() => match hint {
                    None => return,
                    Some(hint) if hint.environment == self.environment && hint.action == "start" => {
                        self.look(&ended).await;
                    }
                    Some(_) => {}
                },
                Some((source, last)) = endings.recv() => self.end(source, last, &ended),
                () = self.sender.closed() => return,
            }
        }
    }

    /// Something started: what is not read yet is read, and what is may have to be read again.
    async fn look(&mut self, ended: &mpsc::Sender<Ending>) {
        // When the engine cannot be asked, its hints end too, and with them the whole.
        let found = sources(&self.docker, self.environment, &self.query).await;
        for source in found.unwrap_or_default() {
            match self.active.get_mut(&source.id) {
                Some(again) => *again = true,
                None => self.begin(source, ended),
            }
        }
    }

    fn begin(&mut self, source: Source, ended: &mpsc::Sender<Ending>) {
        self.active.insert(source.id.clone(), false);
        let one = One {
            docker: self.docker.clone(),
            query: self.query.clone(),
            sender: self.sender.clone(),
            after: self.seen.get(&source.id).copied(),
            source,
        };
        let ended = ended.clone();
        self.tasks.spawn(async move {
            let ending = one.run().await;
            // Fails only when nobody follows any more.
            let _ = ended.send(ending).await;
        });
    }

    fn end(&mut self, source: Source, last: Option<Timestamp>, ended: &mpsc::Sender<Ending>) {
        if let Some(last) = last {
            self.seen.insert(source.id.clone(), last);
        }
        if self.active.remove(&source.id) == Some(true) {
            self.begin(source, ended);
        }
    }
}

/// A container has stopped writing; the newest line there was of it.
type Ending = (Source, Option<Timestamp>);

/// One run of one container.
struct One {
    docker: Docker,
    source: Source,
    query: LogQuery,
    sender: mpsc::Sender<LogLine>,
    /// Lines up to then are known.
    after: Option<Timestamp>,
}

impl One {
    async fn run(self) -> Ending {
        // Nothing was seen of it yet: everything it writes is new.
        let options = LogsOptions {
            follow: true,
            tail: "all".to_owned(),
            ..options(&self.query, self.after.or(self.query.since))
        };
        let mut stream = Box::pin(self.docker.logs(&self.source.id, Some(options)));
        let mut assembler = Assembler::new(self.source.clone());
        let mut last = self.after;
        loop {
            let output = tokio::select! {
                output = stream.next() => output,
                () = self.sender.closed() => break,
            };
            let Some(Ok(output)) = output else { break };
            // The engine's `since` is whole seconds: what was passed on already is left out here.
            let new = assembler
                .piece(output)
                .filter(|l| self.after.is_none_or(|a| l.time > a));
            let Some(line) = new else { continue };
            last = last.max(Some(line.time));
            if self.query.until.is_some_and(|until| line.time > until) {
                break;
            }
            if fits(&line, &self.query) && self.sender.send(line).await.is_err() {
                break;
            }
        }
        (self.source, last)
    }
}
