//! `GET /openapi.json` and `GET /docs`: the document, and the reference page rendered from it in one piece.
//!
//! Promises: no script, nothing from elsewhere, readable without style; every operation, shape and kind of problem is on
//! the one page, so that the browser's own search finds it; whatever the document says is escaped.

use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use serde_json::{Map, Value};
use slipway_wire::Code;

use crate::state::Shared;

const STYLE: &str = include_str!("docs.css");
const POLICY: &str =
    "default-src 'none'; style-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The document of this API.
#[utoipa::path(get, path = "/openapi.json", tag = "reference", operation_id = "openapi_json",
    responses((status = 200, description = "The OpenAPI 3.1 document.", body = Object)))]
pub(crate) async fn openapi_json(State(state): State<Arc<Shared>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], state.document.clone()).into_response()
}

/// The reference page.
#[utoipa::path(get, path = "/docs", tag = "reference", operation_id = "docs",
    responses((status = 200, description = "The reference page.", body = String, content_type = "text/html")))]
pub(crate) async fn page(State(state): State<Arc<Shared>>) -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
    ];
    (headers, state.page.clone()).into_response()
}

/// The style of the reference page.
#[utoipa::path(get, path = "/docs/style.css", tag = "reference", operation_id = "docs_style",
    responses((status = 200, description = "The style sheet.", body = String, content_type = "text/css")))]
pub(crate) async fn style() -> Response {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE).into_response()
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            other => out.push(other),
        }
    }
    out
}

/// Escaped text in which `backquotes` are code.
fn prose(text: &str) -> String {
    let mut out = String::new();
    for (i, part) in text.split('`').enumerate() {
        let part = escape(part);
        let _ = if i % 2 == 1 {
            write!(out, "<code>{part}</code>")
        } else {
            write!(out, "{part}")
        };
    }
    out
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

fn members<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    value
        .get(key)
        .and_then(Value::as_object)
        .into_iter()
        .flat_map(Map::iter)
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// What a schema is, in a few words, with links to named shapes.
fn kind(schema: &Value) -> String {
    if let Some(name) = text(schema, "$ref").rsplit('/').next().filter(|n| !n.is_empty()) {
        let name = escape(name);
        return format!("<a href=\"#shape-{name}\">{name}</a>");
    }
    for key in ["oneOf", "anyOf", "allOf"] {
        let parts: Vec<String> = items(schema, key).iter().map(kind).collect();
        if !parts.is_empty() {
            return parts.join(if key == "allOf" { " and " } else { " or " });
        }
    }
    let words: Vec<String> = items(schema, "enum")
        .iter()
        .map(|w| format!("<code>{}</code>", escape(&w.to_string())))
        .collect();
    if !words.is_empty() {
        return words.join(" ");
    }
    let types = match schema.get("type") {
        Some(Value::Array(types)) => types.iter().filter_map(Value::as_str).collect::<Vec<_>>(),
        Some(Value::String(one)) => vec![one.as_str()],
        _ => vec!["anything"],
    };
    let named = types.iter().map(|t| match *t {
        "array" => format!("list of {}", schema.get("items").map_or_else(String::new, kind)),
        "object" if schema.get("additionalProperties").is_some_and(Value::is_object) => {
            format!("map to {}", kind(&schema["additionalProperties"]))
        }
        other => match text(schema, "format") {
            "" => other.to_owned(),
            _ if other == "null" => other.to_owned(),
            format => format!("{other} ({})", escape(format)),
        },
    });
    named.collect::<Vec<_>>().join(" or ")
}

fn row(out: &mut String, name: &str, what: &str, told: &str) {
    let _ = write!(
        out,
        "<tr><td><code>{}</code></td><td>{what}</td><td>{}</td></tr>",
        escape(name),
        prose(told)
    );
}

fn parameters(out: &mut String, operation: &Value) {
    let all = items(operation, "parameters");
    if all.is_empty() {
        return;
    }
    out.push_str("<table><thead><tr><th>parameter</th><th>is</th><th></th></tr></thead><tbody>");
    for parameter in all {
        let what = format!(
            "{}, {}",
            escape(text(parameter, "in")),
            parameter.get("schema").map_or_else(String::new, kind)
        );
        row(out, text(parameter, "name"), &what, text(parameter, "description"));
    }
    out.push_str("</tbody></table>");
}

fn content(value: &Value) -> String {
    let bodies = members(value, "content").map(|(media, content)| {
        let shape = content.get("schema").map_or_else(String::new, kind);
        if media == "application/json" {
            shape
        } else {
            format!("{shape} <small>{}</small>", escape(media))
        }
    });
    bodies.collect::<Vec<_>>().join(" or ")
}

fn operation(out: &mut String, method: &str, path: &str, operation: &Value) {
    let id = escape(text(operation, "operationId"));
    let method = method.to_ascii_uppercase();
    let _ = write!(
        out,
        "<section id=\"{id}\"><h3><b class=\"{method}\">{method}</b> <code>{}</code></h3>",
        escape(path)
    );
    let _ = write!(out, "<p>{}</p>", prose(text(operation, "summary")));
    let description = text(operation, "description");
    if !description.is_empty() && description != text(operation, "summary") {
        let _ = write!(out, "<p>{}</p>", prose(description));
    }
    match text(operation, "x-permission") {
        "" => out.push_str("<p class=\"scope\">No token needed.</p>"),
        scope => {
            let _ = write!(out, "<p class=\"scope\">Scope <code>{}</code></p>", escape(scope));
        }
    }
    parameters(out, operation);
    if let Some(body) = operation.get("requestBody") {
        let _ = write!(
            out,
            "<p>Body: {} {}</p>",
            content(body),
            prose(text(body, "description"))
        );
    }
    out.push_str("<table><thead><tr><th>status</th><th>body</th><th></th></tr></thead><tbody>");
    for (status, response) in members(operation, "responses") {
        row(out, status, &content(response), text(response, "description"));
    }
    out.push_str("</tbody></table></section>");
}

fn operations(document: &Value) -> Vec<(&str, &str, &String, &Value)> {
    let mut all = Vec::new();
    for (path, item) in members(document, "paths") {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let tag = items(operation, "tags")
                    .first()
                    .and_then(Value::as_str)
                    .unwrap_or("other");
                all.push((tag, method, path, operation));
            }
        }
    }
    all.sort_by_key(|(tag, ..)| *tag);
    all
}

