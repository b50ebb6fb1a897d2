//! The root and its leaves (RFC 5280), P-256.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::sync::Arc;

use chrono::TimeDelta;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256,
};
use slipway_domain::Timestamp;
use time::OffsetDateTime;

use crate::files;

const ROOT_LIFE: TimeDelta = TimeDelta::days(3650);
const LEAF_LIFE: TimeDelta = TimeDelta::days(90);
/// Clocks differ: what is issued now is valid since a while.
const BACKDATED: TimeDelta = TimeDelta::hours(1);
const NAME: &str = "Slipway internal CA";

/// Why the CA cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the internal CA in {dir}: {error}")]
pub(crate) struct CaError {
    dir: String,
    error: String,
}

/// A CA whose root is in a directory.
#[derive(Clone)]
pub(crate) struct InternalCa(Arc<Inner>);

struct Inner {
    dir: String,
    issuer: Issuer<'static, KeyPair>,
}

/// A certificate with its key.
#[derive(Clone)]
pub(crate) struct Issued {
    /// The leaf, PEM. Clients have the root.
    pub chain_pem: String,
    /// PKCS #8, PEM.
    pub key_pem: String,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Who issued it.
    pub issuer: String,
}

fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.timestamp()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

impl InternalCa {
    /// Reads the root from a directory, or makes it there.
    pub(crate) fn load_or_create(dir: &Path, now: Timestamp) -> Result<Self, CaError> {
        let shown = dir.display().to_string();
        let fail = |error: String| CaError {
            dir: shown.clone(),
            error,
        };
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(dir)
            .map_err(|e| fail(e.to_string()))?;
        let (root, key_file) = (dir.join("root.pem"), dir.join("root.key"));
        let key_pem = files::read_secret(&key_file).map_err(|e| fail(e.to_string()))?;
        let key = match &key_pem {
            Some(pem) => KeyPair::from_pem(pem).map_err(|e| fail(format!("root.key: {e}")))?,
            None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| fail(e.to_string()))?,
        };
        if key_pem.is_none() {
            let pem = root_params(now)
                .self_signed(&key)
                .map_err(|e| fail(e.to_string()))?
                .pem();
            std::fs::write(&root, pem).map_err(|e| fail(e.to_string()))?;
            std::fs::set_permissions(&root, std::fs::Permissions::from_mode(0o644)).map_err(|e| fail(e.to_string()))?;
            // The key last: a directory with a key has a root.
            files::write_secret(&key_file, key.serialize_pem().as_bytes()).map_err(|e| fail(e.to_string()))?;
        }
        let pem = std::fs::read_to_string(&root).map_err(|e| fail(format!("root.pem: {e}")))?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|e| fail(format!("root.pem: {e}")))?;
        Ok(Self(Arc::new(Inner { dir: shown, issuer })))
    }

    /// Issues a certificate for names and one-label wildcards.
    pub(crate) fn issue(&self, names: &[String], now: Timestamp) -> Result<Issued, CaError> {
        let fail = |error: rcgen::Error| CaError {
            dir: self.0.dir.clone(),
            error: error.to_string(),
        };
        let (not_before, not_after) = (now - BACKDATED, now + LEAF_LIFE);
        let mut params = CertificateParams::new(names.to_vec()).map_err(fail)?;
        params.not_before = date(not_before);
        params.not_after = date(not_after);
        params.distinguished_name = DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, names.first().cloned().unwrap_or_default());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fail)?;
        let certificate = params.signed_by(&key, &self.0.issuer).map_err(fail)?;
        Ok(Issued {
            chain_pem: certificate.pem(),
            key_pem: key.serialize_pem(),
            not_before,
            not_after,
            issuer: NAME.into(),
        })
    }
}

fn root_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date(now - BACKDATED);
    params.not_after = date(now + ROOT_LIFE);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::pem::PemObject;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};

    #[test]
    fn a_leaf_is_good_for_its_names_under_the_root_and_for_no_other() {
        let dir = tempfile::tempdir().expect("a directory");
        let now = Timestamp::from_timestamp(1_800_000_000, 0).expect("a time");
        let names = ["*.apps.localhost".to_owned(), "apps.localhost".to_owned()];
        InternalCa::load_or_create(dir.path(), now).expect("made");
        let issued = InternalCa::load_or_create(dir.path(), now)
            .expect("read")
            .issue(&names, now)
            .expect("issued");

        let root = CertificateDer::from_pem_file(dir.path().join("root.pem")).expect("a root");
        let leaf = CertificateDer::from_pem_slice(issued.chain_pem.as_bytes()).expect("a leaf");
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let check = |name: &str, at: Timestamp| {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.timestamp().unsigned_abs()));
            verifier.verify_server_cert(&leaf, &[], &name, &[], time).is_ok()
        };
        assert!(check("web.apps.localhost", now) && check("apps.localhost", now));
        assert!(!check("web.example.com", now) && !check("a.b.apps.localhost", now));
        assert!(!check("web.apps.localhost", now + LEAF_LIFE + TimeDelta::days(1)));
        let mode = std::fs::metadata(dir.path().join("root.key"))
            .expect("a key")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}
