//! What is called how in object storage.
//!
//! Promises: a key is written once and never again; every key says whose it is and what part it is, so that all that is
//! known of backups can be read back from the names alone; nothing but such a key is ever read.
//!
//! ```text
//! v1/<database>/<system>/base/<backup>/<archive>.tar.zst.age      one for each tablespace, the first is `base`
//! v1/<database>/<system>/base/<backup>/manifest.json.zst.age      the checksum of every file
//! v1/<database>/<system>/wal/<timeline>/<segment>.<copy>.zst.age  a whole segment of the log
//! v1/<database>/<system>/wal/<timeline>/<segment>.<from>-<to>.<copy>.part.zst.age
//!                                                                 bytes of a segment that is still being written
//! v1/<database>/<system>/wal/<timeline>/<timeline>.<copy>.history.zst.age
//! v1/<database>/<system>/commit/<backup>.json                     last of all: without it there is no such backup
//! ```
//!
//! Encrypted twice, nothing is the same, and what was not noted cannot be compared: so every attempt to store a piece of
//! a log is a copy of its own, with a number that is drawn. Any one that can be opened will do.

use std::fmt;

use crate::backup::{Segment, SegmentSize, Timeline};
use crate::ids::{BackupId, DatabaseId};

/// Where everything of one server lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Home {
    /// The database.
    pub database: DatabaseId,
    /// Its server's own identifier, drawn when its files were made.
    pub system: u64,
}

impl fmt::Display for Home {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v1/{}/{}", self.database, self.system)
    }
}

/// An object below a home.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Object {
    /// An archive of a base backup.
    Archive {
        /// Of which backup.
        backup: BackupId,
        /// `base`, or the number of a tablespace.
        name: String,
    },
    /// The manifest of a base backup.
    Manifest(BackupId),
    /// What makes a base backup one.
    Commit(BackupId),
    /// A whole segment of the log.
    Segment {
        /// Which.
        segment: Segment,
        /// Drawn.
        copy: u32,
    },
    /// Bytes of a segment, from one offset to another.
    Part {
        /// Of which.
        segment: Segment,
        /// The first byte.
        from: u64,
        /// The first byte that is not in it.
        to: u64,
        /// Drawn.
        copy: u32,
    },
    /// Where a timeline comes from.
    History {
        /// Which.
        timeline: Timeline,
        /// Drawn.
        copy: u32,
    },
}

impl Object {
    /// Its key.
    pub fn key(&self, home: Home, size: SegmentSize) -> String {
        match self {
            Self::Archive { backup, name } => format!("{home}/base/{backup}/{name}.tar.zst.age"),
            Self::Manifest(backup) => format!("{home}/base/{backup}/manifest.json.zst.age"),
            Self::Commit(backup) => format!("{home}/commit/{backup}.json"),
            Self::Segment { segment, copy } => {
                let name = segment.name(size);
                format!("{home}/wal/{}/{name}.{copy:08x}.zst.age", segment.timeline)
            }
            Self::Part {
                segment,
                from,
                to,
                copy,
            } => {
                let name = segment.name(size);
                format!(
                    "{home}/wal/{}/{name}.{from:08X}-{to:08X}.{copy:08x}.part.zst.age",
                    segment.timeline
                )
            }
            Self::History { timeline, copy } => {
                format!("{home}/wal/{timeline}/{timeline}.{copy:08x}.history.zst.age")
            }
        }
    }

    /// Back from a key, if it is one of this home.
    pub fn parse(key: &str, home: Home, size: SegmentSize) -> Option<Self> {
        let rest = key.strip_prefix(&home.to_string())?.strip_prefix('/')?;
        let found = match rest.split('/').collect::<Vec<_>>().as_slice() {
            ["base", backup, "manifest.json.zst.age"] => Self::Manifest(backup.parse().ok()?),
            ["base", backup, archive] => Self::Archive {
                backup: backup.parse().ok()?,
                name: archive
                    .strip_suffix(".tar.zst.age")
                    .filter(|n| is_archive(n))?
                    .to_owned(),
            },
            ["commit", file] => Self::Commit(file.strip_suffix(".json")?.parse().ok()?),
            ["wal", _, file] => Self::of_log(file.strip_suffix(".zst.age")?, size)?,
            _ => return None,
        };
        // What is not written as it would be written is somebody else's.
        (found.key(home, size) == key).then_some(found)
    }

