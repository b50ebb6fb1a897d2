//! Structured logs, and traces over OTLP when an endpoint is set by the standard variables.
//!
//! Promises: one trace from the API call over the scheduler and the engine to the first good probe: the context is
//! carried as a W3C `traceparent`, with the deployment, in the database.

use opentelemetry::propagation::{Extractor, TextMapPropagator};
use opentelemetry::trace::{TraceContextExt, TracerProvider};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing::level_filters::LevelFilter;
use tracing::{Level, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt;
use tracing_subscriber::filter::{FilterExt, dynamic_filter_fn};
use tracing_subscriber::fmt::writer::BoxMakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::LogFormat;
use crate::error::ServerError;
use crate::log_queue::{Flush, LogQueue};
use crate::up::SharedLog;

/// Libraries that warn of what is told in better words elsewhere.
const CHATTY: [&str; 3] = ["hickory_net", "hickory_proto", "hickory_resolver"];

/// Keeps the exporter and the log; what is still to be sent or written is, when it is dropped.
#[derive(Debug)]
pub struct Guard {
    provider: Option<SdkTracerProvider>,
    _lines: Option<Flush>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = self.provider.take() {
            // The process ends: there is nobody left to tell.
            let _ = provider.shutdown();
        }
    }
}

/// Where log lines go.
#[derive(Debug)]
pub enum Output {
    /// The standard error.
    Stderr,
    /// A file that never grows without bound.
    File(SharedLog),
}

/// Begins logging, and exporting traces if `otlp`.
pub fn init(
    service: &'static str,
    filter: &str,
    format: LogFormat,
    output: Output,
    otlp: bool,
) -> Result<Guard, ServerError> {
    let wrong = |e: &dyn std::fmt::Display| {
        ServerError::Setup(format!(
            "SLIPWAY_LOG `{filter}` cannot be used: {e}; write info, debug or target=level"
        ))
    };
    let mut filter = EnvFilter::try_new(filter).map_err(|e| wrong(&e))?;
    let told = filter.to_string();
    for target in CHATTY.iter().filter(|target| !told.contains(**target)) {
        filter = filter.add_directive(format!("{target}=error").parse().map_err(|e| wrong(&e))?);
    }
    // Every callsite is asked about each time, none is enabled for good: a program that only asks whether something is
    // enabled, and then keeps silent, leaves the answers of the filters behind for the next callsite that is not asked
    // about, and its line or span is lost.
    let filter = filter.and(dynamic_filter_fn(|_, _| true).with_max_level_hint(LevelFilter::TRACE));
    let ansi = matches!(output, Output::Stderr) && std::io::IsTerminal::is_terminal(&std::io::stderr());
    let (writer, flush) = match output {
        Output::Stderr => {
            let tell = |lost| tracing::warn!(lost, "log.lines_lost: whoever reads this log did not read it in time");
            let (queue, flush) =
                LogQueue::start(std::io::stderr(), tell).map_err(ServerError::io("no thread for the log"))?;
            (BoxMakeWriter::new(move || queue.clone()), Some(flush))
        }
        Output::File(log) => (BoxMakeWriter::new(move || log.clone()), None),
    };
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        LogFormat::Json => tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
        LogFormat::Text => tracing_subscriber::fmt::layer()
            .with_ansi(ansi)
            .with_writer(writer)
            .with_filter(filter)
            .boxed(),
    };
    let provider = otlp.then(|| exporter(service)).transpose()?;
    // Spans of our own only: those of libraries would drown them, and so would the small ones of every look at the
    // database that is no part of anything.
    let spans = provider.as_ref().map(|p| {
        let ours = dynamic_filter_fn(|m, context| {
            let is_ours = m.is_span() && m.target().starts_with("slipway");
            is_ours && (*m.level() <= Level::INFO || context.lookup_current().is_some())
        })
        .with_max_level_hint(LevelFilter::DEBUG);
        tracing_opentelemetry::layer()
            .with_tracer(p.tracer("slipway"))
            .with_filter(ours)
    });
    // Fails when a test in this process was first, which changes nothing.
    let _ = tracing_subscriber::registry().with(lines).with(spans).try_init();
    Ok(Guard {
        provider,
        _lines: flush,
    })
}

fn exporter(service: &'static str) -> Result<SdkTracerProvider, ServerError> {
    let fail = |e: opentelemetry_otlp::ExporterBuildError| {
        ServerError::Setup(format!("OTLP: {e}; check OTEL_EXPORTER_OTLP_ENDPOINT"))
    };
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .build()
        .map_err(fail)?;
    let resource = Resource::builder()
        .with_service_name(service)
        .with_attribute(opentelemetry::KeyValue::new(
            "service.version",
            env!("CARGO_PKG_VERSION"),
        ))
        .build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

struct Parent<'a>(&'a str);

impl Extractor for Parent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == "traceparent").then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec!["traceparent"]
    }
}

/// Makes a span part of the trace that a `traceparent` names.
pub fn link(span: &Span, traceparent: &str) {
    let context = TraceContextPropagator::new().extract(&Parent(traceparent));
    if context.span().span_context().is_valid() {
        // Without a layer that exports, there is no span to be part of anything.
        let _ = span.set_parent(context);
    }
}

fn given(headers: &http::HeaderMap) -> Option<&str> {
    headers.get("traceparent")?.to_str().ok()
}

/// Makes a request's span part of the caller's trace, and gives the span's own `traceparent`, if spans are exported.
pub fn own_trace(span: &Span, headers: &http::HeaderMap) -> Option<String> {
    if let Some(given) = given(headers) {
        link(span, given);
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    let (trace, id, flags) = (own.trace_id(), own.span_id(), own.trace_flags().to_u8());
    own.is_valid().then(|| format!("00-{trace}-{id}-{flags:02x}"))
}

/// The same, and without an exporter the caller's: the `traceparent` to carry on.
pub fn continue_trace(span: &Span, headers: &http::HeaderMap) -> Option<String> {
    if let Some(own) = own_trace(span, headers) {
        return Some(own);
    }
    let valid = |text: &&str| {
        TraceContextPropagator::new()
            .extract(&Parent(text))
            .span()
            .span_context()
            .is_valid()
    };
    given(headers).filter(valid).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_an_exporter_the_callers_trace_is_carried_on_if_it_is_valid() {
        let headers = |value: &str| {
            let mut headers = http::HeaderMap::new();
            headers.insert("traceparent", value.parse().expect("a value"));
            headers
        };
        let good = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        assert_eq!(continue_trace(&Span::none(), &headers(good)).as_deref(), Some(good));
        assert_eq!(continue_trace(&Span::none(), &headers("00-nonsense")), None);
        assert_eq!(continue_trace(&Span::none(), &http::HeaderMap::new()), None);
    }
}
