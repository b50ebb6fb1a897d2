//! Named volumes of environments.
//!
//! Promises: a volume is made once and kept; the top of it belongs to the user the app runs as, and the mode that an
//! image or an app gave it stays; a volume that is not of the environment is neither used nor removed.

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{DownloadFromContainerOptions, RemoveVolumeOptions, UploadToContainerOptions};
use futures_util::StreamExt;
use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::VolumeName;
use slipway_domain::spec::RunAs;

use crate::docker::create::{self, volume_name};
use crate::docker::tar::{self, Top};
use crate::docker::{BULK, QUESTION, WORK, containers, labels, or_gone, within};
use crate::engine::{EngineError, GroupSpec, Job};

/// The first entry of an archive is looked for within so many bytes.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Makes the volumes of a group where they are not there.
pub(crate) async fn ensure(docker: &Docker, group: &GroupSpec) -> Result<(), EngineError> {
    for mount in &group.mounts {
        let name = volume_name(group.owner.environment_id, &mount.volume);
        let request = VolumeCreateRequest {
            name: Some(name.clone()),
            labels: Some(labels::of_owner(&group.owner)),
            ..VolumeCreateRequest::default()
        };
        // The engine answers with the volume that is there, whoever made it.
        let volume = within(WORK, docker.create_volume(request)).await?;
        if !labels::is_of(&volume.labels, group.owner.environment_id) {
            return Err(EngineError::Refused(format!(
                "a volume named {name} exists that is not this environment's: remove it or copy it elsewhere (`docker volume rm {name}`)"
            )));
        }
    }
    Ok(())
}

/// Gives the top of each volume to the user the app runs as, where it is not: a new volume belongs to root or to
/// whom the image says, and the app may be neither.
pub(crate) async fn hand_over(docker: &Docker, group: &GroupSpec, container: &str) -> Result<(), EngineError> {
    let RunAs::Uid(uid) = group.user else { return Ok(()) };
    for mount in &group.mounts {
        let top = top(docker, container, &mount.path).await?;
        if top.is_some_and(|t| t.uid == uid) {
            continue;
        }
        let mode = top.map_or(0o755, |t| t.mode);
        let archive = tar::directory(mount.path.trim_start_matches('/'), Top { uid, mode });
        through_helper(docker, group, archive).await?;
    }
    Ok(())
}

/// Unpacks an archive at the root of a container that is never started. The engine leaves the directory it unpacks
/// into as it is, so a volume's top can only be given away from above it, and the app's own container has a root that
/// cannot be written to.
async fn through_helper(docker: &Docker, group: &GroupSpec, archive: Vec<u8>) -> Result<(), EngineError> {
    let writable = GroupSpec {
        read_only: false,
        ..group.clone()
    };
    let name = format!("slipway-owner-{}", group.owner.environment_id);
    // One that an interrupted attempt left is of no use.
    containers::discard(docker, &name).await?;
    let id = containers::ensure(
        docker,
        &name,
        create::job(&writable, Job::Release(group.release), &["/never-started".to_owned()]),
    )
    .await?;
    let options = UploadToContainerOptions {
        path: "/".to_owned(),
        ..UploadToContainerOptions::default()
    };
    let body = bollard::body_full(archive.into());
    let given = within(BULK, docker.upload_to_container(&id, Some(options), body)).await;
    containers::discard(docker, &id).await?;
    given
}

/// Whose a directory in a container is; `None` when the engine's archive does not tell.
async fn top(docker: &Docker, container: &str, path: &str) -> Result<Option<Top>, EngineError> {
    let options = DownloadFromContainerOptions { path: path.to_owned() };
    let read = async {
        let mut stream = Box::pin(docker.download_from_container(container, Some(options)));
        let mut head = Vec::new();
        while let Some(chunk) = stream.next().await {
            head.extend_from_slice(&chunk?);
            if tar::first_directory(&head).is_some() || head.len() >= HEAD_BYTES_MAX {
                break;
            }
        }
        // The rest of the archive is not read: dropping the stream ends the engine's work on it.
        Ok(head)
    };
    Ok(tar::first_directory(&within(QUESTION, read).await?))
}

/// Removes a volume of the environment.
pub(crate) async fn remove(
    docker: &Docker,
    environment: EnvironmentId,
    volume: &VolumeName,
) -> Result<(), EngineError> {
    let name = volume_name(environment, volume);
    match within(QUESTION, docker.inspect_volume(&name)).await {
        Ok(found) if labels::is_of(&found.labels, environment) => {
            or_gone(within(BULK, docker.remove_volume(&name, None::<RemoveVolumeOptions>)).await)
        }
        Ok(_) | Err(EngineError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}
