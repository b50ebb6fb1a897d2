//! What makes a base backup one: the object that is written last and names all others with their checksums.
//!
//! Promises: it can be read without a key and holds nothing secret; a changed byte in it is noticed.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::{Digest as _, Sha256};

use crate::Timestamp;
use crate::backup::{Home, Lsn, SegmentSize, Timeline};
use crate::ids::BackupId;

/// A base backup that is whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseSet {
    /// Which.
    pub id: BackupId,
    /// Where it lies.
    pub home: Home,
    /// What the database was called.
    pub name: String,
    /// The server's own word for its version.
    pub server_version: String,
    /// How large the files of its log are.
    pub segment: SegmentSize,
    /// Its history.
    pub timeline: Timeline,
    /// The log is needed from here on,
    pub from: Lsn,
    /// and at least up to here.
    pub to: Lsn,
    /// When it was begun.
    pub started_at: Timestamp,
    /// When the server had sent all of it.
    pub ended_at: Timestamp,
    /// How much the server read for it.
    pub source_bytes: u64,
    /// All objects that belong to it.
    pub objects: Vec<StoredObject>,
}

/// An object that was stored and read back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredObject {
    /// Its key.
    pub key: String,
    /// How long it is.
    pub bytes: u64,
    /// The SHA-256 of what is stored, in hex.
    pub sha256: String,
}

/// Why an object is none that makes a backup.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SetError {
    /// Its text is not what was written.
    #[error("it is damaged")]
    Damaged,
    /// It was written by a later version.
    #[error("it is of version {0}, which this program does not know: restore with a later one")]
    Version(u32),
}

const VERSION: u32 = 1;

/// Around the set stands the checksum of its very text.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope {
    version: u32,
    sha256: String,
    set: Box<RawValue>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    backup: BackupId,
    database: crate::ids::DatabaseId,
    system: String,
    name: String,
    server_version: String,
    segment_bytes: u64,
    timeline: u32,
    from: String,
    to: String,
    started_at: Timestamp,
    ended_at: Timestamp,
    source_bytes: u64,
    objects: Vec<StoredObject>,
}

impl BaseSet {
    /// As it is stored.
    ///
    /// # Errors
    ///
    /// None that can be met: every member can be written.
    pub fn to_json(&self) -> Result<Vec<u8>, SetError> {
        let text = Text {
            backup: self.id,
            database: self.home.database,
            system: self.home.system.to_string(),
            name: self.name.clone(),
            server_version: self.server_version.clone(),
            segment_bytes: self.segment.bytes(),
            timeline: self.timeline.0,
            from: self.from.to_string(),
            to: self.to.to_string(),
            started_at: self.started_at,
            ended_at: self.ended_at,
            source_bytes: self.source_bytes,
            objects: self.objects.clone(),
        };
        let set = serde_json::value::to_raw_value(&text).map_err(|_| SetError::Damaged)?;
        let envelope = Envelope {
            version: VERSION,
            sha256: sha256(set.get().as_bytes()),
            set,
        };
        serde_json::to_vec(&envelope).map_err(|_| SetError::Damaged)
    }

    /// Back from that.
    pub fn parse(stored: &[u8]) -> Result<Self, SetError> {
        let envelope: Envelope = serde_json::from_slice(stored).map_err(|_| SetError::Damaged)?;
        if sha256(envelope.set.get().as_bytes()) != envelope.sha256 {
            return Err(SetError::Damaged);
        }
        if envelope.version != VERSION {
            return Err(SetError::Version(envelope.version));
        }
        let text: Text = serde_json::from_str(envelope.set.get()).map_err(|_| SetError::Damaged)?;
        Self::of(text).ok_or(SetError::Damaged)
    }

    fn of(text: Text) -> Option<Self> {
        Some(Self {
            id: text.backup,
            home: Home {
                database: text.database,
                system: text.system.parse().ok()?,
            },
            name: text.name,
            server_version: text.server_version,
            segment: SegmentSize::of(text.segment_bytes)?,
            timeline: Timeline(text.timeline),
            from: text.from.parse().ok()?,
            to: text.to.parse().ok()?,
            started_at: text.started_at,
            ended_at: text.ended_at,
            source_bytes: text.source_bytes,
            objects: text.objects,
        })
    }
}

/// In hex.
fn sha256(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes)
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // Writing into a text cannot fail.
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::{FixedEntropy, at};
    use crate::ids::DatabaseId;

    fn set() -> BaseSet {
        BaseSet {
            id: BackupId::mint(at(2_000), &FixedEntropy(2)),
            home: Home {
                database: DatabaseId::mint(at(1_000), &FixedEntropy(1)),
                system: u64::MAX,
            },
            name: "orders".into(),
            server_version: "17.2".into(),
            segment: SegmentSize::of(16 << 20).expect("a size"),
            timeline: Timeline(1),
            from: Lsn(0x0200_0028),
            to: Lsn(0x0200_0100),
            started_at: at(2_000),
            ended_at: at(3_000),
            source_bytes: 22 << 20,
            objects: vec![StoredObject {
                key: "v1/a".into(),
                bytes: 5,
                sha256: "00".into(),
            }],
        }
    }

    #[test]
    fn a_set_comes_back_as_it_was_written() {
        let stored = set().to_json().expect("written");
        assert_eq!(BaseSet::parse(&stored), Ok(set()));
    }

    #[test]
    fn every_changed_byte_is_noticed() {
        let stored = set().to_json().expect("written");
        for (at, byte) in stored.iter().enumerate() {
            let mut changed = stored.clone();
            // Another letter's case as well: that is the smallest change there is.
            for flip in [1, 0x20, 0x80] {
                changed[at] = byte ^ flip;
                let found = BaseSet::parse(&changed);
                assert!(
                    found.is_err(),
                    "byte {at} ^ {flip:#x}: {:?}",
                    String::from_utf8_lossy(&changed)
                );
            }
            assert!(BaseSet::parse(&stored[..at]).is_err(), "cut at {at}");
        }
    }
}
