//! Everything of one installation, for when it goes.
//!
//! Promises: what carries another installation's label is never touched. What carries none was made before there was
//! such a label, and is told by its network's place in the pool.

use std::collections::{BTreeSet, HashMap};

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListNetworksOptions, ListVolumesOptions, RemoveVolumeOptions};
use ipnet::{IpNet, Ipv4Net};

use crate::docker::{BULK, DockerEngine, QUESTION, containers, labels, or_gone, within};
use crate::engine::EngineError;

type Labels = HashMap<String, String>;

/// What is of an environment, and what is of a managed database.
const OURS: [&str; 2] = [labels::ENVIRONMENT_ID, labels::DATABASE_ID];

fn with(label: &str) -> HashMap<String, Vec<String>> {
    HashMap::from([("label".to_owned(), vec![label.to_owned()])])
}

/// Which things go.
struct Going<'a> {
    installation: &'a str,
    pool: Ipv4Net,
    /// Environments whose network goes.
    environments: BTreeSet<String>,
}

impl Going<'_> {
    /// Whether a container or volume goes.
    fn takes(&self, labels: &Labels) -> bool {
        match labels.get(labels::INSTALLATION) {
            Some(theirs) => theirs == self.installation,
            None => labels
                .get(labels::ENVIRONMENT_ID)
                .is_some_and(|e| self.environments.contains(e)),
        }
    }
}

impl DockerEngine {
    /// Removes containers and networks, and volumes if asked, of the installation. Says how many things went.
    pub async fn remove_installation(
        &self,
        installation: &str,
        pool: Ipv4Net,
        volumes: bool,
    ) -> Result<usize, EngineError> {
        let docker = self.docker().await?;
        let mut going = Going {
            installation,
            pool,
            environments: BTreeSet::new(),
        };
        let networks = networks(docker, &mut going).await?;
        let mut removed = remove_containers(docker, &going).await?;
        for name in &networks {
            or_gone(within(BULK, docker.remove_network(name)).await)?;
        }
        removed += networks.len();
        if volumes {
            removed += remove_volumes(docker, &going).await?;
        }
        Ok(removed)
    }
}

/// The networks that go, and with them their environments.
async fn networks(docker: &Docker, going: &mut Going<'_>) -> Result<Vec<String>, EngineError> {
    let mut names = Vec::new();
    for label in OURS {
        let options = ListNetworksOptions {
            filters: Some(with(label)),
        };
        for network in within(QUESTION, docker.list_networks(Some(options))).await? {
            let subnets = network.ipam.and_then(|i| i.config).unwrap_or_default();
            let inside = subnets
                .iter()
                .filter_map(|c| c.subnet.as_ref()?.parse::<IpNet>().ok())
                .any(|net| IpNet::V4(going.pool).contains(&net));
            let labels = network.labels.unwrap_or_default();
            let goes = match labels.get(labels::INSTALLATION) {
                Some(theirs) => theirs == going.installation,
                None => inside,
            };
            if let (true, Some(name)) = (goes, network.name) {
                going.environments.extend(labels.get(labels::ENVIRONMENT_ID).cloned());
                names.push(name);
            }
        }
    }
    Ok(names)
}

async fn remove_containers(docker: &Docker, going: &Going<'_>) -> Result<usize, EngineError> {
    let mut removed = 0;
    for label in OURS {
        let options = ListContainersOptions {
            all: true,
            filters: Some(with(label)),
            ..ListContainersOptions::default()
        };
        for container in within(QUESTION, docker.list_containers(Some(options))).await? {
            if let Some(id) = container
                .id
                .filter(|_| going.takes(&container.labels.unwrap_or_default()))
            {
                containers::discard(docker, &id).await?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

async fn remove_volumes(docker: &Docker, going: &Going<'_>) -> Result<usize, EngineError> {
    let mut removed = 0;
    for label in OURS {
        let options = ListVolumesOptions {
            filters: Some(with(label)),
        };
        let found = within(QUESTION, docker.list_volumes(Some(options))).await?;
        for volume in found.volumes.unwrap_or_default() {
            if going.takes(&volume.labels) {
                or_gone(within(BULK, docker.remove_volume(&volume.name, None::<RemoveVolumeOptions>)).await)?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}
