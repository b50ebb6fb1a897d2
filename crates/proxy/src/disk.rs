//! The last good snapshot and its certificates, on disk.
//!
//! Promises: directory 0700, files 0600; a file is either the old one or the new one, whole, also after a power cut;
//! certificates are there before the snapshot that names them; those that nobody uses any more are removed.

use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use slipway_domain::ids::{CertificateId, ProxyId};
use slipway_domain::routing::{CertificateMaterial, SNAPSHOT_FORMAT, Snapshot};

use crate::config::{CERTIFICATE_BYTES_MAX, SNAPSHOT_BYTES_MAX};
use crate::error::ProxyError;

const SNAPSHOT: &str = "snapshot.json";
const CERTIFICATES: &str = "certificates";
const PROXY_ID: &str = "proxy.id";

/// The state directory.
#[derive(Debug, Clone)]
pub(crate) struct Disk {
    dir: PathBuf,
}

fn private_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

fn write_whole(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let staged = path.with_extension("tmp");
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&staged)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&staged, path)?;
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

fn read_bounded(path: &Path, bytes_max: usize) -> io::Result<Vec<u8>> {
    let len = fs::metadata(path)?.len();
    if usize::try_from(len).map_or(true, |len| len > bytes_max) {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the file is larger than it can be",
        ));
    }
    fs::read(path)
}

impl Disk {
    /// Makes sure the directory is there, private and writable.
    pub(crate) fn open(dir: &Path) -> Result<Self, ProxyError> {
        let state_dir = |error| ProxyError::StateDir {
            path: dir.to_owned(),
            error,
        };
        private_dir(dir)
            .and_then(|()| private_dir(&dir.join(CERTIFICATES)))
            .map_err(state_dir)?;
        let probe = dir.join("probe");
        write_whole(&probe, b"")
            .and_then(|()| fs::remove_file(&probe))
            .map_err(state_dir)?;
        Ok(Self { dir: dir.to_owned() })
    }

    /// Who this proxy is: the same over restarts.
    pub(crate) fn proxy_id(&self, mint: impl FnOnce() -> ProxyId) -> Result<ProxyId, ProxyError> {
        let path = self.dir.join(PROXY_ID);
        let known = fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
        if let Some(id) = known {
            return Ok(id);
        }
        let id = mint();
        write_whole(&path, format!("{id}\n").as_bytes()).map_err(|error| ProxyError::StateDir { path, error })?;
        Ok(id)
    }

