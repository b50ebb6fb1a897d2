//! What the API needs of the world but may not touch itself: traits that `server` wires to the engine and the vault.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;

use crate::alert::Notice;
use crate::clock::Timestamp;
use crate::domains::{Inspection, ZoneAccess};
use crate::generation::ReleaseNumber;
use crate::ids::{EnvironmentId, RunId, TeamId};
use crate::image::{ImageReference, Pin as ImagePin, Platform};
use crate::name::{DomainName, HostName};
use crate::observed::{Instance, Observed};
use crate::secret::{Sealed, Secret};

/// A boxed future, so that the traits can be objects.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Where an image is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PullPolicy {
    /// In the registry that the reference names.
    #[default]
    Registry,
    /// On the local engine only, pinned by id.
    Local,
}

/// Pull credentials.
#[derive(Debug, Clone)]
pub struct RegistryCredentials {
    /// User name.
    pub username: String,
    /// Password or token.
    pub password: Secret,
}

/// Why an image cannot be had. The text of each variant says what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// No such repository, tag, digest or local image.
    #[error("{0}")]
    NotFound(String),
    /// The registry refuses the credentials, or wants some.
    #[error("{0}")]
    Unauthorized(String),
    /// The image is for other platforms.
    #[error("the image is for {}, this machine runs {wanted}", offered.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "))]
    Platform {
        /// What this machine runs.
        wanted: Platform,
        /// What the image offers.
        offered: Vec<Platform>,
    },
    /// The registry does not answer.
    #[error("{0}")]
    Unavailable(String),
    /// The container engine does not answer.
    #[error("{0}")]
    EngineUnavailable(String),
}

/// Turns a reference into something that cannot move.
pub trait ImageResolver: Send + Sync + 'static {
    /// Asks the registry (or the local engine) what the reference is right now, and checks the platform.
    fn resolve<'a>(
        &'a self,
        reference: &'a ImageReference,
        policy: PullPolicy,
        credentials: Option<&'a RegistryCredentials>,
    ) -> BoxFuture<'a, Result<ImagePin, ResolveError>>;
}

/// Tells somebody what is wrong.
pub trait Notifier: Send + Sync + 'static {
    /// Tells it; an error says why nobody can have heard it.
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>>;
}

/// A domain that a team asks for, as far as what DNS says of it matters.
#[derive(Debug, Clone)]
pub struct Claim {
    /// The name.
    pub host: DomainName,
    /// Proves whose it is, in a TXT record.
    pub token: String,
    /// Whether records that point here prove whose it is.
    pub routed_proves: bool,
    /// Whether it has been proven before.
    pub is_proven: bool,
    /// Whether another team has it, or gave it up a short while ago: then it cannot be proven.
    pub is_anothers: bool,
    /// The zones that records can be made in for its team.
    pub zones: Vec<ZoneAccess>,
}

/// Asks DNS about a domain, now, and says what that means.
pub trait DomainInspector: Send + Sync + 'static {
    /// What a look comes to.
    fn inspect(&self, claim: Claim) -> BoxFuture<'_, Inspection>;
}

/// How a zone is changed.
#[derive(Debug, Clone)]
pub struct ZoneAccount {
    /// Where the zone begins.
    pub zone: HostName,
    /// Who keeps it: a word of [`PROVIDERS`](crate::domains::PROVIDERS).
    pub provider: String,
    /// What that one wants to know.
    pub settings: BTreeMap<String, Secret>,
}

/// A TXT record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextRecord {
    /// Its name in full.
    pub name: String,
    /// What it says.
    pub value: String,
}

/// Changes zones.
pub trait ZoneEditor: Send + Sync + 'static {
    /// Whether an account can be used, as far as that can be told without asking; what is wrong and what to do otherwise.
    fn check(&self, account: &ZoneAccount) -> Result<(), String>;
    /// Makes a record beside those there are.
    fn add<'a>(&'a self, account: &'a ZoneAccount, record: &'a TextRecord) -> BoxFuture<'a, Result<(), String>>;
    /// Takes it back; one that is not there has been.
    fn remove<'a>(&'a self, account: &'a ZoneAccount, record: &'a TextRecord) -> BoxFuture<'a, Result<(), String>>;
    /// What a name is an alias of, at the end.
    fn alias<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<String>>;
    /// Whether all of the zone's servers that can be asked tell a record.
    fn is_published<'a>(&'a self, account: &'a ZoneAccount, record: &'a TextRecord) -> BoxFuture<'a, bool>;
}

/// What is to be known of a certificate that somebody brought along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UploadedCertificate {
    /// Who issued it.
    pub issuer: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// Looks at certificates that people bring along. What is wrong is said in a sentence for them.
pub trait CertificateChecker: Send + Sync + 'static {
    /// Whether a chain with its key, both PEM, can be used for a name.
    fn check(&self, pair: (&str, &str), host: &DomainName, now: Timestamp) -> Result<UploadedCertificate, String>;
    /// Whether certificates, PEM, can vouch for visitors.
    fn check_client_ca(&self, pem: &str) -> Result<(), String>;
}

