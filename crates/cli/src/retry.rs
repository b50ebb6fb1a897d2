//! When a call is made again, how long a command goes on trying, and who is told.
//!
//! Promises: only what is safe to repeat is repeated, a few times, and not beyond the command's own time limit; that a
//! server is not ready is said once, so that nobody waits without knowing for what.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use http::StatusCode;
use slipway_wire::Code;
use tokio::time::Instant;

use crate::client::{Answer, Call};
use crate::env::Writer;
use crate::problem::Problem;
use crate::style::clean;
use crate::transport;

/// Tries of one call.
const TRIES_MAX: u32 = 4;
/// Tries of a call that a registry kept from its end: the server has asked the registry more than once already.
const REGISTRY_TRIES_MAX: u32 = 2;
/// The longest a server may make us wait between tries.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(10);
/// The first pause between tries; it doubles.
const PAUSE: Duration = Duration::from_millis(200);
/// The most that is told of why a server is not ready; what is longer ends with an ellipsis.
const DETAIL_CHARS_MAX: usize = 300;

/// What one try ended in.
pub(crate) enum Attempt {
    Answered(Answer),
    Refused {
        problem: Box<Problem>,
        retry_after: Option<Duration>,
    },
    Broken {
        error: reqwest::Error,
        sent: bool,
    },
}

/// How long to pause before the next try, or none if there is no point in one.
pub(crate) fn pause_before_next(call: &Call, outcome: &Attempt, tried: u32) -> Option<Duration> {
    if call.is_once() || tried >= TRIES_MAX {
        return None;
    }
    let doubling = PAUSE * 2_u32.pow(tried.saturating_sub(1));
    match outcome {
        Attempt::Answered(_) => None,
        Attempt::Broken { error, sent } => {
            let worth_it = !error.is_builder() && transport::fault(error).is_none();
            (worth_it && (!sent || call.is_repeatable())).then_some(doubling)
        }
        Attempt::Refused { .. } if !call.is_repeatable() => None,
        Attempt::Refused { problem, .. } if is_of_registry(problem) && tried >= REGISTRY_TRIES_MAX => None,
        Attempt::Refused { problem, retry_after } => {
            let in_flight = problem.code.as_deref() == Some(Code::RequestInProgress.as_str());
            match StatusCode::from_u16(problem.status).ok()? {
                StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS => retry_after
                    .filter(|wait| *wait <= RETRY_AFTER_MAX)
                    .map(|wait| wait.max(PAUSE)),
                StatusCode::BAD_GATEWAY | StatusCode::GATEWAY_TIMEOUT => Some(doubling),
                StatusCode::CONFLICT if in_flight => Some(retry_after.unwrap_or(doubling).min(RETRY_AFTER_MAX)),
                _ => None,
            }
        }
    }
}

fn is_of_registry(problem: &Problem) -> bool {
    problem.code.as_deref() == Some(Code::RegistryUnavailable.as_str())
}

/// How long a command goes on trying, and where it says so.
pub(crate) struct Patience {
    stderr: Option<Writer>,
    said: AtomicBool,
    deadline: Option<Instant>,
}

impl Patience {
    /// Without a stream nothing is said; without a limit only the number of tries counts.
    pub(crate) fn new(stderr: Option<Writer>, limit: Option<Duration>) -> Self {
        Self {
            stderr,
            said: AtomicBool::new(false),
            deadline: limit.map(|limit| Instant::now() + limit),
        }
    }

    /// Whether such a pause leaves time for another try.
    pub(crate) fn allows(&self, pause: Duration) -> bool {
        self.deadline.is_none_or(|end| Instant::now() + pause < end)
    }

    /// How long another try may take.
    pub(crate) fn cap(&self, timeout: Duration) -> Duration {
        self.deadline.map_or(timeout, |end| {
            timeout.min(end.saturating_duration_since(Instant::now()))
        })
    }

    /// Says, the first time, that the server is not ready and is asked again.
    pub(crate) fn tell(&self, outcome: &Attempt) {
        let (Attempt::Refused { problem, .. }, Some(stderr)) = (outcome, &self.stderr) else {
            return;
        };
        // A conflict is the same call still under way: there the server is ready.
        if problem.status == StatusCode::CONFLICT.as_u16() || self.said.swap(true, Ordering::Relaxed) {
            return;
        }
        // A closed stderr is no reason to stop what was asked for.
        let _ = writeln!(stderr.clone(), "{}", notice(problem));
    }
}

fn notice(problem: &Problem) -> String {
    let said = match problem.code.as_deref() {
        // It is somebody else who does not answer.
        Some("registry_unavailable") => "trying again".to_owned(),
        _ => format!("the server is not ready ({}), trying again", problem.status),
    };
    match problem.detail.as_deref().map(first_sentence) {
        Some(why) if !why.is_empty() => format!("{said}: {}", clean(&why)),
        _ => said,
    }
}

fn first_sentence(text: &str) -> String {
    let sentence = text.split_inclusive(". ").next().unwrap_or_default().trim_end();
    match sentence.char_indices().nth(DETAIL_CHARS_MAX) {
        Some((end, _)) => format!("{}…", sentence[..end].trim_end()),
        None => sentence.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, code: &str) -> Attempt {
        let body = format!("{{\"code\": \"{code}\", \"detail\": \"It is away. Try again shortly.\"}}");
        Attempt::Refused {
            problem: Box::new(Problem::read(status, None, body.as_bytes())),
            retry_after: Some(Duration::from_secs(5)),
        }
    }

    #[test]
    fn a_registry_that_is_away_is_asked_for_once_more_only() {
        let call = Call::get(&["apps"]);
        for (code, tried, expected) in [
            ("database_unavailable", 3, Some(Duration::from_secs(5))),
            ("database_unavailable", 4, None),
            ("registry_unavailable", 1, Some(Duration::from_secs(5))),
            ("registry_unavailable", 2, None),
        ] {
            let pause = pause_before_next(&call, &refused(503, code), tried);
            assert_eq!(pause, expected, "{code} after {tried}");
        }
        assert_eq!(
            pause_before_next(&call.once(), &refused(503, "database_unavailable"), 1),
            None
        );
    }

    #[test]
    fn a_pause_that_outlasts_the_command_is_not_made() {
        let short = Patience::new(None, Some(Duration::from_secs(3)));
        assert!(!short.allows(Duration::from_secs(5)));
        assert!(short.cap(Duration::from_secs(30)) <= Duration::from_secs(3));
        let endless = Patience::new(None, None);
        assert!(endless.allows(Duration::from_secs(5)));
        assert_eq!(endless.cap(Duration::from_secs(30)), Duration::from_secs(30));
    }

    #[test]
    fn the_first_sentence_says_why() {
        for (text, expected) in [
            ("It is away. Try again shortly.", "It is away."),
            ("upstream 10.0.0.1 gone", "upstream 10.0.0.1 gone"),
            ("", ""),
        ] {
            assert_eq!(first_sentence(text), expected);
        }
        let whole = "é".repeat(DETAIL_CHARS_MAX);
        assert_eq!(first_sentence(&whole), whole);
        assert_eq!(first_sentence(&format!("{whole}é")), format!("{whole}…"));
    }
}