    /// The last good snapshot. `None` when there is none, or none that this build can read.
    pub(crate) fn snapshot(&self) -> Option<Snapshot> {
        let path = self.dir.join(SNAPSHOT);
        let read = read_bounded(&path, SNAPSHOT_BYTES_MAX).and_then(|bytes| {
            serde_json::from_slice::<Snapshot>(&bytes)
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
        });
        match read {
            Ok(snapshot) if snapshot.format == SNAPSHOT_FORMAT => Some(snapshot),
            Ok(snapshot) => {
                tracing::warn!(format = snapshot.format, "proxy.disk_snapshot_of_another_format");
                None
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "proxy.disk_snapshot_unreadable");
                None
            }
        }
    }

    fn certificate_path(&self, id: CertificateId) -> PathBuf {
        self.dir.join(CERTIFICATES).join(format!("{id}.json"))
    }

    /// A certificate kept earlier.
    pub(crate) fn certificate(&self, id: CertificateId) -> Option<CertificateMaterial> {
        let bytes = read_bounded(&self.certificate_path(id), CERTIFICATE_BYTES_MAX).ok()?;
        serde_json::from_slice(&bytes)
            .ok()
            .filter(|material: &CertificateMaterial| material.id == id)
    }

    /// Keeps a certificate.
    pub(crate) fn keep_certificate(&self, material: &CertificateMaterial) -> io::Result<()> {
        write_whole(&self.certificate_path(material.id), &serde_json::to_vec(material)?)
    }

    /// Keeps a snapshot.
    pub(crate) fn keep_snapshot(&self, snapshot: &Snapshot) -> io::Result<()> {
        write_whole(&self.dir.join(SNAPSHOT), &serde_json::to_vec(snapshot)?)
    }

    /// The certificates that are kept.
    pub(crate) fn certificates(&self) -> io::Result<BTreeSet<CertificateId>> {
        let mut ids = BTreeSet::new();
        for entry in fs::read_dir(self.dir.join(CERTIFICATES))? {
            let path = entry?.path();
            let name = path.file_stem().and_then(|stem| stem.to_str());
            ids.extend(name.and_then(|name| name.parse::<CertificateId>().ok()));
        }
        Ok(ids)
    }

    /// Removes all certificates but these.
    pub(crate) fn keep_only(&self, in_use: &BTreeSet<CertificateId>) -> io::Result<()> {
        let in_use: BTreeSet<PathBuf> = in_use.iter().map(|id| self.certificate_path(*id)).collect();
        for entry in fs::read_dir(self.dir.join(CERTIFICATES))? {
            let path = entry?.path();
            if !in_use.contains(&path) {
                fs::remove_file(&path)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};
    use slipway_domain::generation::RouteVersion;
    use slipway_domain::routing::CertificateReference;
    use std::collections::BTreeMap;

    fn snapshot(certificates: Vec<CertificateReference>) -> Snapshot {
        Snapshot {
            format: SNAPSHOT_FORMAT,
            version: RouteVersion(3),
            issued_at: at(0),
            base_domain: "apps.localhost".parse().expect("a name"),
            api: None,
            hosts: BTreeMap::new(),
            environments: vec![],
            certificates,
            challenges: BTreeMap::new(),
            tls_challenges: BTreeMap::new(),
            redirects: BTreeMap::new(),
            policies: BTreeMap::new(),
        }
    }

    #[test]
    fn keeps_the_last_snapshot_private_and_drops_certificates_nobody_uses() {
        let root = tempfile::tempdir().expect("a directory");
        let dir = root.path().join("state");
        let disk = Disk::open(&dir).expect("usable");
        assert!(disk.snapshot().is_none());
        let id = CertificateId::mint(at(1), &FixedEntropy(1));
        let material = CertificateMaterial {
            id,
            chain_pem: "c".into(),
            key_pem: "k".into(),
        };
        disk.keep_certificate(&material).expect("written");
        let reference = CertificateReference {
            id,
            names: vec!["a.test".into()],
            not_after: at(1),
        };
        let kept = snapshot(vec![reference]);
        disk.keep_snapshot(&kept).expect("written");
        assert_eq!(disk.snapshot(), Some(kept));
        assert!(disk.certificate(id).is_some_and(|material| material.key_pem == "k"));
        let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
        assert_eq!(mode(&dir), 0o700);
        assert_eq!(mode(&dir.join(CERTIFICATES)), 0o700);
        assert_eq!(mode(&disk.certificate_path(id)), 0o600);
        assert_eq!(disk.certificates().expect("read"), BTreeSet::from([id]));
        disk.keep_only(&BTreeSet::from([id])).expect("nothing to do");
        assert!(disk.certificate(id).is_some());
        disk.keep_only(&BTreeSet::new()).expect("removed");
        assert!(disk.certificate(id).is_none());
    }

    #[test]
    fn a_damaged_snapshot_is_as_good_as_none_and_the_identity_stays() {
        let root = tempfile::tempdir().expect("a directory");
        let disk = Disk::open(root.path()).expect("usable");
        fs::write(root.path().join(SNAPSHOT), b"{\"format\":1").expect("written");
        assert!(disk.snapshot().is_none());
        let id = ProxyId::mint(at(1), &FixedEntropy(1));
        assert_eq!(disk.proxy_id(|| id).ok(), Some(id));
        assert_eq!(disk.proxy_id(|| ProxyId::mint(at(2), &FixedEntropy(2))).ok(), Some(id));
    }

    #[test]
    fn a_path_that_is_no_directory_is_refused_with_its_name() {
        let root = tempfile::tempdir().expect("a directory");
        let file = root.path().join("file");
        fs::write(&file, b"").expect("written");
        let error = Disk::open(&file).expect_err("refused").to_string();
        assert!(error.contains(&file.display().to_string()), "{error}");
    }
}
