//! The private Postgres of `slipway up`: found on the host, reached over a Unix socket only.
//!
//! Promises: it never listens on the network; as root it runs as an unprivileged user of its own; a start that was cut
//! off leaves nothing half made; a cluster of another major version is not touched.

mod cluster;
mod find;

pub use cluster::Cluster;
pub use find::{Binaries, find};

/// Why the private Postgres cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// There are no programs.
    #[error("no PostgreSQL 15 or later on this machine: install it (Debian, Ubuntu: `apt-get install postgresql`), or set SLIPWAY_DATABASE_URL to one elsewhere")]
    NotFound,
    /// The cluster was made by another major version.
    #[error("the database in {dir} was made by PostgreSQL {found}, and only {have} is here: install PostgreSQL {found} beside it, or bring the data over with pg_upgrade; nothing was touched")]
    OtherMajor {
        /// Where it is.
        dir: String,
        /// Its version.
        found: String,
        /// What is here.
        have: String,
    },
    /// A program failed.
    #[error("{program}: {said}")]
    Program {
        /// Which.
        program: String,
        /// Its last words.
        said: String,
    },
    /// A file or a directory.
    #[error("{what}: {error}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it did not work.
        error: std::io::Error,
    },
    /// It did not get ready.
    #[error("the private Postgres did not get ready in time; its log is {0}")]
    NotReady(String),
}
