//! The roles of a managed database.
//!
//! | role | may |
//! |---|---|
//! | the database's owner | everything inside the database; apps log in as it |
//! | its reader | read everything inside, change nothing; people log in as it |
//! | the one that makes backups | copy the whole server and its log |
//! | anybody else | not even connect |

use slipway_domain::database::{inner_name, reader_name};
use slipway_domain::ports::{DatabaseRoles, ServerError, ServerFacts, ServerLogin};
use sqlx::postgres::PgConnection;
use sqlx::{AssertSqlSafe, Row as _};

use crate::replication::BACKUP_ROLE;
use crate::sql::{close, connect, error, execute, ident, literal};

/// Connections of people who look around.
const READERS_MAX: u32 = 5;
/// Lines that backups are made over.
const BACKUPS_MAX: u32 = 6;

/// Makes what is missing, sets right what is wrong, and says how the server is.
pub(crate) async fn prepare(login: &ServerLogin, roles: &DatabaseRoles) -> Result<ServerFacts, ServerError> {
    let mut line = connect(login, "postgres").await?;
    let (name, reader) = (inner_name(&roles.name), reader_name(&roles.name));
    if !is_prepared(&mut line, &name, &reader, roles).await? {
        make(&mut line, login, (&name, &reader), roles).await?;
    }
    let facts = facts(&mut line).await;
    close(line).await;
    facts
}

/// Whether nothing is missing: the rights of [`make`] come last and all at once, so they tell of everything before them.
async fn is_prepared(
    line: &mut PgConnection,
    name: &str,
    reader: &str,
    roles: &DatabaseRoles,
) -> Result<bool, ServerError> {
    let question = "select count(*) = 3
         and exists (select from pg_database where datname = $1 and datdba = (select oid from pg_roles where rolname = $1)
            and not has_database_privilege('public', oid, 'connect'))
         from pg_roles where rolname = $1 and rolconnlimit = $3 and rolcanlogin or rolname = $2 and rolcanlogin
            or rolname = $4 and rolcanlogin and rolreplication";
    let row = sqlx::query(question)
        .bind(name)
        .bind(reader)
        .bind(i32::try_from(roles.connections).unwrap_or(i32::MAX))
        .bind(BACKUP_ROLE)
        .fetch_one(line)
        .await
        .map_err(|e| error(&e))?;
    row.try_get(0).map_err(|e| error(&e))
}

async fn make(
    line: &mut PgConnection,
    login: &ServerLogin,
    (name, reader): (&str, &str),
    roles: &DatabaseRoles,
) -> Result<(), ServerError> {
    // A statement with a password in it must not be in the server's log, not even if it fails.
    execute(
        line,
        "set log_min_error_statement = panic; set log_min_duration_statement = -1".into(),
    )
    .await?;
    let role = |role: &str, password: &str, connections: u32, replicates: &str| {
        let (ident, text, password) = (ident(role), literal(role), literal(password));
        format!(
            "do $$ begin if not exists (select from pg_roles where rolname = {text}) then create role {ident}; end if; end $$;
             alter role {ident} login nosuperuser nocreatedb nocreaterole {replicates} connection limit {connections} password {password};"
        )
    };
    let (owner_password, reader_password) = (roles.owner_password.expose(), roles.reader_password.expose());
    execute(line, role(name, owner_password, roles.connections, "noreplication")).await?;
    execute(line, role(reader, reader_password, READERS_MAX, "noreplication")).await?;
    let backup_password = roles.backup_password.expose();
    execute(line, role(BACKUP_ROLE, backup_password, BACKUPS_MAX, "replication")).await?;
    let found = sqlx::query("select 1 from pg_database where datname = $1")
        .bind(name)
        .fetch_optional(&mut *line);
    if found.await.map_err(|e| error(&e))?.is_none() {
        let ident = ident(name);
        execute(
            line,
            format!("create database {ident} owner {ident} encoding 'UTF8' template template0"),
        )
        .await?;
    }
    let (owner, reader) = (ident(name), ident(reader));
    let mut inside = connect(login, name).await?;
    let done = execute(
        &mut inside,
        format!("alter schema public owner to {owner}; revoke create on schema public from public;"),
    )
    .await;
    close(inside).await;
    done?;
    // Several statements in one message are one transaction.
    let rights = format!(
        "alter database {owner} owner to {owner};
         revoke all on database {owner} from public;
         revoke connect on database postgres, template1 from public;
         grant connect on database {owner} to {reader};
         grant pg_read_all_data to {reader};
         alter role {reader} set default_transaction_read_only = on;"
    );
    execute(line, rights).await
}

async fn facts(line: &mut PgConnection) -> Result<ServerFacts, ServerError> {
    let question =
        "select current_setting('server_version'), (select sum(pg_database_size(oid))::bigint from pg_database)";
    let row = sqlx::query(AssertSqlSafe(question))
        .fetch_one(line)
        .await
        .map_err(|e| error(&e))?;
    let size: i64 = row.try_get(1).map_err(|e| error(&e))?;
    Ok(ServerFacts {
        version: row.try_get(0).map_err(|e| error(&e))?,
        size_bytes: u64::try_from(size).unwrap_or(0),
    })
}
