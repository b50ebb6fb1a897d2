//! Servers of managed databases: one container, one volume and one network for each.
//!
//! Promises: a server's files are never in its container, so that a container can be made anew at any time; it is asked to
//! stop in the way that ends in no recovery; it starts again by itself when the machine does. Nothing that is not this
//! database's is touched, whatever it is called.

use std::collections::HashMap;

use bollard::Docker;
use bollard::models::{
    ContainerCreateBody, ContainerInspectResponse, EndpointSettings, HostConfig, HostConfigLogConfig, Ipam, IpamConfig,
    Mount, MountType, NetworkConnectRequest, NetworkCreateRequest, NetworkDisconnectRequest, RestartPolicy,
    RestartPolicyNameEnum, VolumeCreateRequest,
};
use bollard::query_parameters::{
    InspectNetworkOptions, RemoveVolumeOptions, StartContainerOptions, StopContainerOptions, UploadToContainerOptions,
};
use slipway_domain::database;
use slipway_domain::ids::{DatabaseId, EnvironmentId};
use slipway_domain::name::DatabaseName;

use crate::database::{DatabaseSpec, FoundDatabase};
use crate::docker::create::network_name as environment_network;
use crate::docker::tar::{self, Top};
use crate::docker::{BULK, QUESTION, WORK, containers, labels, observe, or_gone, restores, within};
use crate::engine::EngineError;

/// A server that is asked to stop writes down what is in memory: that takes as long as it takes, within reason.
const STOP_SECONDS_MAX: u32 = 120;
/// From this version on the image keeps its files in a directory for each version.
const MAJOR_WITH_DIRECTORIES: u16 = 18;
/// The server's files inside its volume: beside them lies what is not the server's own.
pub(crate) const DATA: &str = "pgdata";
/// Who may log in from where: with a password from anywhere but the inside of the container, and for copies of the whole
/// server only who is there for that.
const ACCESS: &str = "\
local all all trust
host all all all scram-sha-256
host replication slipway_backup all scram-sha-256
";
const ACCESS_FILE: &str = "pg_hba.conf";
const LOG_FILE_SIZE_MAX: &str = "10m";
const LOG_FILES_MAX: &str = "3";
const TMPFS: &str = "rw,noexec,nosuid,nodev,size=64m,mode=1777";
const SOCKETS: &str = "rw,noexec,nosuid,nodev,size=1m,mode=3777";
/// What the image's entry point needs until the files belong to the server's user.
const CAPABILITIES: [&str; 5] = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "SETGID", "SETUID"];

fn network_name(id: DatabaseId) -> String {
    format!("slipway-{id}")
}

pub(crate) fn volume_name(id: DatabaseId) -> String {
    format!("slipway-{id}-data")
}

fn container_name(id: DatabaseId, name: &DatabaseName) -> String {
    let id = id.to_string();
    let apart = id.get(id.len().saturating_sub(6)..).unwrap_or(&id);
    format!("slipway-db-{name}-{apart}")
}

/// Makes the server run as wanted: network, volume, container. One that was made from something else is made anew.
pub(crate) async fn apply(
    docker: &Docker,
    making: &tokio::sync::Mutex<()>,
    spec: &DatabaseSpec,
) -> Result<(), EngineError> {
    ensure_network(docker, making, spec).await?;
    ensure_volume(docker, spec).await?;
    if let Some(found) = find(docker, spec.id, &spec.name).await?
        && found.settings != spec.settings()
    {
        remove_container(docker, &found.container).await?;
    }
    let name = container_name(spec.id, &spec.name);
    let id = containers::ensure(docker, &name, body(spec)).await?;
    if !find(docker, spec.id, &spec.name)
        .await?
        .is_some_and(|found| found.running)
    {
        give_access(docker, &id, spec.major).await?;
    }
    within(WORK, docker.start_container(&id, None::<StartContainerOptions>)).await
}

/// Where its volume is mounted.
pub(crate) fn files(major: u16) -> &'static str {
    if major >= MAJOR_WITH_DIRECTORIES {
        "/var/lib/postgresql"
    } else {
        "/var/lib/postgresql/data"
    }
}

