//! Labels: how everything of ours is found again after any crash.
//!
//! Promises: what does not carry all labels of ours, in the form we write, is not ours and is never touched.

use std::collections::HashMap;

use slipway_domain::ids::{DatabaseId, EnvironmentId, ReleaseId, RunId};
use slipway_domain::{Epoch, ReleaseNumber};

use crate::database::DatabaseSpec;
use crate::engine::{GroupSpec, Job, Owner};

/// Found on everything of an environment.
pub(crate) const ENVIRONMENT_ID: &str = "slipway.environment-id";
/// Of which of the installations that share the engine it is.
pub(crate) const INSTALLATION: &str = "slipway.installation";
/// Of a one-off command that is no release command: which run it is.
pub(crate) const RUN: &str = "slipway.run";
/// Found on everything of a managed database.
pub(crate) const DATABASE_ID: &str = "slipway.database-id";
/// What stands in place of a [`Role`] on them.
pub(crate) const DATABASE_ROLE: &str = "database";
/// What a database's server was made from.
pub(crate) const SETTINGS: &str = "slipway.settings";
/// `app`, `job` or `database`.
pub(crate) const ROLE: &str = "slipway.role";
const DATABASE: &str = "slipway.database";
const TEAM: &str = "slipway.team";
const APP: &str = "slipway.app";
const ENVIRONMENT: &str = "slipway.environment";
const RELEASE: &str = "slipway.release";
const RELEASE_ID: &str = "slipway.release-id";
const GENERATION: &str = "slipway.generation";
const EPOCH: &str = "slipway.epoch";
const SLOT: &str = "slipway.slot";
const PORT: &str = "slipway.port";

/// What a container is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    /// An instance that serves.
    App,
    /// A one-off command.
    Job,
}

impl Role {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::App => "app",
            Self::Job => "job",
        }
    }
}

