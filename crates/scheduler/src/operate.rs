//! The operations that take time: each does one idempotent thing on the engine.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use slipway_domain::Epoch;
use slipway_domain::ids::{TeamId, VolumeId};
use slipway_domain::image::{Pin, RegistryHost};
use slipway_domain::ports::{RegistryCredentials, SealContext};
use slipway_domain::quantity::{Bytes, Span};
use slipway_domain::release::Release;
use slipway_domain::secret::Secret;
use slipway_domain::spec::Spec;
use slipway_engine::{EngineError, GroupSpec, Job, NetworkSpec};
use slipway_planner::plan::Op;
use slipway_store::{EnvironmentWorld, StoreError, Volume};

use crate::collect;
use crate::databases;
use crate::group::{group, owner};
use crate::settings::Deps;
use crate::smoke;

/// How often a network is asked for in one operation, in as many subnets as others come into meanwhile.
const SUBNETS_TRIED_MAX: u32 = 16;

/// Why an operation did not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpError {
    /// The engine's word.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The database's word.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sealed value that the release needs does not open.
    #[error("{0}")]
    Sealed(String),
    /// A check of the app's own failed.
    #[error("{0}")]
    Smoke(String),
    /// A database that the environment may reach has no server.
    #[error("{0}")]
    Database(String),
    /// There is no network left for the environment.
    #[error("{0}")]
    PoolUsedUp(String),
    /// The release is not among the rows any more.
    #[error("the release is gone")]
    Gone,
}

impl OpError {
    /// Whether trying the same again later cannot help.
    pub(crate) fn is_final(&self) -> bool {
        match self {
            Self::Engine(error) => !error.is_transient(),
            Self::Store(_) | Self::Database(_) => false,
            Self::Sealed(_) | Self::Smoke(_) | Self::PoolUsedUp(_) | Self::Gone => true,
        }
    }
}

/// Does the operation.
pub(crate) async fn operate(deps: &Deps, rows: &EnvironmentWorld, epoch: Epoch, op: &Op) -> Result<(), OpError> {
    match op {
        Op::Pull(id) => pull(deps, rows, rows.release(*id).ok_or(OpError::Gone)?).await,
        Op::Command(id) => {
            let release = rows.release(*id).ok_or(OpError::Gone)?;
            let group = prepared(deps, rows, release, epoch).await?;
            let command = &release.spec.deploy.release_command;
            Ok(deps.engine.start_job(&group, Job::Release(*id), command).await?)
        }
        Op::RemoveCommand(id) => Ok(deps.engine.remove_job(Job::Release(*id)).await?),
        Op::Apply(id, slots) => apply(deps, rows, rows.release(*id).ok_or(OpError::Gone)?, epoch, slots).await,
        Op::Smoke(id) => smoke::check(deps, rows, rows.release(*id).ok_or(OpError::Gone)?).await,
        Op::Resume(instance) => Ok(deps.engine.resume_instance(instance).await?),
        Op::Pause(instance) => Ok(deps.engine.pause_instance(instance).await?),
        Op::Stop(instance) => Ok(deps
            .engine
            .stop_instance(instance, kill_timeout(rows, instance))
            .await?),
        Op::Remove(instance) => Ok(deps
            .engine
            .remove_instance(instance, kill_timeout(rows, instance))
            .await?),
        Op::Clean => clean(deps, rows, epoch).await,
    }
}

pub(crate) async fn pull(deps: &Deps, rows: &EnvironmentWorld, release: &Release) -> Result<(), OpError> {
    if has_no_room(deps).await.is_some() {
        collect::images(deps).await?;
    }
    if let Some((free, total)) = has_no_room(deps).await {
        let (free, total) = (Bytes(free).rough(), Bytes(total).rough());
        let floor = deps.settings.disk_free_min;
        return Err(EngineError::DiskFull(format!(
            "{free} of {total} are free, which is less than SLIPWAY_DISK_FREE_MIN allows ({floor})"
        ))
        .into());
    }
    let credentials = credentials(deps, rows.environment.team, &release.pin).await?;
    let progress = Arc::new(|_done: u64, _total: u64| {});
    Ok(deps.engine.pull(&release.pin, credentials.as_ref(), progress).await?)
}

