//! Whether a change becomes a release, and what is in it. Pure: the same input gives the same answer.
//!
//! | change | image | spec | secrets |
//! | --- | --- | --- | --- |
//! | image (deploy, promote) | the new one | the environment's | the newest |
//! | spec, variables, secrets | the current one | the environment's, as changed | the newest |
//! | scale | the current one | the current release's, with the new number | the current release's |
//! | rollback | the target's | the target's | the versions the target pins |
//! | restart | the current one | the current release's | the current release's |
//! | start | the current one | the environment's | the newest |

use std::collections::BTreeMap;

use slipway_domain::ids::{ReleaseId, SecretId};
use slipway_domain::image::Pin;
use slipway_domain::name::VariableName;
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::spec::{Spec, Strategy};

/// Versions of secrets by name.
pub(crate) type SecretVersions = BTreeMap<VariableName, SecretId>;

/// What is there before the change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Present<'a> {
    /// Whether the environment is stopped.
    pub(crate) stopped: bool,
    /// The environment's spec, with the change if it is one of spec or variables.
    pub(crate) spec: &'a Spec,
    /// The newest secrets, with the change if it is one of secrets.
    pub(crate) secrets: &'a SecretVersions,
    /// The release that changes go on from: the one that should run, or the last one that should have; where that was
    /// tried and did not come into service, the one that serves.
    pub(crate) current: Option<&'a Release>,
}

/// What is wanted.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// Another image, new or from another environment.
    Image {
        /// The reference as it was given.
        image: String,
        /// What it is.
        pin: Pin,
        /// Why.
        cause: ReleaseCause,
        /// How the traffic moves this once, if not as the spec says.
        strategy: Option<Strategy>,
    },
    /// Settings: variables, secrets, spec or scale.
    Settings(ReleaseCause),
    /// Back to a release.
    Rollback(Box<Release>),
    /// New containers of the same contents.
    Restart,
    /// On again after a stop.
    Start,
}

/// What the release will be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Draft {
    pub(crate) image: String,
    pub(crate) pin: Pin,
    pub(crate) spec: Spec,
    pub(crate) secrets: SecretVersions,
    pub(crate) cause: ReleaseCause,
    /// The first release of the same contents, if it goes back to one or differs in its scale only.
    pub(crate) same_as: Option<ReleaseId>,
}

impl Draft {
    /// Of the same contents as that one.
    fn like(self, release: &Release) -> Self {
        Self {
            same_as: Some(release.root()),
            ..self
        }
    }
}

/// Why there will be none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There is no release to work with.
    NothingDeployed,
    /// It is stopped.
    Stopped,
    /// It is not stopped.
    NotStopped,
    /// These required secrets are not set.
    MissingSecrets(Vec<VariableName>),
}

/// What a change of settings leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Settled {
    /// A release at once.
    Release(Box<Draft>),
    /// It waits for the next release.
    Staged,
}

fn draft(image: &str, pin: &Pin, spec: &Spec, secrets: &SecretVersions, cause: ReleaseCause) -> Result<Draft, Refusal> {
    let missing: Vec<_> = spec
        .secrets
        .required
        .iter()
        .filter(|n| !secrets.contains_key(*n))
        .cloned()
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::MissingSecrets(missing));
    }
    Ok(Draft {
        image: image.to_owned(),
        pin: pin.clone(),
        spec: spec.clone(),
        secrets: secrets.clone(),
        cause,
        same_as: None,
    })
}

/// Whether a release differs from another in the number of its instances only: those that run are its own then.
fn is_other_scale(next: &Draft, current: &Release) -> bool {
    let mut spec = next.spec.with_strategy(current.spec.deploy.strategy);
    spec.scale = current.spec.scale;
    next.pin == current.pin && next.secrets == current.secrets && spec == current.spec
}

