//! Requests and their answers, each checked against the document.

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderMap, Method, Request, header};
use http_body_util::BodyExt as _;
use serde_json::Value;
use tower::ServiceExt as _;

use crate::world::World;

/// A request to be made.
pub(crate) struct Ask<'a> {
    world: &'a World,
    method: Method,
    path: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    /// The body as JSON; `null` if there was none.
    pub(crate) json: Value,
    pub(crate) text: String,
}

impl World {
    /// A request with the administrator's token.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Ask<'_> {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        let ask = Ask {
            world: self,
            method,
            path: path.into(),
            headers: Vec::new(),
            body: Vec::new(),
        };
        ask.token(&self.admin)
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send().await
    }

    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path).json(&body).send().await
    }

    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.ask("PUT", path).json(&body).send().await
    }

    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send().await
    }
}

impl Ask<'_> {
    /// With another token; an empty one means none.
    pub(crate) fn token(self, token: &str) -> Self {
        let without: Vec<_> = self.headers.into_iter().filter(|(n, _)| n != "authorization").collect();
        let with = Self {
            headers: without,
            ..self
        };
        if token.is_empty() {
            with
        } else {
            with.header("authorization", &format!("Bearer {token}"))
        }
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub(crate) fn key(self, key: &str) -> Self {
        self.header("idempotency-key", key)
    }

    pub(crate) fn json(self, body: &Value) -> Self {
        self.raw("application/json", body.to_string().into_bytes())
    }

    pub(crate) fn raw(self, media: &str, body: Vec<u8>) -> Self {
        Self { body, ..self }.header("content-type", media)
    }

    fn request(self) -> Request<Body> {
        let mut request = Request::builder().method(self.method).uri(self.path);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        request.body(Body::from(self.body)).expect("a request")
    }

    /// The answer with its body still to be read: for streams.
    pub(crate) async fn open(self) -> Response {
        let router = self.world.router.clone();
        router.oneshot(self.request()).await.expect("infallible")
    }

    /// The whole answer, checked against the document.
    pub(crate) async fn send(self) -> Answer {
        let (world, method, path) = (self.world, self.method.clone(), self.path.clone());
        let answer = self.send_unchecked().await;
        let media = answer
            .header("content-type")
            .split(';')
            .next()
            .unwrap_or_default()
            .to_owned();
        let body = (!answer.text.is_empty()).then_some(&answer.json);
        if let Err(wrong) = world
            .document
            .check((method.as_str(), &path), answer.status, &media, body)
        {
            panic!("{wrong}");
        }
        answer
    }

    /// The whole answer to a request that the document does not know of.
    pub(crate) async fn send_unchecked(self) -> Answer {
        let (parts, body) = self.open().await.into_parts();
        let bytes: Bytes = body.collect().await.expect("a whole body").to_bytes();
        let text = String::from_utf8(bytes.to_vec()).expect("text");
        Answer {
            status: parts.status.as_u16(),
            headers: parts.headers,
            json: serde_json::from_str(&text).unwrap_or(Value::String(text.clone())),
            text,
        }
    }
}

impl Answer {
    /// A header, empty if there is none.
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The code of a problem, or the status if it is none.
    pub(crate) fn code(&self) -> String {
        if self.header(header::CONTENT_TYPE.as_str()) == "application/problem+json" {
            assert_eq!(self.json["status"], self.status, "{}", self.text);
            assert_eq!(
                self.json["request_id"].as_str(),
                Some(self.header("x-request-id")),
                "{}",
                self.text
            );
            self.json["code"].as_str().expect("a code").to_owned()
        } else {
            self.status.to_string()
        }
    }

    /// What a problem says.
    pub(crate) fn detail(&self) -> &str {
        self.json["detail"].as_str().unwrap_or_default()
    }

    /// The places that a problem names.
    pub(crate) fn pointers(&self) -> Vec<&str> {
        let errors = self.json["errors"].as_array().map_or(&[][..], Vec::as_slice);
        errors.iter().filter_map(|e| e["pointer"].as_str()).collect()
    }

    /// A text in the body.
    pub(crate) fn text_at(&self, pointer: &str) -> &str {
        self.json
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_else(|| panic!("no text at {pointer} in {}", self.text))
    }

    /// The texts of one member of each entry of a list.
    pub(crate) fn column(&self, member: &str) -> Vec<String> {
        let items = self.json["items"]
            .as_array()
            .unwrap_or_else(|| panic!("no list: {}", self.text));
        items
            .iter()
            .map(|i| i[member].as_str().map_or_else(|| i[member].to_string(), str::to_owned))
            .collect()
    }
}
