//! Why an exchange is a loss.

use std::error::Error;
use std::fmt::Write as _;

use http::StatusCode;

use super::EXCHANGE_SECONDS_MAX;

/// What went wrong, in words for whoever looks for the cause.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error("no connection: {0}")]
    NoConnection(String),
    #[error("the request cannot be made: {0}")]
    Request(#[from] http::Error),
    #[error("no answer: {0}")]
    NoAnswer(String),
    #[error("the answer broke off: {0}")]
    BrokeOff(String),
    #[error("status {0}: {1}")]
    Status(StatusCode, String),
    /// It went the whole way, and something else came back.
    #[error("a wrong answer: {0}")]
    Wrong(String),
    /// The server said goodbye to the socket in place of an echo, with a code that invites to come back.
    #[error("the socket was closed in place of an echo: {0}")]
    Goodbye(String),
    #[error("the socket broke: {0}")]
    Socket(String),
    #[error("no whole answer within {EXCHANGE_SECONDS_MAX} s")]
    TooLate,
}

/// An error with its causes, which most libraries leave out of the first line.
pub(crate) fn chain(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        // Writing to a string does not fail.
        let _ = write!(text, ": {error}");
        cause = error.source();
    }
    text
}
