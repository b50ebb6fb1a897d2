//! The root, the intermediate that issues, and its leaves (RFC 5280), P-256.
//!
//! Promises: visitors trust the root for years; the key that issues every day is another one, replaced twice a year; a
//! leaf never outlives what vouches for it.

use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use chrono::TimeDelta;
use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, CidrSubnet, DistinguishedName, DnType, ExtendedKeyUsagePurpose,
    GeneralSubtree, IsCa, Issuer, KeyPair, KeyUsagePurpose, NameConstraints, PKCS_ECDSA_P256_SHA256, PublicKeyData,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use slipway_acme::{Issued, LocalAuthority};
use slipway_domain::Timestamp;
use slipway_domain::name::LOCAL_TOP_LEVELS;
use time::OffsetDateTime;
use x509_parser::extensions::ParsedExtension;

use crate::files;

const ROOT_LIFE: TimeDelta = TimeDelta::days(3650);
const INTERMEDIATE_LIFE: TimeDelta = TimeDelta::days(365);
/// With so much of its life left the intermediate is replaced.
const INTERMEDIATE_LEFT_MIN: TimeDelta = TimeDelta::days(180);
const LEAF_LIFE: TimeDelta = TimeDelta::days(90);
/// Clocks differ: what is issued now is valid since a while.
const BACKDATED: TimeDelta = TimeDelta::hours(1);
const NAME: &str = "Slipway internal CA";
const INTERMEDIATE: &str = "intermediate.pem";

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
    dir: PathBuf,
    root_pem: String,
    root: Issuer<'static, KeyPair>,
    intermediate: Mutex<Option<Intermediate>>,
}

/// What issues every day.
struct Intermediate {
    pem: String,
    not_after: Timestamp,
    issuer: Issuer<'static, KeyPair>,
}

fn date(time: Timestamp) -> OffsetDateTime {
    OffsetDateTime::from_unix_timestamp(time.timestamp()).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}

impl InternalCa {
    /// Reads the root from a directory, or makes it there. A root certificate that is lost is made anew from its key:
    /// who trusted the old one trusts what the new one issues, since name and key are the same (RFC 5280, 6.1).
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
        let kept = read_key(&key_file).map_err(fail)?;
        let is_new = kept.is_none();
        let key = match kept {
            Some(key) => key,
            None => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| fail(e.to_string()))?,
        };
        if is_new || !root.exists() {
            write_root(&root, &key, now).map_err(fail)?;
        }
        if is_new {
            // The key last: a directory with a key had a root.
            files::write_secret(&key_file, key.serialize_pem().as_bytes()).map_err(|e| fail(e.to_string()))?;
        }
        let pem = std::fs::read_to_string(&root).map_err(|e| fail(format!("root.pem: {e}")))?;
        check_pair(&pem, &key).map_err(fail)?;
        let pem = if may_have_intermediates(&pem) {
            pem
        } else {
            tracing::warn!(
                "ca.root_renewed: {} lets nobody issue below it; visitors must trust it anew",
                root.display()
            );
            write_root(&root, &key, now).map_err(fail)?;
            std::fs::read_to_string(&root).map_err(|e| fail(format!("root.pem: {e}")))?
        };
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|e| fail(format!("root.pem: {e}")))?;
        Ok(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            root_pem: pem,
            root: issuer,
            intermediate: Mutex::default(),
        })))
    }

    /// What visitors trust.
    pub(crate) fn root_pem(&self) -> &str {
        &self.0.root_pem
    }

    /// Does something with the intermediate that is kept, or with a new one where that grows old or cannot be read.
    fn with_intermediate<T>(
        &self,
        now: Timestamp,
        work: impl FnOnce(&Intermediate) -> Result<T, CaError>,
    ) -> Result<T, CaError> {
        let is_fresh = |kept: &Intermediate| kept.not_after - now >= INTERMEDIATE_LEFT_MIN;
        let path = self.0.dir.join(INTERMEDIATE);
        let mut current = self.0.intermediate.lock();
        let kept = current
            .take()
            .or_else(|| read_intermediate(&path, &self.0.root_pem))
            .filter(is_fresh);
        let intermediate = match kept {
            Some(kept) => kept,
            None => new_intermediate(&path, &self.0.root, now).map_err(|error| self.fail(error))?,
        };
        work(current.insert(intermediate))
    }

    fn fail(&self, error: String) -> CaError {
        CaError {
            dir: self.0.dir.display().to_string(),
            error,
        }
    }

    /// Issues a certificate for names and one-label wildcards.
    pub(crate) fn issue(&self, names: &[String], now: Timestamp) -> Result<Issued, CaError> {
        let fail = |error: rcgen::Error| self.fail(error.to_string());
        let Some(first) = names.first() else {
            return Err(self.fail("a certificate without a name would be good for nothing".into()));
        };
        let (not_before, not_after) = (now - BACKDATED, now + LEAF_LIFE);
        let mut params = CertificateParams::new(names.to_vec()).map_err(fail)?;
        params.not_before = date(not_before);
        params.not_after = date(not_after);
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, first.clone());
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(fail)?;
        let chain_pem = self.with_intermediate(now, |intermediate| {
            let certificate = params.signed_by(&key, &intermediate.issuer).map_err(fail)?;
            Ok(certificate.pem() + &intermediate.pem)
        })?;
        Ok(Issued {
            chain_pem,
            key_pem: key.serialize_pem(),
            not_before,
            not_after,
            issuer: NAME.into(),
        })
    }
}

