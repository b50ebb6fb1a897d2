//! One line to a server, and what its errors mean.

use slipway_domain::ports::{ServerError, ServerLogin};
use sqlx::postgres::{PgConnectOptions, PgConnection, PgSslMode};
use sqlx::{AssertSqlSafe, ConnectOptions as _, Connection as _};

/// A line to one database of a server, as its superuser.
pub(crate) async fn connect(login: &ServerLogin, database: &str) -> Result<PgConnection, ServerError> {
    let options = PgConnectOptions::new()
        .host(&login.address.ip().to_string())
        .port(login.address.port())
        .username("postgres")
        .password(login.password.expose())
        .database(database)
        // It is inside a network of this machine that only the platform and the database's own apps are in.
        .ssl_mode(PgSslMode::Disable)
        .application_name("slipway")
        .disable_statement_logging();
    options.connect().await.map_err(|e| error(&e))
}

/// Runs statements.
pub(crate) async fn execute(line: &mut PgConnection, statements: String) -> Result<(), ServerError> {
    let done = sqlx::raw_sql(AssertSqlSafe(statements)).execute(line).await;
    done.map(drop).map_err(|e| error(&e))
}

/// Ends a line; that it could not be said is all the same.
pub(crate) async fn close(line: PgConnection) {
    let _ = line.close().await;
}

/// What an error means to whoever waits for the server.
pub(crate) fn error(error: &sqlx::Error) -> ServerError {
    match error {
        sqlx::Error::Database(db) => {
            let code = db.code().unwrap_or_default().into_owned();
            match code.as_str() {
                // Starting, stopping, recovering; too many connections; out of memory.
                "57P01" | "57P02" | "57P03" | "53300" | "53200" => ServerError::Away(db.message().to_owned()),
                _ => ServerError::Refused(format!("{} (SQLSTATE {code})", db.message())),
            }
        }
        sqlx::Error::Io(_) | sqlx::Error::Tls(_) | sqlx::Error::Protocol(_) => ServerError::Away(error.to_string()),
        other => ServerError::Refused(other.to_string()),
    }
}

/// A name in a statement.
pub(crate) fn ident(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in a statement.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_texts_stay_what_they_are_in_a_statement() {
        assert_eq!(ident("a\"b"), "\"a\"\"b\"");
        assert_eq!(literal("it's"), "'it''s'");
    }
}
