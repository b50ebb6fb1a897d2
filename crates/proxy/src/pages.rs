//! The proxy's own answers, as a small page for people or a problem document (RFC 9457) for programs.
//!
//! Promises: self-contained, no script, nothing taken from the request but its id; the text says what happened and
//! what to do next, and never what the platform looks like inside.

use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONNECTION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde::Serialize;

use crate::error::{Failure, Source};

/// The form an answer takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    Html,
    Problem,
}

/// JSON for those who ask for it and not for HTML; a page for all others.
pub(crate) fn form_for(headers: &HeaderMap) -> Form {
    let accepts = |wanted: &str| {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|range| {
            let kind = range.split(';').next().unwrap_or_default().trim();
            kind.eq_ignore_ascii_case(wanted)
        })
    };
    let json = accepts("application/problem+json") || accepts("application/json");
    if json && !accepts("text/html") {
        Form::Problem
    } else {
        Form::Html
    }
}

/// Title and explanation for people.
fn words(failure: Failure) -> (&'static str, String) {
    if let Failure::BadRequest(why) = failure {
        let detail = format!("This request cannot be served because {why}. Correct it and send it again.");
        return ("Bad request", detail);
    }
    let (title, detail) = if failure.source() == Source::Client {
        about_request(failure)
    } else {
        about_app(failure)
    };
    (title, detail.to_owned())
}

fn about_request(failure: Failure) -> (&'static str, &'static str) {
    match failure {
        Failure::HeadersTooLarge => (
            "Headers too large",
            "The request has too many headers. Clear this site's cookies and try again.",
        ),
        Failure::NotAForwardProxy => (
            "Not a forward proxy",
            "CONNECT is not served here. Ask for the app by its own address.",
        ),
        Failure::Misdirected => (
            "Wrong connection for this name",
            "This connection was opened for another name. Open a new connection for this one.",
        ),
        Failure::NoSuchApp => (
            "No such app",
            "No app answers at this address. Check the spelling, or deploy an app under this name.",
        ),
        Failure::TooLarge => (
            "Too large",
            "The body of this request is larger than the app allows. Send less.",
        ),
        Failure::ClientStalled => (
            "The request stopped",
            "The body of this request stopped coming. Send it again.",
        ),
        _ => (
            "The client went away",
            "The connection ended before the request was whole.",
        ),
    }
}

fn about_app(failure: Failure) -> (&'static str, &'static str) {
    match failure {
        Failure::Empty => (
            "Nothing deployed yet",
            "This app exists, but nothing was deployed to it yet. Deploy an image.",
        ),
        Failure::Starting => (
            "Starting",
            "None of its instances is ready yet. Try again in a few seconds; if this lasts, its owner finds the reason in the \
             app's status.",
        ),
        Failure::DeployFailed => (
            "The last deployment failed",
            "This app has no release that works. Its owner finds the reason in the deployment's status.",
        ),
        Failure::Stopped => (
            "Stopped",
            "This app was stopped by its owner and answers again once it is started.",
        ),
        Failure::Maintenance => ("In maintenance", "This app is being worked on. Try again later."),
        Failure::HeldTooLong => (
            "Not ready yet",
            "This app did not get ready in time. Try again in a few seconds.",
        ),
        Failure::Overloaded => (
            "Too busy",
            "This app has more requests than it can take right now. Try again in a few seconds.",
        ),
        Failure::Refused => (
            "The app refused the connection",
            "The app is there but does not accept connections. Its owner should check the port it listens on.",
        ),
        Failure::Broken => (
            "The app broke off",
            "The app closed the connection before it answered, or its answer was not HTTP. Its owner finds more in its \
             logs.",
        ),
        Failure::TimedOut => (
            "The app took too long",
            "The app did not begin to answer in time. Try again; its owner may raise the limit.",
        ),
        _ => (
            "No healthy instance",
            "No instance of this app can take requests right now. Try again in a few seconds.",
        ),
    }
}

#[derive(Serialize)]
struct Problem<'a> {
    r#type: &'static str,
    title: &'a str,
    status: u16,
    detail: &'a str,
    code: &'a str,
    request_id: &'a str,
}

fn problem(failure: Failure, request_id: &str) -> Bytes {
    let (title, detail) = words(failure);
    let problem = Problem {
        r#type: "about:blank",
        title,
        status: failure.status().as_u16(),
        detail: &detail,
        code: failure.code(),
        request_id,
    };
    serde_json::to_vec(&problem).unwrap_or_default().into()
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
            c => out.push(c),
        }
    }
    out
}

fn html(failure: Failure, request_id: &str) -> Bytes {
    let (title, detail) = words(failure);
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>{title}</title><style>\
         :root{{color-scheme:light dark}}\
         body{{font:16px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto 0;padding:0 1.5rem}}\
         h1{{font-size:1.5rem;margin:0 0 .5rem}}p{{margin:0 0 1.5rem}}small{{opacity:.65}}</style></head>\
         <body><main><h1>{title}</h1><p>{detail}</p><small>{status} &middot; {code} &middot; {id}</small></main></body></html>\n",
        title = escape(title),
        detail = escape(&detail),
        status = failure.status().as_u16(),
        code = failure.code(),
        id = escape(request_id),
    )
    .into()
}

/// The answer to a request that no app answers: head and text.
pub(crate) fn answer(failure: Failure, form: Form, request_id: &str, is_h1: bool) -> Response<Bytes> {
    let (kind, text) = match form {
        Form::Html => ("text/html; charset=utf-8", html(failure, request_id)),
        Form::Problem => ("application/problem+json", problem(failure, request_id)),
    };
    let mut response = Response::new(text);
    *response.status_mut() = failure.status();
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static("default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'"),
    );
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert(crate::headers::X_REQUEST_ID, id);
    }
    if let Some(seconds) = failure.retry_after_secs() {
        headers.insert(RETRY_AFTER, seconds.into());
    }
    if is_h1 && failure.closes_connection() {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A plain answer such as an ACME key authorization or a health check.
pub(crate) fn plain(status: StatusCode, kind: &'static str, text: impl Into<Bytes>) -> Response<Bytes> {
    let mut response = Response::new(text.into());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_only_for_those_who_ask_for_it_and_not_for_html() {
        for (accept, form) in [
            ("text/html,application/xhtml+xml,*/*;q=0.8", Form::Html),
            ("*/*", Form::Html),
            ("application/json", Form::Problem),
            ("application/problem+json;q=0.9, text/plain", Form::Problem),
            ("application/json, text/html", Form::Html),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            assert_eq!(form_for(&headers), form, "{accept}");
        }
        assert_eq!(form_for(&HeaderMap::new()), Form::Html);
    }

    #[test]
    fn a_problem_has_all_its_members_and_a_page_is_escaped() {
        let response = answer(Failure::Starting, Form::Problem, "req_1", true);
        assert_eq!(response.headers()[RETRY_AFTER], "5");
        let body: serde_json::Value = serde_json::from_slice(response.body()).expect("JSON");
        assert_eq!(body["status"], 503);
        assert_eq!(body["code"], "app_starting");
        assert_eq!(body["request_id"], "req_1");
        let page = answer(Failure::NoSuchApp, Form::Html, "<b>'&\"", true);
        let text = std::str::from_utf8(page.body()).expect("UTF-8");
        assert!(
            text.contains("&lt;b&gt;&#39;&amp;&quot;") && !text.contains("<b>"),
            "{text}"
        );
    }
}
