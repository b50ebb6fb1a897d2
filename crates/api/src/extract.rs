//! Reading requests: bodies, query parameters and names in paths, each with a clear refusal.
//!
//! Promises: a body is bounded before it is read, must be said to be JSON, and is refused with the place that is wrong;
//! unknown query parameters are refused like unknown members.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use bytes::Bytes;
use http::request::Parts;
use http::{HeaderMap, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::de::DeserializeOwned;
use slipway_wire::{Code, FieldProblem};

use crate::error::{ApiError, Result};
use crate::humane::humane;
use crate::state::Shared;

/// A JSON body that must be there.
pub(crate) struct Json<T>(pub(crate) T);

/// A JSON body that may be left out.
pub(crate) struct MaybeJson<T>(pub(crate) T);

/// Query parameters.
pub(crate) struct Params<T>(pub(crate) T);

/// Names in the path, not parsed yet: a name that cannot exist is simply not found.
pub(crate) struct Names<T>(pub(crate) T);

/// Reads a whole body within the bound.
pub(crate) async fn read_body(body: Body, bytes_max: usize) -> Result<Bytes> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => Err(ApiError::Refused(
            Code::BodyTooLarge,
            format!("The body is longer than {bytes_max} bytes. Send less."),
        )),
        Err(_) => Err(ApiError::Refused(
            Code::InvalidBody,
            "The body ended before it was complete. Send it again.".into(),
        )),
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let essence = headers
        .get(header::CONTENT_TYPE)
        .and_then(|v| v.to_str().ok())
        .and_then(|t| t.split(';').next())
        .map(|t| t.trim().to_ascii_lowercase());
    essence.is_some_and(|e| e == "application/json" || (e.starts_with("application/") && e.ends_with("+json")))
}

async fn read<T: DeserializeOwned>(request: Request, state: &Shared) -> Result<Option<T>> {
    let (parts, body) = request.into_parts();
    let bytes = read_body(body, state.settings.body_bytes_max).await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    if !is_json(&parts.headers) {
        return Err(ApiError::Refused(
            Code::UnsupportedMediaType,
            "Send JSON and say so: `Content-Type: application/json`.".into(),
        ));
    }
    parse(&bytes).map(Some)
}

/// JSON with the place of what is wrong.
fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    // A derived structure would take a list for its members in order, which no document says.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        let what = serde_json::from_slice::<serde_json::Value>(bytes).map_err(|error| syntax(&error))?;
        let detail = format!("must be an object, not {}", slipway_domain::spec::kind_of(&what));
        return Err(refused(String::new(), detail));
    }
    // Neither the database nor a variable of a container can hold it.
    if has_nul(bytes) {
        return Err(refused(String::new(), "contains a NUL character (`\\u0000`)".into()));
    }
    let mut json = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let pointer = pointer(error.path());
        let inner = error.into_inner();
        if inner.is_data() {
            shape(pointer, &inner)
        } else {
            syntax(&inner)
        }
    })?;
    json.end().map_err(|error| syntax(&error))?;
    Ok(value)
}

/// Whether a text of the body, escaped or not, has a NUL in it.
fn has_nul(bytes: &[u8]) -> bool {
    fn within(value: &serde_json::Value) -> bool {
        match value {
            serde_json::Value::String(text) => text.contains('\0'),
            serde_json::Value::Array(items) => items.iter().any(within),
            serde_json::Value::Object(members) => members.iter().any(|(k, v)| k.contains('\0') || within(v)),
            _ => false,
        }
    }
    let escaped = bytes.windows(6).any(|w| w == br"\u0000");
    escaped && serde_json::from_slice::<serde_json::Value>(bytes).is_ok_and(|value| within(&value))
}

fn refused(pointer: String, detail: String) -> ApiError {
    let told = format!("The body is not of the right shape: it {detail}.");
    ApiError::Invalid(Code::InvalidBody, told, vec![FieldProblem { pointer, detail }])
}

fn shape(pointer: String, error: &serde_json::Error) -> ApiError {
    // serde appends where in the text it was; the pointer says it better.
    let text = error.to_string();
    let detail = humane(
        text.rsplit_once(" at line ")
            .map_or(text.as_str(), |(before, _)| before),
    );
    let place = if pointer.is_empty() {
        String::new()
    } else {
        format!("{pointer}: ")
    };
    let told = format!("The body is not of the right shape: {place}{detail}.");
    ApiError::Invalid(Code::InvalidBody, told, vec![FieldProblem { pointer, detail }])
}

fn syntax(error: &serde_json::Error) -> ApiError {
    let detail = format!("not JSON at line {} column {}", error.line(), error.column());
    let told = format!("The body is {detail}. Send one JSON object.");
    ApiError::Invalid(
        Code::InvalidBody,
        told,
        vec![FieldProblem {
            pointer: String::new(),
            detail,
        }],
    )
}

