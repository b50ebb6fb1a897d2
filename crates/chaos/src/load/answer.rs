//! Reads an answer to its end.
//!
//! Promises: no more than [`ANSWER_BYTES_MAX`] are read; any other status than 200 is trouble.

use bytes::Bytes;
use http::{Response, StatusCode};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;

use super::trouble::{Trouble, chain};

/// Of any one answer.
pub(crate) const ANSWER_BYTES_MAX: usize = 64 * 1024;
/// Of a body that is told in a reason.
const TOLD_CHARS_MAX: usize = 120;

pub(crate) async fn whole(response: Response<Incoming>) -> Result<Bytes, Trouble> {
    let (parts, body) = response.into_parts();
    let collected = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = collected
        .map_err(|error| Trouble::BrokeOff(format!("status {}: {}", parts.status, chain(error.as_ref()))))?
        .to_bytes();
    if parts.status == StatusCode::OK {
        Ok(body)
    } else {
        Err(Trouble::Status(parts.status, beginning(&body)))
    }
}

/// Enough of a body to know it by, on one line.
pub(crate) fn beginning(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(4 * TOLD_CHARS_MAX)]);
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").chars().take(TOLD_CHARS_MAX).collect()
}
