//! A world for unit tests: fixed time, fixed randomness, the variables given.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use slipway_domain::clock::testing::{FixedClock, FixedEntropy, at};
use tokio::sync::Notify;

use crate::env::{Env, Interrupt};

/// An environment with these variables.
pub(crate) fn env(vars: &[(&str, &str)]) -> Env {
    Env {
        vars: vars
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<BTreeMap<_, _>>(),
        cwd: PathBuf::from("/nowhere"),
        clock: Arc::new(FixedClock(at(1_760_000_000_000))),
        entropy: Arc::new(FixedEntropy(7)),
        ask: None,
        interrupt: Interrupt::Notify(Arc::new(Notify::new())),
    }
}
