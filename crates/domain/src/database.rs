//! Managed databases: what one is, how its server is set up, and where it stands.
//!
//! | state | it means |
//! |---|---|
//! | restoring | it is made from a backup |
//! | creating | its server is being made |
//! | ready | it answers, with its roles |
//! | unavailable | it was ready and does not answer now; the reason says why |
//! | failed | it cannot be made; the reason says what is to be mended |
//! | deleting | it goes, with its data |

use std::fmt;
use std::str::FromStr;

use crate::clock::Entropy;
use crate::ids::TeamId;
use crate::name::DatabaseName;
use crate::ports::SealContext;
use crate::quantity::{Bytes, MilliCpu};
use crate::secret::Secret;

/// Apps find a database at its name below this, inside their own network alone.
pub const DOMAIN: &str = "db.internal";
/// Where its server listens.
pub const PORT: u16 = 5432;
/// Connections that the platform itself needs beside those of apps: backups, looks, and one to mend things by.
const OWN_CONNECTIONS: u32 = 8;

/// Where a database stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DatabaseState {
    /// It is made from a backup.
    Restoring,
    /// Its server is being made.
    Creating,
    /// It answers.
    Ready,
    /// It was ready and does not answer.
    Unavailable,
    /// It cannot be made.
    Failed,
    /// It goes.
    Deleting,
}

impl DatabaseState {
    const ALL: [Self; 6] = [
        Self::Restoring,
        Self::Creating,
        Self::Ready,
        Self::Unavailable,
        Self::Failed,
        Self::Deleting,
    ];

    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restoring => "restoring",
            Self::Creating => "creating",
            Self::Ready => "ready",
            Self::Unavailable => "unavailable",
            Self::Failed => "failed",
            Self::Deleting => "deleting",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// A major version of Postgres.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PostgresVersion(u16);

impl PostgresVersion {
    /// The oldest that is run: older ones get no security updates any more.
    pub const OLDEST: Self = Self(15);
    /// What is run where nobody says.
    pub const DEFAULT: Self = Self(17);
    const NEWEST: Self = Self(99);

    /// Its number.
    pub const fn major(self) -> u16 {
        self.0
    }

    /// From its number.
    pub fn of(major: u16) -> Option<Self> {
        (Self::OLDEST.0..=Self::NEWEST.0)
            .contains(&major)
            .then_some(Self(major))
    }
}

impl FromStr for PostgresVersion {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.parse().ok().and_then(Self::of);
        parsed.ok_or_else(|| {
            format!(
                "give a major version of Postgres such as `17`, {} or later",
                Self::OLDEST
            )
        })
    }
}

impl fmt::Display for PostgresVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How much a server may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DatabaseSize {
    /// Memory, with what the kernel caches for it.
    pub memory: Bytes,
    /// CPU.
    pub cpu: MilliCpu,
    /// Connections of apps and people.
    pub connections: u32,
}

impl DatabaseSize {
    /// What is given where nobody says.
    pub const DEFAULT: Self = Self {
        memory: Bytes(256 << 20),
        cpu: MilliCpu(500),
        connections: 50,
    };
    const MEMORY: std::ops::RangeInclusive<u64> = 64 << 20..=1 << 40;
    const CONNECTIONS: std::ops::RangeInclusive<u32> = 5..=1_000;
    /// A connection is a process, which takes this much at least.
    const CONNECTION_BYTES: u64 = 2 << 20;

    /// With what was asked for, and for the rest what goes with it.
    pub fn asked(memory: Option<Bytes>, cpu: Option<MilliCpu>, connections: Option<u32>) -> Self {
        let memory = memory.unwrap_or(Self::DEFAULT.memory);
        let most = u32::try_from(Self::connections_max(memory)).unwrap_or(u32::MAX);
        Self {
            memory,
            cpu: cpu.unwrap_or(Self::DEFAULT.cpu),
            connections: connections.unwrap_or_else(|| Self::DEFAULT.connections.min(most)),
        }
    }

