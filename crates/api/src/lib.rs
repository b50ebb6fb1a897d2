//! The REST API: routes, who may call them, and what a call changes.
//!
//! Promises: deny by default (a route cannot be mounted without a declared permission); a handler writes what should be
//! and never touches a container; every answer that is not a success is `application/problem+json` and leaks nothing of
//! the inside; GET changes nothing.

mod accept;
mod alerts;
mod apps;
mod audit;
mod audit_log;
mod backups;
mod call;
mod certificates;
mod claim;
mod databases;
mod deployments;
mod dns;
mod docs;
mod domains;
mod edge;
mod env;
mod environments;
mod error;
mod etag;
mod extract;
mod forecast;
mod guard;
mod health;
mod humane;
mod idempotency;
mod image;
mod instances;
mod logs;
mod operations;
mod paging;
mod promote;
mod registries;
mod release;
mod releases;
mod rollback;
mod routes;
mod secrets;
mod see;
mod spec;
mod staging;
mod state;
mod teams;
mod tokens;
mod view;
mod wait;

pub use routes::{PUBLIC, openapi, router};
pub use state::{Answered, ApiSettings, ApiState};

/// The problem that callers are answered with while the control plane refuses to start, as JSON.
pub fn not_started() -> String {
    let detail = "The control plane does not start until its operator mends something: `slipway doctor` on the server says what. Apps keep serving.";
    text(&slipway_wire::Problem::new(slipway_wire::Code::NotStarted, detail))
}

/// The problem that callers are answered with while the control plane waits for its database at the start, as JSON.
pub fn database_awaited() -> String {
    let detail =
        "The database does not answer, and the control plane waits for it. Try again shortly. Apps keep serving.";
    text(&slipway_wire::Problem::new(
        slipway_wire::Code::DatabaseUnavailable,
        detail,
    ))
}

fn text(problem: &slipway_wire::Problem) -> String {
    // Texts and a number: there is nothing that could not be written.
    serde_json::to_string(problem).unwrap_or_default()
}
