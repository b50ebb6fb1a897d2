//! Puts snapshots in force: versions only upwards, certificates first, then routes, then the copy on disk.
//!
//! Promises: a certificate that cannot be had holds up nothing else: the one in use for its names stays, and it is
//! tried again; a disk that cannot be written is logged and does not stop routing; a snapshot older than the one in
//! force (a control plane whose database was restored, say) is refused and said so.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::StreamExt as _;
use slipway_domain::ids::CertificateId;
use slipway_domain::name::DomainName;
use slipway_domain::routing::{CertificateMaterial, CertificateReference, SNAPSHOT_FORMAT, Snapshot};

use crate::disk::Disk;
use crate::host::wildcard_of;
use crate::proxy::Proxy;
use crate::table::Table;
use crate::tls::{Certificate, Certificates};
use crate::visitors::Visitors;

/// Certificates fetched at once.
const FETCHES_MAX: usize = 8;

/// What became of a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    Applied,
    /// In force already.
    Same,
    /// Older than the one in force, or of a format this build does not know.
    Refused,
}

/// The routes in force and what is needed to change them.
#[derive(Debug)]
pub(crate) struct Routes {
    proxy: Arc<Proxy>,
    disk: Disk,
    /// Those that can be used: on disk, or pinned in memory.
    at_hand: BTreeMap<CertificateId, Arc<Certificate>>,
    snapshot: Option<Snapshot>,
}

impl Routes {
    pub(crate) fn new(proxy: Arc<Proxy>, disk: Disk) -> Self {
        Self {
            proxy,
            disk,
            at_hand: BTreeMap::new(),
            snapshot: None,
        }
    }

