//! Load, faults and an oracle: what tests and the soak use to prove that no request is lost and nothing is stuck.
//!
//! Promises: nothing here knows how the platform works inside. [`load`] is a client like any other, [`faults`] stands
//! between the platform and what it depends on, [`oracle`] judges facts that others have gathered. Only ever a
//! dev-dependency.

pub mod faults;
pub mod load;
pub mod oracle;
