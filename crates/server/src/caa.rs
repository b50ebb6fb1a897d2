//! What CAs call themselves in CAA records (RFC 8659): as their directories say (`caaIdentities`, RFC 8555 section 7.1.1),
//! and until they could be asked, as is known of the large ones.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde::Deserialize;
use slipway_acme::CaSettings;
use tokio_util::sync::CancellationToken;

/// CAs that are known by the host of their directory.
const KNOWN: &[(&str, &[&str])] = &[
    ("letsencrypt.org", &["letsencrypt.org"]),
    ("zerossl.com", &["sectigo.com", "zerossl.com"]),
    ("pki.goog", &["pki.goog"]),
    ("buypass.com", &["buypass.com"]),
    ("ssl.com", &["ssl.com"]),
];
const ANSWER_MAX: Duration = Duration::from_secs(10);
const DIRECTORY_BYTES_MAX: usize = 64 * 1024;
/// They change once in years.
const EVERY: Duration = Duration::from_hours(24);
const AGAIN: Duration = Duration::from_mins(1);

/// The names of our CAs, by directory; of some nothing may be known.
#[derive(Debug, Clone)]
pub(crate) struct CaaIdentities(Arc<Mutex<BTreeMap<String, Vec<String>>>>);

#[derive(Deserialize)]
struct Directory {
    #[serde(default)]
    meta: Meta,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Meta {
    #[serde(default)]
    caa_identities: Vec<String>,
}

impl CaaIdentities {
    /// What is known without asking.
    pub(crate) fn known(cas: &[CaSettings]) -> Self {
        let known = |directory: &str| {
            let host = directory.split('/').nth(2).unwrap_or_default();
            let found = KNOWN.iter().find(|(suffix, _)| host.ends_with(suffix));
            found.map_or(&[][..], |(_, identities)| identities)
        };
        let named = cas.iter().map(|ca| {
            let identities = known(&ca.directory).iter().map(|i| (*i).to_owned());
            (ca.directory.clone(), identities.collect())
        });
        Self(Arc::new(Mutex::new(named.collect())))
    }

    /// Those of each CA.
    pub(crate) fn all(&self) -> Vec<Vec<String>> {
        self.0.lock().values().cloned().collect()
    }

    /// Asks the CAs, at once and then once a day.
    pub(crate) async fn keep_asking(self, cas: Vec<CaSettings>, shutdown: CancellationToken) {
        loop {
            let mut pause = EVERY;
            for ca in &cas {
                match ask(ca).await {
                    Ok(identities) if identities.is_empty() => {}
                    Ok(identities) => {
                        self.0.lock().insert(ca.directory.clone(), identities);
                    }
                    Err(error) => {
                        tracing::debug!(ca = ca.directory, error, "caa.identities_not_told");
                        pause = AGAIN;
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = shutdown.cancelled() => return,
            }
        }
    }
}

async fn ask(ca: &CaSettings) -> Result<Vec<String>, String> {
    let mut builder = reqwest::Client::builder().timeout(ANSWER_MAX);
    if let Some(path) = &ca.roots {
        let pem = tokio::fs::read(path).await.map_err(|e| e.to_string())?;
        let roots = reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| e.to_string())?;
        builder = builder.tls_certs_only(roots);
    }
    let client = builder.build().map_err(|e| e.to_string())?;
    let answer = client.get(&ca.directory).send().await.map_err(|e| e.to_string())?;
    let mut answer = answer.error_for_status().map_err(|e| e.to_string())?;
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.map_err(|e| e.to_string())? {
        if bytes.len() + chunk.len() > DIRECTORY_BYTES_MAX {
            return Err("its directory is too long".into());
        }
        bytes.extend_from_slice(&chunk);
    }
    let directory: Directory = serde_json::from_slice(&bytes).map_err(|e| e.to_string())?;
    Ok(directory.meta.caa_identities)
}
