//! Refusals of the API (RFC 9457 `application/problem+json`), read leniently and told in plain words.
//!
//! Promises: whatever a server or a proxy in front of it answers becomes one sentence, the fields that are wrong, what
//! to do next, and the request id to ask the operator about.

use std::fmt;

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::error::LOG_IN;

/// The longest piece of a foreign body that is shown.
const FOREIGN_CHARS_MAX: usize = 200;

/// A refusal.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) title: Option<String>,
    pub(crate) detail: Option<String>,
    pub(crate) code: Option<String>,
    pub(crate) hint: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) errors: Vec<FieldProblem>,
    /// The whole document as it came.
    #[serde(skip)]
    document: Option<Value>,
}

/// One wrong field.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(crate) struct FieldProblem {
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

impl Problem {
    /// Out of an answer that is not a success.
    pub(crate) fn read(status: u16, request_id: Option<String>, body: &[u8]) -> Self {
        let document: Option<Value> = serde_json::from_slice(body).ok().filter(Value::is_object);
        let mut problem: Self = document
            .clone()
            .and_then(|d| serde_json::from_value(d).ok())
            .unwrap_or_else(|| Self::foreign(status, body));
        problem.status = status;
        problem.request_id = problem.request_id.or(request_id);
        problem.document = document;
        problem
    }

    /// An answer that no Slipway API gives: a proxy's page, another server's.
    fn foreign(status: u16, body: &[u8]) -> Self {
        let text = String::from_utf8_lossy(body);
        let first = text
            .lines()
            .map(str::trim)
            .find(|l| !l.is_empty() && !l.starts_with('<'));
        let detail = first.map(|l| l.chars().take(FOREIGN_CHARS_MAX).collect());
        let hint = "this does not look like the Slipway API; check the address (`--url`, SLIPWAY_URL)".to_owned();
        Self {
            status,
            detail,
            hint: Some(hint),
            ..Self::default()
        }
    }

    /// What to do next.
    pub(crate) fn next(&self) -> Option<String> {
        if let Some(hint) = &self.hint {
            return Some(hint.clone());
        }
        match self.status {
            401 => Some(LOG_IN.into()),
            412 => Some("somebody changed it meanwhile: run `slipway plan` again and look before you apply".into()),
            429 => Some("wait a moment and try again".into()),
            // What to do is in the detail already.
            _ if matches!(
                self.code.as_deref(),
                Some("registry_unavailable" | "engine_unavailable")
            ) =>
            {
                None
            }
            500..=599 if self.request_id.is_some() => {
                Some("try again; if it stays, ask the operator and give the request id".into())
            }
            _ => None,
        }
    }

    /// Whether the API itself does not take the token; a proxy before it may ask for something else.
    fn is_about_token(&self) -> bool {
        self.status == StatusCode::UNAUTHORIZED.as_u16() && self.code.is_some()
    }

    /// The document as it came, or one made of what is known.
    pub(crate) fn to_json(&self) -> Value {
        self.document.clone().unwrap_or_else(|| {
            serde_json::json!({
                "status": self.status, "title": self.title, "detail": self.detail, "code": self.code,
                "request_id": self.request_id,
            })
        })
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_about_token() {
            return f.write_str("the server does not accept this token: it is wrong, expired or revoked");
        }
        match (&self.detail, &self.title) {
            (Some(detail), _) if !detail.is_empty() => f.write_str(detail),
            (_, Some(title)) if !title.is_empty() => write!(f, "{title} (HTTP {})", self.status),
            _ => write!(f, "the server answered HTTP {}", self.status),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_document_is_read_and_kept() {
        let body =
            br#"{"type":"x","title":"Unprocessable","status":422,"detail":"No such image.","code":"image_not_found",
            "request_id":"req_1","errors":[{"pointer":"/image","detail":"unknown"}],"more":1}"#;
        let problem = Problem::read(422, None, body);
        assert_eq!(problem.to_string(), "No such image.");
        assert_eq!(problem.code.as_deref(), Some("image_not_found"));
        assert_eq!(problem.errors[0].pointer, "/image");
        assert_eq!(problem.to_json()["more"], Value::from(1));
    }

    #[test]
    fn any_other_answer_says_that_this_is_not_our_server() {
        for (body, told) in [
            (&b"<html>\n<h1>502</h1>"[..], "the server answered HTTP 502"),
            (b"upstream gone", "upstream gone"),
            (b"", "the server answered HTTP 502"),
            (b"[1]", "[1]"),
            (b"{\"errors\": 5}", "{\"errors\": 5}"),
        ] {
            let problem = Problem::read(502, Some("req_2".into()), body);
            assert_eq!(problem.to_string(), told);
            assert!(problem.next().is_some_and(|n| n.contains("--url")));
            assert_eq!(problem.request_id.as_deref(), Some("req_2"));
        }
    }

    #[test]
    fn without_a_valid_token_the_hint_is_to_log_in_whatever_header_is_missing() {
        let problem = Problem::read(401, None, br#"{"detail":"Send a header.","code":"unauthenticated"}"#);
        assert!(problem.to_string().contains("wrong, expired or revoked"), "{problem}");
        assert!(problem.next().is_some_and(|n| n.contains("slipway login")));
        let foreign = Problem::read(401, None, b"Who are you?");
        assert_eq!(foreign.to_string(), "Who are you?");
    }
}
