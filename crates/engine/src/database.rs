//! Servers of managed databases, as the engine is told of them.

use std::collections::BTreeSet;
use std::net::IpAddr;

use slipway_domain::Epoch;
use slipway_domain::database::DatabaseSize;
use slipway_domain::ids::{DatabaseId, EnvironmentId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::name::DatabaseName;
use slipway_domain::secret::Secret;

/// A server and all that it is made from.
#[derive(Debug, Clone)]
pub struct DatabaseSpec {
    /// Which of the installations that share the engine.
    pub installation: String,
    /// Whose it is.
    pub team: TeamId,
    /// Its identifier.
    pub id: DatabaseId,
    /// Its name.
    pub name: DatabaseName,
    /// The major version, which says where its files are.
    pub major: u16,
    /// The image.
    pub image: Pin,
    /// How much it may use.
    pub size: DatabaseSize,
    /// The password of its superuser, which its files are made with.
    pub password: Secret,
    /// The subnet of its network.
    pub subnet: String,
    /// The lease under which it is made.
    pub epoch: Epoch,
}

/// A server that the engine has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundDatabase {
    /// Whose server it is.
    pub id: DatabaseId,
    /// The container.
    pub container: String,
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it does not run.
    pub exit_code: Option<i64>,
    /// Whether the kernel ended it for want of memory.
    pub oom_killed: bool,
    /// What it was made from, in short: another one means that it is to be made anew.
    pub settings: String,
    /// Where it is reached from this machine.
    pub address: Option<IpAddr>,
    /// The environments whose networks it is in.
    pub environments: BTreeSet<EnvironmentId>,
}

/// An archive that comes in pieces.
pub type FileStream = futures_util::stream::BoxStream<'static, Result<bytes::Bytes, String>>;

/// A server that recovers the files of a database.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecoveringServer {
    /// Whether it runs.
    pub running: bool,
    /// How it ended, if it does not run.
    pub exit_code: Option<i64>,
    /// Where it is reached from this machine.
    pub address: Option<IpAddr>,
}

impl DatabaseSpec {
    /// What the server is made from, in short.
    pub fn settings(&self) -> String {
        let settings = self.size.server_settings();
        let settings: Vec<String> = settings.iter().map(|(name, value)| format!("{name}={value}")).collect();
        format!(
            "{} {} {} {}",
            self.image.digest(),
            self.size.memory,
            self.size.cpu,
            settings.join(" ")
        )
    }
}
