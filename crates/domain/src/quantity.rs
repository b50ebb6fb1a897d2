//! Durations, sizes and CPU shares as people write them: `"30s"`, `"256MiB"`, `"0.5"`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Why a quantity was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not {expected}")]
pub struct QuantityError {
    given: String,
    expected: &'static str,
}

fn refuse(given: &str, expected: &'static str) -> QuantityError {
    QuantityError {
        given: given.chars().take(40).collect(),
        expected,
    }
}

/// A duration with millisecond resolution, at most 366 days.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span(u64);

impl Span {
    const MAX_MS: u64 = 366 * 24 * 3600 * 1000;

    /// So many milliseconds.
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// So many seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(secs * 1000)
    }

    /// In milliseconds.
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// As the standard library has it.
    pub const fn to_std(self) -> Duration {
        Duration::from_millis(self.0)
    }

    /// As chrono has it.
    pub fn to_chrono(self) -> chrono::TimeDelta {
        chrono::TimeDelta::milliseconds(i64::try_from(self.0).unwrap_or(i64::MAX / 1000))
    }
}

impl FromStr for Span {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const EXPECTED: &str = "a duration such as `500ms`, `30s`, `5m`, `2h` or `90d`";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refuse(text, EXPECTED)),
        };
        if number.is_empty() {
            return Err(refuse(text, EXPECTED));
        }
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .filter(|ms| *ms <= Self::MAX_MS)
            .map(Self)
            .ok_or_else(|| refuse(text, "a duration of at most `366d`"))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (factor, unit) in [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1000, "s")] {
            if self.0 >= factor && self.0.is_multiple_of(factor) {
                return write!(f, "{}{unit}", self.0 / factor);
            }
        }
        let unit = if self.0 == 0 { "s" } else { "ms" };
        write!(f, "{}{unit}", self.0)
    }
}

/// A number of bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub u64);

impl FromStr for Bytes {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const EXPECTED: &str = "a size such as `64KiB`, `256MiB` or `2GiB`";
        let digits = text.bytes().take_while(u8::is_ascii_digit).count();
        let (number, unit) = text.split_at(digits);
        let factor = match unit {
            "B" => 1_u64,
            "KB" => 1000,
            "MB" => 1_000_000,
            "GB" => 1_000_000_000,
            "KiB" => 1 << 10,
            "MiB" => 1 << 20,
            "GiB" => 1 << 30,
            "TiB" => 1 << 40,
            _ => return Err(refuse(text, EXPECTED)),
        };
        if number.is_empty() {
            return Err(refuse(text, EXPECTED));
        }
        number
            .parse::<u64>()
            .ok()
            .and_then(|n| n.checked_mul(factor))
            .filter(|b| i64::try_from(*b).is_ok())
            .map(Self)
            .ok_or_else(|| refuse(text, "a size of at most `8388607TiB`"))
    }
}

impl Bytes {
    /// Rounded down to what people want to know: whole GiB from 10 GiB on, else whole MiB.
    #[must_use]
    pub const fn rough(self) -> Self {
        let shift = if self.0 >> 30 >= 10 { 30 } else { 20 };
        Self(self.0 >> shift << shift)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (shift, unit) in [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")] {
            if self.0 >> shift > 0 && self.0.trailing_zeros() >= shift {
                return write!(f, "{}{unit}", self.0 >> shift);
            }
        }
        write!(f, "{}B", self.0)
    }
}

/// A share of CPU in thousandths of a core.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MilliCpu(pub u32);

impl FromStr for MilliCpu {
    type Err = QuantityError;

    fn from_str(text: &str) -> Result<Self, QuantityError> {
        const EXPECTED: &str = "a number of cores such as `0.25`, `1` or `500m`, at least 0.01 and at most 1024";
        let bad = || refuse(text, EXPECTED);
        let milli = if let Some(milli) = text.strip_suffix('m') {
            milli.parse::<u32>().map_err(|_| bad())?
        } else {
            let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
            let digits = |t: &str| !t.is_empty() && t.bytes().all(|b| b.is_ascii_digit());
            if !digits(whole) || !digits(fraction) || fraction.len() > 3 {
                return Err(bad());
            }
            let whole: u32 = whole.parse().map_err(|_| bad())?;
            let fraction: u32 = format!("{fraction:0<3}").parse().map_err(|_| bad())?;
            whole
                .checked_mul(1000)
                .and_then(|w| w.checked_add(fraction))
                .ok_or_else(bad)?
        };
        if (10..=1_024_000).contains(&milli) {
            Ok(Self(milli))
        } else {
            Err(bad())
        }
    }
}

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:03}", self.0 / 1000, self.0 % 1000);
        f.write_str(text.trim_end_matches('0').trim_end_matches('.'))
    }
}

macro_rules! as_text {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

as_text!(Span, Bytes, MilliCpu);

/// A number with six decimals at most, such as a share of 0.01 or a ratio of 1.5; written as a JSON number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Decimal(u64);

impl Decimal {
    const ONE: f64 = 1_000_000.0;

    /// So many millionths.
    pub const fn from_millionths(millionths: u64) -> Self {
        Self(millionths)
    }

    /// From a JSON number; `None` when it is negative or beyond 1,000.
    pub fn from_f64(value: f64) -> Option<Self> {
        if !(0.0..=1000.0).contains(&value) {
            return None;
        }
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and 1e9, checked above"
        )]
        Some(Self((value * Self::ONE).round() as u64))
    }

    /// As the standard library has it.
    #[expect(clippy::cast_precision_loss, reason = "at most 1e9, which an f64 holds exactly")]
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / Self::ONE
    }
}

impl Serialize for Decimal {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.serialize_f64(self.as_f64())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_round_trips_in_the_largest_exact_unit() {
        for text in ["1ms", "1500ms", "30s", "5m", "90d"] {
            assert_eq!(text.parse::<Span>().map(|s| s.to_string()), Ok(text.into()));
        }
        for text in ["1B", "64KiB", "256MiB", "2GiB"] {
            assert_eq!(text.parse::<Bytes>().map(|s| s.to_string()), Ok(text.into()));
        }
        for (text, shown) in [("0.5", "0.5"), ("500m", "0.5"), ("2", "2"), ("0.125", "0.125")] {
            assert_eq!(text.parse::<MilliCpu>().map(|s| s.to_string()), Ok(shown.into()));
        }
    }

    #[test]
    fn refuses_what_has_no_unit_or_no_bounds() {
        for bad in ["", "30", "s", "1.5s", "-1s", "99999999d"] {
            assert!(bad.parse::<Span>().is_err(), "{bad}");
        }
        for bad in ["", "256", "256mb", "99999999999TiB"] {
            assert!(bad.parse::<Bytes>().is_err(), "{bad}");
        }
        for bad in ["", "0", "-1", "1.2345", "1e3", "2000000"] {
            assert!(bad.parse::<MilliCpu>().is_err(), "{bad}");
        }
    }
}
