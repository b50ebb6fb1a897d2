//! The server's roles put together: configuration, processes, and the wiring of ports.
//!
//! Promises: it composes and decides nothing about apps. Time, randomness and the environment come in here and
//! nowhere else.

mod admin;
mod backups;
mod bootstrap;
mod ca;
mod caa;
pub mod clock;
pub mod command;
pub mod config;
mod control_socket;
pub mod doctor;
pub mod dump;
mod error;
mod feeds;
mod files;
mod housekeeping;
mod inspector;
mod log_queue;
mod mail;
mod metrics;
mod on_demand;
mod ports;
pub mod postgres;
mod proxy_role;
mod serve;
pub mod telemetry;
mod tellers;
mod uninstall;
pub mod up;
mod webhook;

pub use command::{Command, run};
pub use error::ServerError;