    /// For how many connections a server's memory is enough.
    const fn connections_max(memory: Bytes) -> u64 {
        memory.0 / 2 / Self::CONNECTION_BYTES
    }

    /// Whether a server can be run with it; else which member is wrong, and what would do.
    pub fn check(self) -> Result<(), (&'static str, String)> {
        if !Self::MEMORY.contains(&self.memory.0) {
            return Err(("memory", "Give 64MiB to 1TiB.".into()));
        }
        if !Self::CONNECTIONS.contains(&self.connections) {
            return Err(("connections", "Give 5 to 1000.".into()));
        }
        let most = Self::connections_max(self.memory);
        if u64::from(self.connections) > most {
            return Err((
                "connections",
                format!(
                    "Each connection is a process: {} of memory are enough for {most}. Give more memory, or have the app share connections.",
                    self.memory
                ),
            ));
        }
        Ok(())
    }

    /// The settings of a server of this size. A server that has nothing to do should take next to nothing, so what is
    /// taken at the start is small; the kernel's own cache does the rest.
    pub fn server_settings(self) -> Vec<(&'static str, String)> {
        let mebibytes = |bytes: u64| format!("{}MB", (bytes >> 20).max(1));
        let memory = self.memory.0;
        let shared = (memory / 8).clamp(8 << 20, 1 << 30);
        let processes = u64::from(self.connections).max(10);
        [
            ("listen_addresses", "*".to_owned()),
            ("max_connections", (self.connections + OWN_CONNECTIONS).to_string()),
            ("superuser_reserved_connections", "3".to_owned()),
            ("shared_buffers", mebibytes(shared)),
            ("effective_cache_size", mebibytes(memory / 4 * 3)),
            ("work_mem", mebibytes((memory / 4 / processes).clamp(1 << 20, 64 << 20))),
            (
                "maintenance_work_mem",
                mebibytes((memory / 16).clamp(8 << 20, 256 << 20)),
            ),
            ("max_parallel_workers_per_gather", "0".to_owned()),
            ("jit", "off".to_owned()),
            ("huge_pages", "off".to_owned()),
            ("wal_level", "replica".to_owned()),
            ("wal_compression", "on".to_owned()),
            ("max_wal_senders", "6".to_owned()),
            ("max_replication_slots", "6".to_owned()),
            ("max_wal_size", "256MB".to_owned()),
            // A storage that is away must not fill the disk that the server writes to.
            ("max_slot_wal_keep_size", "2GB".to_owned()),
            // Tells when the last transaction of a restored server was.
            ("track_commit_timestamp", "on".to_owned()),
            ("password_encryption", "scram-sha-256".to_owned()),
            ("log_min_duration_statement", "1s".to_owned()),
            ("track_io_timing", "on".to_owned()),
        ]
        .into()
    }
}

/// The passwords of a database's roles.
#[derive(Debug, Clone)]
pub struct DatabasePasswords {
    /// The superuser's, which only the platform has.
    pub superuser: Secret,
    /// The owner's, for apps.
    pub owner: Secret,
    /// The reader's, for people.
    pub reader: Secret,
    /// The one's who makes backups.
    pub backup: Secret,
}

impl DatabasePasswords {
    /// New ones: 128 bits each, in characters that need no quotes anywhere.
    pub fn draw(entropy: &dyn Entropy) -> Self {
        let one = || {
            let mut bytes = [0_u8; 16];
            entropy.fill(&mut bytes);
            Secret::new(format!("{:032x}", u128::from_be_bytes(bytes)))
        };
        Self {
            superuser: one(),
            owner: one(),
            reader: one(),
            backup: one(),
        }
    }

    /// As they are sealed.
    pub fn to_secret(&self) -> Secret {
        let all = [&self.superuser, &self.owner, &self.reader, &self.backup];
        Secret::new(all.map(Secret::expose).join(" "))
    }

