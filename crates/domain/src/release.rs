//! A release: the immutable sum of image, spec, environment and secret versions.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Timestamp;
use crate::generation::ReleaseNumber;
use crate::ids::{EnvironmentId, ReleaseId, SecretId};
use crate::image::Pin;
use crate::name::VariableName;
use crate::spec::Spec;

/// What made a release come about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseCause {
    /// A new image.
    Deploy,
    /// Back to an earlier release.
    Rollback,
    /// The same digest from another environment.
    Promote,
    /// Changed variables.
    Env,
    /// Changed secrets.
    Secrets,
    /// A changed spec.
    Spec,
    /// Another number of replicas.
    Scale,
    /// New containers of the same release's contents.
    Restart,
    /// Started again after a stop.
    Start,
}

impl ReleaseCause {
    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Deploy => "deploy",
            Self::Rollback => "rollback",
            Self::Promote => "promote",
            Self::Env => "env",
            Self::Secrets => "secrets",
            Self::Spec => "spec",
            Self::Scale => "scale",
            Self::Restart => "restart",
            Self::Start => "start",
        }
    }

    /// Back from the database.
    pub fn parse(text: &str) -> Option<Self> {
        [
            Self::Deploy,
            Self::Rollback,
            Self::Promote,
            Self::Env,
            Self::Secrets,
            Self::Spec,
            Self::Scale,
            Self::Restart,
            Self::Start,
        ]
        .into_iter()
        .find(|c| c.as_str() == text)
    }
}

/// One release of one environment. Nothing in it ever changes but whether it was ever good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Its identifier.
    pub id: ReleaseId,
    /// Where it belongs.
    pub environment: EnvironmentId,
    /// `v1`, `v2`, ….
    pub number: ReleaseNumber,
    /// The reference as it was given.
    pub image: String,
    /// What fixes the bytes that run.
    pub pin: Pin,
    /// The spec as it was when the release was made, variables included.
    pub spec: Spec,
    /// The version of each secret that goes in.
    pub secrets: BTreeMap<VariableName, SecretId>,
    /// Why it was made.
    pub cause: ReleaseCause,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: the token's name.
    pub created_by: String,
    /// Whether a deployment of it ever succeeded: a target for rollback.
    pub good: bool,
}
