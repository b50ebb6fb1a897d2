//! `slipway logs`: what an app wrote, and what it is writing.
//!
//! Promises: a broken stream goes on where it stopped, without saying a line twice; on a terminal no line can move the
//! cursor, in a pipe every line is as it was written.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde::Deserialize;
use serde_json::Value;
use slipway_wire::NDJSON;

use crate::args::LogsArgs;
use crate::client::Call;
use crate::context::Context;
use crate::error::CliError;
use crate::show::instance;
use crate::style::clean;

/// To open the stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// A followed stream that is silent for so long is opened anew: it may be broken without anybody knowing.
const SILENCE_MAX: Duration = Duration::from_mins(5);
/// Between a broken stream and the next.
const PAUSE: Duration = Duration::from_secs(1);
/// After so many broken streams in a row that brought nothing, following ends.
const FRUITLESS_MAX: u32 = 30;
/// The most lines of one and the same time that are known again.
const SEEN_MAX: usize = 1_000;
/// The longest line.
const LINE_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Line {
    time: String,
    stream: String,
    instance: String,
    release: Value,
    #[serde(rename = "line")]
    text: String,
}

/// Where the output has got to.
#[derive(Default)]
struct Position {
    /// The time of the newest line shown, as the server wrote it.
    time: Option<String>,
    /// The lines shown with just that time, to know them again.
    seen: Vec<String>,
}

/// What is said when there is nothing to show.
const NOTHING: &str =
    "nothing was written, or the instances that wrote it are gone: logs live as long as their container";

/// Shows or follows the log.
pub(crate) async fn run(ctx: &mut Context, args: LogsArgs) -> Result<(), CliError> {
    ctx.take_app(args.app.clone());
    // What is wrong before anything is sent stays wrong: following does not try it again.
    ctx.app_scope()?;
    ctx.client()?;
    let mut position = Position::default();
    let mut fruitless = 0;
    loop {
        let before = position.time.clone();
        let outcome = read(ctx, &args, &mut position).await;
        if !args.follow {
            // Whoever asks for no lines knows why there are none.
            if outcome.is_ok() && position.time.is_none() && args.lines != Some(0) {
                ctx.note(NOTHING);
            }
            return outcome;
        }
        match outcome {
            Err(error @ (CliError::BrokenPipe | CliError::Usage(_))) => return Err(error),
            Err(error) if error.status().is_some_and(|s| (400..500).contains(&s) && s != 429) => return Err(error),
            Err(error) if fruitless >= FRUITLESS_MAX || (before.is_none() && fruitless >= 3) => return Err(error),
            Ok(()) | Err(_) => {}
        }
        fruitless = if position.time == before { fruitless + 1 } else { 0 };
        tokio::time::sleep(PAUSE).await;
    }
}

fn call(ctx: &Context, args: &LogsArgs, position: &Position) -> Result<Call, CliError> {
    let (app, environment) = ctx.app_scope()?;
    let now = ctx.now();
    let since = position
        .time
        .clone()
        .or_else(|| args.since.map(|at| at.to_rfc3339(now)));
    // Once something was shown, all that came after it counts, not the last so many lines.
    let lines = args.lines.filter(|_| position.time.is_none());
    let call = Call::get(&["apps", app.as_str(), "logs"])
        .query("environment", environment)
        .query_opt("since", since)
        .query_opt("until", args.until.map(|at| at.to_rfc3339(now)))
        .query_opt("query", args.query.as_ref())
        .query_opt("stream", args.stream.as_ref())
        .query_opt("release", args.release)
        .query_opt("tail", lines)
        .timeout(OPEN_TIMEOUT);
    Ok(if args.follow { call.query("follow", true) } else { call })
}

async fn read(ctx: &mut Context, args: &LogsArgs, position: &mut Position) -> Result<(), CliError> {
    let call = call(ctx, args, position)?;
    let client = ctx.client()?;
    let mut pieces = client.open(&call, NDJSON, None).await?.bytes_stream();
    let mut rest: Vec<u8> = Vec::new();
    let silence = if args.follow { SILENCE_MAX } else { OPEN_TIMEOUT };
    loop {
        let piece = match tokio::time::timeout(silence, pieces.next()).await {
            Ok(Some(Ok(piece))) => piece,
            Ok(None) => break,
            Ok(Some(Err(_))) => return Err(CliError::failed_with("the log stream broke", "run the command again")),
            Err(_) => {
                return Err(CliError::timed_out(
                    "the log stream fell silent",
                    "run the command again",
                ));
            }
        };
        rest.extend_from_slice(&piece);
        while let Some(end) = rest.iter().position(|b| *b == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            show(ctx, &line[..end], position)?;
        }
        if rest.len() > LINE_BYTES_MAX {
            return Err(CliError::failed(
                "the log stream holds a line that is longer than 1 MiB",
            ));
        }
    }
    show(ctx, &rest, position)
}

fn show(ctx: &mut Context, raw: &[u8], position: &mut Position) -> Result<(), CliError> {
    let text = String::from_utf8_lossy(raw);
    let text = text.trim();
    if text.is_empty() {
        return Ok(());
    }
    let line: Line = serde_json::from_str(text)
        .map_err(|_| CliError::failed("the log stream holds something that is not a log line"))?;
    if position.shown_before(&line.time, text) {
        return Ok(());
    }
    if ctx.globals.json {
        return ctx.print(text);
    }
    let release = line.release.as_i64().map(|n| format!("v{n} ")).unwrap_or_default();
    let head = format!("{} {release}{}", clean(&line.time), instance(&line.instance));
    let style = ctx.out;
    let edge = if line.stream == "stderr" {
        style.warn("|")
    } else {
        style.dim("|")
    };
    let body = if ctx.io.stdout_terminal {
        clean(&line.text)
    } else {
        line.text.as_str().into()
    };
    ctx.print(format!("{} {edge} {body}", style.dim(head)))
}

impl Position {
    /// Notes a line; says whether it was shown already, before the stream broke.
    fn shown_before(&mut self, time: &str, text: &str) -> bool {
        match self.time.as_deref() {
            Some(newest) if time == newest => {
                if self.seen.iter().any(|s| s == text) {
                    return true;
                }
            }
            _ => {
                time.clone_into(self.time.get_or_insert_default());
                self.seen.clear();
            }
        }
        if self.seen.len() < SEEN_MAX {
            self.seen.push(text.to_owned());
        }
        false
    }
}
