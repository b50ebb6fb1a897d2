//! `slipway db`.

use clap::{Args, Subcommand};
use slipway_domain::name::{DatabaseName, TeamName, VariableName};
use slipway_domain::quantity::{Bytes, MilliCpu};

use super::{StageArgs, WaitArgs};

/// What a database to make is like.
#[derive(Debug, Clone, Args)]
pub struct DatabaseArgs {
    /// The major version of PostgreSQL, such as 17
    #[arg(long, value_name = "MAJOR")]
    pub postgres: Option<String>,
    /// Memory of its server, such as 256MiB
    #[arg(long, value_name = "SIZE")]
    pub memory: Option<Bytes>,
    /// CPU of its server, such as 0.5
    #[arg(long, value_name = "CORES")]
    pub cpu: Option<MilliCpu>,
    /// Connections at once
    #[arg(long, value_name = "N")]
    pub connections: Option<u32>,
    /// The team that it is made for
    #[arg(long)]
    pub team: Option<TeamName>,
}

/// `slipway db`
#[derive(Debug, Clone, Subcommand)]
pub enum DbCommand {
    /// List databases
    #[command(visible_alias = "ls")]
    List,
    /// Make a database, and wait until it is ready
    Create {
        /// Its name
        name: DatabaseName,
        #[command(flatten)]
        database: DatabaseArgs,
        /// Let the app (-a) reach it when it is ready
        #[arg(long)]
        attach: bool,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Show a database
    Show {
        /// Its name
        name: DatabaseName,
    },
    /// Let an app reach a database: a secret tells it how
    Attach {
        /// The database
        name: DatabaseName,
        /// What the secret is called
        #[arg(long = "as", value_name = "NAME", default_value = "DATABASE_URL")]
        variable: VariableName,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Have an app reach a database no more: its secret goes
    Detach {
        /// The database
        name: DatabaseName,
        #[command(flatten)]
        stage: StageArgs,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Make a backup of a database now; one a day is made by itself
    Backup {
        /// The database
        name: DatabaseName,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// List the backups of a database
    Backups {
        /// The database
        name: DatabaseName,
    },
    /// Make another database as this one was, from its backups, and wait until it is ready
    Restore {
        /// The database whose backups it is made from
        name: DatabaseName,
        /// What the new one is called; nothing is restored into one that is there
        #[arg(long, value_name = "NAME")]
        into: DatabaseName,
        /// As it was at this moment, such as 2026-01-31T12:00:00Z; all that is stored, if nothing is given
        #[arg(long, value_name = "TIME")]
        to: Option<chrono::DateTime<chrono::Utc>>,
        /// As it was when this backup was made
        #[arg(long, value_name = "ID", conflicts_with = "to")]
        backup: Option<String>,
        #[command(flatten)]
        wait: WaitArgs,
    },
    /// Show which moments of a database can be restored, and what would be lost now
    Recovery {
        /// The database
        name: DatabaseName,
    },
    /// Delete a database with its data
    #[command(visible_alias = "rm")]
    Delete {
        /// Its name
        name: DatabaseName,
        /// Delete it even while apps may reach it
        #[arg(long)]
        force: bool,
        /// Do not ask
        #[arg(long, short)]
        yes: bool,
    },
}
