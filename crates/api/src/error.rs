//! The errors of the API and the one map from them to problems.
//!
//! Promises: what is refused says what to do next; what surprises us is logged here, once, and shown to nobody.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use slipway_domain::access::Permission;
use slipway_domain::ports::{ResolveError, SealError};
use slipway_domain::spec::SpecErrors;
use slipway_store::{Constraint, StoreError};
use slipway_wire::deployments::Deployment;
use slipway_wire::{Code, FieldProblem, Problem};

/// Why a call does not succeed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ApiError {
    /// No valid token.
    #[error("no valid token")]
    Unauthenticated,
    /// The token lacks the scope.
    #[error("the token lacks {0}")]
    Lacks(Permission),
    /// A refusal in words.
    #[error("{1}")]
    Refused(Code, String),
    /// A refusal of input, by place.
    #[error("{1}")]
    Invalid(Code, String, Vec<FieldProblem>),
    /// The deployment that was waited for did not succeed.
    #[error("deployment failed")]
    Failed(Box<Deployment>),
    /// The image cannot be had.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The vault.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// A promise of our own was broken.
    #[error("{0}")]
    Internal(String),
}

/// What handlers answer.
pub(crate) type Result<T, E = ApiError> = std::result::Result<T, E>;

impl ApiError {
    /// Nothing there that this token may know of.
    pub(crate) fn not_found(what: &str, name: &dyn std::fmt::Display) -> Self {
        let shown: String = name.to_string().chars().take(80).collect();
        Self::Refused(
            Code::NotFound,
            format!(
                "There is no {what} `{shown}`, or this token may not see it. Check the name and the token's reach."
            ),
        )
    }

    /// The same, with what there is that looks like it.
    pub(crate) fn not_found_near(what: &str, name: &dyn std::fmt::Display, nearest: Option<&str>) -> Self {
        match (Self::not_found(what, name), nearest) {
            (Self::Refused(code, detail), Some(nearest)) => {
                Self::Refused(code, format!("{detail} Did you mean `{nearest}`?"))
            }
            (error, _) => error,
        }
    }

    /// A query parameter is wrong.
    pub(crate) fn parameter(name: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = vec![FieldProblem {
            pointer: format!("?{name}"),
            detail: detail.clone(),
        }];
        Self::Invalid(
            Code::InvalidParameter,
            format!("The query parameter `{name}` is not valid: {detail}."),
            errors,
        )
    }

    /// A value of the body is wrong, or one of the query where the pointer begins with `?`.
    pub(crate) fn given(pointer: &str, detail: impl Into<String>) -> Self {
        let code = if pointer.starts_with('?') {
            Code::InvalidParameter
        } else {
            Code::InvalidBody
        };
        Self::member(code, pointer, detail)
    }

    /// A member of the body is wrong, with a code of its own.
    pub(crate) fn member(code: Code, pointer: &str, detail: impl Into<String>) -> Self {
        let detail = detail.into();
        let errors = vec![FieldProblem {
            pointer: pointer.into(),
            detail: detail.clone(),
        }];
        Self::Invalid(code, detail, errors)
    }
}

impl From<SpecErrors> for ApiError {
    fn from(errors: SpecErrors) -> Self {
        let code = if errors.only_not_available() {
            Code::NotAvailable
        } else {
            Code::InvalidSpec
        };
        let detail = match errors.0.as_slice() {
            [one] => {
                let told = one.to_string();
                if told.ends_with('?') { told } else { told + "." }
            }
            several => format!("{} things are wrong with the spec; `errors` lists them.", several.len()),
        };
        let fields = errors
            .0
            .into_iter()
            .map(|e| FieldProblem {
                pointer: e.pointer,
                detail: e.detail,
            })
            .collect();
        Self::Invalid(code, detail, fields)
    }
}

const DATABASE: &str = "The platform's database does not answer at the moment. Apps keep serving; try again shortly. `slipway doctor` on the server says what is wrong.";
const INTERNAL: &str =
    "Something went wrong on our side. Try again; if it stays, give the request id to the platform's operator.";

fn store_problem(error: &StoreError) -> Problem {
    match error {
        StoreError::Unavailable(reason) => {
            tracing::warn!(reason, "database.unavailable");
            Problem::new(Code::DatabaseUnavailable, DATABASE)
        }
        StoreError::LostRace(_) => Problem::new(
            Code::Conflict,
            "Another request changed the same thing at the same moment. Look at it again and repeat the call.",
        ),
        StoreError::Duplicate(constraint) => Problem::new(Code::AlreadyExists, duplicate(*constraint)),
        other => {
            tracing::error!(error = %other, "api.internal_error");
            Problem::new(Code::Internal, INTERNAL)
        }
    }
}

