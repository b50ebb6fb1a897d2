//! Tells a webhook of alerts, in the form that Prometheus' Alertmanager sends (webhook payload, version 4), which most
//! receivers of alerts understand.
//!
//! Promises: whoever is told twice can see that it is the same alert (`fingerprint`, `startsAt`); the address, which may
//! hold a password or a token, is in no message.

use std::time::Duration;

use serde_json::{Value, json};
use slipway_domain::alert::Notice;
use slipway_domain::ports::{BoxFuture, Notifier};
use url::Url;

use crate::error::ServerError;

/// One attempt may take so long.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The receiver of alerts.
pub(crate) struct Webhook {
    client: reqwest::Client,
    url: Url,
}

impl Webhook {
    /// A receiver at this address.
    pub(crate) fn new(url: Url) -> Result<Self, ServerError> {
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("slipway/", env!("CARGO_PKG_VERSION")))
            .timeout(TIMEOUT)
            .redirect(reqwest::redirect::Policy::none());
        // Plain HTTP needs no roots, so a machine without any can still tell its neighbour.
        if url.scheme() == "http" {
            builder = builder.tls_certs_only([]);
        }
        let client = builder.build().map_err(|error| {
            ServerError::Setup(format!(
                "SLIPWAY_ALERT_WEBHOOK_URL: HTTPS is not possible here: {error}; install the system's certificates \
                 (the package `ca-certificates`)"
            ))
        })?;
        Ok(Self { client, url })
    }
}

impl Notifier for Webhook {
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let sent = self.client.post(self.url.clone()).json(&payload(notice)).send().await;
            let status = sent.map_err(|error| error.without_url().to_string())?.status();
            if status.is_success() {
                Ok(())
            } else {
                Err(format!("the receiver answered {status}"))
            }
        })
    }
}

fn payload(notice: &Notice) -> Value {
    let status = if notice.ended_at.is_some() {
        "resolved"
    } else {
        "firing"
    };
    let kind = notice.kind.as_str();
    let mut labels = json!({"alertname": kind, "severity": "critical"});
    let mut group = format!("alertname=\"{kind}\"");
    if let Some(place) = &notice.place {
        for (label, value) in [
            ("app", &place.app),
            ("environment", &place.environment),
            ("team", &place.team),
        ] {
            labels[label] = value.as_str().into();
            group = format!("{group}, {label}=\"{value}\"");
        }
    }
    let annotations = json!({
        "summary": format!("{}: {kind}", notice.subject()),
        "description": notice.message,
    });
    let ends_at = notice.ended_at.map_or_else(
        // How the format says that it has not ended.
        || "0001-01-01T00:00:00Z".to_owned(),
        |at| at.to_rfc3339(),
    );
    json!({
        "version": "4",
        "groupKey": format!("{{}}:{{{group}}}"),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": "slipway",
        "groupLabels": labels,
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": "",
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": notice.started_at.to_rfc3339(),
            "endsAt": ends_at,
            "generatorURL": "",
            "fingerprint": notice.id.to_string(),
        }],
    })
}
