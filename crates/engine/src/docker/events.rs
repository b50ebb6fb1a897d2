//! Hints from the engine about our containers.
//!
//! Promises: what happens after `follow` returned is told, even before the first question for it; only containers
//! with our label are told of. The stream ends with the connection and is then followed anew by the caller.

use std::collections::HashMap;
use std::pin::Pin;

use async_trait::async_trait;
use bollard::Docker;
use bollard::models::EventMessage;
use bollard::query_parameters::EventsOptions;
use futures_util::{Stream, StreamExt};
use slipway_domain::Timestamp;

use crate::docker::labels;
use crate::docker::{QUESTION, within};
use crate::engine::{EngineError, EngineEvent, EngineEvents};

type Messages = Pin<Box<dyn Stream<Item = Result<EventMessage, bollard::errors::Error>> + Send>>;

struct DockerEvents(Messages);

pub(crate) async fn follow(docker: &Docker) -> Result<Box<dyn EngineEvents>, EngineError> {
    // The request goes out with the first look at the stream: the engine is asked to begin with what its own clock
    // says now. The question also tells whether anybody is there, which the stream does not until something happens.
    let info = within(QUESTION, docker.info()).await?;
    let now: Option<Timestamp> = info.system_time.and_then(|t| t.parse().ok());
    let filters = HashMap::from([
        ("type".to_owned(), vec!["container".to_owned()]),
        ("label".to_owned(), vec![labels::ENVIRONMENT_ID.to_owned()]),
    ]);
    let options = EventsOptions {
        since: now.map(|t| format!("{}.{:09}", t.timestamp(), t.timestamp_subsec_nanos())),
        filters: Some(filters),
        ..EventsOptions::default()
    };
    let docker = docker.clone();
    Ok(Box::new(DockerEvents(Box::pin(docker.events(Some(options))))))
}

#[async_trait]
impl EngineEvents for DockerEvents {
    async fn next(&mut self) -> Option<EngineEvent> {
        while let Some(Ok(message)) = self.0.next().await {
            let attributes = message.actor.and_then(|a| a.attributes).unwrap_or_default();
            let environment = attributes.get(labels::ENVIRONMENT_ID).and_then(|e| e.parse().ok());
            if let (Some(environment), Some(action)) = (environment, message.action) {
                return Some(EngineEvent { environment, action });
            }
        }
        None
    }
}
