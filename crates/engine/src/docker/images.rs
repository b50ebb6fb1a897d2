//! Images: what a reference is, and bringing it here by digest.

use std::collections::BTreeMap;
use std::time::Duration;

use bollard::Docker;
use bollard::auth::DockerCredentials;
use bollard::query_parameters::{CreateImageOptions, ListImagesOptions, RemoveImageOptions};
use futures_util::StreamExt;
use slipway_domain::image::{Digest, ImageReference, Pin, Platform};
use slipway_domain::ports::{RegistryCredentials, ResolveError};

use crate::docker::{BULK, QUESTION, errors, or_gone, system, within};
use crate::engine::{EngineError, LocalImage, PullProgress};

/// A pull that makes no progress for so long has failed.
const SILENCE: Duration = Duration::from_mins(1);
/// A registry may take so long to say what a reference is.
const RESOLVE: Duration = Duration::from_secs(25);

fn auth(credentials: Option<&RegistryCredentials>, host: &str) -> Option<DockerCredentials> {
    credentials.map(|c| DockerCredentials {
        username: Some(c.username.clone()),
        password: Some(c.password.expose().to_owned()),
        serveraddress: Some(host.to_owned()),
        ..DockerCredentials::default()
    })
}

/// What a reference is in its registry right now, asked through the engine, with the platform checked.
pub(crate) async fn resolve(
    docker: &Docker,
    reference: &ImageReference,
    credentials: Option<&RegistryCredentials>,
) -> Result<Pin, ResolveError> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{}@{digest}", reference.name()),
        (None, tag) => format!("{}:{}", reference.name(), tag.unwrap_or("latest")),
    };
    let host = reference.registry().as_str();
    let username = credentials.map(|c| c.username.as_str());
    let asked = tokio::time::timeout(RESOLVE, docker.inspect_registry_image(&name, auth(credentials, host))).await;
    let found = match asked {
        Ok(Ok(found)) => found,
        Ok(Err(error)) => return Err(errors::registry(error, reference, username)),
        Err(_) => {
            let late = bollard::errors::Error::RequestTimeoutError;
            return Err(errors::registry(late, reference, username));
        }
    };
    let digest: Digest = if let Some(digest) = reference.digest() {
        digest.clone()
    } else {
        let given = found.descriptor.digest.unwrap_or_default();
        let odd = || ResolveError::Unavailable(format!("the registry {host} answered without a usable digest"));
        given.parse().map_err(|_| odd())?
    };
    let offered: Vec<Platform> = found
        .platforms
        .into_iter()
        .map(|p| Platform {
            os: p.os.unwrap_or_default(),
            architecture: p.architecture.unwrap_or_default(),
        })
        .collect();
    check_platform(docker, offered).await?;
    Ok(Pin::Registry {
        name: reference.name(),
        registry: host.to_owned(),
        digest,
    })
}

/// An image that names no platform is taken at its word; attestations in an index name `unknown` ones.
async fn check_platform(docker: &Docker, offered: Vec<Platform>) -> Result<(), ResolveError> {
    let named: Vec<Platform> = offered
        .into_iter()
        .filter(|p| !p.architecture.is_empty() && p.architecture != "unknown")
        .collect();
    if named.is_empty() {
        return Ok(());
    }
    let wanted = system::platform(docker)
        .await
        .map_err(|e| ResolveError::EngineUnavailable(e.to_string()))?;
    if named.contains(&wanted) {
        Ok(())
    } else {
        Err(ResolveError::Platform { wanted, offered: named })
    }
}

/// An image that was built, loaded or tagged on the engine by hand, pinned by its id. One that is only there because it
/// was pulled for somebody is not: who may have it is the registry's to say.
pub(crate) async fn resolve_local(docker: &Docker, reference: &ImageReference) -> Result<Pin, ResolveError> {
    let given = reference.as_given();
    let missing = || {
        ResolveError::NotFound(format!(
            "the engine has no image {given} of its own: build, load or tag it on that machine, or deploy it from its registry, without `--local` (`\"pull\": \"local\"`)"
        ))
    };
    let found = match within(QUESTION, docker.inspect_image(given)).await {
        Ok(found) => found,
        Err(EngineError::NotFound(_)) => return Err(missing()),
        Err(other) => return Err(ResolveError::EngineUnavailable(other.to_string())),
    };
    let has = |names: Option<Vec<String>>| names.is_some_and(|all| all.iter().any(|name| is_tag(name)));
    if found.repo_digests.is_some_and(|all| !all.is_empty()) && !has(found.repo_tags) {
        return Err(missing());
    }
    let platform = Platform {
        os: found.os.unwrap_or_default(),
        architecture: found.architecture.unwrap_or_default(),
    };
    check_platform(docker, vec![platform]).await?;
    let id = found.id.unwrap_or_default();
    let id = id
        .parse()
        .map_err(|_| ResolveError::EngineUnavailable(format!("the engine gave {given} an odd id")))?;
    Ok(Pin::Local { id })
}

