//! One request from its head to the last byte of its answer: what is logged, counted and traced about it.
//!
//! Promises: exactly one access-log line (target `slipway.access`) and one observation per request, whichever way it
//! ends; the path without the query, no header and no body ever; nothing is formatted when nobody listens.

use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use http::{Method, StatusCode, Uri, Version};
use tokio::time::Instant;
use tracing::Span;

use crate::body::{BodyWatch, StreamProgress, Uptime};
use crate::error::{Failure, Source};
use crate::headers::{TRACEPARENT, chosen_request_id};
use crate::proxy::Proxy;
use crate::serve::Connection;
use crate::table::Environment;
use crate::trace::TraceContext;
use crate::upstream::Instance;

/// The target of access-log lines.
const TARGET: &str = "slipway.access";

/// A request under way. Dropping it ends it.
#[derive(Debug)]
pub(crate) struct Exchange {
    proxy: Arc<Proxy>,
    connection: Arc<Connection>,
    started: Instant,
    method: Method,
    uri: Uri,
    version: Version,
    host: String,
    request_id: String,
    trace: TraceContext,
    span: Span,
    environment: Option<Arc<Environment>>,
    instance: Option<Arc<Instance>>,
    watch: Option<Arc<BodyWatch>>,
    status: StatusCode,
    bytes_out: u64,
    /// After how long the answer's first byte came.
    first_byte: Option<Duration>,
    failure: Option<(&'static str, Source)>,
}

impl Exchange {
    /// Begins an exchange. The sender may choose the request id only if `trusts_id`.
    pub(crate) fn begin(proxy: &Arc<Proxy>, connection: &Arc<Connection>, parts: &Parts, trusts_id: bool) -> Box<Self> {
        let request_id =
            chosen_request_id(&parts.headers, trusts_id).unwrap_or_else(|| proxy.mint_request_id().to_string());
        let span = tracing::info_span!(
            "proxy.request",
            otel.kind = "server",
            otel.status_code = tracing::field::Empty,
            trace_id = tracing::field::Empty,
            span_id = tracing::field::Empty,
            parent_id = tracing::field::Empty,
            request_id = %request_id,
            http.request.method = %parts.method,
            http.response.status_code = tracing::field::Empty,
            url.path = parts.uri.path(),
            url.scheme = connection.scheme(),
            app = tracing::field::Empty,
            environment = tracing::field::Empty,
            error.type = tracing::field::Empty,
        );
        let caller = parts.headers.get(TRACEPARENT);
        let trace = proxy
            .own_trace(&span, &parts.headers)
            .and_then(|own| TraceContext::of_span(&own, caller))
            .unwrap_or_else(|| TraceContext::continue_or_begin(caller, proxy.dice()));
        if !span.is_disabled() {
            span.record("trace_id", trace.trace_id.as_str());
            span.record("span_id", trace.span_id.as_str());
            span.record("parent_id", trace.parent_id.as_deref());
        }
        Box::new(Self {
            proxy: Arc::clone(proxy),
            connection: Arc::clone(connection),
            started: Instant::now(),
            method: parts.method.clone(),
            uri: parts.uri.clone(),
            version: parts.version,
            host: String::new(),
            request_id,
            trace,
            span,
            environment: None,
            instance: None,
            watch: None,
            status: Failure::ClientGone.status(),
            bytes_out: 0,
            first_byte: None,
            failure: None,
        })
    }

    pub(crate) fn request_id(&self) -> &str {
        &self.request_id
    }

