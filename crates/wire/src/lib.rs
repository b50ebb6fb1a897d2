//! The bodies of the REST API: what goes over HTTP, with the schemas of the OpenAPI document.
//!
//! Promises: plain data, no handlers and no decisions. What comes in refuses unknown members and is parsed into the
//! types of the domain on the way; what goes out always has every member that scripts read, `null` where there is
//! nothing.

pub mod alerts;
pub mod apps;
pub mod audit;
pub mod backups;
pub mod certificates;
pub mod databases;
pub mod deployments;
pub mod dns;
pub mod domains;
pub mod env;
pub mod events;
pub mod health;
pub mod instances;
pub mod operations;
pub mod page;
pub mod problem;
pub mod registries;
pub mod releases;
pub mod secrets;
pub mod spec;
pub mod teams;
pub mod tokens;

pub use page::Page;
pub use problem::{Code, FieldProblem, Problem};

/// The media type of problems (RFC 9457).
pub const PROBLEM_JSON: &str = "application/problem+json";
/// The media type of streams of JSON documents, one a line.
pub const NDJSON: &str = "application/x-ndjson";
/// The media type of server-sent events.
pub const EVENT_STREAM: &str = "text/event-stream";
