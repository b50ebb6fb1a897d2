//! Who may pass: the token of a request, checked before any handler runs.
//!
//! Promises: the only way to mount a handler is with a declared permission or on the short public list; a malformed
//! token never reaches the database; all refusals of a token look the same; what a valid token may not do is audited.

use std::sync::Arc;

use axum::extract::{MatchedPath, Request};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, header};
use slipway_domain::access::{Caller, Permission};
use slipway_domain::token::Token;
use slipway_wire::PROBLEM_JSON;
use utoipa::openapi::extensions::ExtensionsBuilder;
use utoipa::openapi::path::{Operation, PathItem};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Response as Documented, ResponseBuilder};
use utoipa_axum::router::{OpenApiRouter, UtoipaMethodRouter, UtoipaMethodRouterExt as _};

use crate::audit::{Denials, Denied, record_denied};
use crate::edge::RequestInfo;
use crate::error::{ApiError, Result};
use crate::idempotency;
use crate::state::Shared;

/// The name of the security scheme in the document.
pub(crate) const SCHEME: &str = "token";

/// Routes, each with the permission it demands.
pub(crate) struct Routes(OpenApiRouter<Arc<Shared>>);

/// What one route demands, and what its spans are called.
struct Demand {
    /// Any of them will do.
    permissions: Vec<Permission>,
    name: String,
}

/// The caller as the guard let it in.
#[derive(Debug, Clone)]
pub(crate) struct Admitted {
    /// Who.
    pub(crate) caller: Caller,
    /// Where refused attempts are remembered.
    pub(crate) denials: Denials,
}

impl Routes {
    /// None yet.
    pub(crate) fn new(document: utoipa::openapi::OpenApi) -> Self {
        Self(OpenApiRouter::with_openapi(document))
    }

    /// Routes anybody may call. Each must stand in [`crate::PUBLIC`], which a test compares.
    #[must_use]
    pub(crate) fn public(self, routes: UtoipaMethodRouter<Arc<Shared>>) -> Self {
        let (schemas, mut paths, methods) = routes;
        each_operation(&mut paths.paths, |_, operation| {
            operation.security = Some(Vec::new());
        });
        Self(self.0.routes((schemas, paths, methods)))
    }

    /// Routes that demand a permission.
    #[must_use]
    pub(crate) fn guarded(self, permission: Permission, routes: UtoipaMethodRouter<Arc<Shared>>) -> Self {
        self.guarded_by_any(&[permission], routes)
    }

    /// Routes that demand one of several permissions; the first is the one that a refusal names.
    #[must_use]
    pub(crate) fn guarded_by_any(self, permissions: &[Permission], routes: UtoipaMethodRouter<Arc<Shared>>) -> Self {
        let (schemas, mut paths, methods) = routes;
        let mut name = "api".to_owned();
        each_operation(&mut paths.paths, |path, operation| {
            document(path, operation, permissions);
            let id = operation.operation_id.as_deref().unwrap_or_default();
            name = format!("api.{}", id.replace('_', "."));
        });
        let permissions = permissions.to_vec();
        let demand = Arc::new(Demand { permissions, name });
        let checked = (schemas, paths, methods)
            .map(|m| m.route_layer(from_fn(move |request, next| guard(Arc::clone(&demand), request, next))));
        Self(self.0.routes(checked))
    }

    /// Router and document.
    pub(crate) fn split(self) -> (axum::Router<Arc<Shared>>, utoipa::openapi::OpenApi) {
        self.0.split_for_parts()
    }
}

fn each_operation(
    paths: &mut std::collections::BTreeMap<String, PathItem>,
    mut change: impl FnMut(&str, &mut Operation),
) {
    for (path, item) in paths {
        let operations = [
            &mut item.get,
            &mut item.put,
            &mut item.post,
            &mut item.delete,
            &mut item.patch,
        ];
        for operation in operations.into_iter().flatten() {
            change(path, operation);
        }
    }
}

