//! Places in a server's write-ahead log (WAL), and the files that it is cut into.
//!
//! Names and sizes are `PostgreSQL`'s: a place is a log sequence number (LSN), a file is a segment, and a server that was
//! recovered goes on in another timeline.

use std::fmt;
use std::str::FromStr;

/// A place in the log: how many bytes come before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// How many bytes lie between an earlier place and this one.
    pub const fn since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// The place so many bytes on.
    #[must_use]
    pub const fn plus(self, bytes: u64) -> Self {
        Self(self.0.saturating_add(bytes))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xFFFF_FFFF)
    }
}

/// What is no place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a place in the write-ahead log")]
pub struct LsnError;

impl FromStr for Lsn {
    type Err = LsnError;

    fn from_str(text: &str) -> Result<Self, LsnError> {
        let (high, low) = text.split_once('/').ok_or(LsnError)?;
        let half = |text: &str| {
            let is_hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
            is_hex
                .then(|| u32::from_str_radix(text, 16).ok())
                .flatten()
                .ok_or(LsnError)
        };
        Ok(Self(u64::from(half(high)?) << 32 | u64::from(half(low)?)))
    }
}

/// Which history of a server a log belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timeline(pub u32);

impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08X}", self.0)
    }
}

/// How large the files are that a server cuts its log into: a power of two from 1 MiB to 1 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentSize(u64);

impl SegmentSize {
    /// From a number of bytes.
    pub fn of(bytes: u64) -> Option<Self> {
        (bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes)).then_some(Self(bytes))
    }

    /// In bytes.
    pub const fn bytes(self) -> u64 {
        self.0
    }
}

/// One file of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    /// Whose it is.
    pub timeline: Timeline,
    /// The how-manieth, from the beginning of the log.
    pub number: u64,
}

impl Segment {
    /// The one that a place lies in.
    pub const fn at(timeline: Timeline, place: Lsn, size: SegmentSize) -> Self {
        Self {
            timeline,
            number: place.0 / size.0,
        }
    }

    /// Where it begins.
    pub const fn start(self, size: SegmentSize) -> Lsn {
        Lsn(self.number.saturating_mul(size.0))
    }

    /// Where the next one begins.
    pub const fn end(self, size: SegmentSize) -> Lsn {
        Lsn(self.number.saturating_add(1).saturating_mul(size.0))
    }

    /// What the server calls it.
    pub fn name(self, size: SegmentSize) -> String {
        let each = (1_u64 << 32) / size.0;
        format!("{}{:08X}{:08X}", self.timeline, self.number / each, self.number % each)
    }

    /// Back from its name.
    pub fn parse(name: &str, size: SegmentSize) -> Option<Self> {
        if name.len() != 24 || !name.bytes().all(|b| b.is_ascii_digit() || (b'A'..=b'F').contains(&b)) {
            return None;
        }
        let part = |range: std::ops::Range<usize>| u32::from_str_radix(name.get(range)?, 16).ok();
        let each = (1_u64 << 32) / size.0;
        let (high, low) = (u64::from(part(8..16)?), u64::from(part(16..24)?));
        (low < each).then_some(Self {
            timeline: Timeline(part(0..8)?),
            number: high * each + low,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn places_are_written_as_the_server_writes_them() {
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        assert_eq!("16/B374D848".parse(), Ok(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn(0).to_string(), "0/0");
        for wrong in ["", "/", "1", "1/", "/1", "1/1/1", "g/0", "1/123456789", "+1/0", "1 /0"] {
            assert_eq!(wrong.parse::<Lsn>(), Err(LsnError), "{wrong}");
        }
    }

    #[test]
    fn files_are_called_as_the_server_calls_them() {
        // The name that `pg_walfile_name('16/B374D848')` gives at 16 MiB in the first timeline.
        let size = SegmentSize::of(16 << 20).expect("a size");
        let segment = Segment::at(Timeline(1), Lsn(0x16_B374_D848), size);
        assert_eq!(segment.name(size), "0000000100000016000000B3");
        assert_eq!(segment.start(size), Lsn(0x16_B300_0000));
        assert_eq!(segment.end(size), Lsn(0x16_B400_0000));
        for wrong in [
            "",
            "0000000100000016000000b3",
            "0000000100000016000001B3",
            "0000000100000016000000B3.partial",
        ] {
            assert_eq!(Segment::parse(wrong, size), None, "{wrong}");
        }
    }

    #[test]
    fn only_sizes_that_a_server_can_have_are_sizes() {
        for (bytes, is_one) in [
            (1 << 20, true),
            (1 << 30, true),
            (1 << 19, false),
            (1 << 31, false),
            (3 << 20, false),
        ] {
            assert_eq!(SegmentSize::of(bytes).is_some(), is_one, "{bytes}");
        }
    }

    proptest! {
        #[test]
        fn names_and_places_come_back(place: u64, timeline in 1_u32.., shift in 20_u32..=30) {
            let size = SegmentSize::of(1 << shift).expect("a size");
            let place = Lsn(place >> 1);
            prop_assert_eq!(place.to_string().parse(), Ok(place));
            let segment = Segment::at(Timeline(timeline), place, size);
            prop_assert!(segment.start(size) <= place && place < segment.end(size));
            if segment.number < (1_u64 << 32) * ((1_u64 << 32) / size.bytes()) {
                prop_assert_eq!(Segment::parse(&segment.name(size), size), Some(segment));
            }
        }
    }
}
