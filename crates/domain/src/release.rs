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
    /// Back to the release before, by the platform itself: the new one failed within its bake time.
    AutomaticRollback,
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
            Self::AutomaticRollback => "automatic_rollback",
        }
    }

    /// Whether it brings an image that did not serve there before: what waits for approval and goes on by itself.
    pub const fn is_new_image(self) -> bool {
        matches!(self, Self::Deploy | Self::Promote)
    }

    /// Whether it goes back to the contents of an earlier release.
    pub const fn is_rollback(self) -> bool {
        matches!(self, Self::Rollback | Self::AutomaticRollback)
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
            Self::AutomaticRollback,
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
    /// Of a rollback, or of another scale: the first release of the same contents, whose instances count as its own.
    pub same_as: Option<ReleaseId>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who made it: the token's name.
    pub created_by: String,
    /// Whether a deployment of it ever succeeded and it was not taken back by the platform: a target for rollback.
    pub good: bool,
}

/// What becomes of an environment's settings when a release is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alignment {
    /// They stay; whether they differ from the release is said anew.
    Keep {
        /// Whether something waits for the next release.
        staged: bool,
    },
    /// Going back brings the release's spec back, so that what is shown is what runs.
    Replace {
        /// Whether something waits for the next release.
        staged: bool,
    },
}

impl Release {
    /// Whether another release has the same bytes, settings and secrets, in whatever number of instances and however it
    /// came into service: going from one to the other changes nothing for a visitor.
    pub fn has_contents_of(&self, other: &Self) -> bool {
        let mut spec = self.spec.with_strategy(other.spec.deploy.strategy);
        spec.scale = other.spec.scale;
        self.pin.digest() == other.pin.digest() && self.secrets == other.secrets && spec == other.spec
    }

    /// What becomes of the environment's settings, its newest secrets among them. A strategy given for one deployment
    /// is no difference.
    pub fn align(&self, spec: &Spec, newest: &BTreeMap<VariableName, SecretId>) -> Alignment {
        let differs = self.spec != spec.with_strategy(self.spec.deploy.strategy);
        let secrets_wait = self.secrets != *newest;
        if self.cause.is_rollback() && differs {
            Alignment::Replace { staged: secrets_wait }
        } else {
            Alignment::Keep {
                staged: secrets_wait || differs,
            }
        }
    }

    /// Whether its deployment waits for somebody's word.
    pub const fn needs_approval(&self) -> bool {
        self.spec.deploy.approval && self.cause.is_new_image()
    }

    /// What weakens the defaults, leaves a gap or may surprise, in sentences for people.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = self.spec.warnings();
        let both = self.spec.env.keys().filter(|name| self.secrets.contains_key(*name));
        warnings.extend(
            both.map(|name| format!("`{name}` is both a plain variable and a secret: the app gets the secret")),
        );
        warnings
    }

    /// The first release of the same contents: itself, unless it was made by going back or differs in its scale only.
    pub fn root(&self) -> ReleaseId {
        self.same_as.unwrap_or(self.id)
    }
}