    fn of_log(name: &str, size: SegmentSize) -> Option<Self> {
        let number = |text: &str| u32::from_str_radix(text, 16).ok();
        match name.split('.').collect::<Vec<_>>().as_slice() {
            [timeline, copy, "history"] => Some(Self::History {
                timeline: Timeline(number(timeline)?),
                copy: number(copy)?,
            }),
            [segment, copy] => Some(Self::Segment {
                segment: Segment::parse(segment, size)?,
                copy: number(copy)?,
            }),
            [segment, range, copy, "part"] => {
                let (from, to) = range.split_once('-')?;
                let (from, to) = (u64::from(number(from)?), u64::from(number(to)?));
                (from < to && to <= size.bytes()).then_some(Self::Part {
                    segment: Segment::parse(segment, size)?,
                    from,
                    to,
                    copy: number(copy)?,
                })
            }
            _ => None,
        }
    }
}

fn is_archive(name: &str) -> bool {
    name == "base" || (!name.is_empty() && name.len() <= 10 && name.bytes().all(|b| b.is_ascii_digit()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::{FixedEntropy, at};

    fn home() -> Home {
        Home {
            database: DatabaseId::mint(at(1_000), &FixedEntropy(1)),
            system: 7_412_345_678_901_234_567,
        }
    }

    fn size() -> SegmentSize {
        SegmentSize::of(16 << 20).expect("a size")
    }

    #[test]
    fn every_key_comes_back_as_what_it_is() {
        let backup = BackupId::mint(at(2_000), &FixedEntropy(2));
        let segment = Segment {
            timeline: Timeline(2),
            number: 300,
        };
        for object in [
            Object::Archive {
                backup,
                name: "base".into(),
            },
            Object::Archive {
                backup,
                name: "16388".into(),
            },
            Object::Manifest(backup),
            Object::Commit(backup),
            Object::Segment { segment, copy: 7 },
            Object::Part {
                segment,
                from: 0,
                to: 8192,
                copy: u32::MAX,
            },
            Object::Part {
                segment,
                from: 8192,
                to: 16 << 20,
                copy: 0,
            },
            Object::History {
                timeline: Timeline(2),
                copy: 1,
            },
        ] {
            let key = object.key(home(), size());
            assert_eq!(Object::parse(&key, home(), size()), Some(object), "{key}");
        }
    }

    #[test]
    fn what_is_no_key_of_this_home_is_nothing() {
        let home = home();
        let backup = BackupId::mint(at(2_000), &FixedEntropy(2));
        for rest in [
            format!("base/{backup}/../../../etc/passwd"),
            format!("base/{backup}/..tar.zst.age"),
            format!("base/{backup}/%2e.tar.zst.age"),
            format!("base/{backup}/other.tar.zst.age"),
            "base/bkp_x/base.tar.zst.age".to_owned(),
            format!("commit/{backup}.json.bak"),
            "wal/00000001/00000001000000000000012c.00000001.zst.age".to_owned(),
            "wal/00000001/000000010000000000000001.zst.age".to_owned(),
            "wal/00000001/000000010000000000000001.1.zst.age".to_owned(),
            "wal/00000001/000000010000000000000001.0000000A.zst.age".to_owned(),
            "wal/00000002/000000010000000000000001.00000001.zst.age".to_owned(),
            "wal/00000001/000000010000000000000001.00002000-00001000.00000001.part.zst.age".to_owned(),
            "wal/00000001/000000010000000000000001.00000000-01000001.00000001.part.zst.age".to_owned(),
            "wal/00000001/000000010000000000000001.0-1000.00000001.part.zst.age".to_owned(),
            String::new(),
        ] {
            assert_eq!(Object::parse(&format!("{home}/{rest}"), home, size()), None, "{rest}");
        }
        let other = Home { system: 1, ..home };
        let key = Object::Commit(backup).key(other, size());
        assert_eq!(Object::parse(&key, home, size()), None);
    }
}
