//! `GET /healthz` and `GET /readyz`: up or not, and nothing else.

use std::sync::Arc;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use slipway_store::SchemaState;
use slipway_wire::health::{Health, HealthStatus};

use crate::state::Shared;

/// Whether the process answers.
#[utoipa::path(get, path = "/healthz", tag = "health", operation_id = "healthz",
    responses((status = 200, description = "Up.", body = Health)))]
pub(crate) async fn healthz() -> Response {
    axum::Json(Health {
        status: HealthStatus::Ok,
    })
    .into_response()
}

/// Whether the process can do its work: the database answers and has the right schema.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "readyz",
    responses(
        (status = 200, description = "Ready.", body = Health),
        (status = 503, description = "Not ready.", body = Health)))]
pub(crate) async fn readyz(State(state): State<Arc<Shared>>) -> Response {
    let ready = match state.store.schema_state().await {
        Ok(SchemaState::Current) => true,
        Ok(other) => {
            tracing::warn!(schema = ?other, "readyz.schema");
            false
        }
        Err(error) => {
            tracing::warn!(%error, "readyz.database");
            false
        }
    };
    if ready {
        axum::Json(Health {
            status: HealthStatus::Ok,
        })
        .into_response()
    } else {
        let body = axum::Json(Health {
            status: HealthStatus::Unavailable,
        });
        (StatusCode::SERVICE_UNAVAILABLE, body).into_response()
    }
}
