//! What containers have written.
//!
//! Promises: lines in order of time, cut at 16 KiB; no more of them in memory than were asked for, per container; a
//! reader that is slow holds the writer of its own stream, nobody else.

use std::collections::{BTreeMap, VecDeque};

use bollard::Docker;
use bollard::query_parameters::LogsOptions;
use futures_util::StreamExt;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::ports::{BoxFuture, LogLine, LogQuery, LogReceiver, LogStream};
use slipway_domain::{ReleaseNumber, Timestamp};
use tokio::sync::mpsc;
use tokio_util::task::TaskTracker;

use crate::docker::labels::{self, Role};
use crate::docker::lines::{Assembler, Source, fits};
use crate::docker::{QUESTION, events, follow, observe, within};
use crate::engine::EngineError;

/// Lines that may wait for a slow reader.
const WAITING_LINES_MAX: usize = 1024;

/// The last lines of a container.
pub(crate) async fn tail(docker: &Docker, id: &str, lines_max: u32) -> Result<Vec<String>, EngineError> {
    let source = Source {
        id: id.to_owned(),
        release: ReleaseNumber(0),
    };
    let query = LogQuery {
        tail_lines_max: lines_max,
        ..LogQuery::default()
    };
    let past = read(docker, &source, &query).await?;
    Ok(past.lines.into_iter().map(|l| l.line).collect())
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
    // Before the first look, so that no start falls between the look and the hints.
    let hints = if query.follow {
        Some(events::follow(docker).await?)
    } else {
        None
    };
    let sources = sources(docker, environment, &query).await?;
    let mut lines = Vec::new();
    let mut seen = BTreeMap::new();
    for source in &sources {
        let past = match read(docker, source, &query).await {
            // Removed since the look.
            Err(EngineError::NotFound(_)) => continue,
            other => other?,
        };
        seen.extend(past.last.map(|last| (source.id.clone(), last)));
        lines.extend(past.lines);
    }
    lines.sort_by_key(|l| l.time);
    let lines = lines.split_off(lines.len().saturating_sub(count(query.tail_lines_max)));
    let (sender, receiver) = mpsc::channel(WAITING_LINES_MAX);
    let docker = docker.clone();
    let tasks = TaskTracker::new();
    let followers = tasks.clone();
    tasks.spawn(async move {
        for line in lines {
            if sender.send(line).await.is_err() {
                return;
            }
        }
        if let Some(hints) = hints {
            let following = follow::Following::new(docker, environment, query, sender, followers, seen);
            following.run(sources, hints).await;
        }
    });
    Ok(Box::new(Lines(receiver)))
}

/// The containers whose lines are wanted.
pub(crate) async fn sources(
    docker: &Docker,
    environment: EnvironmentId,
    query: &LogQuery,
) -> Result<Vec<Source>, EngineError> {
    let mut sources = Vec::new();
    for id in observe::ids(docker, Some(environment), Role::App).await? {
        if let Some((_, labels)) = observe::find(docker, &id).await?
            && let Some(identity) = labels::identity(&labels)
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

/// What one container wrote so far.
struct Past {
    /// The newest lines that fit the query, at most as many as it asks for.
    lines: VecDeque<LogLine>,
    /// When it wrote the newest line of all.
    last: Option<Timestamp>,
}

async fn read(docker: &Docker, source: &Source, query: &LogQuery) -> Result<Past, EngineError> {
    let lines_max = count(query.tail_lines_max);
    let options = LogsOptions {
        until: seconds(query.until.map(|u| u + chrono::TimeDelta::seconds(1))),
        tail: tail_option(query),
        ..options(query, query.since)
    };
    let read = async {
        let mut stream = Box::pin(docker.logs(&source.id, Some(options)));
        let mut assembler = Assembler::new(source.clone());
        let mut past = Past {
            lines: VecDeque::new(),
            last: None,
        };
        while let Some(output) = stream.next().await {
            let Some(line) = assembler.piece(output?) else { continue };
            past.last = past.last.max(Some(line.time));
            if fits(&line, query) {
                past.lines.push_back(line);
            }
            if past.lines.len() > lines_max {
                past.lines.pop_front();
            }
        }
        Ok(past)
    };
    within(QUESTION, read).await
}

/// The engine cuts its tail before it filters: with a filter, what is wanted may stand before the newest lines. One
/// line at least is asked for, to know from where on a follower must read.
fn tail_option(query: &LogQuery) -> String {
    if query.contains.is_some() || query.stream.is_some() || query.until.is_some() {
        "all".to_owned()
    } else {
        query.tail_lines_max.max(1).to_string()
    }
}

/// The options that reading and following share.
pub(crate) fn options(query: &LogQuery, since: Option<Timestamp>) -> LogsOptions {
    LogsOptions {
        stdout: query.stream != Some(LogStream::Stderr),
        stderr: query.stream != Some(LogStream::Stdout),
        since: seconds(since),
        timestamps: true,
        ..LogsOptions::default()
    }
}

/// The engine takes whole seconds; 0 is no bound.
fn seconds(time: Option<Timestamp>) -> i32 {
    time.and_then(|t| i32::try_from(t.timestamp()).ok()).unwrap_or(0)
}

fn count(lines: u32) -> usize {
    usize::try_from(lines).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_engine_cuts_the_tail_only_where_nothing_is_filtered_after_it() {
        let plain = LogQuery {
            tail_lines_max: 50,
            ..LogQuery::default()
        };
        assert_eq!(tail_option(&plain), "50");
        assert_eq!(tail_option(&LogQuery::default()), "1");
        let filtered = [
            LogQuery {
                contains: Some("x".into()),
                ..plain.clone()
            },
            LogQuery {
                stream: Some(LogStream::Stderr),
                ..plain.clone()
            },
            LogQuery {
                until: Some(Timestamp::default()),
                ..plain
            },
        ];
        for query in filtered {
            assert_eq!(tail_option(&query), "all", "{query:?}");
        }
    }
}