    /// Back from that.
    pub fn parse(sealed: &Secret) -> Option<Self> {
        let mut words = sealed.expose().split(' ').map(|word| Secret::new(word.to_owned()));
        Some(Self {
            superuser: words.next()?,
            owner: words.next()?,
            reader: words.next()?,
            backup: words.next()?,
        })
    }

    /// What binds them to their database, whose identifier is given.
    pub const fn seal_context(team: TeamId, id: &str) -> SealContext<'_> {
        SealContext {
            team: Some(team),
            kind: "database",
            id,
        }
    }
}

/// The name of a database and of its owner inside its server: a name that needs no quotes.
pub fn inner_name(name: &DatabaseName) -> String {
    name.as_str().replace('-', "_")
}

/// What people look around with.
pub fn reader_name(name: &DatabaseName) -> String {
    format!("{}_reader", inner_name(name))
}

/// Where apps find it.
pub fn host(name: &DatabaseName) -> String {
    format!("{name}.{DOMAIN}")
}

/// Whether Postgres keeps the name for itself.
pub fn is_reserved(name: &DatabaseName) -> bool {
    matches!(
        name.as_str(),
        "postgres" | "template0" | "template1" | "slipway" | "public"
    ) || name.as_str().starts_with("pg-")
        || name.as_str().starts_with("slipway-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_given_what_it_can_be_run_with() {
        assert_eq!(DatabaseSize::DEFAULT.check(), Ok(()));
        let with = |memory: u64, connections| {
            let size = DatabaseSize {
                memory: Bytes(memory << 20),
                connections,
                ..DatabaseSize::DEFAULT
            };
            size.check().err().map(|(member, _)| member)
        };
        assert_eq!(with(63, 5), Some("memory"));
        assert_eq!(with(64, 16), None);
        assert_eq!(with(64, 17), Some("connections"));
        assert_eq!(with(256, 4), Some("connections"));
        let small = DatabaseSize::asked(Some(Bytes(64 << 20)), None, None);
        assert_eq!((small.connections, small.check()), (16, Ok(())));
        assert_eq!(DatabaseSize::asked(None, None, None), DatabaseSize::DEFAULT);
    }

    #[test]
    fn what_a_server_takes_grows_with_its_memory_and_stays_inside_it() {
        let setting = |memory: u64, name: &str| {
            let size = DatabaseSize {
                memory: Bytes(memory << 20),
                ..DatabaseSize::DEFAULT
            };
            let settings = size.server_settings();
            settings.into_iter().find(|(n, _)| *n == name).map(|(_, value)| value)
        };
        assert_eq!(setting(64, "shared_buffers").as_deref(), Some("8MB"));
        assert_eq!(setting(256, "shared_buffers").as_deref(), Some("32MB"));
        assert_eq!(setting(1 << 20, "shared_buffers").as_deref(), Some("1024MB"));
        assert_eq!(setting(256, "max_connections").as_deref(), Some("58"));
        assert_eq!(setting(256, "work_mem").as_deref(), Some("1MB"));
    }

    #[test]
    fn passwords_are_four_and_come_back() {
        let drawn = DatabasePasswords::draw(&crate::clock::testing::FixedEntropy(7));
        let back = DatabasePasswords::parse(&drawn.to_secret()).expect("four words");
        assert_eq!(back.owner.expose(), drawn.owner.expose());
        assert_eq!(back.reader.expose().len(), 32);
        assert!(DatabasePasswords::parse(&Secret::new("one two three".into())).is_none());
    }

    #[test]
    fn versions_that_are_kept_up_are_known() {
        for (text, major) in [
            ("17", Some(17)),
            ("15", Some(15)),
            ("14", None),
            ("17.2", None),
            ("", None),
        ] {
            assert_eq!(
                text.parse::<PostgresVersion>().ok().map(PostgresVersion::major),
                major,
                "{text}"
            );
        }
    }
}