/// What every guarded operation has in common.
fn document(path: &str, operation: &mut Operation, permissions: &[Permission]) {
    let words: Vec<String> = permissions.iter().map(ToString::to_string).collect();
    let extension = ExtensionsBuilder::new().add("x-permission", words.join(" or ")).build();
    operation.extensions.get_or_insert_default().merge(extension);
    operation.security = Some(vec![SecurityRequirement::new(SCHEME, Vec::<String>::new())]);
    let mut common = vec![
        ("401", "No valid token."),
        ("403", "The token may see, but not do this."),
        ("422", "A parameter or the body is not valid."),
        ("429", "Too many streams and waiting calls are open."),
        ("500", "Our mistake."),
        (
            "503",
            "The database, the registry or the container engine does not answer.",
        ),
    ];
    if path.contains('{') {
        common.push(("404", "Nothing there that this token may know of."));
    }
    if operation.request_body.is_some() {
        common.push(("413", "The body is too large."));
        common.push(("415", "The body is not JSON."));
    }
    for (status, description) in common {
        operation
            .responses
            .responses
            .entry(status.to_owned())
            .or_insert_with(|| RefOr::T(problem_documented(description)));
    }
}

fn problem_documented(description: &str) -> Documented {
    let schema = Ref::from_schema_name("Problem");
    ResponseBuilder::new()
        .description(description)
        .content(PROBLEM_JSON, ContentBuilder::new().schema(Some(schema)).build())
        .build()
}

async fn guard(demand: Arc<Demand>, mut request: Request, next: Next) -> Response {
    let span = tracing::Span::current();
    span.record("otel.name", demand.name.as_str());
    if let Some(path) = request.extensions().get::<MatchedPath>() {
        span.record("http.route", path.as_str());
    }
    let context = request
        .extensions()
        .get::<Arc<Shared>>()
        .cloned()
        .zip(request.extensions().get::<RequestInfo>().cloned());
    let Some((state, info)) = context else {
        return ApiError::Internal("a guarded route was reached without the edge layer".into()).into_response();
    };
    let admitted = match admit(&state, request.headers()).await {
        Ok(admitted) => admitted,
        Err(error) => {
            if matches!(error, ApiError::Unauthenticated) {
                tracing::info!(route = demand.name, "api.unauthenticated");
            }
            return error.into_response();
        }
    };
    let (caller, denials) = (admitted.caller.clone(), admitted.denials.clone());
    let response = if demand.permissions.iter().any(|p| caller.reach.grants(*p)) {
        let token = caller.token;
        request.extensions_mut().insert(admitted);
        idempotency::once(Arc::clone(&state), token, info.clone(), request, next).await
    } else {
        let permission = demand.permissions[0];
        denials.push(Denied {
            action: format!("{} {}", request.method(), request.uri().path()),
            reason: format!("the token lacks {permission}"),
        });
        ApiError::Lacks(permission).into_response()
    };
    record_denied(&state, &caller, &info, denials.take()).await;
    response
}

async fn admit(state: &Shared, headers: &HeaderMap) -> Result<Admitted> {
    let token = bearer(headers).ok_or(ApiError::Unauthenticated)?;
    let now = state.clock.now();
    let mut tx = state.store.begin().await?;
    let caller = tx
        .caller_by_hash(&token.hash(), now)
        .await?
        .ok_or(ApiError::Unauthenticated)?;
    tx.touch_token(caller.token, now).await?;
    tx.commit().await?;
    Ok(Admitted {
        caller,
        denials: Denials::default(),
    })
}

/// The token, if there is exactly one and it is well-formed (RFC 6750 section 2.1).
fn bearer(headers: &HeaderMap) -> Option<Token> {
    let mut all = headers.get_all(header::AUTHORIZATION).iter();
    let (Some(one), None) = (all.next(), all.next()) else {
        return None;
    };
    let (scheme, text) = one.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        text.trim().parse().ok()
    } else {
        None
    }
}
