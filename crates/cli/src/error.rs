//! How a command ends without success, and with which exit code: 1 failed, 2 usage, 3 timed out, 130 interrupted.

use std::fmt;
use std::io;

use serde_json::Value;

use crate::problem::Problem;

/// The exit code of an interrupted wait, as shells count signals.
pub(crate) const INTERRUPTED: u8 = 130;
/// What to do without a token, or with one that the server does not take.
pub(crate) const LOG_IN: &str = "log in with `slipway login URL`, or set SLIPWAY_TOKEN to a valid token";

/// Why a command did not succeed.
#[derive(Debug)]
pub(crate) enum CliError {
    /// What was typed cannot be done.
    Usage(Message),
    /// It was tried and did not work.
    Failed(Message),
    /// The API refused.
    Refused(Box<Problem>),
    /// It took longer than was allowed.
    TimedOut(Message),
    /// Everything was said already: only the code is left.
    Told(u8),
    /// Nobody reads our output any more.
    BrokenPipe,
}

/// A sentence, and what to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Message {
    /// What happened.
    pub(crate) text: String,
    /// What to do.
    pub(crate) hint: Option<String>,
}

impl CliError {
    pub(crate) fn usage(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage(Message {
            text: text.into(),
            hint: Some(hint.into()),
        })
    }

    pub(crate) fn failed(text: impl Into<String>) -> Self {
        Self::Failed(Message {
            text: text.into(),
            hint: None,
        })
    }

    pub(crate) fn failed_with(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed(Message {
            text: text.into(),
            hint: Some(hint.into()),
        })
    }

    pub(crate) fn timed_out(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::TimedOut(Message {
            text: text.into(),
            hint: Some(hint.into()),
        })
    }

    /// The process's exit code.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            // A reader such as `head` has what it wanted: that is no failure.
            Self::BrokenPipe => 0,
            Self::Failed(_) | Self::Refused(_) => 1,
            Self::Usage(_) => 2,
            Self::TimedOut(_) => 3,
            Self::Told(code) => *code,
        }
    }

    /// The problem's code, if the API refused.
    pub(crate) fn code(&self) -> Option<&str> {
        match self {
            Self::Refused(problem) => problem.code.as_deref(),
            _ => None,
        }
    }

    /// The HTTP status, if the API refused.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::Refused(problem) => Some(problem.status),
            _ => None,
        }
    }

    /// As JSON for `--json`, or nothing where everything was printed already.
    pub(crate) fn to_json(&self) -> Option<Value> {
        let (code, message) = match self {
            Self::Refused(problem) => return Some(problem.to_json()),
            Self::Usage(message) => ("usage", message),
            Self::Failed(message) => ("client_error", message),
            Self::TimedOut(message) => ("timed_out", message),
            Self::Told(_) | Self::BrokenPipe => return None,
        };
        Some(serde_json::json!({ "code": code, "detail": message.text, "hint": message.hint }))
    }
}

impl From<io::Error> for CliError {
    fn from(error: io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            Self::BrokenPipe
        } else {
            Self::failed(error.to_string())
        }
    }
}

impl fmt::Display for CliError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(m) | Self::Failed(m) | Self::TimedOut(m) => f.write_str(&m.text),
            Self::Refused(problem) => problem.fmt(f),
            Self::Told(code) => write!(f, "exit code {code}"),
            Self::BrokenPipe => f.write_str("broken pipe"),
        }
    }
}

impl std::error::Error for CliError {}
