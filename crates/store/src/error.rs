//! The three ways the database says no: it cannot be asked, it refuses, or it holds something it should not.

/// Why a statement did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be reached or does not answer in time: nothing is known, try again.
    #[error("the database does not answer: {0}")]
    Unavailable(String),
    /// A row like this exists.
    #[error("{0:?} is taken")]
    Duplicate(Constraint),
    /// The row was changed or removed meanwhile.
    #[error("{0} was changed meanwhile")]
    LostRace(&'static str),
    /// Another process leads; this one must not write.
    #[error("the lease is held by another process")]
    Fenced,
    /// A row that does not parse.
    #[error("inconsistent data in {table}.{column} of {id}")]
    Inconsistent {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
        /// Which row.
        id: String,
    },
    /// The schema was made by a newer version.
    #[error("the database has schema version {found}, this program knows {known}: upgrade the program")]
    SchemaNewer {
        /// In the database.
        found: i64,
        /// In the program.
        known: i64,
    },
    /// Anything else.
    #[error("database: {0}")]
    Internal(String),
}

/// Uniqueness that the database decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Constraint {
    /// `teams_name_key`.
    TeamName,
    /// `apps_name_key`.
    AppName,
    /// `environments_name_key`.
    EnvironmentName,
    /// `environments_subnet_key`, `databases_subnet_key`.
    Subnet,
    /// `domains_pkey`.
    Domain,
    /// `databases_name_key`.
    DatabaseName,
    /// `database_attachments_pkey`, `database_attachments_variable_key`.
    Attachment,
    /// `tokens_hash_key`.
    TokenHash,
    /// `deployments_unfinished`.
    UnfinishedDeployment,
    /// Any other.
    Other,
}

fn constraint(name: Option<&str>) -> Constraint {
    match name {
        Some("teams_name_key") => Constraint::TeamName,
        Some("apps_name_key") => Constraint::AppName,
        Some("environments_name_key") => Constraint::EnvironmentName,
        Some("environments_subnet_key" | "databases_subnet_key") => Constraint::Subnet,
        Some("domains_pkey") => Constraint::Domain,
        Some("databases_name_key") => Constraint::DatabaseName,
        Some("database_attachments_pkey" | "database_attachments_variable_key") => Constraint::Attachment,
        Some("tokens_hash_key") => Constraint::TokenHash,
        Some("deployments_unfinished") => Constraint::UnfinishedDeployment,
        _ => Constraint::Other,
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(db) => match db.code().as_deref() {
                Some("23505") => Self::Duplicate(constraint(db.constraint())),
                // Shutdown, start-up, too many connections, lock and statement time-outs, read-only, out of space.
                Some(code)
                    if code.starts_with("57P")
                        || code.starts_with("53")
                        || code.starts_with("08")
                        || matches!(code, "57014" | "55P03" | "25006" | "40001" | "40P01") =>
                {
                    Self::Unavailable(db.message().to_owned())
                }
                // Shut by hand, as while it is restored.
                Some("55000") if db.message().contains("not currently accepting connections") => {
                    Self::Unavailable(db.message().to_owned())
                }
                Some("3D000") => Self::Internal(format!("{}: make it first (`createdb`)", db.message())),
                // Without the place in the server's own source that the library adds.
                Some(code) => Self::Internal(format!("{} (SQLSTATE {code})", db.message())),
                None => Self::Internal(db.message().to_owned()),
            },
            sqlx::Error::PoolTimedOut => {
                Self::Unavailable("no connection to it could be made, or came free, in time".into())
            }
            sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::PoolClosed | sqlx::Error::WorkerCrashed => {
                Self::Unavailable(error.to_string())
            }
            _ => Self::Internal(error.to_string()),
        }
    }
}
