//! The private Postgres of `slipway up`: found on the host or else run out of an image, reached over a Unix socket only.
//!
//! Promises: it never listens on the network; as root it runs as an unprivileged user of its own; a start that was cut
//! off leaves nothing half made; a cluster of another major version is not touched.

mod cluster;
mod contained;
mod find;
mod pidfile;
mod place;
mod programs;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub use cluster::Cluster;
pub use contained::{Contained, Image, bring_image, in_image};
pub use find::{find, places};
pub use programs::{Binaries, Programs, Source};

/// Where the cluster of a platform is.
fn directory(data_dir: &Path) -> PathBuf {
    data_dir.join("postgres")
}

/// Whether these can run the platform's cluster, or make it.
pub fn suffice(found: &[Binaries], data_dir: &Path) -> bool {
    cluster::choose(found, &directory(data_dir).join("data")).is_ok()
}

/// Stops the server that a platform has left, whose parent was killed; says whether there was one.
pub(crate) fn stop_leftover(data_dir: &Path) -> Result<bool, PostgresError> {
    cluster::stop_leftover(&directory(data_dir).join("data"))
}

/// Whether the platform has a cluster of its own.
pub(crate) fn has_cluster(data_dir: &Path) -> bool {
    directory(data_dir).join("data/PG_VERSION").exists()
}

/// Why the private Postgres cannot run.
#[derive(Debug, thiserror::Error)]
pub enum PostgresError {
    /// There are no programs.
    #[error(
        "no PostgreSQL 15 or later on this machine: install it (Debian, Ubuntu: `apt-get install postgresql`), or set SLIPWAY_DATABASE_URL to one elsewhere"
    )]
    NotFound,
    /// There are none here, and no image of them.
    #[error(
        "PostgreSQL is not installed, and the image {image} cannot stand in: {said}. Install PostgreSQL 15 or later (Debian, Ubuntu: `apt-get install postgresql`), choose another image with SLIPWAY_POSTGRES_IMAGE, or set SLIPWAY_DATABASE_URL to a database elsewhere"
    )]
    Image {
        /// Which.
        image: String,
        /// Why not.
        said: String,
    },
    /// The cluster was made by another major version.
    #[error(
        "the database in {dir} was made by PostgreSQL {found}, and only {have} is here: install PostgreSQL {found} beside it or set SLIPWAY_POSTGRES_IMAGE to an image of it, or bring the data over with pg_upgrade; nothing was touched"
    )]
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
    /// Its user cannot get to its data.
    #[error(
        "the user {user}, as whom Postgres runs, cannot pass through {dir}: `chmod o+x {dir}`, or choose another SLIPWAY_DATA_DIR"
    )]
    Unreachable {
        /// Who.
        user: String,
        /// The directory in the way.
        dir: String,
    },
    /// It did not get ready.
    #[error("the private Postgres did not get ready in time; its log is {0}")]
    NotReady(String),
}

/// Runs one of the programs to its end.
fn run(program: &str, mut command: Command) -> Result<(), PostgresError> {
    let fail = |error| PostgresError::Io {
        what: format!("{program} cannot be run"),
        error,
    };
    let output = command.stdin(Stdio::null()).output().map_err(fail)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let last = lines[lines.len().saturating_sub(5)..].join("; ");
    Err(PostgresError::Program {
        program: program.to_owned(),
        said: last,
    })
}