    pub(crate) const fn trace(&self) -> &TraceContext {
        &self.trace
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    pub(crate) fn uptime(&self) -> Uptime {
        self.proxy.uptime()
    }

    pub(crate) fn is_head(&self) -> bool {
        self.method == Method::HEAD
    }

    /// The name the request is for.
    pub(crate) fn for_host(&mut self, host: &str) {
        host.clone_into(&mut self.host);
    }

    /// The environment that is asked; counted as active from here on.
    pub(crate) fn routed_to(&mut self, environment: &Arc<Environment>) {
        environment.metrics.begin();
        environment.load.begin();
        environment.earn_retry();
        self.environment = Some(Arc::clone(environment));
    }

    pub(crate) fn sent_to(&mut self, instance: &Arc<Instance>) {
        self.instance = Some(Arc::clone(instance));
    }

    pub(crate) fn reads_from(&mut self, watch: &Arc<BodyWatch>) {
        self.watch = Some(Arc::clone(watch));
    }

    pub(crate) fn answered(&mut self, status: StatusCode) {
        self.status = status;
        self.first_byte = Some(self.started.elapsed());
    }

    /// The proxy answers itself.
    pub(crate) fn failed(&mut self, failure: Failure) {
        self.status = failure.status();
        self.failure = Some((failure.code(), failure.source()));
        if failure.source() == Source::App {
            self.proxy.metrics().upstream_errors.add(failure.code());
        }
    }

    /// The answer ended before it was whole; the status was sent already.
    pub(crate) fn broke_off(&mut self, why: &'static str) {
        if self.failure.is_some() {
            return;
        }
        let source = match why {
            "client_gone" => Source::Client,
            "drain_cut" => Source::Platform,
            _ => Source::App,
        };
        self.failure = Some((why, source));
        if source == Source::App {
            self.proxy.metrics().upstream_errors.add(why);
        }
    }

    /// Bytes of the answer's body.
    pub(crate) fn sent(&mut self, bytes: usize) {
        self.bytes_out += u64::try_from(bytes).unwrap_or(u64::MAX);
    }

    /// A place among the answers the connection watches, on HTTP/2.
    pub(crate) fn watch_stream(&self) -> Option<Arc<StreamProgress>> {
        self.connection.is_h2().then(|| {
            let progress = Arc::new(StreamProgress::new());
            self.connection.activity().watch_stream(Arc::clone(&progress));
            progress
        })
    }

    fn log(&self, environment: &Environment) {
        if !tracing::enabled!(target: TARGET, tracing::Level::INFO) {
            return;
        }
        let elapsed = self.started.elapsed();
        tracing::info!(
            target: TARGET,
            parent: None,
            trace_id = %self.trace.trace_id,
            span_id = %self.trace.span_id,
            request_id = %self.request_id,
            app = %environment.app,
            environment = %environment.name,
            host = %self.host,
            client = %self.connection.peer(),
            method = %self.method,
            path = self.uri.path(),
            status = self.status.as_u16(),
            duration_ms = (elapsed.as_secs_f64() * 1e6).round() / 1e3,
            bytes_in = self.watch.as_ref().map_or(0, |watch| watch.bytes()),
            bytes_out = self.bytes_out,
            protocol = ?self.version,
            scheme = self.connection.scheme(),
            instance = self.instance.as_ref().map(|instance| instance.name()),
            error = self.failure.map(|(why, _)| why),
            error_source = self.failure.map(|(_, source)| source.as_str()),
            "request"
        );
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        // Dropped before anybody answered: the client did not wait.
        if self.failure.is_none() && self.status == Failure::ClientGone.status() {
            self.failure = Some((Failure::ClientGone.code(), Source::Client));
        }
        let environment = self.environment.take().unwrap_or_else(|| {
            let own = self.proxy.own();
            own.metrics.begin();
            own.load.begin();
            Arc::clone(own)
        });
        environment.load.end(self.proxy.uptime().now_ms());
        environment
            .metrics
            .end(&self.method, self.status, self.started.elapsed());
        if let Some(instance) = &self.instance {
            let by_app = self.failure.is_some_and(|(_, source)| source == Source::App);
            // A client that left before the answer says nothing of the app; a tunnel is no answer to a request.
            if by_app || self.first_byte.is_some() {
                let first_byte = self.first_byte.filter(|_| !self.status.is_informational());
                instance.count(by_app || self.status.is_server_error(), first_byte);
            }
        }
        if !self.span.is_disabled() {
            self.span.record("app", environment.app.as_str());
            self.span.record("environment", environment.name.as_str());
            self.span.record("http.response.status_code", self.status.as_u16());
            if let Some((why, _)) = self.failure {
                self.span.record("error.type", why);
            }
            if self.status.is_server_error() {
                self.span.record("otel.status_code", "ERROR");
            }
        }
        self.log(&environment);
        self.connection.activity().end();
    }
}
