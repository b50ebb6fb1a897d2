//! What the engine is, and how full its disk.

use bollard::Docker;
use bollard::models::SystemVersion;
use slipway_domain::image::Platform;

use crate::docker::{QUESTION, within};
use crate::engine::{EngineError, EngineInfo};

pub(crate) async fn info(docker: &Docker, version: SystemVersion) -> Result<EngineInfo, EngineError> {
    let info = within(QUESTION, docker.info()).await?;
    let platform = platform_of(info.os_type, info.architecture);
    Ok(EngineInfo {
        version: info.server_version.unwrap_or_default(),
        api_version: version.api_version.unwrap_or_default(),
        root_dir: info.docker_root_dir.unwrap_or_default(),
        os: platform.os,
        architecture: platform.architecture,
        live_restore: info.live_restore_enabled.unwrap_or_default(),
    })
}

/// What images must be made for.
pub(crate) async fn platform(docker: &Docker) -> Result<Platform, EngineError> {
    let info = within(QUESTION, docker.info()).await?;
    Ok(platform_of(info.os_type, info.architecture))
}

fn platform_of(os: Option<String>, kernel: Option<String>) -> Platform {
    Platform {
        os: os.unwrap_or_else(|| "linux".into()),
        architecture: go_architecture(&kernel.unwrap_or_default()).to_owned(),
    }
}

/// The kernel's word for an architecture in Go's spelling, which images use.
fn go_architecture(kernel: &str) -> &str {
    match kernel {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" => "arm",
        "i686" | "i386" => "386",
        other => other,
    }
}

/// Free and total bytes of the disk that holds images, when it is this machine's.
pub(crate) async fn disk(docker: &Docker) -> Result<(u64, u64), EngineError> {
    let root = within(QUESTION, docker.info())
        .await?
        .docker_root_dir
        .unwrap_or_default();
    let stat = rustix::fs::statvfs(root.as_str())
        .map_err(|e| EngineError::NotFound(format!("{root} cannot be looked at from here: {e}")))?;
    Ok((stat.f_bavail * stat.f_frsize, stat.f_blocks * stat.f_frsize))
}
