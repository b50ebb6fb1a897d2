//! What containers write.
//!
//! Promises: lines in order of time, cut at 16 KiB; a follower sees instances that start later too; a reader that is
//! slow holds the writer of its own stream, nobody else, and nothing is kept beyond a bounded channel.

use std::collections::{BTreeMap, HashMap};

use bollard::Docker;
use bollard::container::LogOutput;
use bollard::query_parameters::{InspectContainerOptions, LogsOptions};
use futures_util::StreamExt;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::ports::{BoxFuture, LogLine, LogQuery, LogReceiver, LogStream};
use slipway_domain::{ReleaseNumber, Timestamp};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::docker::labels::{self, Role};
use crate::docker::{QUESTION, events, observe, within};
use crate::engine::EngineError;

/// The longest line that is passed on whole.
const LINE_BYTES_MAX: usize = 16 << 10;
/// Lines that may wait for a slow reader.
const WAITING_LINES_MAX: usize = 1024;

/// The last lines of a container.
pub(crate) async fn tail(docker: &Docker, id: &str, lines_max: u32) -> Result<Vec<String>, EngineError> {
    let options = LogsOptions {
        stdout: true,
        stderr: true,
        tail: lines_max.to_string(),
        ..LogsOptions::default()
    };
    let read = async {
        let mut stream = Box::pin(docker.logs(id, Some(options)));
        let mut lines = Vec::new();
        while let Some(output) = stream.next().await {
            let text = String::from_utf8_lossy(&output?.into_bytes())
                .trim_end_matches(['\n', '\r'])
                .to_owned();
            lines.push(cut(text));
        }
        Ok(lines)
    };
    within(QUESTION, read).await
}

struct Source {
    id: String,
    release: ReleaseNumber,
}

struct Lines(mpsc::Receiver<LogLine>);

impl LogReceiver for Lines {
    fn next(&mut self) -> BoxFuture<'_, Option<LogLine>> {
        Box::pin(self.0.recv())
    }
}

