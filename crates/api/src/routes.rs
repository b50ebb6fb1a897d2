//! The one table of routes: which handler, and what it demands.

use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use slipway_domain::access::{Permission, Resource, Verb};
use tokio::sync::Semaphore;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{ComponentsBuilder, InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa::{PartialSchema, ToSchema};
use utoipa_axum::routes;

use crate::guard::{Routes, SCHEME};
use crate::state::{ApiState, Shared};
use crate::{
    alerts, apps, audit_log, backups, certificates, databases, deployments, dns, docs, domains, edge, env,
    environments, health, instances, logs, operations, promote, registries, releases, rollback, secrets, spec, teams,
    tokens,
};

/// What anybody may call, by method and path: reviewed one by one, compared with the document by a test.
pub const PUBLIC: &[(&str, &str)] = &[
    ("get", "/healthz"),
    ("get", "/readyz"),
    ("get", "/openapi.json"),
    ("get", "/docs"),
    ("get", "/docs/style.css"),
];

const READ_APP: Permission = Permission::new(Verb::Read, Resource::App);
const WRITE_APP: Permission = Permission::new(Verb::Write, Resource::App);
const DEPLOY_APP: Permission = Permission::new(Verb::Deploy, Resource::App);
const EXEC_APP: Permission = Permission::new(Verb::Exec, Resource::App);
const READ_SECRET: Permission = Permission::new(Verb::Read, Resource::Secret);
const WRITE_SECRET: Permission = Permission::new(Verb::Write, Resource::Secret);
const READ_DOMAIN: Permission = Permission::new(Verb::Read, Resource::Domain);
const WRITE_DOMAIN: Permission = Permission::new(Verb::Write, Resource::Domain);
const READ_DATABASE: Permission = Permission::new(Verb::Read, Resource::Database);
const WRITE_DATABASE: Permission = Permission::new(Verb::Write, Resource::Database);
const READ_LOG: Permission = Permission::new(Verb::Read, Resource::Log);
const READ_TOKEN: Permission = Permission::new(Verb::Read, Resource::Token);
const WRITE_TOKEN: Permission = Permission::new(Verb::Write, Resource::Token);
const READ_TEAM: Permission = Permission::new(Verb::Read, Resource::Team);
const WRITE_TEAM: Permission = Permission::new(Verb::Write, Resource::Team);
const READ_AUDIT: Permission = Permission::new(Verb::Read, Resource::Audit);

/// The document without its paths.
fn document() -> OpenApi {
    let token = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .bearer_format("slw_…")
        .description(Some("An API token, as `POST /v1/tokens` makes them."))
        .build();
    let components = ComponentsBuilder::new()
        .security_scheme(SCHEME, SecurityScheme::Http(token))
        .schema(slipway_wire::Problem::name(), slipway_wire::Problem::schema())
        .schema(slipway_wire::FieldProblem::name(), slipway_wire::FieldProblem::schema())
        .build();
    let info = InfoBuilder::new()
        .title("Slipway")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "Hosts small apps on your own machine: an image goes in by one call and serves HTTPS. JSON in snake_case; \
             times RFC 3339 in UTC; durations and sizes as text. Send `Authorization: Bearer slw_…`. Every error is \
             `application/problem+json` (RFC 9457) with a stable `code`. `Idempotency-Key` works on every POST.",
        ))
        .build();
    OpenApiBuilder::new().info(info).components(Some(components)).build()
}

fn all() -> Routes {
    let routes = Routes::new(document())
        .public(routes!(health::healthz))
        .public(routes!(health::readyz))
        .public(routes!(docs::openapi_json))
        .public(routes!(docs::page))
        .public(routes!(docs::style));
    access(running(apps_and_specs(routes)))
}

