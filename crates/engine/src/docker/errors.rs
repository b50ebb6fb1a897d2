//! The one map from what the engine says to what callers do about it.

use bollard::errors::Error;
use slipway_domain::image::ImageReference;
use slipway_domain::ports::ResolveError;

use crate::engine::EngineError;

/// An engine's error in our terms.
pub(crate) fn map(error: Error) -> EngineError {
    match error {
        Error::DockerResponseServerError { status_code, message } => by_status(status_code, message),
        Error::DockerStreamError { error } => by_status(500, error),
        Error::RequestTimeoutError => EngineError::Unavailable("no answer in time".into()),
        other => EngineError::Unavailable(root_cause(&other)),
    }
}

/// The error that began it: those around it only say that there was one.
fn root_cause(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

fn by_status(status: u16, message: String) -> EngineError {
    let lower = message.to_ascii_lowercase();
    let says = |needles: &[&str]| needles.iter().any(|n| lower.contains(n));
    if says(&["no space left on device", "disk quota exceeded"]) {
        return EngineError::DiskFull(message);
    }
    // Still listed, and no more to be had.
    if says(&["can not get logs from container which is dead or marked for removal"]) {
        return EngineError::NotFound(message);
    }
    if says(&["pool overlaps"]) {
        return EngineError::SubnetTaken(message);
    }
    // Another engine has taken the place of the one that was agreed with: the version is agreed on anew soon.
    if says(&["client version"]) && says(&["too old", "too new"]) {
        return EngineError::Unavailable(message);
    }
    if says(&[
        "already in progress",
        "already in use",
        "has active endpoints",
        "is in use",
        "try again",
        "device or resource busy",
        "is marked for removal",
        // Somebody was faster: the next look sees what is there now.
        "already exists",
        "is already paused",
        "is not paused",
        "is not running",
        "is restarting, wait until",
        // The machine is short of something for a moment, also where the runtime says it.
        "resource temporarily unavailable",
        "cannot allocate memory",
        "context deadline exceeded",
    ]) {
        return EngineError::Busy(message);
    }
    match status {
        404 => EngineError::NotFound(message),
        400 | 403 | 409 => EngineError::Refused(message),
        // The engine calls it its own error when the container cannot run as it is made.
        500 if says(&[
            "oci runtime",
            "executable file not found",
            "permission denied",
            "no such file",
            "unable to find user",
        ]) =>
        {
            EngineError::Refused(message)
        }
        503 => EngineError::Unavailable(message),
        _ => EngineError::Busy(message),
    }
}

/// Why a registry does not give an image.
pub(crate) fn registry(error: Error, reference: &ImageReference, username: Option<&str>) -> ResolveError {
    let host = reference.registry();
    let (status, message) = match error {
        Error::DockerResponseServerError { status_code, message } => (status_code, message),
        Error::DockerStreamError { error } => (500, error),
        Error::RequestTimeoutError => {
            return ResolveError::Unavailable(format!("the registry {host} does not answer in time: try again later"));
        }
        other => {
            tracing::warn!(error = %root_cause(&other), "engine.unavailable");
            return ResolveError::EngineUnavailable(
                "the container engine does not answer: try again shortly; `slipway doctor` on the server says what is wrong".into(),
            );
        }
    };
    let lower = message.to_ascii_lowercase();
    let says = |needles: &[&str]| needles.iter().any(|n| lower.contains(n));
    if matches!(status, 401 | 403) || says(&["unauthorized", "denied", "authentication required", "no basic auth"]) {
        let who = username.map_or_else(
            || "no credentials are stored for it".to_owned(),
            |name| format!("the stored password of `{name}` is wrong, or `{name}` may not read it"),
        );
        return ResolveError::Unauthorized(format!(
            "the registry {host} refuses access to {reference}: {who}; set them with `slipway registries set {host} --username NAME` (PUT /v1/registries/{host})"
        ));
    }
    if says(&["no matching manifest"]) {
        return ResolveError::NotFound(format!(
            "{reference} has no variant for this machine's platform in the registry {host}: build and push one"
        ));
    }
    if status == 404 || says(&["manifest unknown", "not found", "name unknown", "no such image"]) {
        return ResolveError::NotFound(format!(
            "there is no image {reference} in the registry {host}: check the name and the tag, and that it was pushed"
        ));
    }
    // The engine's words name resolvers and addresses of the server's own network: they are for its log.
    tracing::warn!(%host, %reference, said = %message, "registry.unavailable");
    let cause = if says(&["no such host"]) {
        "its name does not resolve on the server: check the name"
    } else if says(&["connection refused"]) {
        "nobody listens there: check the port, and that the registry runs"
    } else if says(&["http response to https client"]) {
        "it speaks plain HTTP: give it a certificate, or name it in the engine's `insecure-registries`"
    } else if says(&["x509", "certificate"]) {
        "the engine does not trust its certificate: put its CA into /etc/docker/certs.d"
    } else {
        "check the name and the port, and that the server reaches it"
    };
    ResolveError::Unavailable(format!(
        "the registry {host} cannot be asked about {reference}: {cause}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(status: u16, message: &str) -> &'static str {
        match by_status(status, message.into()) {
            EngineError::Unavailable(_) => "unavailable",
            EngineError::Busy(_) => "busy",
            EngineError::NotFound(_) => "not found",
            EngineError::Image(_) => "image",
            EngineError::SubnetTaken(_) => "subnet taken",
            EngineError::DiskFull(_) => "disk full",
            EngineError::Refused(_) => "refused",
        }
    }

    #[test]
    fn the_engines_own_words_become_what_callers_do() {
        for (status, message, expected) in [
            (404, "No such container: abc", "not found"),
            (404, "No such image: a@sha256:0", "not found"),
            (404, "network abc not found", "not found"),
            (409, "removal of container abc is already in progress", "busy"),
            (
                409,
                "Conflict. The container name \"/x\" is already in use by container \"abc\"",
                "busy",
            ),
            (409, "remove vol: volume is in use - [abc]", "busy"),
            (404, "No such volume: abc", "not found"),
            (500, "write /data: disk quota exceeded", "disk full"),
            (
                409,
                "conflict: unable to remove repository reference \"x\" (must force)",
                "refused",
            ),
            (
                403,
                "error while removing network: network x id y has active endpoints",
                "busy",
            ),
            (
                403,
                "Pool overlaps with other one on this address space",
                "subnet taken",
            ),
            (
                409,
                "can not get logs from container which is dead or marked for removal",
                "not found",
            ),
            (409, "container is marked for removal and cannot be started", "busy"),
            (400, "invalid mount config", "refused"),
            (
                400,
                "client version 1.41 is too old. Minimum supported API version is 1.44",
                "unavailable",
            ),
            (
                400,
                "client version 1.44 is too new. Maximum supported API version is 1.41",
                "unavailable",
            ),
            (400, "Minimum memory limit allowed is 6MB", "refused"),
            (500, "write /var/lib/docker/x: no space left on device", "disk full"),
            (
                500,
                "OCI runtime create failed: exec: \"/nope\": stat /nope: no such file or directory",
                "refused",
            ),
            (
                500,
                "unable to find user web: no matching entries in passwd file",
                "refused",
            ),
            (
                500,
                "failed to create endpoint x on network y: device or resource busy",
                "busy",
            ),
            (503, "This node is not a swarm manager", "unavailable"),
            (500, "something else", "busy"),
        ] {
            assert_eq!(kind(status, message), expected, "{message}");
        }
    }

    #[test]
    fn what_somebody_was_faster_with_and_what_the_machine_is_short_of_is_tried_again() {
        for (status, message, expected) in [
            (409, "network with name slipway-env_1 already exists", "busy"),
            (409, "Container abc is already paused", "busy"),
            (500, "Container abc is not paused", "busy"),
            (409, "Cannot kill container: abc: Container abc is not running", "busy"),
            (
                409,
                "Container abc is restarting, wait until the container is running",
                "busy",
            ),
            (
                500,
                "failed to allocate gateway (10.210.0.1): Address already in use",
                "busy",
            ),
            (
                500,
                "OCI runtime create failed: runc create failed: unable to start init: resource temporarily unavailable",
                "busy",
            ),
            (
                500,
                "failed to create shim task: OCI runtime create failed: fork/exec: cannot allocate memory",
                "busy",
            ),
            (500, "failed to create task: context deadline exceeded", "busy"),
            (
                500,
                "driver failed programming external connectivity on endpoint x: iptables failed",
                "busy",
            ),
            (
                500,
                "connection error: desc = \"transport: error while dialing containerd.sock\"",
                "busy",
            ),
            (400, "No command specified", "refused"),
            (400, "invalid reference format", "refused"),
            (
                500,
                "OCI runtime create failed: exec: \"/app\": permission denied",
                "refused",
            ),
        ] {
            assert_eq!(kind(status, message), expected, "{message}");
        }
    }

    #[test]
    fn a_registrys_no_says_which_no_it_is() {
        let reference: ImageReference = "registry.example.com/team/web:1".parse().expect("a reference");
        let ask = |status_code, message: &str| {
            registry(
                Error::DockerResponseServerError {
                    status_code,
                    message: message.into(),
                },
                &reference,
                None,
            )
        };
        assert!(
            matches!(ask(401, "unauthorized: authentication required"), ResolveError::Unauthorized(t) if t.contains("registries set"))
        );
        assert!(matches!(
            ask(500, "pull access denied for web"),
            ResolveError::Unauthorized(_)
        ));
        assert!(matches!(ask(404, "manifest unknown"), ResolveError::NotFound(_)));
        assert!(
            matches!(ask(500, "no matching manifest for linux/arm64 in the manifest list entries"), ResolveError::NotFound(t) if t.contains("platform"))
        );
        for transient in [
            "dial tcp 127.0.0.1:1: connect: connection refused",
            "toomanyrequests: You have reached your pull rate limit",
            "received unexpected HTTP status: 502 Bad Gateway",
            "unexpected EOF",
            "net/http: TLS handshake timeout",
            "x509: certificate signed by unknown authority",
        ] {
            assert!(
                matches!(ask(500, transient), ResolveError::Unavailable(_)),
                "{transient}"
            );
        }
        assert!(matches!(
            registry(Error::RequestTimeoutError, &reference, None),
            ResolveError::Unavailable(_)
        ));
    }
}
