//! Helpers for tests of several crates. Only ever a dev-dependency.

pub mod cluster;
pub mod openapi;
pub mod postgres;