fn apps_and_specs(routes: Routes) -> Routes {
    routes
        .guarded(READ_APP, routes!(apps::list::app_list))
        .guarded(WRITE_APP, routes!(apps::create::app_create))
        .guarded(READ_APP, routes!(apps::get::app_get))
        .guarded(WRITE_APP, routes!(apps::change::app_change))
        .guarded(WRITE_APP, routes!(apps::delete::app_delete))
        .guarded(READ_APP, routes!(environments::list::environment_list))
        .guarded(WRITE_APP, routes!(environments::create::environment_create))
        .guarded(WRITE_APP, routes!(environments::delete::environment_delete))
        .guarded(READ_APP, routes!(spec::get::spec_get))
        .guarded(WRITE_APP, routes!(spec::put::spec_put))
        .guarded(READ_APP, routes!(env::get::env_get))
        .guarded(WRITE_APP, routes!(env::put::env_put))
        .guarded(WRITE_APP, routes!(env::patch::env_patch))
        .guarded(READ_SECRET, routes!(secrets::list::secret_list))
        .guarded(READ_SECRET, routes!(secrets::get::secret_get))
        .guarded(WRITE_SECRET, routes!(secrets::put::secret_put))
        .guarded(WRITE_SECRET, routes!(secrets::delete::secret_delete))
        .guarded(READ_SECRET, routes!(registries::list::registry_list))
        .guarded(READ_SECRET, routes!(registries::get::registry_get))
        .guarded(WRITE_SECRET, routes!(registries::put::registry_put))
        .guarded(WRITE_SECRET, routes!(registries::delete::registry_delete))
        .guarded(READ_DOMAIN, routes!(certificates::list::certificate_list))
        .guarded(WRITE_DOMAIN, routes!(certificates::renew::certificate_renew_named))
        .guarded(WRITE_DOMAIN, routes!(certificates::revoke::certificate_revoke_named))
        .guarded(READ_DOMAIN, routes!(dns::list::dns_zone_list))
        .guarded(WRITE_DOMAIN, routes!(dns::put::dns_zone_put))
        .guarded(WRITE_DOMAIN, routes!(dns::delete::dns_zone_delete))
        .guarded(WRITE_DOMAIN, routes!(dns::check::dns_zone_check))
        .guarded(READ_DOMAIN, routes!(domains::list::domain_list))
        .guarded(READ_DOMAIN, routes!(domains::list::domain_list_all))
        .guarded(WRITE_DOMAIN, routes!(domains::create::domain_create))
        .guarded(READ_DOMAIN, routes!(domains::get::domain_get))
        .guarded(WRITE_DOMAIN, routes!(domains::change::domain_change))
        .guarded(WRITE_DOMAIN, routes!(domains::delete::domain_delete))
        .guarded(READ_DOMAIN, routes!(domains::check::domain_check))
        .guarded(WRITE_DOMAIN, routes!(domains::check::domain_recheck))
        .guarded(WRITE_DOMAIN, routes!(domains::certificate::certificate_put))
        .guarded(WRITE_DOMAIN, routes!(domains::certificate::certificate_delete))
        .guarded(WRITE_DOMAIN, routes!(domains::renew::certificate_renew))
        .guarded(WRITE_DOMAIN, routes!(domains::renew::certificate_revoke))
        .guarded(WRITE_DOMAIN, routes!(domains::client_ca::client_ca_put))
        .guarded(WRITE_DOMAIN, routes!(domains::client_ca::client_ca_delete))
        .guarded(WRITE_DOMAIN, routes!(domains::trial::trial_create))
        .guarded(READ_DOMAIN, routes!(domains::trial::trial_get))
        .guarded(WRITE_DOMAIN, routes!(certificates::roll::account_keys_roll))
        .guarded(READ_DOMAIN, routes!(certificates::root::internal_root_get))
}

/// Whoever may run a command may see what comes of it; what it wrote is like a log.
const WATCH: [Permission; 2] = [READ_LOG, EXEC_APP];
/// Whoever may deploy may see what comes of it.
const FOLLOW: [Permission; 2] = [READ_APP, DEPLOY_APP];

