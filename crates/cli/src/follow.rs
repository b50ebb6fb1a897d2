//! Watching a deployment until it has ended.
//!
//! Promises: events come over SSE and a broken stream is resumed after the last event seen; when it cannot be, the
//! deployment itself is asked for now and then. A server that is away for a while (an upgrade) does not end the watch;
//! only a refusal, the time limit, or the person does. What is shown as done is always what the deployment says.

use std::time::Duration;

use futures_util::StreamExt as _;
use slipway_wire::EVENT_STREAM;
use slipway_wire::events::FINISHED;

use crate::client::{Call, Client};
use crate::env::Interrupt;
use crate::error::CliError;
use crate::model::{Deployment, Event};
use crate::progress::Progress;
use crate::sse::{Parser, SseEvent};

/// To open the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(10);
/// A stream that is silent for so long, keep-alives included, is taken for broken.
const SILENCE_MAX: Duration = Duration::from_mins(1);
/// The first pause after a broken stream; it doubles up to [`PAUSE_MAX`].
const PAUSE: Duration = Duration::from_millis(250);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(2);
/// After so many streams in a row that brought nothing, most rounds only ask for the deployment.
const FRUITLESS_MAX: u32 = 3;

/// How a watch ended.
pub(crate) enum Followed {
    /// The deployment has ended.
    Ended(Box<Deployment>),
    /// The time limit came first.
    TimedOut,
    /// The person did not want to wait any longer.
    Interrupted,
}

/// Watches the deployment.
pub(crate) async fn follow(
    client: &Client,
    deployment: Deployment,
    progress: &mut Progress,
    limit: Duration,
    interrupt: &Interrupt,
) -> Result<Followed, CliError> {
    let watch = tokio::time::timeout(limit, until_ended(client, deployment, progress));
    tokio::select! {
        biased;
        () = interrupt.happened() => Ok(Followed::Interrupted),
        ended = watch => match ended {
            Ok(ended) => ended.map(|deployment| Followed::Ended(Box::new(deployment))),
            Err(_) => Ok(Followed::TimedOut),
        },
    }
}

async fn until_ended(client: &Client, deployment: Deployment, progress: &mut Progress) -> Result<Deployment, CliError> {
    progress.deployment(&deployment);
    if deployment.is_final() {
        return Ok(deployment);
    }
    let id = deployment.id;
    let mut last_event: Option<String> = None;
    let (mut fruitless, mut round) = (0_u32, 0_u32);
    loop {
        round = round.wrapping_add(1);
        if fruitless < FRUITLESS_MAX || round.is_multiple_of(8) {
            let before = last_event.clone();
            if let Some(deployment) = read_stream(client, &id, &mut last_event, progress).await? {
                return Ok(deployment);
            }
            fruitless = if last_event == before { fruitless + 1 } else { 0 };
        }
        match ask(client, &id, progress).await {
            Ok(deployment) if deployment.is_final() => return Ok(deployment),
            Ok(_) => {}
            Err(error) if is_refusal(&error) => return Err(error),
            Err(_) => progress.lost(),
        }
        tokio::time::sleep((PAUSE * 2_u32.pow(fruitless.min(3))).min(PAUSE_MAX)).await;
    }
}

/// Whether trying again cannot help.
fn is_refusal(error: &CliError) -> bool {
    matches!(error.status(), Some(status) if (400..500).contains(&status) && status != 429 && status != 408)
}

async fn ask(client: &Client, id: &str, progress: &mut Progress) -> Result<Deployment, CliError> {
    // The watch itself asks again, and says so: a call that did it too would only be silent for longer.
    let call = Call::get(&["deployments", id]).once();
    let deployment = Deployment::read(client.send(call).await?.body)?;
    progress.deployment(&deployment);
    Ok(deployment)
}

/// Reads one stream to its end: the deployment if it has ended, nothing if the stream broke before.
async fn read_stream(
    client: &Client,
    id: &str,
    last_event: &mut Option<String>,
    progress: &mut Progress,
) -> Result<Option<Deployment>, CliError> {
    let call = Call::get(&["deployments", id, "events"]).timeout(OPEN_TIMEOUT);
    // A server without this stream is no reason to give up: the deployment can still be asked for.
    let Ok(response) = client.open(&call, EVENT_STREAM, last_event.as_deref()).await else {
        return Ok(None);
    };
    let mut pieces = response.bytes_stream();
    let mut parser = Parser::default();
    while let Ok(Some(Ok(piece))) = tokio::time::timeout(SILENCE_MAX, pieces.next()).await {
        let Ok(events) = parser.feed(&piece) else {
            return Ok(None);
        };
        if events.is_empty() {
            continue;
        }
        for event in &events {
            take(event, last_event, progress);
        }
        if events.iter().any(|e| !e.kind.ends_with(".progress")) {
            match ask(client, id, progress).await {
                Ok(deployment) if deployment.is_final() => return Ok(Some(deployment)),
                Ok(_) => {}
                Err(error) if is_refusal(&error) => return Err(error),
                Err(_) => return Ok(None),
            }
        }
        if events.iter().any(|e| e.kind == FINISHED) {
            return Ok(None);
        }
    }
    Ok(None)
}

fn take(event: &SseEvent, last_event: &mut Option<String>, progress: &mut Progress) {
    if event.id.is_some() {
        last_event.clone_from(&event.id);
    }
    if let Ok(data) = serde_json::from_str::<Event>(&event.data) {
        progress.event(&data);
    }
}
