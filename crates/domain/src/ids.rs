//! Typed identifiers: a `UUIDv7` in the database, `prefix_` plus 26 characters of Crockford base32 in text.
//!
//! Promises: an id of one kind never passes for another; text sorts by creation time; parsing is exact.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::clock::{Entropy, Timestamp};

const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
const TEXT_LEN: usize = 26;

/// The text is not an identifier of the expected kind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{given}` is not an identifier of the form `{prefix}_…` (26 characters after the underscore)")]
pub struct IdError {
    given: String,
    prefix: &'static str,
}

/// A `UUIDv7` (RFC 9562 section 5.7) out of an injected time and injected randomness.
pub fn uuid_v7(now: Timestamp, entropy: &dyn Entropy) -> Uuid {
    let mut random = [0_u8; 10];
    entropy.fill(&mut random);
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
}

fn encode(value: u128) -> String {
    (0..TEXT_LEN)
        .rev()
        .map(|i| char::from(ALPHABET[usize::try_from((value >> (i * 5)) & 31).unwrap_or(0)]))
        .collect()
}

fn decode(text: &str) -> Option<u128> {
    if text.len() != TEXT_LEN {
        return None;
    }
    let mut value: u128 = 0;
    for (i, byte) in text.bytes().enumerate() {
        let digit = ALPHABET.iter().position(|a| *a == byte)?;
        // 26 digits carry 130 bits: the first one may only use three of its five.
        if i == 0 && digit > 7 {
            return None;
        }
        value = (value << 5) | u128::try_from(digit).ok()?;
    }
    Some(value)
}

/// The time in the first 48 bits.
fn minted_at(uuid: Uuid) -> Timestamp {
    let millis = i64::try_from(uuid.as_u128() >> 80).unwrap_or(i64::MAX);
    Timestamp::from_timestamp_millis(millis).unwrap_or_default()
}

macro_rules! ids {
    ($($(#[$doc:meta])* $name:ident = $prefix:literal;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// What stands before the underscore in text.
            pub const PREFIX: &'static str = $prefix;

            /// A new identifier out of injected time and randomness.
            pub fn mint(now: Timestamp, entropy: &dyn Entropy) -> Self {
                Self(uuid_v7(now, entropy))
            }

            /// When it was made.
            pub fn minted_at(self) -> Timestamp {
                minted_at(self.0)
            }

            /// The value as the database keeps it.
            pub const fn uuid(self) -> Uuid {
                self.0
            }

            /// Back from the database.
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}_{}", $prefix, encode(self.0.as_u128()))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                text.strip_prefix(concat!($prefix, "_"))
                    .and_then(decode)
                    .map(|v| Self(Uuid::from_u128(v)))
                    .ok_or_else(|| IdError { given: text.chars().take(64).collect(), prefix: $prefix })
            }
        }

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

ids! {
    /// A managed database.
    DatabaseId = "dbs";
    /// A backup of one.
    BackupId = "bkp";
    /// A stretch of its log that is stored without a gap.
    SpanId = "spn";
    /// Something that somebody is told of.
    AlertId = "alt";
    /// A one-off command.
    RunId = "run";
    /// A team: the owner of apps, registries and tokens.
    TeamId = "tem";
    /// An app, in all its environments.
    AppId = "app";
    /// One environment of one app.
    EnvironmentId = "env";
    /// An immutable release of one environment.
    ReleaseId = "rel";
    /// One attempt to bring a release into service.
    DeploymentId = "dep";
    /// An API token.
    TokenId = "tok";
    /// One version of one secret.
    SecretId = "sec";
    /// A named volume.
    VolumeId = "vol";
    /// A name that a team asked for.
    DomainId = "dom";
    /// A zone that records can be made in.
    ZoneId = "zon";
    /// A certificate with its key.
    CertificateId = "crt";
    /// A background job.
    JobId = "job";
    /// One request, in logs and answers.
    RequestId = "req";
    /// A running proxy process.
    ProxyId = "prx";
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::{FixedEntropy, at};

    #[test]
    fn text_form_round_trips_and_sorts_by_time() {
        let early = AppId::mint(at(1_000), &FixedEntropy(9));
        let late = AppId::mint(at(2_000), &FixedEntropy(1));
        assert_eq!(early.to_string().parse(), Ok(early));
        assert!(early.to_string() < late.to_string());
        assert!(early.to_string().starts_with("app_"));
    }

    #[test]
    fn refuses_another_kind_a_wrong_length_and_an_overflow() {
        let id = AppId::mint(at(1_000), &FixedEntropy(9)).to_string();
        for bad in [
            id.replace("app_", "dep_"),
            format!("{id}0"),
            "app_zzzzzzzzzzzzzzzzzzzzzzzzzz".into(),
            String::new(),
        ] {
            assert!(bad.parse::<AppId>().is_err(), "{bad}");
        }
    }
}