/// What is free and what there is, if the floor does not allow a pull. Not knowing it is no reason against one.
pub(crate) async fn has_no_room(deps: &Deps) -> Option<(u64, u64)> {
    let (free, total) = deps.engine.disk().await.ok()?;
    (!deps.settings.disk_free_min.allows(free, total)).then_some((free, total))
}

pub(crate) async fn credentials(deps: &Deps, team: TeamId, pin: &Pin) -> Result<Option<RegistryCredentials>, OpError> {
    let Pin::Registry { registry, .. } = pin else {
        return Ok(None);
    };
    let Ok(host) = registry.parse::<RegistryHost>() else {
        return Ok(None);
    };
    let mut tx = deps.store.begin().await?;
    let Some(row) = tx.registry(team, &host).await? else {
        return Ok(None);
    };
    drop(tx);
    let context = SealContext {
        team: Some(team),
        kind: "registry",
        id: host.as_str(),
    };
    let password = deps
        .sealer
        .open(context, &row.sealed_password)
        .map_err(|e| OpError::Sealed(format!("the password for {host} cannot be used: {e}")))?;
    Ok(Some(RegistryCredentials {
        username: row.username,
        password,
    }))
}

/// Network and volumes made, secrets opened.
pub(crate) async fn prepared(
    deps: &Deps,
    rows: &EnvironmentWorld,
    release: &Release,
    epoch: Epoch,
) -> Result<GroupSpec, OpError> {
    let secrets = secrets(deps, rows, release).await?;
    network(deps, rows, epoch).await?;
    databases::attach(deps, rows.environment.id).await?;
    if !release.spec.mounts.is_empty() {
        let mut tx = deps.store.begin().await?;
        for mount in &release.spec.mounts {
            let now = deps.clock.now();
            let id = VolumeId::mint(now, deps.entropy.as_ref());
            tx.ensure_volume(
                &rows.environment,
                &Volume {
                    id,
                    name: mount.volume.clone(),
                },
                now,
            )
            .await?;
        }
        tx.commit().await?;
    }
    Ok(group(&rows.environment, release, secrets, epoch, &deps.settings))
}

/// The environment's network. When another has come into its subnet before it was made, it gets another subnet; when
/// the engine shows none there, one is being made or removed, and the operation is tried again later.
async fn network(deps: &Deps, rows: &EnvironmentWorld, epoch: Epoch) -> Result<(), OpError> {
    let mut subnet = match &rows.environment.subnet {
        Some(subnet) => subnet.clone(),
        None => allocate(deps, rows, None).await?,
    };
    let mut seen_taken = false;
    for _ in 0..SUBNETS_TRIED_MAX {
        let spec = NetworkSpec {
            owner: owner(&rows.environment, epoch, &deps.settings),
            subnet: subnet.clone(),
        };
        match deps.engine.ensure_network(&spec).await {
            // Asked once more after a look: what was seen may have been this very network, made by a call before.
            Err(EngineError::SubnetTaken(_)) if !seen_taken && overlaps(&in_use(deps).await?, &subnet) => {
                seen_taken = true;
            }
            Err(EngineError::SubnetTaken(_)) if seen_taken => {
                subnet = allocate(deps, rows, Some(&subnet)).await?;
                seen_taken = false;
            }
            other => return Ok(other?),
        }
    }
    Err(EngineError::SubnetTaken(format!("{subnet}, and those before it")).into())
}

pub(crate) async fn in_use(deps: &Deps) -> Result<Vec<IpNet>, EngineError> {
    let subnets = deps.engine.subnets_in_use().await?;
    Ok(subnets.iter().filter_map(|s| s.parse().ok()).collect())
}

pub(crate) fn overlaps(taken: &[IpNet], subnet: &str) -> bool {
    let subnet: Option<IpNet> = subnet.parse().ok();
    subnet.is_some_and(|s| taken.iter().any(|t| t.contains(&s) || s.contains(t)))
}

