//! What is written into the audit log: who did what to what, in the transaction that did it.

use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};
use slipway_domain::access::Caller;
use slipway_domain::ids::TeamId;
use slipway_store::{AuditEntry, AuditOutcome, Deployment, Tx};

use crate::call::Call;
use crate::edge::RequestInfo;
use crate::error::Result;
use crate::state::Shared;

/// What an entry is about.
pub(crate) struct Target<'a> {
    pub(crate) kind: &'a str,
    pub(crate) id: Option<String>,
    pub(crate) name: String,
}

impl<'a> Target<'a> {
    /// Something with an identifier and a name.
    pub(crate) fn new(kind: &'a str, id: impl std::fmt::Display, name: impl std::fmt::Display) -> Self {
        Self {
            kind,
            id: Some(id.to_string()),
            name: name.to_string(),
        }
    }

    /// A deployment, named by where it goes.
    pub(crate) fn deployment(row: &Deployment) -> Self {
        Self::new(
            "deployment",
            row.id,
            format!("{}/{}", row.app_name, row.environment_name),
        )
    }

    /// Something with a name only.
    pub(crate) fn named(kind: &'a str, name: impl std::fmt::Display) -> Self {
        Self {
            kind,
            id: None,
            name: name.to_string(),
        }
    }

    fn json(&self) -> Value {
        let mut target = json!({"type": self.kind, "name": self.name});
        if let Some(id) = &self.id {
            target["id"] = json!(id);
        }
        target
    }
}

fn actor(caller: &Caller, info: &RequestInfo) -> Value {
    let mut actor = json!({
        "type": "token", "id": caller.token, "name": caller.name, "kind": caller.kind.as_str(), "via": "api",
    });
    for (key, value) in [("ip", &info.ip), ("user_agent", &info.user_agent)] {
        if let Some(value) = value {
            actor[key] = json!(value);
        }
    }
    actor
}

impl Call {
    /// Writes an entry into the transaction that makes the change.
    pub(crate) async fn audit(
        &self,
        tx: &mut Tx,
        team: Option<TeamId>,
        action: &str,
        target: Target<'_>,
        change: Option<Value>,
    ) -> Result<()> {
        let entry = AuditEntry {
            team,
            actor: actor(&self.caller, &self.info),
            action: action.into(),
            target: target.json(),
            outcome: AuditOutcome::Allowed,
            reason: None,
            request_id: Some(self.info.id.clone()),
            trace_id: self.info.trace_id(),
            change,
        };
        Ok(tx.append_audit(&entry, self.now()).await.map(drop)?)
    }
}

/// An attempt that was refused.
#[derive(Debug)]
pub(crate) struct Denied {
    pub(crate) action: String,
    pub(crate) reason: String,
}

/// The attempts of one request that were refused, at most a few.
#[derive(Debug, Clone, Default)]
pub(crate) struct Denials(Arc<Mutex<Vec<Denied>>>);

/// No request tries more than this.
const DENIALS_MAX: usize = 4;

impl Denials {
    /// Remembers one.
    pub(crate) fn push(&self, denied: Denied) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() < DENIALS_MAX {
            all.push(denied);
        }
    }

    /// Takes them out.
    pub(crate) fn take(&self) -> Vec<Denied> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Writes down refused attempts, in a transaction of their own. If that fails, the log says so; the refusal stands.
pub(crate) async fn record_denied(state: &Shared, caller: &Caller, info: &RequestInfo, denials: Vec<Denied>) {
    if denials.is_empty() {
        return;
    }
    let written = async {
        let mut tx = state.store.begin().await?;
        for Denied { action, reason } in denials {
            tracing::info!(token = %caller.token, name = %caller.name, action, reason, "api.denied");
            let entry = AuditEntry {
                team: Some(caller.team),
                actor: actor(caller, info),
                action: "access.denied".into(),
                target: json!({"type": "request", "name": action.chars().take(200).collect::<String>()}),
                outcome: AuditOutcome::Denied,
                reason: Some(reason),
                request_id: Some(info.id.clone()),
                trace_id: info.trace_id(),
                change: None,
            };
            tx.append_audit(&entry, state.clock.now()).await?;
        }
        tx.commit().await
    };
    if let Err(error) = written.await {
        tracing::warn!(%error, "audit.denied_not_written");
    }
}
