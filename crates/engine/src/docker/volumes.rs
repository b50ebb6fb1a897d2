//! Named volumes of environments.

use bollard::Docker;
use bollard::models::VolumeCreateRequest;
use bollard::query_parameters::{RemoveVolumeOptions, UploadToContainerOptions};
use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::VolumeName;
use slipway_domain::spec::RunAs;

use crate::docker::create::volume_name;
use crate::docker::{WORK, labels, or_gone, within};
use crate::engine::{EngineError, GroupSpec};

/// Makes the volumes of a group where they are not there.
pub(crate) async fn ensure(docker: &Docker, group: &GroupSpec) -> Result<(), EngineError> {
    for mount in &group.mounts {
        let request = VolumeCreateRequest {
            name: Some(volume_name(group.owner.environment_id, &mount.volume)),
            labels: Some(labels::of_owner(&group.owner)),
            ..VolumeCreateRequest::default()
        };
        within(WORK, docker.create_volume(request)).await?;
    }
    Ok(())
}

/// Gives the top of each volume to the user the app runs as: a new volume belongs to root, and the app is not root.
pub(crate) async fn hand_over(docker: &Docker, group: &GroupSpec, container: &str) -> Result<(), EngineError> {
    let RunAs::Uid(uid) = group.user else { return Ok(()) };
    for mount in &group.mounts {
        let options = UploadToContainerOptions {
            path: mount.path.clone(),
            ..UploadToContainerOptions::default()
        };
        let archive = bollard::body_full(directory_archive(uid).into());
        within(WORK, docker.upload_to_container(container, Some(options), archive)).await?;
    }
    Ok(())
}

/// A tar archive (POSIX.1-1988 ustar) of nothing but `./`, owned by the user.
fn directory_archive(uid: u32) -> Vec<u8> {
    let mut header = [0_u8; 512];
    let mut put = |at: usize, text: &str| header[at..at + text.len()].copy_from_slice(text.as_bytes());
    put(0, "./");
    put(100, "0000755\0");
    put(108, &format!("{uid:07o}\0"));
    put(116, &format!("{uid:07o}\0"));
    put(124, "00000000000\0");
    put(136, "00000000000\0");
    put(148, "        ");
    put(156, "5");
    put(257, "ustar\0");
    put(263, "00");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let mut archive = header.to_vec();
    archive.resize(512 * 3, 0);
    archive
}

pub(crate) async fn remove(
    docker: &Docker,
    environment: EnvironmentId,
    volume: &VolumeName,
) -> Result<(), EngineError> {
    let name = volume_name(environment, volume);
    or_gone(within(WORK, docker.remove_volume(&name, None::<RemoveVolumeOptions>)).await)
}
