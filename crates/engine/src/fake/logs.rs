//! Lines and hints of the fake engine, as streams.

use std::collections::VecDeque;

use async_trait::async_trait;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::ports::{BoxFuture, LogLine, LogQuery, LogReceiver};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;

use super::state::State;
use crate::engine::{EngineEvent, EngineEvents};

pub(super) struct FakeEvents(pub(super) broadcast::Receiver<EngineEvent>);

#[async_trait]
impl EngineEvents for FakeEvents {
    async fn next(&mut self) -> Option<EngineEvent> {
        loop {
            match self.0.recv().await {
                Ok(event) => return Some(event),
                // Hints may be lost.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

pub(super) struct FakeLines {
    environment: EnvironmentId,
    query: LogQuery,
    past: VecDeque<LogLine>,
    /// `None` when nobody follows.
    coming: Option<broadcast::Receiver<(EnvironmentId, LogLine)>>,
}

impl FakeLines {
    pub(super) fn new(state: &State, environment: EnvironmentId, query: LogQuery) -> Self {
        let of_environment = |line: &&LogLine| {
            let instance = state.instances.get(&line.instance);
            instance.is_some_and(|i| i.environment == environment) && fits(line, &query)
        };
        let mut past: VecDeque<LogLine> = state.lines.iter().filter(of_environment).cloned().collect();
        let tail = usize::try_from(query.tail_lines_max).unwrap_or(usize::MAX);
        past.drain(..past.len().saturating_sub(tail));
        let coming = query.follow.then(|| state.written.subscribe());
        Self {
            environment,
            query,
            past,
            coming,
        }
    }

    async fn receive(&mut self) -> Option<LogLine> {
        if let Some(line) = self.past.pop_front() {
            return Some(line);
        }
        let coming = self.coming.as_mut()?;
        loop {
            match coming.recv().await {
                Ok((environment, line)) if environment == self.environment && fits(&line, &self.query) => {
                    return Some(line);
                }
                Ok(_) | Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

impl LogReceiver for FakeLines {
    fn next(&mut self) -> BoxFuture<'_, Option<LogLine>> {
        Box::pin(self.receive())
    }
}

fn fits(line: &LogLine, query: &LogQuery) -> bool {
    query.since.is_none_or(|s| line.time >= s)
        && query.until.is_none_or(|u| line.time <= u)
        && query.stream.is_none_or(|s| line.stream == s)
        && query.release.is_none_or(|r| line.release == r)
        && query.contains.as_ref().is_none_or(|c| line.line.contains(c.as_str()))
}
