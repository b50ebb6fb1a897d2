//! Bringing back the files of a managed database, and a server that recovers them.
//!
//! Promises: it is done in the volume of a database that nobody uses yet; what an attempt that was given up left is removed
//! before the next one begins; the server that recovers is in the database's own network alone and goes when it is done.

use bollard::Docker;
use bollard::models::{ContainerCreateBody, HostConfig, RestartPolicy, RestartPolicyNameEnum};
use bollard::query_parameters::{RemoveVolumeOptions, StartContainerOptions, UploadToContainerOptions};
use futures_util::TryStreamExt as _;
use slipway_domain::ids::DatabaseId;

use crate::database::{DatabaseSpec, FileStream, RecoveringServer};
use crate::docker::databases::{self, DATA, volume_name};
use crate::docker::tar::{self, Top};
use crate::docker::{BULK, QUESTION, WORK, containers, labels, observe, or_gone, within};
use crate::engine::EngineError;

/// Unpacking a whole server takes as long as it takes, within reason.
const UNPACK_MAX: std::time::Duration = std::time::Duration::from_hours(12);

fn container_name(id: DatabaseId) -> String {
    format!("slipway-restore-{id}")
}

/// An empty volume, with the network of the database: what was there is of an attempt that was given up.
pub(crate) async fn begin(
    docker: &Docker,
    making: &tokio::sync::Mutex<()>,
    spec: &DatabaseSpec,
) -> Result<(), EngineError> {
    end(docker, spec.id).await?;
    let name = volume_name(spec.id);
    match within(QUESTION, docker.inspect_volume(&name)).await {
        Ok(found) if labels::database_of(&found.labels) == Some(spec.id) => {
            or_gone(within(BULK, docker.remove_volume(&name, None::<RemoveVolumeOptions>)).await)?;
        }
        Ok(_) | Err(EngineError::NotFound(_)) => {}
        Err(error) => return Err(error),
    }
    databases::ensure_network(docker, making, spec).await?;
    databases::ensure_volume(docker, spec).await?;
    let id = made(docker, spec, &[]).await?;
    let top = Top { uid: 0, mode: 0o700 };
    upload(docker, &id, databases::files(spec.major), tar::directory(DATA, top)).await
}

/// Unpacks an archive among the server's files.
pub(crate) async fn unpack(docker: &Docker, spec: &DatabaseSpec, archive: FileStream) -> Result<(), EngineError> {
    let options = UploadToContainerOptions {
        path: format!("{}/{DATA}", databases::files(spec.major)),
        ..UploadToContainerOptions::default()
    };
    let body = bollard::body_try_stream(archive.map_err(std::io::Error::other));
    let container = container_name(spec.id);
    within(UNPACK_MAX, docker.upload_to_container(&container, Some(options), body)).await
}

/// Puts one file among the server's files.
pub(crate) async fn put(docker: &Docker, spec: &DatabaseSpec, path: &str, content: &[u8]) -> Result<(), EngineError> {
    let place = format!("{}/{DATA}", databases::files(spec.major));
    let archive = tar::file(path, Top { uid: 0, mode: 0o600 }, content);
    upload(docker, &container_name(spec.id), &place, archive).await
}

/// Starts a server on the files, with settings beside its own.
pub(crate) async fn recover(
    docker: &Docker,
    spec: &DatabaseSpec,
    settings: &[(&str, String)],
) -> Result<(), EngineError> {
    end(docker, spec.id).await?;
    let id = made(docker, spec, settings).await?;
    databases::give_access(docker, &id, spec.major).await?;
    within(WORK, docker.start_container(&id, None::<StartContainerOptions>)).await
}

async fn made(docker: &Docker, spec: &DatabaseSpec, settings: &[(&str, String)]) -> Result<String, EngineError> {
    let mut body = databases::body(spec);
    let command = body.cmd.get_or_insert_default();
    for (name, value) in settings {
        command.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    let body = ContainerCreateBody {
        host_config: body.host_config.map(|host| HostConfig {
            restart_policy: Some(RestartPolicy {
                name: Some(RestartPolicyNameEnum::NO),
                maximum_retry_count: None,
            }),
            ..host
        }),
        ..body
    };
    containers::ensure(docker, &container_name(spec.id), body).await
}

/// How the server that recovers stands.
pub(crate) async fn find(docker: &Docker, id: DatabaseId) -> Result<Option<RecoveringServer>, EngineError> {
    let found = observe::find(docker, &container_name(id)).await?;
    let ours = found.filter(|(_, theirs)| labels::database_of(theirs) == Some(id));
    Ok(ours.map(|(found, _)| {
        let state = found.state.unwrap_or_default();
        let running = state.running.unwrap_or_default();
        let networks = found.network_settings.and_then(|n| n.networks).unwrap_or_default();
        let address = networks.into_values().find_map(|n| n.ip_address);
        RecoveringServer {
            running,
            exit_code: state.exit_code.filter(|_| !running),
            address: address.and_then(|ip| ip.parse().ok()),
        }
    }))
}

/// Removes the server that recovered; the files stay.
pub(crate) async fn end(docker: &Docker, id: DatabaseId) -> Result<(), EngineError> {
    match observe::find(docker, &container_name(id)).await? {
        Some((found, theirs)) if labels::database_of(&theirs) == Some(id) => {
            databases::remove_container(docker, &found.id.unwrap_or_default()).await
        }
        Some(_) => Err(EngineError::Refused(format!(
            "a container named {0} exists that is not this database's: remove it (`docker rm {0}`)",
            container_name(id)
        ))),
        None => Ok(()),
    }
}

async fn upload(docker: &Docker, container: &str, path: &str, archive: Vec<u8>) -> Result<(), EngineError> {
    let options = UploadToContainerOptions {
        path: path.to_owned(),
        ..UploadToContainerOptions::default()
    };
    let body = bollard::body_full(archive.into());
    within(BULK, docker.upload_to_container(container, Some(options), body)).await
}