/// The release that a change makes.
pub(crate) fn accept(change: &Change, present: Present<'_>) -> Result<Draft, Refusal> {
    let current = || present.current.ok_or(Refusal::NothingDeployed);
    match change {
        Change::Image {
            image,
            pin,
            cause,
            strategy,
        } => {
            let spec = present
                .spec
                .with_strategy(strategy.unwrap_or(present.spec.deploy.strategy));
            draft(image, pin, &spec, present.secrets, *cause)
        }
        // More of what runs, whatever waits for the next release.
        Change::Settings(cause @ ReleaseCause::Scale) => {
            let current = current()?;
            let spec = Spec {
                scale: present.spec.scale,
                ..current.spec.clone()
            };
            let more = draft(&current.image, &current.pin, &spec, &current.secrets, *cause)?;
            Ok(more.like(current))
        }
        Change::Settings(cause) => {
            let current = current()?;
            let next = draft(&current.image, &current.pin, present.spec, present.secrets, *cause)?;
            Ok(Draft {
                same_as: is_other_scale(&next, current).then(|| current.root()),
                ..next
            })
        }
        Change::Rollback(target) => {
            let cause = ReleaseCause::Rollback;
            let back = draft(&target.image, &target.pin, &target.spec, &target.secrets, cause)?;
            Ok(back.like(target))
        }
        Change::Restart => {
            let current = current()?;
            if present.stopped {
                return Err(Refusal::Stopped);
            }
            draft(
                &current.image,
                &current.pin,
                &current.spec,
                &current.secrets,
                ReleaseCause::Restart,
            )
        }
        Change::Start => {
            let current = current()?;
            if !present.stopped {
                return Err(Refusal::NotStopped);
            }
            draft(
                &current.image,
                &current.pin,
                present.spec,
                present.secrets,
                ReleaseCause::Start,
            )
        }
    }
}

/// Whether what runs has none of these secrets: then nothing was taken away.
fn never_had(missing: &[VariableName], present: &Present<'_>) -> bool {
    let had = |name| {
        present
            .current
            .is_some_and(|current| current.secrets.contains_key(name))
    };
    !missing.iter().any(had)
}

/// What a change of settings leads to: a release at once, unless it is to wait, nothing was ever deployed, or the
/// environment is stopped.
pub(crate) fn settle(cause: ReleaseCause, apply: bool, present: Present<'_>) -> Result<Settled, Refusal> {
    if !apply || present.stopped || present.current.is_none() {
        return Ok(Settled::Staged);
    }
    match accept(&Change::Settings(cause), present) {
        // One of several that are still to be set: it is kept, and the last one makes the release.
        Err(Refusal::MissingSecrets(missing)) if cause == ReleaseCause::Secrets && never_had(&missing, &present) => {
            Ok(Settled::Staged)
        }
        accepted => accepted.map(|draft| Settled::Release(Box::new(draft))),
    }
}

#[cfg(test)]
mod tests {
    use slipway_domain::ReleaseNumber;
    use slipway_domain::clock::testing::{FixedEntropy, at};
    use slipway_domain::ids::{EnvironmentId, ReleaseId};

    use super::*;

    fn name(text: &str) -> VariableName {
        text.parse().expect("name")
    }

    fn secrets(names: &[&str], entropy: u8) -> SecretVersions {
        names
            .iter()
            .map(|n| (name(n), SecretId::mint(at(1), &FixedEntropy(entropy))))
            .collect()
    }

    fn pin(digit: char) -> Pin {
        Pin::Local {
            id: format!("sha256:{}", digit.to_string().repeat(64))
                .parse()
                .expect("digest"),
        }
    }

    fn release(image: &str, digit: char, min: u32, names: &[&str]) -> Release {
        let mut spec = Spec::default();
        spec.scale.min = min;
        Release {
            id: ReleaseId::mint(at(1), &FixedEntropy(1)),
            environment: EnvironmentId::mint(at(1), &FixedEntropy(1)),
            number: ReleaseNumber(1),
            image: image.into(),
            pin: pin(digit),
            spec,
            secrets: secrets(names, 1),
            cause: ReleaseCause::Deploy,
            same_as: None,
            created_at: at(1),
            created_by: "ci".into(),
            good: true,
        }
    }

