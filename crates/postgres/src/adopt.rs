//! Makes a server that was restored another database's: its database and roles get the new names and passwords.

use chrono::{DateTime, Utc};
use slipway_domain::database::{inner_name, reader_name};
use slipway_domain::name::DatabaseName;
use slipway_domain::ports::{DatabaseRoles, ServerError, ServerLogin};
use slipway_domain::secret::Secret;
use sqlx::postgres::PgConnection;

use crate::replication::BACKUP_ROLE;
use crate::sql::{close, connect, error, execute, ident, literal};

/// What was found in a restored server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Adopted {
    /// When its last transaction was committed, by its own clock then.
    pub last_commit_at: Option<DateTime<Utc>>,
}

/// Gives the database and the roles that are called after a source the names and passwords of another one; all of it or
/// nothing. It is away until it has recovered.
pub async fn adopt(
    login: &ServerLogin,
    source: &DatabaseName,
    (roles, superuser_password): (&DatabaseRoles, &Secret),
) -> Result<Adopted, ServerError> {
    let within = tokio::time::timeout(crate::QUESTION_MAX, adopted(login, source, (roles, superuser_password)));
    let too_long = || ServerError::Away("it did not answer in time".into());
    within.await.unwrap_or_else(|_| Err(too_long()))
}

async fn adopted(
    login: &ServerLogin,
    source: &DatabaseName,
    (roles, superuser_password): (&DatabaseRoles, &Secret),
) -> Result<Adopted, ServerError> {
    let mut line = connect(login, "postgres").await?;
    let last_commit_at = last_commit(&mut line).await?;
    execute(
        &mut line,
        "set log_min_error_statement = panic; set log_min_duration_statement = -1".into(),
    )
    .await?;
    let (old, new) = (inner_name(source), inner_name(&roles.name));
    let (old_reader, new_reader) = (reader_name(source), reader_name(&roles.name));
    let renamed = (old != new).then(|| {
        let (old, new) = (ident(&old), ident(&new));
        let (old_reader, new_reader) = (ident(&old_reader), ident(&new_reader));
        format!(
            "alter database {old} rename to {new};
             alter role {old} rename to {new};
             alter role {old_reader} rename to {new_reader};"
        )
    });
    let passwords = [
        (new.as_str(), &roles.owner_password),
        (new_reader.as_str(), &roles.reader_password),
        (BACKUP_ROLE, &roles.backup_password),
        ("postgres", superuser_password),
    ];
    let given = passwords
        .map(|(role, password)| format!("alter role {} password {};", ident(role), literal(password.expose())));
    let statements: String = renamed.into_iter().chain(given).collect();
    // Several statements in one message are one transaction.
    let done = execute(&mut line, statements).await;
    close(line).await;
    done.map(|()| Adopted { last_commit_at })
}

async fn last_commit(line: &mut PgConnection) -> Result<Option<DateTime<Utc>>, ServerError> {
    let found = sqlx::query_scalar("select timestamp from pg_last_committed_xact()").fetch_one(line);
    found.await.map_err(|e| error(&e))
}
