//! The nouns of Slipway and the transitions they may make.
//!
//! Promises: no I/O, no `async`, no clock, no randomness. Everything that has a meaning is a type here, parsed
//! once at the edge, so that no other crate passes a bare `String` around that could be wrong.

pub mod access;
pub mod alert;
pub mod audit;
pub mod backup;
pub mod clock;
pub mod cron;
pub mod database;
pub mod deployment;
pub mod domains;
pub mod generation;
pub mod ids;
pub mod image;
pub mod limits;
pub mod name;
pub mod nearest;
pub mod observed;
pub mod ports;
pub mod quantity;
pub mod release;
pub mod rest;
pub mod routing;
pub mod run;
pub mod secret;
pub mod spec;
pub mod token;
pub mod traffic;

pub use clock::{Clock, Entropy, Timestamp};
pub use generation::{Epoch, Generation, ReleaseNumber};