    struct World {
        stopped: bool,
        spec: Spec,
        secrets: SecretVersions,
        current: Option<Release>,
    }

    impl World {
        fn new(current: Option<Release>) -> Self {
            let mut spec = Spec::default();
            spec.scale.min = 5;
            Self {
                stopped: false,
                spec,
                secrets: secrets(&["NEW"], 9),
                current,
            }
        }

        fn present(&self) -> Present<'_> {
            Present {
                stopped: self.stopped,
                spec: &self.spec,
                secrets: &self.secrets,
                current: self.current.as_ref(),
            }
        }

        /// Image, replicas, names of secrets, cause; or the refusal.
        fn check(&self, change: &Change) -> String {
            match accept(change, self.present()) {
                Ok(d) => {
                    let names: Vec<_> = d.secrets.keys().map(VariableName::as_str).collect();
                    format!(
                        "{} x{} {} {}",
                        d.image,
                        d.spec.scale.min,
                        names.join(","),
                        d.cause.as_str()
                    )
                }
                Err(refusal) => format!("{refusal:?}"),
            }
        }
    }

    #[test]
    fn each_change_takes_its_parts_from_where_the_table_says() {
        let image = Change::Image {
            image: "b".into(),
            pin: pin('b'),
            cause: ReleaseCause::Deploy,
            strategy: None,
        };
        let target = Change::Rollback(Box::new(release("old", 'c', 2, &["OLD"])));
        let settings = Change::Settings(ReleaseCause::Env);
        let running = World::new(Some(release("a", 'a', 3, &["CUR"])));
        let stopped = World {
            stopped: true,
            ..World::new(Some(release("a", 'a', 3, &["CUR"])))
        };
        let empty = World::new(None);
        for (world, change, expected) in [
            (&running, &image, "b x5 NEW deploy"),
            (&stopped, &image, "b x5 NEW deploy"),
            (&empty, &image, "b x5 NEW deploy"),
            (&running, &settings, "a x5 NEW env"),
            (&running, &Change::Settings(ReleaseCause::Scale), "a x5 CUR scale"),
            (&empty, &settings, "NothingDeployed"),
            (&running, &target, "old x2 OLD rollback"),
            (&running, &Change::Restart, "a x3 CUR restart"),
            (&stopped, &Change::Restart, "Stopped"),
            (&empty, &Change::Restart, "NothingDeployed"),
            (&stopped, &Change::Start, "a x5 NEW start"),
            (&running, &Change::Start, "NotStopped"),
            (&empty, &Change::Start, "NothingDeployed"),
        ] {
            assert_eq!(world.check(change), expected, "{change:?}");
        }
    }

    #[test]
    fn a_missing_required_secret_refuses_the_release_and_is_named() {
        let mut world = World::new(None);
        world.spec.secrets.required = vec![name("NEW"), name("KEY_A"), name("KEY_B")];
        let image = Change::Image {
            image: "b".into(),
            pin: pin('b'),
            cause: ReleaseCause::Deploy,
            strategy: None,
        };
        assert_eq!(
            accept(&image, world.present()),
            Err(Refusal::MissingSecrets(vec![name("KEY_A"), name("KEY_B")]))
        );
    }

    #[test]
    fn settings_wait_when_asked_to_when_stopped_and_when_nothing_runs() {
        let settled = |world: &World, apply| match settle(ReleaseCause::Spec, apply, world.present()) {
            Ok(Settled::Staged) => "staged",
            Ok(Settled::Release(_)) => "release",
            Err(_) => "refused",
        };
        let mut world = World::new(Some(release("a", 'a', 1, &[])));
        assert_eq!((settled(&world, true), settled(&world, false)), ("release", "staged"));
        world.spec.secrets.required = vec![name("MISSING")];
        assert_eq!((settled(&world, true), settled(&world, false)), ("refused", "staged"));
        world.stopped = true;
        assert_eq!(settled(&world, true), "staged");
        world.current = None;
        assert_eq!(settled(&world, true), "staged");
    }
}
