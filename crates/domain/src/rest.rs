//! Whether an idle environment rests, and how deeply.
//!
//! | from | to | when |
//! |---|---|---|
//! | awake | dozing | idle for long enough: from here on proxies hold requests |
//! | dozing | paused, or asleep | every proxy holds them and none is in flight any more |
//! | paused | asleep | paused for long enough |
//! | any | awake | a request waits, or something is deployed |
//!
//! Promises: nothing is frozen or stopped before it is written down that it may be, so that who takes over knows that a
//! running instance may be on its way out.

use serde::{Deserialize, Serialize};

/// How deeply an environment rests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// It serves.
    #[default]
    Awake,
    /// Requests are held; nothing is frozen or stopped yet.
    Dozing,
    /// Its instances are frozen, or are being frozen.
    Paused,
    /// Its instances are stopped, or are being stopped.
    Asleep,
}

impl Rest {
    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Awake => "awake",
            Self::Dozing => "dozing",
            Self::Paused => "paused",
            Self::Asleep => "asleep",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Awake, Self::Dozing, Self::Paused, Self::Asleep]
            .into_iter()
            .find(|rest| rest.as_str() == text)
    }
}