pub(crate) async fn of_environment(
    docker: &Docker,
    environment: EnvironmentId,
    query: LogQuery,
) -> Result<Box<dyn LogReceiver>, EngineError> {
    let sources = sources(docker, environment, &query).await?;
    let (sender, receiver) = mpsc::channel(WAITING_LINES_MAX);
    let mut past = Vec::new();
    let mut seen: BTreeMap<String, Timestamp> = BTreeMap::new();
    for source in &sources {
        let lines = past_lines(docker, source, &query).await?;
        if let Some(last) = lines.last() {
            seen.insert(source.id.clone(), last.time);
        }
        past.extend(lines.into_iter().filter(|l| fits(l, &query)));
    }
    past.sort_by_key(|l| l.time);
    let tail = usize::try_from(query.tail_lines_max).unwrap_or(usize::MAX);
    let past = past.split_off(past.len().saturating_sub(tail));
    let docker = docker.clone();
    let tasks = TaskTracker::new();
    let spawner = tasks.clone();
    tasks.spawn(async move {
        for line in past {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        if query.follow {
            follow(docker, environment, sources, seen, query, sender, spawner).await;
        }
    });
    Ok(Box::new(Lines(receiver)))
}

/// The containers whose lines are wanted.
async fn sources(docker: &Docker, environment: EnvironmentId, query: &LogQuery) -> Result<Vec<Source>, EngineError> {
    let mut sources = Vec::new();
    for id in observe::ids(docker, Some(environment), Role::App).await? {
        let found = match within(QUESTION, docker.inspect_container(&id, None::<InspectContainerOptions>)).await {
            Ok(found) => found,
            Err(EngineError::NotFound(_)) => continue,
            Err(error) => return Err(error),
        };
        let labels: HashMap<String, String> = found.config.and_then(|c| c.labels).unwrap_or_default();
        if let Some(identity) = labels::identity(&labels)
            && query.release.is_none_or(|wanted| wanted == identity.release_number)
        {
            sources.push(Source {
                id,
                release: identity.release_number,
            });
        }
    }
    Ok(sources)
}

fn options(query: &LogQuery, since: Option<Timestamp>, follow: bool, tail: &str) -> LogsOptions {
    let seconds = |t: Option<Timestamp>| t.and_then(|t| i32::try_from(t.timestamp()).ok()).unwrap_or(0);
    LogsOptions {
        follow,
        stdout: query.stream != Some(LogStream::Stderr),
        stderr: query.stream != Some(LogStream::Stdout),
        since: seconds(since),
        until: if follow {
            0
        } else {
            seconds(query.until.map(|u| u + chrono::TimeDelta::seconds(1)))
        },
        timestamps: true,
        tail: tail.to_owned(),
    }
}

async fn past_lines(docker: &Docker, source: &Source, query: &LogQuery) -> Result<Vec<LogLine>, EngineError> {
    // With a filter on the text the newest lines may all be others: only a plain tail can be left to the engine.
    let tail = if query.contains.is_some() {
        "all".to_owned()
    } else {
        query.tail_lines_max.to_string()
    };
    let options = options(query, query.since, false, &tail);
    let read = async {
        let mut stream = Box::pin(docker.logs(&source.id, Some(options)));
        let mut lines = Vec::new();
        while let Some(output) = stream.next().await {
            lines.extend(line(output?, source));
        }
        Ok(lines)
    };
    match within(QUESTION, read).await {
        Err(EngineError::NotFound(_)) => Ok(Vec::new()),
        other => other,
    }
}

/// Passes new lines on until the reader is gone: of the instances there are, and of those that start later.
async fn follow(
    docker: Docker,
    environment: EnvironmentId,
    sources: Vec<Source>,
    mut seen: BTreeMap<String, Timestamp>,
    query: LogQuery,
    sender: mpsc::Sender<LogLine>,
    tasks: TaskTracker,
) {
    let begin = |source: Source, after: Option<Timestamp>| {
        tasks.spawn(follow_one(docker.clone(), source, after, query.clone(), sender.clone()));
    };
    let mut known: Vec<String> = sources.iter().map(|s| s.id.clone()).collect();
    for source in sources {
        let after = seen.remove(&source.id);
        begin(source, after);
    }
    let Ok(mut hints) = events::follow(&docker).await else {
        return;
    };
    loop {
        let hint = tokio::select! {
            hint = hints.next() => hint,
            () = sender.closed() => return,
        };
        match hint {
            None => return,
            Some(hint) if hint.environment == environment && hint.action == "start" => {
                for source in self::sources(&docker, environment, &query).await.unwrap_or_default() {
                    if !known.contains(&source.id) {
                        known.push(source.id.clone());
                        begin(source, None);
                    }
                }
            }
            Some(_) => {}
        }
    }
}

async fn follow_one(
    docker: Docker,
    source: Source,
    after: Option<Timestamp>,
    query: LogQuery,
    sender: mpsc::Sender<LogLine>,
) {
    // Nothing was seen of it yet: everything it writes is new.
    let options = options(&query, after.or(query.since), true, "all");
    let mut stream = Box::pin(docker.logs(&source.id, Some(options)));
    loop {
        let output = tokio::select! {
            output = stream.next() => output,
            () = sender.closed() => return,
        };
        let Some(Ok(output)) = output else { return };
        // The engine's `since` is whole seconds: what was passed on already is left out here.
        let new = line(output, &source).filter(|l| after.is_none_or(|a| l.time > a) && fits(l, &query));
        if let Some(line) = new
            && sender.send(line).await.is_err()
        {
            return;
        }
    }
}

fn fits(line: &LogLine, query: &LogQuery) -> bool {
    query.since.is_none_or(|s| line.time >= s)
        && query.until.is_none_or(|u| line.time <= u)
        && query.contains.as_ref().is_none_or(|c| line.line.contains(c.as_str()))
}

/// `2026-01-02T03:04:05.678901234Z text`, as the engine writes it with timestamps.
fn line(output: LogOutput, source: &Source) -> Option<LogLine> {
    let stream = match &output {
        LogOutput::StdErr { .. } => LogStream::Stderr,
        _ => LogStream::Stdout,
    };
    let bytes = output.into_bytes();
    let text = String::from_utf8_lossy(&bytes);
    let (time, rest) = text.split_once(' ').unwrap_or((&text, ""));
    let line = cut(rest.trim_end_matches(['\n', '\r']).to_owned());
    Some(LogLine {
        time: time.trim().parse().ok()?,
        stream,
        instance: source.id.clone(),
        release: source.release,
        line,
    })
}

fn cut(mut text: String) -> String {
    if text.len() > LINE_BYTES_MAX {
        let end = (0..=LINE_BYTES_MAX)
            .rev()
            .find(|i| text.is_char_boundary(*i))
            .unwrap_or(0);
        text.truncate(end);
    }
    text
}