fn shape(out: &mut String, name: &str, schema: &Value) {
    let name = escape(name);
    let _ = write!(
        out,
        "<section id=\"shape-{name}\"><h3>{name}</h3><p>{}</p>",
        prose(text(schema, "description"))
    );
    let required: Vec<&str> = items(schema, "required").iter().filter_map(Value::as_str).collect();
    if schema.get("properties").is_some() {
        out.push_str("<table><thead><tr><th>member</th><th>is</th><th></th></tr></thead><tbody>");
        for (key, property) in members(schema, "properties") {
            let always = if required.contains(&key.as_str()) {
                ""
            } else {
                ", may be missing"
            };
            row(
                out,
                key,
                &format!("{}{always}", kind(property)),
                text(property, "description"),
            );
        }
        out.push_str("</tbody></table>");
    } else {
        let _ = write!(out, "<p>{}</p>", kind(schema));
    }
    out.push_str("</section>");
}

/// The page.
pub(crate) fn render(document: &Value) -> String {
    let info = document.get("info").cloned().unwrap_or_default();
    let mut out = String::from("<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">");
    out.push_str("<meta name=\"viewport\" content=\"width=device-width\"><title>Slipway API</title>");
    out.push_str("<link rel=\"stylesheet\" href=\"/docs/style.css\"></head><body><main>");
    let _ = write!(
        out,
        "<h1>Slipway API <small>{}</small></h1>",
        escape(text(&info, "version"))
    );
    let _ = write!(
        out,
        "<p>{}</p><p><a href=\"/openapi.json\">openapi.json</a></p>",
        prose(text(&info, "description"))
    );
    let all = operations(document);
    out.push_str("<nav><ul>");
    for (_, method, path, found) in &all {
        let id = escape(text(found, "operationId"));
        let _ = write!(
            out,
            "<li><a href=\"#{id}\">{} {}</a></li>",
            method.to_ascii_uppercase(),
            escape(path)
        );
    }
    out.push_str("<li><a href=\"#shapes\">Shapes</a></li><li><a href=\"#problems\">Problems</a></li></ul></nav>");
    let mut last = "";
    for (tag, method, path, found) in all {
        if tag != last {
            let _ = write!(out, "<h2>{}</h2>", escape(tag));
            last = tag;
        }
        operation(&mut out, method, path, found);
    }
    out.push_str("<h2 id=\"shapes\">Shapes</h2>");
    let schemas = document.get("components").cloned().unwrap_or_default();
    for (name, schema) in members(&schemas, "schemas") {
        shape(&mut out, name, schema);
    }
    out.push_str(
        "<h2 id=\"problems\">Problems</h2><table><thead><tr><th>code</th><th>status</th><th></th></tr></thead><tbody>",
    );
    for code in Code::ALL {
        let (word, status, title) = (code.as_str(), code.status(), escape(code.title()));
        let _ = write!(
            out,
            "<tr id=\"problem-{word}\"><td><code>{word}</code></td><td>{status}</td><td>{title}</td></tr>"
        );
    }
    out.push_str("</tbody></table></main></body></html>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_names_every_operation_and_problem_and_escapes_what_it_is_told() {
        let mut document = serde_json::to_value(crate::openapi()).expect("serializes");
        document["info"]["description"] = Value::from("<script>alert(1)</script>");
        let page = render(&document);
        assert!(!page.contains("<script"), "a script got through");
        assert!(operations(&document).len() > 40);
        for (_, _, path, found) in operations(&document) {
            assert!(page.contains(&escape(path)) && page.contains(&format!("id=\"{}\"", text(found, "operationId"))));
        }
        for code in Code::ALL {
            assert!(page.contains(&format!("id=\"problem-{}\"", code.as_str())));
        }
    }

    #[test]
    fn every_link_on_the_page_leads_somewhere() {
        let page = render(&serde_json::to_value(crate::openapi()).expect("serializes"));
        for part in page.split("href=\"#").skip(1) {
            let anchor = part.split('"').next().unwrap_or_default();
            assert!(page.contains(&format!("id=\"{anchor}\"")), "#{anchor}");
        }
    }
}
