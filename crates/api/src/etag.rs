//! `ETag` and `If-Match` (RFC 9110 sections 8.8.3 and 13.1.1) for what has a generation.

use http::{HeaderMap, HeaderValue, header};
use slipway_wire::{Code, FieldProblem};

use crate::error::{ApiError, Result};

/// The tag of a generation.
pub(crate) fn etag(generation: i64) -> HeaderValue {
    // Digits between quotes are always a header value.
    HeaderValue::from_str(&format!("\"{generation}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"0\""))
}

/// What `If-Match` demands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    /// Nothing.
    Anything,
    /// One of these tags, quotes included.
    OneOf(Vec<String>),
}

impl Expected {
    /// Reads the header.
    pub(crate) fn read(headers: &HeaderMap) -> Result<Self> {
        let mut tags = Vec::new();
        for value in headers.get_all(header::IF_MATCH) {
            for tag in value.to_str().map_err(|_| refuse())?.split(',').map(str::trim) {
                let opaque = tag.strip_prefix("W/").unwrap_or(tag);
                if tag != "*" && !(opaque.len() >= 2 && opaque.starts_with('"') && opaque.ends_with('"')) {
                    return Err(refuse());
                }
                tags.push(tag.to_owned());
            }
        }
        Ok(if tags.is_empty() || tags.iter().any(|t| t == "*") {
            Self::Anything
        } else {
            Self::OneOf(tags)
        })
    }

    /// Whether the present generation is an expected one.
    pub(crate) fn check(&self, generation: i64) -> Result<()> {
        match self {
            Self::Anything => Ok(()),
            Self::OneOf(tags) if tags.iter().any(|t| *t == format!("\"{generation}\"")) => Ok(()),
            Self::OneOf(_) => Err(ApiError::Refused(
                Code::PreconditionFailed,
                format!(
                    "It was changed meanwhile: its ETag is now \"{generation}\". Read it again, then repeat the change."
                ),
            )),
        }
    }
}

fn refuse() -> ApiError {
    let detail = "If-Match must be `*` or ETags in quotes, as a GET gave them".to_owned();
    let errors = vec![FieldProblem {
        pointer: "If-Match".into(),
        detail: detail.clone(),
    }];
    ApiError::Invalid(Code::InvalidParameter, format!("{detail}."), errors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(value: &str, generation: i64) -> Option<bool> {
        let mut headers = HeaderMap::new();
        headers.insert(header::IF_MATCH, HeaderValue::from_str(value).expect("header"));
        Expected::read(&headers).ok().map(|e| e.check(generation).is_ok())
    }

    #[test]
    fn only_a_strong_equal_tag_matches() {
        for (value, expected) in [
            ("\"3\"", Some(true)),
            ("*", Some(true)),
            ("\"1\", \"3\"", Some(true)),
            ("\"4\"", Some(false)),
            ("W/\"3\"", Some(false)),
            ("3", None),
            ("\"", None),
        ] {
            assert_eq!(matches(value, 3), expected, "{value}");
        }
        assert_eq!(Expected::read(&HeaderMap::new()).ok(), Some(Expected::Anything));
    }
}