/// The first free subnet of the pool that nothing on the engine uses, in place of one that turned out to be taken. Two
/// processes that choose at once are told apart by the database.
async fn allocate(deps: &Deps, rows: &EnvironmentWorld, lost: Option<&str>) -> Result<String, OpError> {
    let taken = in_use(deps).await?;
    let mut tx = deps.store.begin().await?;
    if let Some(lost) = lost {
        tx.forget_subnet(rows.environment.id, lost).await?;
    }
    let subnet = tx
        .allocate_subnet(rows.environment.id, deps.settings.network_pool, &taken)
        .await?;
    tx.commit().await?;
    subnet.ok_or_else(|| {
        let pool = deps.settings.network_pool;
        OpError::PoolUsedUp(format!("every network of the pool {pool} is used"))
    })
}

async fn secrets(deps: &Deps, rows: &EnvironmentWorld, release: &Release) -> Result<BTreeMap<String, Secret>, OpError> {
    if release.secrets.is_empty() {
        return Ok(BTreeMap::new());
    }
    let ids: Vec<_> = release.secrets.values().copied().collect();
    let mut tx = deps.store.begin().await?;
    let sealed = tx.sealed_secrets(&ids).await?;
    drop(tx);
    release
        .secrets
        .iter()
        .map(|(name, id)| {
            let row = sealed.iter().find(|s| s.info.id == *id).ok_or_else(|| {
                OpError::Sealed(format!(
                    "the version of the secret {name} that the release pins is gone"
                ))
            })?;
            let key = id.to_string();
            let context = SealContext {
                team: Some(rows.environment.team),
                kind: "secret",
                id: &key,
            };
            let value = deps
                .sealer
                .open(context, &row.sealed)
                .map_err(|e| OpError::Sealed(format!("the secret {name} cannot be used: {e}")))?;
            Ok((name.to_string(), value))
        })
        .collect()
}

async fn apply(
    deps: &Deps,
    rows: &EnvironmentWorld,
    release: &Release,
    epoch: Epoch,
    slots: &BTreeSet<u32>,
) -> Result<(), OpError> {
    // A release that serves may have lost its image to somebody's clean-up: bring it back rather than fail.
    let group = prepared(deps, rows, release, epoch).await?;
    let slots: Vec<u32> = slots.iter().copied().collect();
    match deps.engine.apply_group(&group, &slots).await {
        Err(EngineError::NotFound(_)) if !deps.engine.has_image(&release.pin).await? => {
            pull(deps, rows, release).await?;
            Ok(deps.engine.apply_group(&group, &slots).await?)
        }
        other => Ok(other?),
    }
}

/// How long an instance may take to stop after it was asked to.
fn kill_timeout(rows: &EnvironmentWorld, instance: &str) -> Span {
    let record = rows.status.instances.iter().find(|r| r.instance == instance);
    let release = record
        .and_then(|r| rows.release(r.release))
        .or_else(|| rows.releases.first());
    release.map_or_else(|| Spec::default().deploy.kill_timeout, |r| r.spec.deploy.kill_timeout)
}

async fn clean(deps: &Deps, rows: &EnvironmentWorld, epoch: Epoch) -> Result<(), OpError> {
    let mut tx = deps.store.begin().await?;
    let runs = tx.open_runs_of(rows.environment.id).await?;
    drop(tx);
    for run in runs {
        deps.engine.remove_job(Job::Run(run)).await?;
    }
    for release in &rows.releases {
        deps.engine.remove_job(Job::Release(release.id)).await?;
    }
    databases::detach(deps, rows.environment.id, epoch).await?;
    deps.engine.remove_network(rows.environment.id).await?;
    let mut tx = deps.store.begin().await?;
    let volumes = tx.volumes(rows.environment.id).await?;
    drop(tx);
    for volume in volumes {
        deps.engine.remove_volume(rows.environment.id, &volume.name).await?;
    }
    Ok(())
}