    async fn on_disk<R: Send + 'static>(&self, work: impl FnOnce(&Disk) -> R + Send + 'static) -> Option<R> {
        let disk = self.disk.clone();
        tokio::task::spawn_blocking(move || work(&disk)).await.ok()
    }

    /// Puts the copy on disk in force, if there is one.
    pub(crate) async fn restore(&mut self) {
        let Some(snapshot) = self.on_disk(Disk::snapshot).await.flatten() else {
            return;
        };
        let kept = self.on_disk(Disk::certificates).await;
        let kept = kept.and_then(Result::ok).unwrap_or_default();
        for reference in snapshot.certificates.iter().filter(|r| kept.contains(&r.id)) {
            self.at_hand.insert(reference.id, Arc::new(Certificate::new(reference)));
        }
        tracing::info!(
            version = snapshot.version.0,
            hosts = snapshot.hosts.len(),
            "proxy.restored_from_disk"
        );
        self.put_in_force(snapshot);
    }

    /// Takes a certificate that was fetched: keeps it on disk, or else in memory.
    async fn load(&mut self, reference: &CertificateReference, material: CertificateMaterial) {
        let loaded = match self.proxy.tls().read(&material) {
            Ok(loaded) => loaded,
            Err(error) => {
                self.proxy
                    .metrics()
                    .certificate_failures
                    .fetch_add(1, Ordering::Relaxed);
                tracing::error!(certificate = %reference.id, names = ?reference.names, %error, "proxy.certificate_unusable");
                return;
            }
        };
        let certificate = Certificate::new(reference);
        let kept = self.on_disk(move |disk| disk.keep_certificate(&material)).await;
        let certificate = match kept {
            Some(Ok(())) => certificate,
            Some(Err(error)) => {
                tracing::error!(certificate = %reference.id, %error, "proxy.certificate_not_kept");
                certificate.pinned(loaded)
            }
            None => certificate.pinned(loaded),
        };
        self.at_hand.insert(reference.id, Arc::new(certificate));
    }

    fn lacks(&self, reference: &CertificateReference) -> bool {
        !self.at_hand.contains_key(&reference.id) || self.proxy.tls().has_lost(reference.id)
    }

    /// Whether certificates of the snapshot in force are still to be had.
    pub(crate) fn lacks_certificates(&self) -> bool {
        let Some(snapshot) = &self.snapshot else { return false };
        snapshot.certificates.iter().any(|reference| self.lacks(reference))
    }

    /// Takes a snapshot from the control plane.
    pub(crate) async fn take<F, Fut>(&mut self, snapshot: Snapshot, fetch: F) -> Outcome
    where
        F: Fn(CertificateId) -> Fut,
        Fut: Future<Output = Option<CertificateMaterial>>,
    {
        if snapshot.format != SNAPSHOT_FORMAT {
            self.proxy.metrics().snapshots_refused.add("format");
            tracing::error!(
                format = snapshot.format,
                "proxy.snapshot_of_another_format: upgrade the proxy"
            );
            return Outcome::Refused;
        }
        let in_force = self.snapshot.as_ref().map(|snapshot| snapshot.version);
        match in_force {
            Some(in_force) if snapshot.version == in_force => return Outcome::Same,
            Some(in_force) if snapshot.version < in_force => {
                self.proxy.metrics().snapshots_refused.add("older");
                tracing::warn!(
                    offered = snapshot.version.0,
                    in_force = in_force.0,
                    "proxy.snapshot_older_kept_ours"
                );
                return Outcome::Refused;
            }
            _ => {}
        }
        self.fetch_missing(&snapshot.certificates, fetch).await;
        let version = snapshot.version.0;
        let same = (self.snapshot.as_ref()).is_some_and(|before| before.certificates == snapshot.certificates);
        self.put_in_force(snapshot);
        self.keep().await;
        if !same {
            self.sweep().await;
        }
        tracing::info!(version, "proxy.snapshot_applied");
        Outcome::Applied
    }

    /// Tries once more to get the certificates that are still missing.
    pub(crate) async fn retry_certificates<F, Fut>(&mut self, fetch: F)
    where
        F: Fn(CertificateId) -> Fut,
        Fut: Future<Output = Option<CertificateMaterial>>,
    {
        let Some(snapshot) = self.snapshot.clone() else { return };
        if self.fetch_missing(&snapshot.certificates, fetch).await {
            self.use_certificates(&snapshot);
            self.sweep().await;
        }
    }

    /// Whether one could be had.
    async fn fetch_missing<F, Fut>(&mut self, references: &[CertificateReference], fetch: F) -> bool
    where
        F: Fn(CertificateId) -> Fut,
        Fut: Future<Output = Option<CertificateMaterial>>,
    {
        let missing: Vec<CertificateReference> = references
            .iter()
            .filter(|reference| self.lacks(reference))
            .cloned()
            .collect();
        let downloads = missing.into_iter().map(|reference| {
            let download = fetch(reference.id);
            async move { (reference, download.await) }
        });
        let mut fetched = futures_util::stream::iter(downloads).buffer_unordered(FETCHES_MAX);
        let mut some = false;
        while let Some((reference, material)) = fetched.next().await {
            let Some(material) = material.filter(|material| material.id == reference.id) else {
                self.proxy
                    .metrics()
                    .certificate_failures
                    .fetch_add(1, Ordering::Relaxed);
                continue;
            };
            self.load(&reference, material).await;
            some = true;
        }
        some
    }

    fn use_certificates(&self, snapshot: &Snapshot) {
        let mut all = Certificates::default();
        for reference in &snapshot.certificates {
            if let Some(certificate) = self.at_hand.get(&reference.id) {
                all.add(certificate);
            } else {
                // The previous certificate of these names goes on until its successor can be had.
                for earlier in self.proxy.tls().current().now_serving(&reference.names) {
                    all.add(&earlier);
                }
            }
        }
        for (host, pem) in &snapshot.tls_challenges {
            match self.proxy.tls().challenge(pem) {
                Ok(config) => all.answer(host.as_str(), config),
                Err(error) => tracing::error!(%host, %error, "proxy.challenge_unusable"),
            }
        }
        self.ask_visitors(snapshot, &mut all);
        self.proxy.tls().replace(all);
    }

    /// Has visitors show a certificate where the snapshot says so.
    fn ask_visitors(&self, snapshot: &Snapshot, all: &mut Certificates) {
        let tls = self.proxy.tls();
        let asked = |name: &DomainName| snapshot.policies.get(name)?.client_ca_pem.as_deref();
        for name in snapshot.policies.keys() {
            if let Some(pem) = asked(name) {
                let before = tls.current().visitors(name.as_str()).cloned();
                all.ask(
                    name.as_str(),
                    Some(Visitors::new(name.as_str(), pem, tls.provider(), before.as_ref())),
                );
            }
        }
        // A name of its own below such a wildcard is not meant by it.
        for host in snapshot.hosts.keys().filter(|host| asked(host).is_none()) {
            let above: Option<DomainName> = wildcard_of(host.as_str()).and_then(|name| name.parse().ok());
            if above.as_ref().and_then(asked).is_some() {
                all.ask(host.as_str(), None);
            }
        }
    }

    fn put_in_force(&mut self, snapshot: Snapshot) {
        self.use_certificates(&snapshot);
        self.proxy
            .put_in_force(|previous, maker| Table::compile(previous, &snapshot, maker));
        let named: BTreeSet<CertificateId> = snapshot.certificates.iter().map(|reference| reference.id).collect();
        self.at_hand.retain(|id, _| named.contains(id));
        self.snapshot = Some(snapshot);
    }

    async fn keep(&self) {
        let Some(snapshot) = self.snapshot.clone() else { return };
        if let Some(Err(error)) = self.on_disk(move |disk| disk.keep_snapshot(&snapshot)).await {
            tracing::error!(%error, "proxy.snapshot_not_kept");
        }
    }

    /// Removes what is in use no more.
    async fn sweep(&self) {
        let mut in_use = self.proxy.tls().current().ids();
        in_use.extend(self.at_hand.keys());
        if let Some(Err(error)) = self.on_disk(move |disk| disk.keep_only(&in_use)).await {
            tracing::error!(%error, "proxy.certificates_not_removed");
        }
    }
}
