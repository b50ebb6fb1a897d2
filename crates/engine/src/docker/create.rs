//! What a container is made with: the hardened run defaults, in one pure function.
//!
//! Promises: no capability, no new privileges, a read-only root with a writable `/tmp` in memory, an unprivileged
//! user, limits on memory (swap included), CPU, processes and open files, rotated logs, no published port, no host
//! path, unless the spec waives the root file system or the user. Restarting is the reconciler's work, not the
//! engine's, so that every restart is counted, paced and explained.

use std::collections::HashMap;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigLogConfig, Mount, MountType, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};
use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::VolumeName;
use slipway_domain::spec::RunAs;

use crate::docker::labels::{self, Role};
use crate::engine::{GroupSpec, Job};

/// Open files per process.
const NOFILE_MAX: i64 = 4096;
/// One log file; three are kept.
const LOG_FILE_SIZE_MAX: &str = "10m";
const LOG_FILES_MAX: &str = "3";
/// The writable `/tmp` of a read-only container.
const TMPFS: &str = "rw,noexec,nosuid,nodev,size=64m,mode=1777";

/// Where the image has no `/tmp`, runc gives it the mode of the directory it made itself (0755) from the second start on:
/// the user owns it, then, and can write all the same. Who the image's own user is, is not known here: such an image has
/// to bring its `/tmp`.
fn tmpfs(group: &GroupSpec) -> String {
    match group.user {
        RunAs::Uid(uid) => format!("{TMPFS},uid={uid},gid={uid}"),
        RunAs::Image => TMPFS.into(),
    }
}

/// The network of an environment.
pub(crate) fn network_name(environment: EnvironmentId) -> String {
    format!("slipway-{environment}")
}

/// A named volume of an environment.
pub(crate) fn volume_name(environment: EnvironmentId, volume: &VolumeName) -> String {
    format!("slipway-{environment}-{volume}")
}

/// An instance's container name: for people, and apart from an app of the same name in another installation.
pub(crate) fn instance_name(group: &GroupSpec, slot: u32) -> String {
    let owner = &group.owner;
    let id = owner.environment_id.to_string();
    let apart = id.get(id.len().saturating_sub(6)..).unwrap_or(&id);
    format!(
        "slipway-{}-{}-{}-{slot}-{apart}",
        owner.app, owner.environment, group.release_number
    )
}

/// The body of an instance.
pub(crate) fn instance(group: &GroupSpec, slot: u32) -> ContainerCreateBody {
    body(group, Role::App, slot, None)
}

/// The body of a one-off command.
pub(crate) fn job(group: &GroupSpec, job: Job, command: &[String]) -> ContainerCreateBody {
    let mut body = body(group, Role::Job, 0, Some(command));
    if let (Job::Run(run), Some(labels)) = (job, &mut body.labels) {
        labels.insert(labels::RUN.to_owned(), run.to_string());
    }
    body
}

fn body(group: &GroupSpec, role: Role, slot: u32, command: Option<&[String]>) -> ContainerCreateBody {
    let name = match role {
        Role::App => slot.to_string(),
        Role::Job => "job".to_owned(),
    };
    let mut env: Vec<String> = group.env.iter().map(|(k, v)| format!("{k}={v}")).collect();
    env.extend(group.secrets.iter().map(|(k, v)| format!("{k}={}", v.expose())));
    env.push(format!(
        "SLIPWAY_INSTANCE={}-{}-{name}",
        group.owner.app, group.release_number
    ));
    ContainerCreateBody {
        image: Some(group.image.engine_reference()),
        env: Some(env),
        user: match group.user {
            RunAs::Uid(uid) => Some(format!("{uid}:{uid}")),
            RunAs::Image => None,
        },
        // The image's entrypoint would swallow the command as arguments.
        entrypoint: command.map(<[String]>::to_vec),
        cmd: command.map(|_| Vec::new()),
        labels: Some(labels::of_container(group, role, slot)),
        stop_signal: Some(group.kill_signal.as_str().to_owned()),
        host_config: Some(host(group)),
        ..ContainerCreateBody::default()
    }
}