fn duplicate(constraint: Constraint) -> &'static str {
    match constraint {
        Constraint::AppName => {
            "An app of this name exists already, perhaps in another team: choose another name. If it was just deleted, it is still going away: repeat the call in a moment."
        }
        Constraint::EnvironmentName | Constraint::Domain => {
            "An environment of this name exists already, or one is still being deleted. Choose another name or wait a moment."
        }
        Constraint::DatabaseName => "A database of this name exists already, or goes just now. Choose another name.",
        Constraint::Attachment => {
            "The environment may reach the database already, or has another one under this variable."
        }
        Constraint::TeamName => "A team of this name exists already. Choose another name.",
        _ => "Something like this exists already. Look at it again and repeat the call.",
    }
}

/// The engine's own words name paths of the server: they are for its log.
pub(crate) const ENGINE_AWAY: &str = "The container engine does not answer at the moment. Apps keep serving; try again shortly. `slipway doctor` on the server says what is wrong.";

fn resolve_problem(error: &ResolveError) -> Problem {
    let code = match error {
        ResolveError::NotFound(_) => Code::ImageNotFound,
        ResolveError::Unauthorized(_) => Code::RegistryUnauthorized,
        ResolveError::Platform { .. } => Code::ImagePlatform,
        ResolveError::Unavailable(_) => Code::RegistryUnavailable,
        ResolveError::EngineUnavailable(_) => Code::EngineUnavailable,
    };
    let detail = match error {
        ResolveError::EngineUnavailable(reason) => {
            tracing::warn!(reason, "engine.unavailable");
            ENGINE_AWAY.into()
        }
        ResolveError::Platform { wanted, .. } => format!("{error}; build the image for {wanted}."),
        other => other.to_string(),
    };
    Problem::new(code, detail)
}

impl From<ApiError> for Problem {
    fn from(error: ApiError) -> Self {
        match error {
            ApiError::Unauthenticated => Self::new(
                Code::Unauthenticated,
                "Send a valid token in the header `Authorization: Bearer slw_…`; it may be missing, mistyped, expired or revoked.",
            ),
            ApiError::Lacks(permission) => Self::new(
                Code::Forbidden,
                format!("This token lacks the scope `{permission}`. Use one that has it, or have one made."),
            ),
            ApiError::Refused(code, detail) => Self::new(code, detail),
            ApiError::Invalid(code, detail, errors) => Self {
                errors,
                ..Self::new(code, detail)
            },
            ApiError::Failed(deployment) => {
                let state = state_word(&deployment);
                let detail = match &deployment.reason {
                    Some(reason) => format!("{} {}", sentence(&reason.detail), sentence(&reason.hint)),
                    None => format!("The deployment ended as {state}."),
                };
                let code = match state.as_str() {
                    "superseded" => Code::DeploymentSuperseded,
                    "aborted" => Code::DeploymentAborted,
                    _ => Code::DeploymentFailed,
                };
                Self {
                    deployment: Some(deployment),
                    ..Self::new(code, detail)
                }
            }
            ApiError::Resolve(error) => resolve_problem(&error),
            ApiError::Store(error) => store_problem(&error),
            ApiError::Seal(error) => {
                tracing::error!(%error, "api.seal_error");
                Self::new(Code::Internal, INTERNAL)
            }
            ApiError::Internal(detail) => {
                tracing::error!(detail, "api.internal_error");
                Self::new(Code::Internal, INTERNAL)
            }
        }
    }
}

/// With a capital letter and a full stop.
pub(crate) fn sentence(text: &str) -> String {
    let mut letters = text.trim_end_matches(['.', ' ']).chars();
    let first = letters.next().map(|c| c.to_ascii_uppercase());
    first.into_iter().chain(letters).chain(['.']).collect()
}

fn state_word(deployment: &Deployment) -> String {
    serde_json::to_value(deployment.state)
        .ok()
        .and_then(|v| v.as_str().map(str::to_owned))
        .unwrap_or_default()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        problem_response(self.into())
    }
}

/// A response that carries the problem; [`crate::edge::finish`] writes its body once the request id is known.
pub(crate) fn problem_response(problem: Problem) -> Response {
    let status = StatusCode::from_u16(problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = status.into_response();
    let headers = response.headers_mut();
    match status {
        StatusCode::UNAUTHORIZED => {
            headers.insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"slipway\""),
            );
        }
        StatusCode::SERVICE_UNAVAILABLE => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("5"));
        }
        StatusCode::TOO_MANY_REQUESTS => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        }
        StatusCode::CONFLICT if problem.code == Code::RequestInProgress.as_str() => {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static("2"));
        }
        _ => {}
    }
    response.extensions_mut().insert(Box::new(problem));
    response
}
