//! `GET /v1/deployments/{id}/events`: what happened, as one page of JSON or as server-sent events.
//!
//! Promises: the stream resumes after `Last-Event-ID` without a gap; its last event is `deployment.finished`, then it
//! ends; a comment every fifteen seconds keeps it open.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{self, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, unfold};
use http::{HeaderMap, header};
use slipway_domain::ids::DeploymentId;
use slipway_wire::events::{Event, FINISHED};
use slipway_wire::{Code, EVENT_STREAM, FieldProblem, Page};
use tokio::sync::OwnedSemaphorePermit;

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use crate::paging::{PageParams, Paging};
use crate::view;
use crate::wait::Hints;

/// Events read at once.
const BATCH: u32 = 100;
/// Between comments that keep a stream open.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Show or follow what happens during a deployment.
///
/// With `Accept: text/event-stream` the answer is a stream of server-sent events: `event` is the type, `id` the place to
/// resume after, `data` the event as JSON.
#[utoipa::path(get, path = "/v1/deployments/{id}/events", tag = "deployments", operation_id = "deployment_events",
    params(("id" = String, Path, description = "The deployment's identifier."), PageParams,
        ("Last-Event-ID" = Option<String>, Header, description = "Resume a stream after this event.")),
    responses((status = 200, description = "One page of events, oldest first, or a stream of them.",
        content((Page<Event> = "application/json"), (String = "text/event-stream")))))]
pub(crate) async fn deployment_events(
    call: Call,
    Names(id): Names<String>,
    Params(params): Params<PageParams>,
    headers: HeaderMap,
) -> Result<Response> {
    let streamed = wants_stream(&headers);
    let after = last_event_id(&headers)?;
    let paging = Paging::<i64>::parse("events", params.limit, params.cursor.as_deref())?;
    let mut tx = call.begin().await?;
    let deployment = call.deployment(&mut tx, &id).await?;
    if !streamed {
        let wanted = paging.wanted();
        let rows = tx
            .events_after(deployment.id, wanted.after.unwrap_or(0), wanted.limit)
            .await?;
        return Ok(axum::Json(paging.page(rows, |e| e.id, view::event)).into_response());
    }
    drop(tx);
    let permit = call.state.stream_permit()?;
    let feed = Feed {
        hints: Hints::new(&call.state),
        call,
        id: deployment.id,
        after,
        ready: VecDeque::new(),
        over: false,
        _permit: permit,
    };
    let keep_alive = KeepAlive::new().interval(KEEP_ALIVE).text("still here");
    Ok(Sse::new(feed.stream()).keep_alive(keep_alive).into_response())
}

fn wants_stream(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::ACCEPT)
        .iter()
        .filter_map(|v| v.to_str().ok())
        .flat_map(|v| v.split(','))
        .any(|part| {
            part.split(';')
                .next()
                .is_some_and(|t| t.trim().eq_ignore_ascii_case(EVENT_STREAM))
        })
}

fn last_event_id(headers: &HeaderMap) -> Result<i64> {
    let Some(value) = headers.get("last-event-id") else {
        return Ok(0);
    };
    let parsed = value
        .to_str()
        .ok()
        .and_then(|t| t.trim().parse::<i64>().ok())
        .filter(|id| *id >= 0);
    parsed.ok_or_else(|| {
        let detail = "Last-Event-ID must be the id of an event of this stream".to_owned();
        let errors = vec![FieldProblem {
            pointer: "Last-Event-ID".into(),
            detail: detail.clone(),
        }];
        ApiError::Invalid(Code::InvalidParameter, format!("{detail}."), errors)
    })
}

/// A stream under way.
struct Feed {
    call: Call,
    hints: Hints,
    id: DeploymentId,
    after: i64,
    ready: VecDeque<slipway_store::Event>,
    over: bool,
    _permit: OwnedSemaphorePermit,
}

impl Feed {
    fn stream(self) -> impl Stream<Item = Result<sse::Event, Infallible>> {
        unfold(self, |mut feed| async move {
            feed.next().await.map(|event| (Ok(event), feed))
        })
    }

    /// The next event, or the end.
    async fn next(&mut self) -> Option<sse::Event> {
        loop {
            if let Some(row) = self.ready.pop_front() {
                self.after = row.id;
                self.over = row.kind == FINISHED;
                return Some(shown(row));
            }
            if self.over || self.hints.is_shutdown() {
                return None;
            }
            match self.look().await {
                Ok(true) => {}
                Ok(false) => self.hints.next().await,
                Err(error) => {
                    // The client resumes after the last event it has seen.
                    tracing::warn!(deployment = %self.id, %error, "events.stream_broken");
                    return None;
                }
            }
        }
    }

    /// Reads on; whether there is anything to give, or nothing will come any more.
    async fn look(&mut self) -> Result<bool> {
        let mut tx = self.call.begin().await?;
        let ended = tx.deployment(self.id).await?.is_none_or(|d| d.state.is_final());
        // What happens afterwards, such as the end of the old instances, is in the list and not in the stream.
        let last = if ended {
            tx.last_event(self.id, FINISHED).await?
        } else {
            None
        };
        let rows = tx.events_after(self.id, self.after, BATCH).await?;
        let until = last.unwrap_or(i64::MAX);
        self.ready.extend(rows.into_iter().filter(|row| row.id <= until));
        if ended && self.ready.is_empty() {
            self.over = true;
        }
        Ok(self.over || !self.ready.is_empty())
    }
}

fn shown(row: slipway_store::Event) -> sse::Event {
    let event = view::event(row);
    // JSON of texts and numbers always serializes and has no line breaks of its own.
    let data = serde_json::to_string(&event).unwrap_or_default();
    sse::Event::default()
        .id(event.id.to_string())
        .event(event.kind)
        .data(data)
}