fn running(routes: Routes) -> Routes {
    routes
        .guarded(DEPLOY_APP, routes!(deployments::deploy::deploy))
        .guarded(DEPLOY_APP, routes!(deployments::create::deployment_create))
        .guarded_by_any(&FOLLOW, routes!(deployments::list::deployment_list))
        .guarded_by_any(&FOLLOW, routes!(deployments::get::deployment_get))
        .guarded_by_any(&FOLLOW, routes!(deployments::events::deployment_events))
        .guarded(DEPLOY_APP, routes!(deployments::abort::deployment_abort))
        .guarded(DEPLOY_APP, routes!(deployments::approve::deployment_approve))
        .guarded(DEPLOY_APP, routes!(deployments::promote::deployment_promote))
        .guarded(DEPLOY_APP, routes!(rollback::rollback))
        .guarded(DEPLOY_APP, routes!(promote::promote))
        .guarded(READ_APP, routes!(releases::list::release_list))
        .guarded(READ_APP, routes!(instances::list::instance_list))
        .guarded(DEPLOY_APP, routes!(instances::restart::restart))
        .guarded(DEPLOY_APP, routes!(instances::stop::stop))
        .guarded(DEPLOY_APP, routes!(instances::start::start))
        .guarded(DEPLOY_APP, routes!(instances::scale::scale))
        .guarded(READ_LOG, routes!(logs::logs))
        .guarded(EXEC_APP, routes!(operations::run::run))
        .guarded(EXEC_APP, routes!(operations::cancel::operation_cancel))
        .guarded_by_any(&WATCH, routes!(operations::get::operation_get))
        .guarded(READ_APP, routes!(operations::list::operation_list))
        .guarded(READ_APP, routes!(operations::cron::cron_list))
        .guarded(READ_APP, routes!(alerts::list::alert_list))
}

fn access(routes: Routes) -> Routes {
    routes
        .guarded(READ_TOKEN, routes!(tokens::list::token_list))
        .guarded(WRITE_TOKEN, routes!(tokens::create::token_create))
        .guarded(WRITE_TOKEN, routes!(tokens::delete::token_delete))
        .guarded(READ_TEAM, routes!(teams::list::team_list))
        .guarded(WRITE_TEAM, routes!(teams::create::team_create))
        .guarded(WRITE_TEAM, routes!(teams::limits::team_limits))
        .guarded(READ_DATABASE, routes!(databases::list::database_list))
        .guarded(READ_DATABASE, routes!(databases::get::database_get))
        .guarded(WRITE_DATABASE, routes!(databases::create::database_create))
        .guarded(WRITE_DATABASE, routes!(databases::delete::database_delete))
        .guarded(WRITE_DATABASE, routes!(databases::attach::database_attach))
        .guarded(WRITE_DATABASE, routes!(databases::detach::database_detach))
        .guarded(WRITE_DATABASE, routes!(backups::create::backup_create))
        .guarded(READ_DATABASE, routes!(backups::list::backup_list))
        .guarded(WRITE_DATABASE, routes!(backups::restore::database_restore))
        .guarded(READ_DATABASE, routes!(backups::recovery::database_recovery))
        .guarded(READ_AUDIT, routes!(audit_log::list::audit_list))
        .guarded(READ_AUDIT, routes!(audit_log::verify::audit_verify))
}

/// The document of the whole API (OpenAPI 3.1).
pub fn openapi() -> OpenApi {
    all().split().1
}

/// The router of the whole API.
pub fn router(state: ApiState) -> axum::Router {
    let (router, mut document) = all().split();
    document.info.version.clone_from(&state.settings.version);
    let streams = Arc::new(Semaphore::new(state.settings.streams_max));
    // Texts and numbers under text keys cannot fail to serialize.
    let value = serde_json::to_value(&document).unwrap_or_default();
    let page = docs::render(&value).into();
    let shared = Arc::new(Shared {
        api: state,
        streams,
        document: value.to_string().into(),
        page,
    });
    router
        .fallback(edge::unknown_route)
        .method_not_allowed_fallback(edge::wrong_method)
        .layer(from_fn_with_state(Arc::clone(&shared), edge::edge))
        .with_state(shared)
}
