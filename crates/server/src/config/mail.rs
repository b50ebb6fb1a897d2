//! Where alerts are written to.

use lettre::message::Mailbox;
use url::Url;

use super::{ConfigError, Values};

/// A mail server, and who is written to.
#[derive(Clone)]
pub struct Mail {
    /// How it is reached; it may hold a password.
    pub(crate) url: Url,
    /// Who writes.
    pub(crate) from: Mailbox,
    /// Who is written to.
    pub(crate) to: Vec<Mailbox>,
}

impl std::fmt::Debug for Mail {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Mail").field("to", &self.to).finish_non_exhaustive()
    }
}

/// The mail server that the settings name, if they name one.
pub(super) fn read(v: &Values) -> Result<Option<Mail>, ConfigError> {
    let (url, from, to) = (url(v)?, mailboxes(v, "smtp_from")?, mailboxes(v, "alert_email")?);
    let missing = |name: &str, expected: &str| {
        Err(ConfigError::Value {
            origin: name.into(),
            value: "nothing".into(),
            expected: expected.into(),
        })
    };
    match (url, from.into_iter().next(), to.is_empty()) {
        (None, _, true) => Ok(None),
        (None, _, false) => missing(
            "SLIPWAY_SMTP_URL",
            "who is written to in SLIPWAY_ALERT_EMAIL needs a mail server: smtps://user:password@host",
        ),
        (Some(_), _, true) => missing("SLIPWAY_ALERT_EMAIL", "say who is written to, separated by commas"),
        (Some(_), None, false) => missing("SLIPWAY_SMTP_FROM", "say who writes, such as slipway@example.com"),
        (Some(url), Some(from), false) => Ok(Some(Mail { url, from, to })),
    }
}

fn url(v: &Values) -> Result<Option<Url>, ConfigError> {
    let Some((text, origin)) = v.get("smtp_url") else {
        return Ok(None);
    };
    let wrong = |expected: &str| ConfigError::Value {
        origin: origin.clone(),
        value: "the value, not shown because it may hold a password,".into(),
        expected: expected.into(),
    };
    let url = Url::parse(&text)
        .ok()
        .filter(|url| matches!(url.scheme(), "smtp" | "smtps") && url.has_host());
    let url = url.ok_or_else(|| {
        wrong("give smtps://user:password@host (TLS from the start), or smtp://user:password@host:587?tls=required (STARTTLS)")
    })?;
    let is_local = matches!(url.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
    let is_sealed = url.scheme() == "smtps"
        || url
            .query_pairs()
            .any(|(key, value)| key == "tls" && value == "required");
    if url.password().is_some() && !is_sealed && !is_local {
        return Err(wrong(
            "a password goes over TLS only: smtps://…, or smtp://…?tls=required",
        ));
    }
    Ok(Some(url))
}

fn mailboxes(v: &Values, key: &str) -> Result<Vec<Mailbox>, ConfigError> {
    let Some((value, origin)) = v.get(key) else {
        return Ok(Vec::new());
    };
    let one = |item: &str| {
        item.parse().map_err(|_| ConfigError::Value {
            origin: origin.clone(),
            value: format!("`{item}`"),
            expected: "give e-mail addresses such as ops@example.com".into(),
        })
    };
    let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
    items.map(one).collect()
}