fn host(group: &GroupSpec) -> HostConfig {
    let memory = i64::try_from(group.resources.memory.0).unwrap_or(i64::MAX);
    let mounts = group.mounts.iter().map(|m| Mount {
        typ: Some(MountType::VOLUME),
        source: Some(volume_name(group.owner.environment_id, &m.volume)),
        target: Some(m.path.clone()),
        read_only: Some(false),
        ..Mount::default()
    });
    let log = HashMap::from([
        ("max-size".to_owned(), LOG_FILE_SIZE_MAX.to_owned()),
        ("max-file".to_owned(), LOG_FILES_MAX.to_owned()),
    ]);
    HostConfig {
        cap_drop: Some(vec!["ALL".into()]),
        security_opt: Some(vec!["no-new-privileges:true".into()]),
        privileged: Some(false),
        readonly_rootfs: Some(group.read_only),
        tmpfs: group
            .read_only
            .then(|| HashMap::from([("/tmp".to_owned(), tmpfs(group))])),
        memory: Some(memory),
        memory_swap: Some(memory),
        nano_cpus: Some(i64::from(group.resources.cpu.0) * 1_000_000),
        pids_limit: Some(i64::from(group.resources.pids)),
        ulimits: Some(vec![ResourcesUlimits {
            name: Some("nofile".into()),
            soft: Some(NOFILE_MAX),
            hard: Some(NOFILE_MAX),
        }]),
        log_config: Some(HostConfigLogConfig {
            typ: Some("json-file".into()),
            config: Some(log),
        }),
        network_mode: Some(network_name(group.owner.environment_id)),
        mounts: Some(mounts.collect()),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // A first process that reaps children and passes signals on, for apps that were not made to be one.
        init: Some(true),
        publish_all_ports: Some(false),
        ..HostConfig::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::group;

    #[test]
    fn every_row_of_the_run_defaults_is_there() {
        let group = group();
        let body = instance(&group, 1);
        let host = body.host_config.expect("host");
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
        assert_eq!(host.cap_add, None);
        assert_eq!(host.security_opt, Some(vec!["no-new-privileges:true".into()]));
        assert_eq!((host.privileged, host.readonly_rootfs), (Some(false), Some(true)));
        assert!(host.tmpfs.expect("tmpfs")["/tmp"].contains("noexec,nosuid"));
        assert_eq!(body.user.as_deref(), Some("65532:65532"));
        assert_eq!((host.memory, host.memory_swap), (Some(64 << 20), Some(64 << 20)));
        assert_eq!((host.nano_cpus, host.pids_limit), (Some(500_000_000), Some(256)));
        assert_eq!(host.ulimits.expect("ulimits")[0].hard, Some(4096));
        assert_eq!(host.log_config.expect("log").config.expect("config")["max-size"], "10m");
        assert_eq!((host.port_bindings, host.publish_all_ports), (None, Some(false)));
        assert_eq!(
            (host.binds, host.devices, host.pid_mode, host.ipc_mode, host.userns_mode),
            (None, None, None, None, None)
        );
        assert_eq!(
            host.restart_policy.and_then(|r| r.name),
            Some(RestartPolicyNameEnum::NO)
        );
        assert_eq!(host.network_mode, Some(network_name(group.owner.environment_id)));
        assert_eq!(body.image, Some(group.image.engine_reference()));
    }

    #[test]
    fn a_one_off_command_takes_the_place_of_the_entrypoint() {
        let group = group();
        let body = job(&group, Job::Release(group.release), &["/app".into(), "migrate".into()]);
        assert_eq!(body.entrypoint, Some(vec!["/app".into(), "migrate".into()]));
        assert_eq!(body.cmd, Some(Vec::new()));
    }

    #[test]
    fn waivers_change_only_what_they_name() {
        let mut group = group();
        group.read_only = false;
        group.user = RunAs::Image;
        let body = instance(&group, 0);
        let host = body.host_config.expect("host");
        assert_eq!((host.readonly_rootfs, host.tmpfs, body.user), (Some(false), None, None));
        assert_eq!(host.cap_drop, Some(vec!["ALL".into()]));
    }
}