pub(crate) async fn has(docker: &Docker, image: &Pin) -> Result<bool, EngineError> {
    match within(QUESTION, docker.inspect_image(&image.engine_reference())).await {
        Ok(_) => Ok(true),
        Err(EngineError::NotFound(_)) => Ok(false),
        Err(error) => Err(error),
    }
}

pub(crate) async fn pull(
    docker: &Docker,
    image: &Pin,
    credentials: Option<&RegistryCredentials>,
    progress: PullProgress,
) -> Result<(), EngineError> {
    let Pin::Registry { name, digest, .. } = image else {
        let gone = "the image was only on this machine and is gone: build or load it again, then deploy";
        return Err(ResolveError::NotFound(gone.into()).into());
    };
    let reference: ImageReference = format!("{name}@{digest}")
        .parse()
        .map_err(|e| EngineError::Refused(format!("{e}")))?;
    bring(docker, &reference, credentials, progress).await
}

/// Pulls what the reference names, and tells how far it is.
pub(crate) async fn bring(
    docker: &Docker,
    reference: &ImageReference,
    credentials: Option<&RegistryCredentials>,
    progress: PullProgress,
) -> Result<(), EngineError> {
    let registry = reference.registry().as_str();
    let username = credentials.map(|c| c.username.as_str());
    let version = reference.digest().map(ToString::to_string);
    let options = CreateImageOptions {
        from_image: Some(reference.name()),
        tag: Some(version.unwrap_or_else(|| reference.tag().unwrap_or("latest").to_owned())),
        ..CreateImageOptions::default()
    };
    let mut stream = Box::pin(docker.create_image(Some(options), None, auth(credentials, registry)));
    let mut layers: BTreeMap<String, (u64, u64)> = BTreeMap::new();
    loop {
        let next = tokio::time::timeout(SILENCE, stream.next()).await;
        let next = next.map_err(|_| {
            ResolveError::Unavailable(format!(
                "the pull from {registry} made no progress for {} s",
                SILENCE.as_secs()
            ))
        })?;
        match next {
            None => return Ok(()),
            Some(Ok(step)) => {
                if let Some(message) = step.error_detail.and_then(|e| e.message) {
                    return Err(failed(
                        bollard::errors::Error::DockerStreamError { error: message },
                        reference,
                        username,
                    ));
                }
                let detail = step.progress_detail.and_then(|d| d.current.zip(d.total));
                if let (Some(layer), Some((current, total))) = (step.id, detail) {
                    layers.insert(layer, (current.max(0).unsigned_abs(), total.max(0).unsigned_abs()));
                    progress(layers.values().map(|l| l.0).sum(), layers.values().map(|l| l.1).sum());
                }
            }
            Some(Err(error)) => return Err(failed(error, reference, username)),
        }
    }
}

/// A full disk is the engine's trouble, everything else of a pull the registry's.
fn failed(error: bollard::errors::Error, reference: &ImageReference, username: Option<&str>) -> EngineError {
    let text = error.to_string();
    if text.contains("no space left on device") {
        return EngineError::DiskFull(text);
    }
    EngineError::Image(errors::registry(error, reference, username))
}

pub(crate) async fn list(docker: &Docker) -> Result<Vec<LocalImage>, EngineError> {
    let options = ListImagesOptions {
        digests: true,
        ..ListImagesOptions::default()
    };
    let images = within(QUESTION, docker.list_images(Some(options))).await?;
    Ok(images
        .into_iter()
        .filter_map(|i| {
            Some(LocalImage {
                id: i.id.parse().ok()?,
                repo_digests: i.repo_digests,
                tags: i.repo_tags.into_iter().filter(|t| is_tag(t)).collect(),
                size_bytes: i.size.max(0).unsigned_abs(),
            })
        })
        .collect())
}

/// Engines list an image without a tag under `<none>:<none>`, and with containerd's image store the digest under
/// which it was pulled as well.
fn is_tag(listed: &str) -> bool {
    listed != "<none>:<none>" && !listed.contains('@')
}

pub(crate) async fn remove(docker: &Docker, reference: &str) -> Result<bool, EngineError> {
    let removed = within(BULK, docker.remove_image(reference, None::<RemoveImageOptions>, None)).await;
    match removed {
        // In use: by a container somebody else made of it, perhaps.
        Err(EngineError::Busy(_) | EngineError::Refused(_)) => Ok(false),
        other => or_gone(other.map(|_| ())).map(|()| true),
    }
}