impl LocalAuthority for InternalCa {
    fn issue(&self, names: &[String], now: Timestamp) -> Result<Issued, String> {
        Self::issue(self, names, now).map_err(|e| e.to_string())
    }
}

/// An intermediate with its key, if it is there, can be read, and is this root's.
fn read_intermediate(path: &Path, root_pem: &str) -> Option<Intermediate> {
    let both = files::read_secret(path).ok().flatten()?;
    let (pem, key) = both.split_at(both.find("-----BEGIN PRIVATE KEY-----")?);
    let key = KeyPair::from_pem(key).ok()?;
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(&der).ok()?;
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).ok()?;
    let (_, root) = x509_parser::parse_x509_certificate(&root).ok()?;
    let own = root.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0),
        _ => None,
    });
    let vouching = certificate
        .extensions()
        .iter()
        .find_map(|e| match e.parsed_extension() {
            ParsedExtension::AuthorityKeyIdentifier(id) => Some(id.key_identifier.as_ref()?.0),
            _ => None,
        });
    if own.is_none() || own != vouching {
        return None;
    }
    let not_after = Timestamp::from_timestamp(certificate.validity().not_after.timestamp(), 0)?;
    let end = both.find("-----BEGIN PRIVATE KEY-----")?;
    let pem = both[..end].to_owned();
    let issuer = Issuer::from_ca_cert_pem(&pem, key).ok()?;
    Some(Intermediate { pem, not_after, issuer })
}

fn new_intermediate(path: &Path, root: &Issuer<'static, KeyPair>, now: Timestamp) -> Result<Intermediate, String> {
    let not_after = now + INTERMEDIATE_LIFE;
    let mut params = CertificateParams::default();
    params.not_before = date(now - BACKDATED);
    params.not_after = date(not_after);
    params.distinguished_name = DistinguishedName::new();
    let name = format!("{NAME} {}", now.format("%Y-%m-%d"));
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(local_names());
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).map_err(|e| e.to_string())?;
    let pem = params.signed_by(&key, root).map_err(|e| e.to_string())?.pem();
    files::write_secret(path, (pem.clone() + &key.serialize_pem()).as_bytes()).map_err(|e| e.to_string())?;
    let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|e| e.to_string())?;
    tracing::info!(%not_after, "ca.intermediate_made");
    Ok(Intermediate { pem, not_after, issuer })
}

