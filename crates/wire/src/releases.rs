//! Releases, and the ways back and across.

use std::fmt;

use chrono::{DateTime, Utc};
use serde::de::{self, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use slipway_domain::ReleaseNumber;
use slipway_domain::name::EnvironmentName;
use utoipa::ToSchema;

/// A release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Release {
    /// Its identifier.
    pub id: String,
    /// Its number within the environment.
    pub release: i64,
    /// The app.
    pub app: String,
    /// The environment.
    pub environment: String,
    /// The image as it was given.
    pub image: String,
    /// What fixes the bytes that run.
    pub digest: String,
    /// What made it come about.
    pub cause: String,
    /// Whether a deployment of it ever succeeded.
    pub good: bool,
    /// Whether it is the one that should run.
    pub current: bool,
    /// When it was made.
    pub created_at: DateTime<Utc>,
    /// By whom.
    pub created_by: String,
}

/// Back to an earlier release.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Rollback {
    /// The release, as `7` or `"v7"`; if not given, the last good one before the current.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "release_input")]
    #[schema(value_type = Option<ReleaseInput>)]
    pub release: Option<ReleaseNumber>,
    /// The environment; `production` if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub environment: Option<EnvironmentName>,
}

/// A release as it may be given: a number or `"v7"`.
#[derive(Debug, Clone, Serialize, ToSchema)]
#[serde(untagged)]
pub enum ReleaseInput {
    /// As a number.
    Number(i64),
    /// As text.
    Text(String),
}

/// The image of one environment to another: the same digest, never a rebuild.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Promotion {
    /// Where it comes from.
    #[schema(value_type = String, example = "staging")]
    pub from: EnvironmentName,
    /// Where it goes.
    #[schema(value_type = String, example = "production")]
    pub to: EnvironmentName,
}

fn release_input<'de, D: Deserializer<'de>>(d: D) -> Result<Option<ReleaseNumber>, D::Error> {
    struct Input;

    impl Visitor<'_> for Input {
        type Value = Option<ReleaseNumber>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a release number such as 7 or \"v7\"")
        }

        fn visit_u64<E: de::Error>(self, number: u64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_i64<E: de::Error>(self, number: i64) -> Result<Self::Value, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_str<E: de::Error>(self, text: &str) -> Result<Self::Value, E> {
            text.parse().map(Some).map_err(E::custom)
        }

        fn visit_unit<E: de::Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }
    }

    d.deserialize_any(Input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_is_given_as_a_number_or_as_text() {
        for (text, expected) in [
            ("{}", Some(None)),
            (r#"{"release": null}"#, Some(None)),
            (r#"{"release": 7}"#, Some(Some(7))),
            (r#"{"release": "v7"}"#, Some(Some(7))),
            (r#"{"release": "7"}"#, Some(Some(7))),
            (r#"{"release": 0}"#, None),
            (r#"{"release": -1}"#, None),
            (r#"{"release": 1.5}"#, None),
            (r#"{"release": "latest"}"#, None),
            (r#"{"version": 7}"#, None),
        ] {
            let read: Option<Rollback> = serde_json::from_str(text).ok();
            assert_eq!(read.map(|r| r.release.map(|n| n.0)), expected, "{text}");
        }
    }
}
