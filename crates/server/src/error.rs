//! Why the server cannot start or go on, in words for the operator.

use slipway_store::StoreError;

/// Why the server cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] crate::config::ConfigError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Something that must be there first is not; the text says what to do.
    #[error("{0}")]
    Setup(String),
    /// A file or a socket.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it did not work.
        error: std::io::Error,
    },
}

impl ServerError {
    /// Whether it stays so until somebody mends something: trying again does not help.
    pub(crate) fn needs_mending(&self) -> bool {
        match self {
            Self::Config(_) | Self::Setup(_) => true,
            Self::Store(error) => matches!(error, StoreError::SchemaNewer { .. }),
            Self::Io { .. } => false,
        }
    }

    /// A file or socket error with what was tried.
    pub fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |error| Self::Io { what, error }
    }
}
