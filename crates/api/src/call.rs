//! One admitted call: who calls, and what the handler works with.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use slipway_domain::Timestamp;
use slipway_domain::access::Caller;
use slipway_store::Tx;

use crate::audit::Denials;
use crate::edge::RequestInfo;
use crate::error::{ApiError, Result};
use crate::guard::Admitted;
use crate::idempotency::Key;
use crate::state::Shared;

/// A call that passed the guard. There is no other way to get one.
pub(crate) struct Call {
    pub(crate) state: Arc<Shared>,
    pub(crate) caller: Caller,
    pub(crate) info: RequestInfo,
    /// Where refused attempts are remembered.
    pub(crate) denials: Denials,
    /// The `Idempotency-Key`, if there is one.
    pub(crate) key: Option<Key>,
}

impl Call {
    /// The present moment.
    pub(crate) fn now(&self) -> Timestamp {
        self.state.clock.now()
    }

    /// A transaction.
    pub(crate) async fn begin(&self) -> Result<Tx> {
        Ok(self.state.store.begin().await?)
    }

    /// Tells the scheduler that there is something to do.
    pub(crate) fn wake(&self) {
        (self.state.wake)();
    }
}

impl FromRequestParts<Arc<Shared>> for Call {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<Shared>) -> Result<Self> {
        let admitted = parts.extensions.get::<Admitted>().cloned();
        let info = parts.extensions.get::<RequestInfo>().cloned();
        let (Some(admitted), Some(info)) = (admitted, info) else {
            return Err(ApiError::Internal(
                "a handler that needs a caller is mounted without a guard".into(),
            ));
        };
        Ok(Self {
            state: Arc::clone(state),
            caller: admitted.caller,
            info,
            denials: admitted.denials,
            key: parts.extensions.get::<Key>().cloned(),
        })
    }
}
