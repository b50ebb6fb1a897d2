//! What somebody must be told of, once, and told again when it is over.

use crate::Timestamp;
use crate::ids::AlertId;

/// What is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AlertKind {
    /// An instance of the release that serves ends again and again.
    CrashLoop,
    /// A release runs that the database does not know, since it was put back to an older point.
    UnknownRelease,
    /// A certificate is about to end, or has, and could not be renewed.
    CertificateExpiring,
}

impl AlertKind {
    const ALL: [Self; 3] = [Self::CrashLoop, Self::UnknownRelease, Self::CertificateExpiring];

    /// The word in the database, in answers and in messages.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CrashLoop => "crash_loop",
            Self::UnknownRelease => "unknown_release",
            Self::CertificateExpiring => "certificate_expiring",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The environment that an alert is of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AlertPlace {
    /// The team's name.
    pub team: String,
    /// The app's name.
    pub app: String,
    /// The environment's name.
    pub environment: String,
}

impl Notice {
    /// Where, in words.
    pub fn subject(&self) -> String {
        self.place.as_ref().map_or_else(
            || "the platform".to_owned(),
            |place| format!("{} ({})", place.app, place.environment),
        )
    }
}

/// An alert as it is told to whoever is to hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Which alert: the same when it begins and when it is over.
    pub id: AlertId,
    /// What is wrong.
    pub kind: AlertKind,
    /// Where; `None` for the platform itself.
    pub place: Option<AlertPlace>,
    /// What happened, in a sentence.
    pub message: String,
    /// Since when.
    pub started_at: Timestamp,
    /// Until when, once it is over.
    pub ended_at: Option<Timestamp>,
}
