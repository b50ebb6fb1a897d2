//! A server in the test: it notes every call and answers as the test says.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// A call as the server saw it.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) path: String,
    pub(crate) query: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Value,
}

impl Seen {
    /// `GET /v1/apps`.
    pub(crate) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|v| v.to_str().ok())
    }
}

type Reply = dyn Fn(&Seen) -> Response + Send + Sync;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    reply: Box<Reply>,
}

/// A running server; it ends with the test.
pub(crate) struct Server {
    pub(crate) url: String,
    shared: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Server {
    /// Starts a server that answers like this.
    pub(crate) async fn start(reply: impl Fn(&Seen) -> Response + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            reply: Box::new(reply),
        });
        let app = Router::new().fallback(answer).with_state(shared.clone());
        let task = tokio::spawn(async move { axum::serve(listener, app).await.expect("serves") });
        Self { url, shared, task }
    }

    /// Every call so far.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().expect("not poisoned").clone()
    }

    /// Every call so far, one line each.
    pub(crate) fn lines(&self) -> Vec<String> {
        self.seen().iter().map(Seen::line).collect()
    }

    /// The calls of this method and path.
    pub(crate) fn calls(&self, line: &str) -> Vec<Seen> {
        self.seen().into_iter().filter(|s| s.line() == line).collect()
    }
}

async fn answer(State(shared): State<Arc<Shared>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body: Bytes = axum::body::to_bytes(body, 1 << 20).await.expect("a short body");
    let seen = Seen {
        method: parts.method.to_string(),
        path: parts.uri.path().to_owned(),
        query: parts.uri.query().unwrap_or_default().to_owned(),
        headers: parts.headers,
        body: serde_json::from_slice(&body).unwrap_or(Value::Null),
    };
    shared.seen.lock().expect("not poisoned").push(seen.clone());
    (shared.reply)(&seen)
}

/// A JSON answer.
pub(crate) fn ok(body: &Value) -> Response {
    status(200, body)
}

/// A JSON answer with a status.
pub(crate) fn status(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

/// A list.
pub(crate) fn list(items: &[Value]) -> Response {
    ok(&json!({ "items": items, "next_cursor": null }))
}

/// An answer without a body.
pub(crate) fn empty(status: u16) -> Response {
    StatusCode::from_u16(status).expect("a status").into_response()
}

/// A refusal.
pub(crate) fn problem(code: u16, name: &str, detail: &str) -> Response {
    let body = json!({
        "type": format!("/problems/{name}"), "title": name, "status": code, "detail": detail, "code": name,
        "request_id": "req_test",
    });
    let mut response = status(code, &body);
    let kind = "application/problem+json".parse().expect("a header");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

/// A stream of text that ends after these pieces.
pub(crate) fn stream(kind: &'static str, pieces: Vec<String>) -> Response {
    let pieces = futures_util::stream::iter(pieces.into_iter().map(Ok::<_, Infallible>));
    ([(header::CONTENT_TYPE, kind)], Body::from_stream(pieces)).into_response()
}

/// One server-sent event.
pub(crate) fn event(id: u32, kind: &str, step: Option<&str>, message: &str) -> String {
    let data = json!({ "id": id, "type": kind, "time": "2026-02-02T02:40:00Z", "step": step, "message": message });
    format!("id: {id}\nevent: {kind}\ndata: {data}\n\n")
}

/// A deployment of `web` to production as release 7.
pub(crate) fn deployment(state: &str, steps: &[(&str, &str)]) -> Value {
    let finished = matches!(state, "succeeded" | "failed" | "aborted" | "superseded");
    let steps: Vec<Value> = steps
        .iter()
        .map(|(name, state)| {
            let end = (*state != "running").then_some("2026-02-02T02:39:59.500Z");
            json!({
                "name": name, "state": state, "started_at": "2026-02-02T02:39:58Z", "finished_at": end, "detail": null,
            })
        })
        .collect();
    json!({
        "id": "dep_01k0000000000000000000000", "app": "web", "environment": "production", "release": 7,
        "image": "registry.example.com/web:1", "digest": format!("sha256:{}", "a".repeat(64)), "state": state,
        "strategy": "rolling", "reason": null, "steps": steps, "created_at": "2026-02-02T02:39:57Z",
        "finished_at": finished.then_some("2026-02-02T02:40:00Z"), "created_by": "ci", "message": null,
    })
}

/// The identifier of [`deployment`].
pub(crate) const ID: &str = "dep_01k0000000000000000000000";
