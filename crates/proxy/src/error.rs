//! What can go wrong: at start ([`ProxyError`]) and in a request ([`Failure`]).
//!
//! Promises: every failure of a request names whose fault it is and has one fixed status and code.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use http::StatusCode;

/// Why the proxy could not start.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// The address is taken, or a port below 1024 without the right to it.
    #[error("cannot listen on {address}: {error}; free the port or choose another one")]
    Bind {
        /// Where.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A socket handed over is not usable.
    #[error("the socket handed over for {what} cannot be used: {error}")]
    Adopt {
        /// Which listener.
        what: &'static str,
        /// What the system said.
        error: io::Error,
    },
    /// The state directory is not usable.
    #[error("cannot use the state directory {path}: {error}; make it a directory this user may write")]
    StateDir {
        /// Where.
        path: PathBuf,
        /// What the system said.
        error: io::Error,
    },
    /// TLS could not be set up.
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// Whose fault a failure is, for logs and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Source {
    Client,
    Platform,
    App,
}

impl Source {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Platform => "platform",
            Self::App => "app",
        }
    }
}

/// Why a request was not answered by an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request breaks a rule of HTTP; the text says which.
    BadRequest(&'static str),
    /// More than 128 header fields.
    HeadersTooLarge,
    /// `CONNECT`: this is not a forward proxy.
    NotAForwardProxy,
    /// The name is not covered by the certificate of this connection (RFC 9110 section 15.5.20).
    Misdirected,
    /// No app has this name.
    NoSuchApp,
    /// Nothing was ever deployed.
    Empty,
    /// No instance is ready: the first release is on its way, or what served is started again.
    Starting,
    /// The last deployment failed and nothing serves.
    DeployFailed,
    /// Stopped by its owner.
    Stopped,
    /// In maintenance.
    Maintenance,
    /// Asleep or held for longer than a request may wait.
    HeldTooLong,
    /// Serving, but no instance is there.
    NoInstance,
    /// All instances are full and the line is too long.
    Overloaded,
    /// No instance accepted a connection.
    Refused,
    /// An instance closed the connection before it answered, or answered something that is not HTTP.
    Broken,
    /// No first byte in time.
    TimedOut,
    /// The body is longer than the app allows.
    TooLarge,
    /// The client stopped sending its body.
    ClientStalled,
    /// The client went away.
    ClientGone,
}

impl Failure {
    /// Whose fault.
    pub(crate) const fn source(self) -> Source {
        match self {
            Self::BadRequest(_)
            | Self::HeadersTooLarge
            | Self::NotAForwardProxy
            | Self::Misdirected
            | Self::NoSuchApp
            | Self::TooLarge
            | Self::ClientStalled
            | Self::ClientGone => Source::Client,
            Self::Empty | Self::Starting | Self::Stopped | Self::Maintenance | Self::HeldTooLong => Source::Platform,
            Self::DeployFailed
            | Self::NoInstance
            | Self::Overloaded
            | Self::Refused
            | Self::Broken
            | Self::TimedOut => Source::App,
        }
    }

    /// The status it is answered with. 499 is never sent: the client is gone, only the log shows it.
    pub(crate) fn status(self) -> StatusCode {
        match self {
            Self::BadRequest(_) | Self::NotAForwardProxy => StatusCode::BAD_REQUEST,
            Self::HeadersTooLarge => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            Self::Misdirected => StatusCode::MISDIRECTED_REQUEST,
            Self::NoSuchApp | Self::Empty => StatusCode::NOT_FOUND,
            Self::Starting
            | Self::DeployFailed
            | Self::Stopped
            | Self::Maintenance
            | Self::HeldTooLong
            | Self::NoInstance
            | Self::Overloaded => StatusCode::SERVICE_UNAVAILABLE,
            Self::Refused | Self::Broken => StatusCode::BAD_GATEWAY,
            Self::TimedOut => StatusCode::GATEWAY_TIMEOUT,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::ClientStalled => StatusCode::REQUEST_TIMEOUT,
            Self::ClientGone => StatusCode::from_u16(499).unwrap_or(StatusCode::BAD_REQUEST),
        }
    }

    /// The stable name in problem bodies, logs and metrics.
    pub(crate) const fn code(self) -> &'static str {
        match self {
            Self::BadRequest(_) => "bad_request",
            Self::HeadersTooLarge => "headers_too_large",
            Self::NotAForwardProxy => "not_a_forward_proxy",
            Self::Misdirected => "misdirected_request",
            Self::NoSuchApp => "no_such_app",
            Self::Empty => "nothing_deployed",
            Self::Starting => "app_starting",
            Self::DeployFailed => "app_failed",
            Self::Stopped => "app_stopped",
            Self::Maintenance => "app_maintenance",
            Self::HeldTooLong => "app_waking",
            Self::NoInstance => "no_healthy_instance",
            Self::Overloaded => "app_overloaded",
            Self::Refused => "app_refused_connection",
            Self::Broken => "app_broke_connection",
            Self::TimedOut => "app_timed_out",
            Self::TooLarge => "body_too_large",
            Self::ClientStalled => "body_stalled",
            Self::ClientGone => "client_gone",
        }
    }

    /// When to try again, in seconds.
    pub(crate) const fn retry_after_secs(self) -> Option<u32> {
        match self {
            Self::Starting | Self::HeldTooLong => Some(5),
            Self::Overloaded | Self::NoInstance => Some(2),
            Self::Maintenance => Some(120),
            _ => None,
        }
    }

    /// Whether the connection cannot be used for another HTTP/1.1 request.
    pub(crate) const fn closes_connection(self) -> bool {
        matches!(
            self,
            Self::BadRequest(_)
                | Self::HeadersTooLarge
                | Self::NotAForwardProxy
                | Self::TooLarge
                | Self::ClientStalled
                | Self::ClientGone
        )
    }
}