/// Which lines are wanted.
#[derive(Debug, Clone, Default)]
pub struct LogQuery {
    /// Not before.
    pub since: Option<Timestamp>,
    /// Not after.
    pub until: Option<Timestamp>,
    /// Only lines that contain this text.
    pub contains: Option<String>,
    /// Only this stream.
    pub stream: Option<LogStream>,
    /// Only this release.
    pub release: Option<ReleaseNumber>,
    /// Go on with new lines, from restarted and new instances too.
    pub follow: bool,
    /// At most so many of the newest lines to begin with.
    pub tail_lines_max: u32,
}

/// Standard output or standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

/// One line an app wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogLine {
    /// When the engine received it.
    pub time: Timestamp,
    /// Which stream.
    pub stream: LogStream,
    /// The container.
    pub instance: String,
    /// Its release.
    pub release: ReleaseNumber,
    /// The text without its newline, cut at 16 KiB.
    pub line: String,
}

/// The receiving end of a bounded stream of lines; it ends when there are no more.
pub trait LogReceiver: Send {
    /// The next line.
    fn next(&mut self) -> BoxFuture<'_, Option<LogLine>>;
}

/// What instances use right now.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Usage {
    /// Cores in use, averaged since the last reading.
    pub cpu_cores: f64,
    /// Memory without the page cache that can be reclaimed.
    pub memory_bytes: u64,
}

/// A live look at instances.
pub trait InstanceReader: Send + Sync + 'static {
    /// The instances of an environment as the engine tells them now.
    fn instances(&self, environment: EnvironmentId) -> BoxFuture<'_, Observed<Vec<Instance>>>;
    /// What each running one of them uses; those that cannot be read are left out.
    fn usage<'a>(&'a self, instances: &'a [String]) -> BoxFuture<'a, Vec<(String, Usage)>>;
    /// What they write, oldest first.
    fn logs(&self, environment: EnvironmentId, query: LogQuery) -> BoxFuture<'_, Observed<Box<dyn LogReceiver>>>;
    /// The last lines of a one-off command that runs; none where they cannot be read.
    fn run_output(&self, run: RunId) -> BoxFuture<'_, Vec<String>>;
}

/// The value cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The key it was sealed with is not here.
    #[error("sealed with master key version {0}, which is not in the key file")]
    UnknownKey(i32),
    /// Wrong key, wrong owner or damaged bytes.
    #[error("the sealed value does not open: wrong key, wrong owner or damaged bytes")]
    Damaged,
}

/// Whose value it is: bound into the ciphertext, so that a value moved to another row does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealContext<'a> {
    /// The team, if it belongs to one.
    pub team: Option<TeamId>,
    /// What kind of value, such as `secret` or `registry`.
    pub kind: &'a str,
    /// Which one: the identifier of its row.
    pub id: &'a str,
}

impl<'a> SealContext<'a> {
    /// The key of the certificate with this identifier.
    pub const fn certificate(id: &'a str) -> Self {
        Self {
            team: None,
            kind: "certificate",
            id,
        }
    }
}

/// Seals and opens values at rest.
pub trait Sealer: Send + Sync + 'static {
    /// Encrypts with a fresh data key under the newest master key.
    fn seal(&self, context: SealContext<'_>, plaintext: &Secret) -> Result<Sealed, SealError>;
    /// Decrypts.
    fn open(&self, context: SealContext<'_>, sealed: &Sealed) -> Result<Secret, SealError>;
    /// A keyed fingerprint: equal values of one team have equal ones, and nothing else can be learnt from it.
    fn fingerprint(&self, team: TeamId, plaintext: &Secret) -> String;
}

/// How the server of a managed database is reached, as its superuser.
#[derive(Debug, Clone)]
pub struct ServerLogin {
    /// Where it listens.
    pub address: std::net::SocketAddr,
    /// The superuser's password.
    pub password: Secret,
}

/// Who may use a managed database.
#[derive(Debug, Clone)]
pub struct DatabaseRoles {
    /// The database; its owner is called after it.
    pub name: crate::name::DatabaseName,
    /// The owner's password, for apps.
    pub owner_password: Secret,
    /// The reader's, for people.
    pub reader_password: Secret,
    /// The one's who makes backups.
    pub backup_password: Secret,
    /// Connections that the owner may have at once.
    pub connections: u32,
}

/// What a server says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerFacts {
    /// Its own word for its version.
    pub version: String,
    /// What its databases take on the disk.
    pub size_bytes: u64,
}

/// Why a server did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ServerError {
    /// It does not answer, or not yet.
    #[error("{0}")]
    Away(String),
    /// It answered and would not.
    #[error("{0}")]
    Refused(String),
}

/// The servers of managed databases.
pub trait DatabaseServers: Send + Sync + 'static {
    /// Makes the roles and the database where they are missing, and says how the server is.
    fn prepare<'a>(
        &'a self,
        login: &'a ServerLogin,
        roles: &'a DatabaseRoles,
    ) -> BoxFuture<'a, Result<ServerFacts, ServerError>>;
}
