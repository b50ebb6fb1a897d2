//! Values that only the command line knows: assignments and moments.

use std::path::PathBuf;
use std::str::FromStr;

use chrono::SecondsFormat;
use serde_json::Value;
use slipway_domain::Timestamp;
use slipway_domain::domains::{PROVIDERS, Provider};
use slipway_domain::name::VariableName;
use slipway_domain::quantity::Span;
use slipway_domain::spec::{REPLICAS_MAX, Strategy};

/// `NAME=VALUE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    /// The name.
    pub name: VariableName,
    /// The value, which may be empty.
    pub value: String,
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{}` has no `=`: write NAME=VALUE", shorten(text)))?;
        Ok(Self {
            name: name.parse::<VariableName>().map_err(|e| e.to_string())?,
            value: value.to_owned(),
        })
    }
}

/// A key of a spec, table by table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpecKey(pub Vec<String>);

impl FromStr for SpecKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let path: Vec<String> = text.trim().split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) || text.contains('=') {
            return Err(format!("`{}` is no key: write it as `health.path`", shorten(text)));
        }
        Ok(Self(path))
    }
}

/// A file with a spec, or a key of one with its value.
#[derive(Debug, Clone, PartialEq)]
pub enum SpecPart {
    /// The whole.
    File(PathBuf),
    /// One key.
    Key {
        /// Table by table.
        path: Vec<String>,
        /// As TOML reads it; what it does not read is a text.
        value: Value,
    },
}

impl FromStr for SpecPart {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let Some((key, value)) = text.split_once('=') else {
            return Ok(Self::File(text.into()));
        };
        let SpecKey(path) = key.parse()?;
        // What a variable holds is a text, whatever it looks like.
        let is_text = path.first().is_some_and(|table| table == "env");
        let read: Option<toml::Table> = format!("value = {value}").parse().ok().filter(|_| !is_text);
        let read = read.and_then(|mut table| serde_json::to_value(table.remove("value")?).ok());
        let value = read.unwrap_or_else(|| value.into());
        Ok(Self::Key { path, value })
    }
}

/// `NAME` or `NAME=VALUE`, for values that may come from elsewhere. Its value never prints.
#[derive(Clone, PartialEq, Eq)]
pub struct MaybeAssignment {
    /// The name.
    pub name: VariableName,
    /// The value, if it was given.
    pub value: Option<String>,
}

impl std::fmt::Debug for MaybeAssignment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}=****", self.name)
    }
}

impl FromStr for MaybeAssignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, value) = match text.split_once('=') {
            Some((name, value)) => (name, Some(value.to_owned())),
            None => (text, None),
        };
        Ok(Self {
            name: name.parse::<VariableName>().map_err(|e| e.to_string())?,
            value,
        })
    }
}

/// A time, or so long ago.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// This very time.
    At(Timestamp),
    /// So long before now.
    Ago(Span),
}

impl FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(span) = text.parse::<Span>() {
            return Ok(Self::Ago(span));
        }
        chrono::DateTime::parse_from_rfc3339(text)
            .map(|t| Self::At(t.to_utc()))
            .map_err(|_| {
                format!(
                    "`{}` is neither a time such as `2026-01-31T12:00:00Z` nor a duration such as `10m`",
                    shorten(text)
                )
            })
    }
}

impl Moment {
    /// As the API takes it.
    pub(crate) fn to_rfc3339(self, now: Timestamp) -> String {
        let at = match self {
            Self::At(at) => at,
            Self::Ago(span) => now - span.to_chrono(),
        };
        at.to_rfc3339_opts(SecondsFormat::Millis, true)
    }
}

/// The word of a strategy.
pub(crate) fn parse_strategy(text: &str) -> Result<Strategy, String> {
    Strategy::parse(text).ok_or_else(|| {
        format!(
            "`{}` is no strategy: write `rolling`, `bluegreen`, `canary` or `recreate`",
            shorten(text)
        )
    })
}

/// A number of instances.
pub(crate) fn parse_replicas(text: &str) -> Result<u32, String> {
    match text.parse() {
        Ok(count @ 1..=REPLICAS_MAX) => Ok(count),
        Ok(0) => Err("an app has at least 1 instance; `slipway stop` stops it, `slipway spec set scale.min=0` lets it sleep while nobody comes".into()),
        _ => Err(format!("give a whole number from 1 to {REPLICAS_MAX}")),
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `KEY=VALUE` for whoever keeps a zone.
#[derive(Debug, Clone)]
pub struct Setting {
    /// What it is.
    pub key: String,
    /// What was given.
    pub value: String,
}

impl FromStr for Setting {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (key, value) = text.split_once('=').ok_or("give KEY=VALUE")?;
        Ok(Self {
            key: key.trim().to_owned(),
            value: value.to_owned(),
        })
    }
}

/// Who keeps a zone.
pub(crate) fn parse_provider(text: &str) -> Result<&'static Provider, String> {
    Provider::named(text).ok_or_else(|| {
        let names: Vec<&str> = PROVIDERS.iter().map(|p| p.name).collect();
        format!("give one of {}", names.join(", "))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_times_or_durations() {
        let now = slipway_domain::clock::testing::at(1_000_000_000_000);
        for (text, expected) in [
            ("10m", "2001-09-09T01:36:40.000Z"),
            ("2026-01-31T13:00:00+01:00", "2026-01-31T12:00:00.000Z"),
        ] {
            assert_eq!(
                text.parse::<Moment>().map(|m| m.to_rfc3339(now)),
                Ok(expected.into()),
                "{text}"
            );
        }
        for bad in ["", "yesterday", "10", "2026-01-31"] {
            assert!(bad.parse::<Moment>().is_err(), "{bad}");
        }
    }

    #[test]
    fn an_assignment_keeps_every_further_equals_sign_and_a_secret_never_prints() {
        let one: Assignment = "A=b=c".parse().expect("valid");
        assert_eq!((one.name.as_str(), one.value.as_str()), ("A", "b=c"));
        assert!("A".parse::<Assignment>().is_err());
        assert!("1A=x".parse::<Assignment>().is_err());
        let secret: MaybeAssignment = "KEY=hunter2".parse().expect("valid");
        assert!(!format!("{secret:?}").contains("hunter2"));
        assert_eq!("KEY".parse::<MaybeAssignment>().map(|s| s.value), Ok(None));
    }
}