/// Whether others may issue below a root (RFC 5280 section 4.2.1.9).
fn may_have_intermediates(root_pem: &str) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(root_pem.as_bytes()) else {
        return false;
    };
    let Ok((_, root)) = x509_parser::parse_x509_certificate(&der) else {
        return false;
    };
    let constraints = root.basic_constraints().ok().flatten();
    constraints.is_some_and(|c| c.value.ca && c.value.path_len_constraint.is_none_or(|most| most >= 1))
}

/// The root's key, which nobody but its owner may read; `None` when there is none.
fn read_key(path: &Path) -> Result<Option<KeyPair>, String> {
    let Some(pem) = files::read_secret(path).map_err(|e| e.to_string())? else {
        return Ok(None);
    };
    let mode = std::fs::metadata(path).map_err(|e| e.to_string())?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(format!(
            "root.key may be read by others (mode {:o}): whoever has it can pretend to be any site to those who trust this root. Run `chmod 600 {}`",
            mode & 0o777,
            path.display()
        ));
    }
    KeyPair::from_pem(&pem).map(Some).map_err(|e| format!("root.key: {e}"))
}

fn write_root(path: &Path, key: &KeyPair, now: Timestamp) -> Result<(), String> {
    let pem = root_params(now).self_signed(key).map_err(|e| e.to_string())?.pem();
    std::fs::write(path, pem).map_err(|e| e.to_string())?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).map_err(|e| e.to_string())
}

/// A root of another key would vouch for nothing that is issued here.
fn check_pair(root_pem: &str, key: &KeyPair) -> Result<(), String> {
    let root = CertificateDer::from_pem_slice(root_pem.as_bytes()).map_err(|e| format!("root.pem: {e}"))?;
    // Found as it stands in the certificate (RFC 5280, 4.1.2.7): the encoding of a key is the same everywhere.
    let info = key.subject_public_key_info();
    if root.windows(info.len()).any(|part| part == info.as_slice()) {
        return Ok(());
    }
    Err(
        "root.pem does not belong to root.key: bring back the files that belong together from a copy, or move root.pem away to have it made anew from the key"
            .into(),
    )
}

fn root_params(now: Timestamp) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.not_before = date(now - BACKDATED);
    params.not_after = date(now + ROOT_LIFE);
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, NAME);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.name_constraints = Some(local_names());
    params
}

