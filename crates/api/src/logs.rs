//! `GET /v1/apps/{app}/logs`: what instances write, one JSON document a line; with `follow=true` it goes on.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream::unfold;
use http::header;
use serde::Deserialize;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::EnvironmentName;
use slipway_domain::observed::Observed;
use slipway_domain::ports::{LogLine, LogQuery, LogReceiver, LogStream};
use slipway_domain::quantity::Span;
use slipway_domain::{ReleaseNumber, Timestamp};
use slipway_store::Store;
use slipway_wire::NDJSON;
use slipway_wire::instances::{LogLine as Shown, Stream};
use tokio::sync::OwnedSemaphorePermit;

use crate::call::Call;
use crate::error::{ApiError, Result};
use crate::extract::{Names, Params};
use crate::instances::list::unavailable;

const TAIL_DEFAULT: u32 = 1_000;
const TAIL_MAX: u32 = 10_000;
/// How often it is looked whether there is still something to listen to.
const LOOK_PAUSE: Duration = Duration::from_secs(5);
/// How long the engine may take to begin.
const ENGINE_MAX: Duration = Duration::from_secs(10);

/// Which lines.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogParams {
    /// The environment; `production` if not given.
    #[param(value_type = Option<String>)]
    pub(crate) environment: Option<EnvironmentName>,
    /// Not before: a time (RFC 3339) or so long ago (`10m`).
    pub(crate) since: Option<String>,
    /// Not after: a time (RFC 3339) or so long ago (`10m`).
    pub(crate) until: Option<String>,
    /// Only lines that contain this.
    pub(crate) query: Option<String>,
    /// Only this stream.
    #[param(value_type = Option<Stream>)]
    pub(crate) stream: Option<LogStream>,
    /// Only this release, as `7` or `v7`.
    pub(crate) release: Option<String>,
    /// Go on with new lines.
    #[param(default = false)]
    pub(crate) follow: Option<bool>,
    /// At most so many of the newest lines to begin with.
    #[param(minimum = 0, maximum = 10_000, default = 1_000)]
    pub(crate) tail: Option<u32>,
}

/// Show or follow what an app writes.
#[utoipa::path(get, path = "/v1/apps/{app}/logs", tag = "logs", operation_id = "logs",
    params(("app" = String, Path, description = "The app's name."), LogParams),
    responses((status = 200, description = "Lines, oldest first, each a JSON document.", body = Shown,
        content_type = "application/x-ndjson")))]
pub(crate) async fn logs(call: Call, Names(app): Names<String>, Params(params): Params<LogParams>) -> Result<Response> {
    let now = call.now();
    let query = parse(&params, now)?;
    let mut tx = call.begin().await?;
    let app = call.app(&mut tx, &app).await?;
    let environment = call.environment(&mut tx, &app, params.environment.as_ref()).await?;
    drop(tx);

    let permit = call.state.stream_permit()?;
    let opened = tokio::time::timeout(ENGINE_MAX, call.state.instances.logs(environment.id, query)).await;
    let receiver = match opened {
        Ok(Observed::Known(receiver)) => receiver,
        Ok(Observed::Unknown { reason }) => return Err(unavailable(&reason)),
        Err(_) => return Err(unavailable("it took too long to begin with the logs")),
    };
    let lines = Lines {
        receiver,
        store: call.state.store.clone(),
        environment: environment.id,
        shutdown: call.state.shutdown.clone(),
        _permit: permit,
    };
    let body = unfold(lines, |mut lines| async move {
        lines
            .next()
            .await
            .map(|line| (Ok::<_, std::convert::Infallible>(line), lines))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(body)).into_response())
}

fn parse(params: &LogParams, now: Timestamp) -> Result<LogQuery> {
    let moment = |name: &str, text: &Option<String>| match text {
        None => Ok(None),
        Some(text) => moment(text, now).map(Some).ok_or_else(|| {
            ApiError::parameter(
                name,
                "give a time such as `2026-01-31T12:00:00Z` or a duration such as `10m`",
            )
        }),
    };
    let tail_lines_max = params.tail.unwrap_or(TAIL_DEFAULT);
    if tail_lines_max > TAIL_MAX {
        return Err(ApiError::parameter("tail", format!("give at most {TAIL_MAX}")));
    }
    let release = match &params.release {
        None => None,
        Some(text) => Some(
            text.parse::<ReleaseNumber>()
                .map_err(|e| ApiError::parameter("release", e.to_string()))?,
        ),
    };
    Ok(LogQuery {
        since: moment("since", &params.since)?,
        until: moment("until", &params.until)?,
        contains: params.query.clone().filter(|q| !q.is_empty()),
        stream: params.stream,
        release,
        follow: params.follow.unwrap_or(false),
        tail_lines_max,
    })
}

fn moment(text: &str, now: Timestamp) -> Option<Timestamp> {
    match text.parse::<Span>() {
        Ok(ago) => now.checked_sub_signed(ago.to_chrono()),
        Err(_) => chrono::DateTime::parse_from_rfc3339(text).ok().map(|t| t.to_utc()),
    }
}

/// Lines on their way.
struct Lines {
    receiver: Box<dyn LogReceiver>,
    store: Store,
    environment: EnvironmentId,
    shutdown: tokio::sync::watch::Receiver<bool>,
    _permit: OwnedSemaphorePermit,
}

impl Lines {
    async fn next(&mut self) -> Option<Bytes> {
        if *self.shutdown.borrow() {
            return None;
        }
        let line = tokio::select! {
            line = self.receiver.next() => line?,
            () = gone(&self.store, self.environment) => return None,
            Ok(_) = self.shutdown.wait_for(|down| *down) => return None,
        };
        let mut text = serde_json::to_vec(&shown(line)).unwrap_or_default();
        text.push(b'\n');
        Some(text.into())
    }
}

fn shown(line: LogLine) -> Shown {
    let object = line.line.trim_start().starts_with('{');
    Shown {
        time: line.time,
        stream: match line.stream {
            LogStream::Stdout => Stream::Stdout,
            LogStream::Stderr => Stream::Stderr,
        },
        instance: line.instance,
        release: line.release.0,
        fields: if object {
            serde_json::from_str(&line.line).ok()
        } else {
            None
        },
        line: line.line,
    }
}

/// Ends when the environment is there no more: nothing comes then, however long somebody listens.
async fn gone(store: &Store, environment: EnvironmentId) {
    loop {
        tokio::time::sleep(LOOK_PAUSE).await;
        let found = async { store.begin().await?.environment_by_id(environment).await };
        if matches!(found.await, Ok(None)) {
            return;
        }
    }
}