/// The labels of a network or volume.
pub(crate) fn of_owner(owner: &Owner) -> HashMap<String, String> {
    [
        (INSTALLATION, owner.installation.clone()),
        (TEAM, owner.team.to_string()),
        (APP, owner.app.to_string()),
        (ENVIRONMENT, owner.environment.to_string()),
        (ENVIRONMENT_ID, owner.environment_id.to_string()),
        (GENERATION, owner.generation.to_string()),
        (EPOCH, owner.epoch.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

/// The labels of a container.
pub(crate) fn of_container(group: &GroupSpec, role: Role, slot: u32) -> HashMap<String, String> {
    let mut labels = of_owner(&group.owner);
    labels.extend([
        (ROLE.to_owned(), role.as_str().to_owned()),
        (RELEASE.to_owned(), group.release_number.0.to_string()),
        (RELEASE_ID.to_owned(), group.release.to_string()),
        (SLOT.to_owned(), slot.to_string()),
        (PORT.to_owned(), group.port.to_string()),
    ]);
    labels
}

/// The labels of everything of a managed database.
pub(crate) fn of_database(spec: &DatabaseSpec) -> HashMap<String, String> {
    [
        (INSTALLATION, spec.installation.clone()),
        (ROLE, DATABASE_ROLE.to_owned()),
        (TEAM, spec.team.to_string()),
        (DATABASE, spec.name.to_string()),
        (DATABASE_ID, spec.id.to_string()),
        (SETTINGS, spec.settings()),
        (EPOCH, spec.epoch.to_string()),
    ]
    .map(|(k, v)| (k.to_owned(), v))
    .into()
}

/// Which database something is of.
pub(crate) fn database_of(labels: &HashMap<String, String>) -> Option<DatabaseId> {
    labels.get(DATABASE_ID)?.parse().ok()
}

/// Whether a container carries our labels: the environment it is of, in our form, and a role of ours.
pub(crate) fn is_container(labels: &HashMap<String, String>) -> bool {
    let role = labels.get(ROLE).map(String::as_str);
    is_any(labels) && [Role::App, Role::Job].iter().any(|r| role == Some(r.as_str()))
}

/// Whether a container is that of a one-off command.
pub(crate) fn is_job(labels: &HashMap<String, String>, job: Job) -> bool {
    let is_it = match job {
        Job::Release(release) => release_command_of(labels) == Some(release),
        Job::Run(run) => labels.get(RUN).and_then(|id| id.parse().ok()) == Some(run),
    };
    is_any(labels) && labels.get(ROLE).map(String::as_str) == Some(Role::Job.as_str()) && is_it
}

/// The release of which a container is the release command.
pub(crate) fn release_command_of(labels: &HashMap<String, String>) -> Option<ReleaseId> {
    if labels.contains_key(RUN) {
        return None;
    }
    labels.get(RELEASE_ID)?.parse().ok()
}

/// Which run a container is of, where it runs, and the release whose image it has.
pub(crate) fn run_of(labels: &HashMap<String, String>) -> Option<(RunId, EnvironmentId, ReleaseId)> {
    let run = labels.get(RUN)?.parse().ok()?;
    let environment = labels.get(ENVIRONMENT_ID)?.parse().ok()?;
    Some((run, environment, labels.get(RELEASE_ID)?.parse().ok()?))
}

/// Whether a network or volume is of an environment.
pub(crate) fn is_of(labels: &HashMap<String, String>, environment: EnvironmentId) -> bool {
    labels.get(ENVIRONMENT_ID).and_then(|id| id.parse().ok()) == Some(environment)
}

fn is_any(labels: &HashMap<String, String>) -> bool {
    labels
        .get(ENVIRONMENT_ID)
        .is_some_and(|id| id.parse::<EnvironmentId>().is_ok())
}

/// Whether two containers are one place of one release, or the server of one database.
pub(crate) fn is_same_place(one: &HashMap<String, String>, other: &HashMap<String, String>) -> bool {
    let place: &[&str] = if one.contains_key(DATABASE_ID) {
        &[DATABASE_ID, ROLE]
    } else {
        &[ENVIRONMENT_ID, ROLE, RELEASE_ID, SLOT]
    };
    place
        .iter()
        .all(|label| one.contains_key(*label) && one.get(*label) == other.get(*label))
}

/// What the labels of an instance say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) environment: EnvironmentId,
    pub(crate) release: ReleaseId,
    pub(crate) release_number: ReleaseNumber,
    pub(crate) slot: u32,
    pub(crate) epoch: Epoch,
    /// The port it was told to listen on.
    pub(crate) port: u16,
}

/// Reads the labels of a container; `None` when it is not an instance of ours.
pub(crate) fn identity(labels: &HashMap<String, String>) -> Option<Identity> {
    if labels.get(ROLE).map(String::as_str) != Some(Role::App.as_str()) {
        return None;
    }
    Some(Identity {
        environment: labels.get(ENVIRONMENT_ID)?.parse().ok()?,
        release: labels.get(RELEASE_ID)?.parse().ok()?,
        release_number: ReleaseNumber(labels.get(RELEASE)?.parse().ok()?),
        slot: labels.get(SLOT)?.parse().ok()?,
        epoch: Epoch(labels.get(EPOCH)?.parse().ok()?),
        port: labels.get(PORT)?.parse().ok()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::group;

    #[test]
    fn what_is_written_is_read_back_and_anything_less_is_not_ours() {
        let group = group();
        let labels = of_container(&group, Role::App, 3);
        let read = identity(&labels).expect("ours");
        assert_eq!(
            (read.environment, read.release, read.slot, read.port),
            (group.owner.environment_id, group.release, 3, group.port)
        );
        assert_eq!(identity(&of_container(&group, Role::Job, 0)), None);
        for name in [ROLE, ENVIRONMENT_ID, RELEASE_ID, RELEASE, SLOT, EPOCH, PORT] {
            let mut damaged = labels.clone();
            damaged.insert(name.to_owned(), "?".to_owned());
            assert_eq!(identity(&damaged), None, "{name}");
            damaged.remove(name);
            assert_eq!(identity(&damaged), None, "{name}");
        }
    }

    #[test]
    fn only_what_carries_our_labels_in_our_form_may_be_removed() {
        let group = group();
        let (app, job) = (of_container(&group, Role::App, 0), of_container(&group, Role::Job, 0));
        assert!(is_container(&app) && is_container(&job));
        assert!(is_job(&job, Job::Release(group.release)) && !is_job(&app, Job::Release(group.release)));
        assert!(is_of(&of_owner(&group.owner), group.owner.environment_id));
        assert!(is_same_place(&app, &app.clone()));
        assert!(!is_same_place(&app, &of_container(&group, Role::App, 1)));
        let foreign = HashMap::new();
        assert!(!is_container(&foreign) && !is_same_place(&foreign, &foreign));
        assert!(!is_job(&foreign, Job::Release(group.release)) && !is_of(&foreign, group.owner.environment_id));
        for (name, value) in [(ROLE, "database"), (ENVIRONMENT_ID, "production")] {
            let mut damaged = app.clone();
            damaged.insert(name.to_owned(), value.to_owned());
            assert!(!is_container(&damaged), "{name}");
        }
    }
}
