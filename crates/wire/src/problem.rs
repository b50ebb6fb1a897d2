//! Problems (RFC 9457): every answer that is not a success has this shape.
//!
//! Promises: `code` is stable, one code has one status; `detail` says what to do next and never how we work inside.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::deployments::Deployment;

/// `application/problem+json`: why a request was refused or failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// A reference to what is written about this kind of problem.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in a few words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened here and what to do next.
    pub detail: String,
    /// The kind, for scripts.
    pub code: String,
    /// The request, as the operator finds it in the logs.
    #[schema(required)]
    pub request_id: Option<String>,
    /// What is wrong with the input, by place.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<FieldProblem>,
    /// The deployment that failed, where the call waited for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    pub deployment: Option<Box<Deployment>>,
}

/// One thing wrong with the input.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct FieldProblem {
    /// Where: a JSON pointer (RFC 6901) into the body; `?name` is a query parameter.
    pub pointer: String,
    /// What, and what to do.
    pub detail: String,
}

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $word:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problems.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code { $($(#[$doc])* $name,)* }

        impl Code {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The word in answers.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $word,)* }
            }

            /// The HTTP status that goes with it.
            pub const fn status(self) -> u16 {
                match self { $(Self::$name => $status,)* }
            }

            /// The kind in a few words.
            pub const fn title(self) -> &'static str {
                match self { $(Self::$name => $title,)* }
            }
        }
    };
}

codes! {
    /// No valid token came with the request.
    Unauthenticated = "unauthenticated", 401, "A valid token is needed";
    /// The token is valid and may not do this.
    Forbidden = "forbidden", 403, "The token may not do this";
    /// Nothing there, or nothing this token may know of.
    NotFound = "not_found", 404, "Not found";
    /// The path exists, the method does not.
    MethodNotAllowed = "method_not_allowed", 405, "Method not allowed";
    /// No representation that the caller accepts.
    NotAcceptable = "not_acceptable", 406, "Not acceptable";
    /// The name is taken.
    AlreadyExists = "already_exists", 409, "Already exists";
    /// A request with the same idempotency key is still under way.
    RequestInProgress = "request_in_progress", 409, "The first request is still under way";
    /// There is no release to work with.
    NothingDeployed = "nothing_deployed", 409, "Nothing is deployed";
    /// No earlier release was good and differs from what runs.
    NoEarlierRelease = "no_earlier_release", 409, "There is no earlier release to go back to";
    /// The environment is stopped.
    Stopped = "stopped", 409, "The environment is stopped";
    /// The environment is not stopped.
    NotStopped = "not_stopped", 409, "The environment is not stopped";
    /// The deployment has ended.
    AlreadyFinished = "already_finished", 409, "The deployment has ended";
    /// The deployment does not wait for approval.
    NotAwaitingApproval = "not_awaiting_approval", 409, "The deployment does not wait for approval";
    /// A token approves what it asked for itself.
    OwnDeployment = "own_deployment", 403, "The token asked for the deployment itself";
    /// There is no canary to end.
    NoCanary = "no_canary", 409, "No canary is under way";
    /// The object is being deleted.
    BeingDeleted = "being_deleted", 409, "Being deleted";
    /// Something else changed it at the same moment.
    Conflict = "conflict", 409, "In conflict with what is there";
    /// What cannot be taken back quickly must be asked twice.
    ConfirmationRequired = "confirmation_required", 409, "To be confirmed";
    /// `If-Match` names another version.
    PreconditionFailed = "precondition_failed", 412, "Changed meanwhile";
    /// The body is too long.
    BodyTooLarge = "body_too_large", 413, "The body is too large";
    /// The body is not said to be JSON.
    UnsupportedMediaType = "unsupported_media_type", 415, "The body must be JSON";
    /// The body is not JSON or not of the right shape.
    InvalidBody = "invalid_body", 422, "The body is not valid";
    /// A query parameter or header is wrong.
    InvalidParameter = "invalid_parameter", 422, "A parameter is not valid";
    /// A name is wrong.
    InvalidName = "invalid_name", 422, "A name is not valid";
    /// The image reference is wrong.
    InvalidImage = "invalid_image", 422, "Not an image reference";
    /// The spec is wrong.
    InvalidSpec = "invalid_spec", 422, "The spec is not valid";
    /// The feature is not built yet.
    NotAvailable = "not_available", 422, "Not available in this version";
    /// Required secrets are not set.
    MissingSecrets = "missing_secrets", 422, "Required secrets are missing";
    /// The image does not exist.
    ImageNotFound = "image_not_found", 422, "The image does not exist";
    /// The registry refuses the credentials.
    RegistryUnauthorized = "registry_unauthorized", 422, "The registry refuses the credentials";
    /// The image is for another platform.
    ImagePlatform = "image_platform", 422, "The image is for another platform";
    /// The key was used with another request.
    IdempotencyKeyReuse = "idempotency_key_reuse", 422, "The key was used for another request";
    /// The wanted release never served.
    ReleaseNotGood = "release_not_good", 422, "The release never succeeded";
    /// The team may not use so much.
    TeamLimit = "team_limit", 422, "More than the team may use";
    /// A token cannot be wider than the one that makes it.
    TokenTooWide = "token_too_wide", 422, "The token would be wider than yours";
    /// The deployment that the call waited for did not succeed.
    DeploymentFailed = "deployment_failed", 422, "The deployment failed";
    /// The deployment that the call waited for has made way for a later one.
    DeploymentSuperseded = "deployment_superseded", 422, "A later deployment took its place";
    /// The deployment that the call waited for was called off.
    DeploymentAborted = "deployment_aborted", 422, "The deployment was called off";
    /// Too much at once.
    TooManyRequests = "too_many_requests", 429, "Too many requests at once";
    /// Our mistake.
    Internal = "internal", 500, "Internal error";
    /// The control plane does not start until its operator mends something.
    NotStarted = "not_started", 503, "The control plane does not start";
    /// The platform's database does not answer.
    DatabaseUnavailable = "database_unavailable", 503, "The database does not answer";
    /// The registry does not answer.
    RegistryUnavailable = "registry_unavailable", 503, "The registry does not answer";
    /// The container engine does not answer.
    EngineUnavailable = "engine_unavailable", 503, "The container engine does not answer";
}

impl Code {
    /// The reference in `type`: a place on the reference page of the server that answers.
    pub fn reference(self) -> String {
        format!("/docs#problem-{}", self.as_str())
    }
}

impl Problem {
    /// A problem of a kind.
    pub fn new(code: Code, detail: impl Into<String>) -> Self {
        Self {
            kind: code.reference(),
            title: code.title().into(),
            status: code.status(),
            detail: detail.into(),
            code: code.as_str().into(),
            request_id: None,
            errors: Vec::new(),
            deployment: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_a_word_of_its_own_with_an_error_status() {
        let mut words: Vec<_> = Code::ALL.iter().map(|c| c.as_str()).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), Code::ALL.len());
        assert!(Code::ALL.iter().all(|c| (400..600).contains(&c.status())));
    }

    #[test]
    fn a_problem_without_field_errors_or_deployment_shows_neither() {
        let json = serde_json::to_value(Problem::new(Code::NotFound, "no")).expect("serializes");
        assert_eq!(json["code"], "not_found");
        assert_eq!(json["type"], "/docs#problem-not_found");
        assert!(json.get("errors").is_none() && json.get("deployment").is_none());
        assert!(json["request_id"].is_null());
    }
}