/// Local names and nothing else (RFC 5280 section 4.2.1.10): whoever gets hold of the key can pretend to be no site of the
/// world to those who trust this root.
fn local_names() -> NameConstraints {
    let names = LOCAL_TOP_LEVELS.map(|name| GeneralSubtree::DnsName(name.into()));
    let addresses = [CidrSubnet::V4([0; 4], [0; 4]), CidrSubnet::V6([0; 16], [0; 16])];
    NameConstraints {
        permitted_subtrees: names.into(),
        excluded_subtrees: addresses.map(GeneralSubtree::IpAddress).into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::RootCertStore;
    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};

    fn chain(issued: &Issued) -> (CertificateDer<'static>, Vec<CertificateDer<'static>>) {
        let all = CertificateDer::pem_slice_iter(issued.chain_pem.as_bytes()).collect::<Result<Vec<_>, _>>();
        let mut all = all.expect("a chain");
        let leaf = all.remove(0);
        (leaf, all)
    }

    #[test]
    fn the_intermediate_is_kept_over_restarts_and_replaced_before_it_could_end_before_a_leaf() {
        let dir = tempfile::tempdir().expect("a directory");
        let names = ["web.apps.localhost".to_owned()];
        let issue = |now| {
            let ca = InternalCa::load_or_create(dir.path(), now).expect("usable");
            chain(&ca.issue(&names, now).expect("issued")).1
        };
        let first = issue(time());
        assert_eq!(first.len(), 1);
        assert_eq!(issue(time() + TimeDelta::days(185)), first);
        let second = issue(time() + TimeDelta::days(186));
        assert_ne!(second, first);
        // One that is damaged, or of another root, is replaced too.
        std::fs::write(dir.path().join(INTERMEDIATE), "no").expect("written");
        let third = issue(time() + TimeDelta::days(187));
        assert_ne!(third, second);
        let other = tempfile::tempdir().expect("a directory");
        InternalCa::load_or_create(other.path(), time())
            .expect("made")
            .issue(&names, time())
            .expect("issued");
        std::fs::copy(other.path().join(INTERMEDIATE), dir.path().join(INTERMEDIATE)).expect("copied");
        assert!(![first, second, third].contains(&issue(time() + TimeDelta::days(188))));
    }

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
        let (leaf, rest) = chain(&issued);
        let mut roots = RootCertStore::empty();
        roots.add(root).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let checked = |(leaf, rest): &(CertificateDer<'_>, Vec<CertificateDer<'_>>), name: &str, at: Timestamp| {
            let name = ServerName::try_from(name.to_owned()).expect("a name");
            let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.timestamp().unsigned_abs()));
            verifier.verify_server_cert(leaf, rest, &name, &[], time).is_ok()
        };
        let own = (leaf, rest);
        let check = |name: &str, at: Timestamp| checked(&own, name, at);
        assert!(check("web.apps.localhost", now) && check("apps.localhost", now));
        assert!(!check("web.example.com", now) && !check("a.b.apps.localhost", now));
        assert!(!check("web.apps.localhost", now + LEAF_LIFE + TimeDelta::days(1)));
        // Whoever has the key can issue for no name of the world.
        let ca = InternalCa::load_or_create(dir.path(), now).expect("read");
        for (name, is_believed) in [
            ("shop.example.com", false),
            ("shop.example.test", true),
            ("127.0.0.1", false),
        ] {
            let issued = ca.issue(&[name.to_owned()], now).expect("issued");
            assert_eq!(checked(&chain(&issued), name, now), is_believed, "{name}");
        }
        let mode = std::fs::metadata(dir.path().join("root.key"))
            .expect("a key")
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    fn refused(dir: &Path, now: Timestamp) -> String {
        let made = InternalCa::load_or_create(dir, now);
        made.err().expect("it cannot be used").to_string()
    }

    fn time() -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    #[test]
    fn a_key_that_others_may_read_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().expect("a directory");
        InternalCa::load_or_create(dir.path(), time()).expect("made");
        let key = dir.path().join("root.key");
        std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o640)).expect("ours");
        let text = refused(dir.path(), time());
        assert!(text.contains("chmod 600") && text.contains("640"), "{text}");
    }

    #[test]
    fn a_root_of_another_key_is_refused_and_named() {
        let (one, other) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        for dir in [&one, &other] {
            InternalCa::load_or_create(dir.path(), time()).expect("made");
        }
        std::fs::copy(other.path().join("root.pem"), one.path().join("root.pem")).expect("copied");
        let text = refused(one.path(), time());
        assert!(text.contains("root.pem does not belong to root.key"), "{text}");
    }

    #[test]
    fn a_lost_root_is_made_anew_and_the_old_one_vouches_for_what_it_issues() {
        let dir = tempfile::tempdir().expect("a directory");
        let root = dir.path().join("root.pem");
        InternalCa::load_or_create(dir.path(), time()).expect("made");
        let old = CertificateDer::from_pem_file(&root).expect("a root");
        std::fs::remove_file(&root).expect("there");
        let later = time() + TimeDelta::days(30);
        let ca = InternalCa::load_or_create(dir.path(), later).expect("made anew");
        assert!(root.exists());
        let issued = ca.issue(&["web.apps.localhost".to_owned()], later).expect("issued");
        let (leaf, rest) = chain(&issued);
        let mut roots = RootCertStore::empty();
        roots.add(old).expect("a root");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .expect("a verifier");
        let name = ServerName::try_from("web.apps.localhost").expect("a name");
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(later.timestamp().unsigned_abs()));
        verifier
            .verify_server_cert(&leaf, &rest, &name, &[], at)
            .expect("the old root vouches for it");
    }

    #[test]
    fn a_certificate_for_nothing_is_not_issued() {
        let dir = tempfile::tempdir().expect("a directory");
        let ca = InternalCa::load_or_create(dir.path(), time()).expect("made");
        assert!(ca.issue(&[], time()).is_err());
    }
}
