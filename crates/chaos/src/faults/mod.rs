//! Proxies that stand between the platform and what it depends on, and do to single calls what a script says.
//!
//! Promises: what the script does not name is forwarded as it came; every call is counted and logged before anything
//! happens to it; a test can hold a call at a known point for as long as it likes, for example to kill a process there.

mod control;
pub mod http;
pub mod postgres;
mod script;

pub use self::control::{CALLS_LOGGED_MAX, Call, Control, HOLDS_MAX, Held, Missed};
pub use self::script::{Fault, Moment, Script};
