//! The private Postgres and the supervisor of `slipway up`, with real programs and real processes.
//!
//! Promises: every test has directories and ports of its own, and leaves no process behind.

mod dump;
mod place;
mod postgres;
mod supervisor;
mod telemetry;