/// Writes down who may log in, where the server reads it when it starts.
pub(crate) async fn give_access(docker: &Docker, container: &str, major: u16) -> Result<(), EngineError> {
    let options = UploadToContainerOptions {
        path: files(major).to_owned(),
        ..UploadToContainerOptions::default()
    };
    let top = Top { uid: 0, mode: 0o644 };
    let archive = tar::file(ACCESS_FILE, top, ACCESS.as_bytes());
    let body = bollard::body_full(archive.into());
    within(WORK, docker.upload_to_container(container, Some(options), body)).await
}

pub(crate) fn body(spec: &DatabaseSpec) -> ContainerCreateBody {
    let settings = spec.size.server_settings();
    let mut command = vec!["postgres".to_owned()];
    for (name, value) in settings {
        command.extend(["-c".to_owned(), format!("{name}={value}")]);
    }
    let files = files(spec.major);
    command.extend(["-c".to_owned(), format!("hba_file={files}/{ACCESS_FILE}")]);
    ContainerCreateBody {
        image: Some(spec.image.engine_reference()),
        cmd: Some(command),
        env: Some(vec![
            "POSTGRES_USER=postgres".to_owned(),
            format!("PGDATA={files}/{DATA}"),
            format!("POSTGRES_PASSWORD={}", spec.password.expose()),
            "POSTGRES_INITDB_ARGS=--data-checksums --encoding=UTF8".to_owned(),
        ]),
        labels: Some(labels::of_database(spec)),
        stop_signal: Some("SIGINT".to_owned()),
        stop_timeout: Some(i64::from(STOP_SECONDS_MAX)),
        host_config: Some(host(spec)),
        ..ContainerCreateBody::default()
    }
}

fn host(spec: &DatabaseSpec) -> HostConfig {
    let memory = i64::try_from(spec.size.memory.0).unwrap_or(i64::MAX);
    HostConfig {
        cap_drop: Some(vec!["ALL".into()]),
        cap_add: Some(CAPABILITIES.map(str::to_owned).to_vec()),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([
            ("/tmp".to_owned(), TMPFS.to_owned()),
            ("/var/run/postgresql".to_owned(), SOCKETS.to_owned()),
        ])),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(spec.size.cpu.0) * 1_000_000),
        pids_limit: Some(i64::from(spec.size.connections) + 64),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(HashMap::from([
                ("max-size".to_owned(), LOG_FILE_SIZE_MAX.to_owned()),
                ("max-file".to_owned(), LOG_FILES_MAX.to_owned()),
            ])),
        }),
        network_mode: Some(network_name(spec.id)),
        mounts: Some(vec![Mount {
            typ: Some(MountType::VOLUME),
            source: Some(volume_name(spec.id)),
            target: Some(files(spec.major).to_owned()),
            read_only: Some(false),
            ..Mount::default()
        }]),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::UNLESS_STOPPED),
            maximum_retry_count: None,
        }),
        publish_all_ports: Some(false),
        ..HostConfig::default()
    }
}

pub(crate) async fn ensure_volume(docker: &Docker, spec: &DatabaseSpec) -> Result<(), EngineError> {
    let name = volume_name(spec.id);
    let request = VolumeCreateRequest {
        name: Some(name.clone()),
        labels: Some(labels::of_database(spec)),
        ..VolumeCreateRequest::default()
    };
    // The engine answers with the volume that is there, whoever made it.
    let volume = within(WORK, docker.create_volume(request)).await?;
    if labels::database_of(&volume.labels) == Some(spec.id) {
        return Ok(());
    }
    Err(EngineError::Refused(format!(
        "a volume named {name} exists that is not this database's: remove it or copy it elsewhere (`docker volume rm {name}`)"
    )))
}