fn pointer(path: &serde_path_to_error::Path) -> String {
    use serde_path_to_error::Segment;
    path.iter()
        .map(|segment| match segment {
            Segment::Seq { index } => format!("/{index}"),
            Segment::Map { key } => format!("/{}", key.replace('~', "~0").replace('/', "~1")),
            Segment::Enum { variant } => format!("/{variant}"),
            Segment::Unknown => String::new(),
        })
        .collect()
}

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Json<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self> {
        match read(request, state).await? {
            Some(value) => Ok(Self(value)),
            None => Err(ApiError::Refused(
                Code::InvalidBody,
                "The body is empty. Send one JSON object.".into(),
            )),
        }
    }
}

impl<T: DeserializeOwned + Default> FromRequest<Arc<Shared>> for MaybeJson<T> {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Arc<Shared>) -> Result<Self> {
        Ok(Self(read(request, state).await?.unwrap_or_default()))
    }
}

impl<T: DeserializeOwned> FromRequestParts<Arc<Shared>> for Params<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self> {
        if parts.uri.query().is_some_and(|q| q.contains("%00")) {
            let detail = "A query parameter contains a NUL character (`%00`). Leave it out.";
            return Err(ApiError::Refused(Code::InvalidParameter, detail.into()));
        }
        Query::<T>::from_request_parts(parts, state)
            .await
            .map(|Query(value)| Self(value))
            .map_err(|rejection| {
                let source = std::error::Error::source(&rejection);
                wrong_parameter(&source.map_or_else(|| rejection.to_string(), ToString::to_string))
            })
    }
}

/// A query that cannot be read; `text` is `NAME: WHAT`, or only what.
fn wrong_parameter(text: &str) -> ApiError {
    let (name, what) = match text.split_once(": ") {
        // Every message of the parser that has a colon without a name before it begins with what is invalid.
        Some((name, what)) if !name.contains(' ') => (name, what),
        _ => ("", text),
    };
    let detail = humane(what).replace("member `", "parameter `");
    let told = if name.is_empty() {
        format!("The query is not valid: {detail}.")
    } else {
        format!("The query parameter `{name}` is not valid: {detail}.")
    };
    let pointer = format!("?{name}");
    ApiError::Invalid(Code::InvalidParameter, told, vec![FieldProblem { pointer, detail }])
}

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for Names<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self> {
        match Path::<T>::from_request_parts(parts, state).await {
            Ok(Path(value)) => Ok(Self(value)),
            Err(_) => Err(ApiError::Refused(
                Code::NotFound,
                "The path is not valid UTF-8. Check its percent-encoding.".into(),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Shape {
        #[serde(rename = "items")]
        _items: Vec<u32>,
    }

    fn refusal(text: &str) -> (String, String) {
        match parse::<Shape>(text.as_bytes()) {
            Err(ApiError::Invalid(Code::InvalidBody, told, errors)) => (errors[0].pointer.clone(), told),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn a_wrong_query_is_refused_with_the_parameter_that_is_wrong() {
        for (text, pointer, told) in [
            (
                "limit: invalid digit found in string",
                "?limit",
                "The query parameter `limit` is not valid: must be a whole number.",
            ),
            (
                "unknown field `colour`, expected `limit` or `cursor`",
                "?",
                "The query is not valid: unknown parameter `colour`; there is `limit` or `cursor`.",
            ),
            (
                "invalid type: map, expected a string",
                "?",
                "The query is not valid: must be a text, not an object.",
            ),
        ] {
            let ApiError::Invalid(Code::InvalidParameter, said, errors) = wrong_parameter(text) else {
                panic!("{text}");
            };
            assert_eq!((said.as_str(), errors[0].pointer.as_str()), (told, pointer));
        }
    }

    #[test]
    fn a_wrong_body_is_refused_with_the_place_that_is_wrong() {
        for (text, pointer, part) in [
            (
                r#"{"items": [1, "x"]}"#,
                "/items/1",
                "must be a whole number from 0 to 4294967295, not a text",
            ),
            (r#"{"items": 7}"#, "/items", "must be a list, not 7"),
            (r#"{"items": [], "colour": 1}"#, "/colour", "unknown member `colour`"),
            ("{}", "", "missing member `items`"),
            ("[[1]]", "", "must be an object, not a list"),
            ("null", "", "must be an object, not null"),
            (r#"{"items": [], "a\u0000": "b"}"#, "", "contains a NUL character"),
            ("{", "", "not JSON at line 1"),
            ("items=1", "", "not JSON at line 1"),
            (r#"{"items": []} x"#, "", "not JSON"),
        ] {
            let (found, told) = refusal(text);
            assert_eq!(found, pointer, "{text}: {told}");
            assert!(told.contains(part), "{text}: {told}");
            assert!(!told.contains(" at line 1 column 1 at"), "{told}");
        }
    }
}
