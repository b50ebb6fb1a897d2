//! `GET /openapi.json` and `GET /docs`: the document, and a page a person can read and search.
//!
//! Promises: the page is made from the document alone; it loads nothing from anywhere and runs no script.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::Value;

use crate::state::Shared;

/// The document of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "health", operation_id = "openapi_json",
    responses((status = 200, description = "The document.", body = Object)))]
pub(crate) async fn openapi_json(State(state): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.document.clone()).into_response()
}

/// The reference of this API, for people.
#[utoipa::path(get, path = "/docs", tag = "health", operation_id = "reference",
    responses((status = 200, description = "The page.", body = String, content_type = "text/html")))]
pub(crate) async fn reference(State(state): State<Arc<Shared>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    ];
    (headers, state.page.clone()).into_response()
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;color:#1b2330}
h2{margin-top:2.5rem;border-bottom:1px solid #d5dbe4}details{margin:.4rem 0;border:1px solid #d5dbe4;border-radius:6px}
summary{padding:.5rem .8rem;cursor:pointer}summary code{font-weight:600}.body{padding:0 .8rem .8rem}
.m{display:inline-block;width:4.2rem;font:600 13px ui-monospace,monospace;color:#0b5cad}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.2rem .8rem .2rem 0}code{font:14px ui-monospace,monospace}.q{color:#5b6675}";

/// The page of a document.
pub(crate) fn render(document: &Value) -> String {
    let mut html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><title>Slipway API</title><style>{STYLE}</style><h1>Slipway API</h1><p>{}</p><p>Send <code>Authorization: Bearer slw_…</code>. Errors are <code>application/problem+json</code> (RFC 9457) with a stable <code>code</code>. The same as a document: <a href=\"/openapi.json\">openapi.json</a>.</p>",
        escape(text(&document["info"]["description"]))
    );
    let mut tags: Vec<(String, Vec<(String, String, &Value)>)> = Vec::new();
    for (path, item) in document["paths"].as_object().into_iter().flatten() {
        for (method, operation) in item.as_object().into_iter().flatten().filter(|(_, o)| o["responses"].is_object()) {
            let tag = text(&operation["tags"][0]).to_owned();
            let entry = (method.to_uppercase(), path.clone(), operation);
            match tags.iter_mut().find(|(t, _)| *t == tag) {
                Some((_, all)) => all.push(entry),
                None => tags.push((tag, vec![entry])),
            }
        }
    }
    for (tag, operations) in tags {
        // Writing to a String cannot fail.
        let _ = write!(html, "<h2>{}</h2>", escape(&tag));
        for (method, path, operation) in operations {
            render_operation(&mut html, &method, &path, operation);
        }
    }
    html.push_str("</html>");
    html
}

fn render_operation(html: &mut String, method: &str, path: &str, operation: &Value) {
    let _ = write!(
        html,
        "<details><summary><span class=\"m\">{method}</span> <code>{}</code> — {}</summary><div class=\"body\">",
        escape(path),
        escape(text(&operation["summary"]))
    );
    if let Some(permission) = operation["x-permission"].as_str() {
        let _ = write!(html, "<p class=\"q\">Demands <code>{}</code>.</p>", escape(permission));
    }
    let parameters = operation["parameters"].as_array().into_iter().flatten();
    rows(html, "Parameters", parameters.map(|p| (text(&p["name"]).to_owned(), format!("{} {}", text(&p["in"]), text(&p["description"])))));
    let body = &operation["requestBody"]["content"]["application/json"]["schema"];
    if !body.is_null() {
        let _ = write!(html, "<p>Body: <code>{}</code></p>", escape(&kind(body)));
    }
    let responses = operation["responses"].as_object().into_iter().flatten();
    rows(html, "Answers", responses.map(|(status, r)| (status.clone(), text(&r["description"]).to_owned())));
    html.push_str("</div></details>");
}

fn rows(html: &mut String, title: &str, rows: impl Iterator<Item = (String, String)>) {
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return;
    }
    let _ = write!(html, "<p><b>{title}</b></p><table>");
    for (name, description) in rows {
        let _ = write!(html, "<tr><td><code>{}</code><td>{}", escape(&name), escape(&description));
    }
    html.push_str("</table>");
}

/// A schema's name, or its own text.
fn kind(schema: &Value) -> String {
    match schema["$ref"].as_str() {
        Some(reference) => reference.rsplit('/').next().unwrap_or(reference).to_owned(),
        None => schema.to_string(),
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_operation_and_escapes_what_it_shows() {
        let document = serde_json::to_value(crate::openapi()).expect("a document");
        let page = render(&document);
        for path in document["paths"].as_object().expect("paths").keys() {
            assert!(page.contains(&escape(path)), "{path}");
        }
        assert!(!page.contains("<script") && page.contains("slw_"));
        assert_eq!(escape("<a href=\"x\">&"), "&lt;a href=&quot;x&quot;&gt;&amp;");
    }
}