pub(crate) async fn ensure_network(
    docker: &Docker,
    making: &tokio::sync::Mutex<()>,
    spec: &DatabaseSpec,
) -> Result<(), EngineError> {
    if has_network(docker, spec.id).await? {
        return Ok(());
    }
    let _making = making.lock().await;
    if has_network(docker, spec.id).await? {
        return Ok(());
    }
    let request = NetworkCreateRequest {
        name: network_name(spec.id),
        driver: Some("bridge".into()),
        ipam: Some(Ipam {
            config: Some(vec![IpamConfig {
                subnet: Some(spec.subnet.clone()),
                ..IpamConfig::default()
            }]),
            ..Ipam::default()
        }),
        labels: Some(labels::of_database(spec)),
        ..NetworkCreateRequest::default()
    };
    match within(WORK, docker.create_network(request)).await {
        Ok(_) => Ok(()),
        // An earlier attempt whose answer was lost may have made it.
        Err(error) => match has_network(docker, spec.id).await {
            Ok(true) => Ok(()),
            _ => Err(error),
        },
    }
}

/// Whether the database's network is there. Another one of its name is refused.
async fn has_network(docker: &Docker, id: DatabaseId) -> Result<bool, EngineError> {
    let name = network_name(id);
    match within(QUESTION, docker.inspect_network(&name, None::<InspectNetworkOptions>)).await {
        Ok(found) if found.labels.as_ref().and_then(labels::database_of) == Some(id) => Ok(true),
        Ok(_) => Err(EngineError::Refused(format!(
            "a network named {name} exists that is not this database's: remove it (`docker network rm {name}`)"
        ))),
        Err(EngineError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Its server, if the engine has one.
pub(crate) async fn find(
    docker: &Docker,
    id: DatabaseId,
    name: &DatabaseName,
) -> Result<Option<FoundDatabase>, EngineError> {
    let found = observe::find(docker, &container_name(id, name)).await?;
    // Another one of that name is not it, and is refused when it is in the way.
    let ours = found.filter(|(_, labels)| labels::database_of(labels) == Some(id));
    Ok(ours.and_then(|(found, labels)| database_in(id, found, &labels)))
}

fn database_in(
    id: DatabaseId,
    found: ContainerInspectResponse,
    labels: &HashMap<String, String>,
) -> Option<FoundDatabase> {
    let state = found.state.unwrap_or_default();
    let running = state.running.unwrap_or_default();
    let networks = found.network_settings.and_then(|n| n.networks).unwrap_or_default();
    let address = networks.get(&network_name(id)).and_then(|n| n.ip_address.clone());
    let environments = networks
        .keys()
        .filter_map(|name| name.strip_prefix("slipway-")?.parse().ok());
    Some(FoundDatabase {
        id,
        container: found.id?,
        running,
        exit_code: state.exit_code.filter(|_| !running),
        oom_killed: state.oom_killed.unwrap_or_default(),
        settings: labels.get(labels::SETTINGS).cloned().unwrap_or_default(),
        address: address.and_then(|ip| ip.parse().ok()),
        environments: environments.collect(),
    })
}

/// Lets the apps of an environment find it: its network must be there.
pub(crate) async fn connect(
    docker: &Docker,
    database: &FoundDatabase,
    name: &DatabaseName,
    environment: EnvironmentId,
) -> Result<(), EngineError> {
    if database.environments.contains(&environment) {
        return Ok(());
    }
    let request = NetworkConnectRequest {
        container: database.container.clone(),
        endpoint_config: Some(EndpointSettings {
            aliases: Some(vec![database::host(name)]),
            ..EndpointSettings::default()
        }),
    };
    let network = environment_network(environment);
    match within(WORK, docker.connect_network(&network, request)).await {
        // Somebody was quicker.
        Err(EngineError::Refused(text) | EngineError::Busy(text)) if text.contains("already exists") => Ok(()),
        other => other,
    }
}

/// Has the apps of an environment find it no more.
pub(crate) async fn disconnect(
    docker: &Docker,
    database: &FoundDatabase,
    environment: EnvironmentId,
) -> Result<(), EngineError> {
    let request = NetworkDisconnectRequest {
        container: database.container.clone(),
        force: Some(true),
    };
    let network = environment_network(environment);
    or_gone(within(WORK, docker.disconnect_network(&network, request)).await)
}

/// Removes the server, its network and its files.
pub(crate) async fn remove(docker: &Docker, id: DatabaseId, name: &DatabaseName) -> Result<(), EngineError> {
    restores::end(docker, id).await?;
    if let Some(found) = find(docker, id, name).await? {
        remove_container(docker, &found.container).await?;
    }
    match has_network(docker, id).await {
        Ok(true) => or_gone(within(WORK, docker.remove_network(&network_name(id))).await)?,
        Ok(false) | Err(EngineError::Refused(_)) => {}
        Err(error) => return Err(error),
    }
    let name = volume_name(id);
    match within(QUESTION, docker.inspect_volume(&name)).await {
        Ok(found) if labels::database_of(&found.labels) == Some(id) => {
            or_gone(within(BULK, docker.remove_volume(&name, None::<RemoveVolumeOptions>)).await)
        }
        Ok(_) | Err(EngineError::NotFound(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

pub(crate) async fn remove_container(docker: &Docker, container: &str) -> Result<(), EngineError> {
    let options = StopContainerOptions {
        t: i32::try_from(STOP_SECONDS_MAX).ok(),
        signal: None,
    };
    let limit = std::time::Duration::from_secs(u64::from(STOP_SECONDS_MAX)) + WORK;
    or_gone(within(limit, docker.stop_container(container, Some(options))).await)?;
    containers::discard(docker, container).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use crate::testing::database;

    #[test]
    fn a_server_has_no_more_rights_than_its_entry_point_needs_and_keeps_its_files_in_its_volume() {
        let spec = database();
        let body = body(&spec);
        let host = body.host_config.expect("host");
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(host.cap_add.map(|c| c.len()), Some(5));
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".into()]));
        assert_eq!((host.privileged, host.readonly_rootfs), (Some(false), Some(true)));
        assert_eq!(
            (host.port_bindings, host.publish_all_ports, host.binds),
            (None, Some(false), None)
        );
        assert_eq!(host.network_mode, Some(network_name(spec.id)));
        let mounts = host.mounts.expect("mounts");
        assert_eq!(mounts[0].source, Some(volume_name(spec.id)));
        assert_eq!(mounts[0].target.as_deref(), Some("/var/lib/postgresql/data"));
        assert!(body.cmd.expect("a command").contains(&"wal_level=replica".to_owned()));
        let labels = body.labels.expect("labels");
        assert_eq!(labels::database_of(&labels), Some(spec.id));
        assert!(!labels::is_container(&labels), "no app's");
    }

    #[test]
    fn a_server_that_is_to_be_larger_is_another_one() {
        let small = database();
        let mut large = database();
        large.size.memory.0 *= 2;
        assert_ne!(small.settings(), large.settings());
        assert_eq!(small.settings(), database().settings());
    }

    #[test]
    fn newer_images_are_given_the_directory_above() {
        let mut spec = database();
        spec.major = 18;
        let mounts = host(&spec).mounts.expect("mounts");
        assert_eq!(mounts[0].target.as_deref(), Some("/var/lib/postgresql"));
    }

    #[test]
    fn the_networks_a_server_is_in_are_read_back() {
        let spec = database();
        let environment = crate::testing::group().owner.environment_id;
        let endpoint = |ip: &str| EndpointSettings {
            ip_address: Some(ip.into()),
            ..EndpointSettings::default()
        };
        let found = ContainerInspectResponse {
            id: Some("c".into()),
            state: Some(bollard::models::ContainerState {
                running: Some(true),
                exit_code: Some(0),
                ..bollard::models::ContainerState::default()
            }),
            network_settings: Some(bollard::models::NetworkSettings {
                networks: Some(HashMap::from([
                    (network_name(spec.id), endpoint("10.1.0.2")),
                    (environment_network(environment), endpoint("10.2.0.2")),
                    ("bridge".to_owned(), endpoint("172.17.0.2")),
                ])),
                ..bollard::models::NetworkSettings::default()
            }),
            ..ContainerInspectResponse::default()
        };
        let found = database_in(spec.id, found, &labels::of_database(&spec)).expect("found");
        assert_eq!(found.environments, BTreeSet::from([environment]));
        assert_eq!(found.address, Some("10.1.0.2".parse().expect("an address")));
        assert_eq!((found.running, found.exit_code), (true, None));
        assert_eq!(found.settings, spec.settings());
    }
}
