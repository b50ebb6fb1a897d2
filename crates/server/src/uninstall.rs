//! `slipway uninstall`: what was made on the engine goes; the data stays or goes, as asked.

use slipway_engine::docker::DockerEngine;

use crate::bootstrap;
use crate::clock::SystemEntropy;
use crate::config::Config;
use crate::error::ServerError;
use crate::up;

/// Stops the platform and removes its containers and networks; its volumes and data only if asked. As long as the engine
/// still holds something, the data stays: it says what belongs to this installation. Tells how many things went.
pub(crate) async fn run(config: &Config, delete_data: bool) -> Result<usize, ServerError> {
    up::down(&config.data_dir).await?;
    let engine = DockerEngine::new(&config.docker_host);
    let installation = bootstrap::installation(&config.data_dir, &SystemEntropy)?;
    let things = engine
        .remove_installation(&installation, config.network_pool, delete_data)
        .await
        .map_err(|e| {
            ServerError::Setup(format!(
                "the platform was stopped, but not everything could be removed from the engine: {e}\nThe data in {} is untouched. Bring the engine back (`slipway doctor` tells what is wrong), then run this again.",
                config.data_dir.display()
            ))
        })?;
    if delete_data {
        match std::fs::remove_dir_all(&config.data_dir) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(ServerError::io(format!(
                    "{} cannot be removed",
                    config.data_dir.display()
                ))(error));
            }
            _ => {}
        }
    }
    Ok(things)
}
