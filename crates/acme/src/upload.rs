//! Certificates that people bring along: whether they can be used for a name.
//!
//! | what is wrong | why it matters |
//! |---|---|
//! | the key is another one's, or encrypted | nothing could be signed |
//! | the issuer of the leaf is missing | browsers that do not know it already refuse the site |
//! | it is for other names | every browser refuses it |
//! | it is over, not yet valid, or ends within a day | it would serve nobody for long |
//! | it is not for servers, or signed with SHA-1 | browsers refuse it |
//! | it demands a stapled answer (RFC 7633) | none is stapled here, so browsers would refuse it |

use std::sync::Arc;
use std::time::Duration;

use chrono::TimeDelta;
use rustls::CertificateError as Wrong;
use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use slipway_domain::Timestamp;
use slipway_domain::name::DomainName;
use slipway_domain::ports::{CertificateChecker, UploadedCertificate};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;

use crate::order::{issuer_of, time_of};

/// What ends sooner than that is not worth putting in use.
const LEFT_MIN: TimeDelta = TimeDelta::days(1);
const CHAIN_MAX: usize = 10;
/// `id-pe-tlsfeature` (RFC 7633 section 4.1).
const TLS_FEATURE: &str = "1.3.6.1.5.5.7.1.24";

/// Looks at certificates with what browsers look at.
#[derive(Debug, Clone, Copy)]
pub struct UploadChecker;

impl CertificateChecker for UploadChecker {
    fn check(
        &self,
        (chain_pem, key_pem): (&str, &str),
        host: &DomainName,
        now: Timestamp,
    ) -> Result<UploadedCertificate, String> {
        let chain = chain(chain_pem)?;
        let (leaf_der, rest) = chain.split_first().ok_or("It has no certificate.")?;
        let (_, leaf) =
            x509_parser::parse_x509_certificate(leaf_der).map_err(|e| format!("It cannot be read: {e}."))?;
        key_fits(&chain, key_pem)?;
        let (not_before, not_after) = (time_of(leaf.validity().not_before), time_of(leaf.validity().not_after));
        lasts(not_before, not_after, now)?;
        is_for_servers(&leaf)?;
        vouched(leaf_der, rest, host, now)?;
        Ok(UploadedCertificate {
            issuer: issuer_of(&leaf),
            not_before,
            not_after,
        })
    }

    fn check_client_ca(&self, pem: &str) -> Result<(), String> {
        if pem.contains("PRIVATE KEY-----") {
            return Err(
                "There is a private key in it, which is needed nowhere but at the CA: give the certificates alone."
                    .into(),
            );
        }
        let mut roots = RootCertStore::empty();
        for der in chain(pem)? {
            let (_, ca) = x509_parser::parse_x509_certificate(&der).map_err(|e| format!("It cannot be read: {e}."))?;
            if !ca.is_ca() {
                return Err(format!(
                    "{} is no CA: give the certificates of those who issue to your visitors.",
                    ca.subject()
                ));
            }
            roots
                .add(der.clone())
                .map_err(|e| format!("It cannot be trusted: {e}."))?;
        }
        Ok(())
    }
}

fn chain(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Vec<_> = CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("Its PEM cannot be read: {e}."))?;
    match chain.len() {
        0 => Err("There is no certificate in it: give PEM with `-----BEGIN CERTIFICATE-----`.".into()),
        n if n > CHAIN_MAX => Err(format!("There are {n} certificates in it; {CHAIN_MAX} are allowed.")),
        _ => Ok(chain),
    }
}

fn key_fits(chain: &[CertificateDer<'static>], key_pem: &str) -> Result<(), String> {
    if key_pem.contains("ENCRYPTED") {
        return Err("The key is encrypted: give it decrypted, as `openssl pkey` writes it. It is sealed here.".into());
    }
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| "There is no private key in it: give PEM with `-----BEGIN PRIVATE KEY-----`.")?;
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    CertifiedKey::from_der(chain.to_vec(), key, &provider).map_err(|error| match error {
        rustls::Error::InconsistentKeys(_) => {
            "The key is another certificate's, or the chain does not begin with the site's own certificate.".to_owned()
        }
        _ => "The key cannot be used: give an ECDSA key (P-256 or P-384), an RSA key of 2048 bits or more, or Ed25519."
            .to_owned(),
    })?;
    Ok(())
}

fn lasts(not_before: Timestamp, not_after: Timestamp, now: Timestamp) -> Result<(), String> {
    let day = |at: Timestamp| at.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    if not_after <= now {
        return Err(format!("It has ended, at {}.", day(not_after)));
    }
    if not_before > now {
        return Err(format!("It is not valid before {}.", day(not_before)));
    }
    if not_after - now < LEFT_MIN {
        return Err(format!("It ends within a day, at {}.", day(not_after)));
    }
    Ok(())
}

fn is_for_servers(leaf: &X509Certificate<'_>) -> Result<(), String> {
    if leaf.is_ca() {
        return Err("It is a CA's certificate: begin with the site's own.".into());
    }
    let algorithm = leaf.signature_algorithm.algorithm.to_id_string();
    // sha1WithRSAEncryption, ecdsa-with-SHA1, md5WithRSAEncryption.
    if ["1.2.840.113549.1.1.5", "1.2.840.10045.4.1", "1.2.840.113549.1.1.4"].contains(&algorithm.as_str()) {
        return Err("It is signed with SHA-1 or MD5, which browsers refuse.".into());
    }
    let demands_staple = leaf.extensions().iter().any(|e| e.oid.to_id_string() == TLS_FEATURE);
    if demands_staple {
        return Err(
            "It demands a stapled OCSP answer (must-staple), and none is stapled here: have it issued without.".into(),
        );
    }
    let usage = leaf.extensions().iter().find_map(|e| match e.parsed_extension() {
        ParsedExtension::ExtendedKeyUsage(usage) => Some(usage),
        _ => None,
    });
    if usage.is_some_and(|usage| !usage.server_auth && !usage.any) {
        return Err("It is not for servers: its extended key usage lacks serverAuth.".into());
    }
    Ok(())
}

/// Whether the chain leads from the leaf to its end, and the leaf is for the name. Who vouches for the end is up to
/// visitors.
fn vouched(
    leaf: &CertificateDer<'static>,
    rest: &[CertificateDer<'static>],
    host: &DomainName,
    now: Timestamp,
) -> Result<(), String> {
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|e| e.to_string())?;
    let is_own = parsed.issuer().as_raw() == parsed.subject().as_raw();
    let missing = || {
        format!(
            "The certificate of its issuer ({}) is missing: give the whole chain, the site's own certificate first.",
            parsed.issuer()
        )
    };
    let anchor = match rest.last() {
        Some(last) => last,
        None if is_own => leaf,
        None => return Err(missing()),
    };
    let mut roots = RootCertStore::empty();
    roots
        .add(anchor.clone())
        .map_err(|e| format!("The last certificate of the chain cannot be used: {e}."))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|e| e.to_string())?;
    // Of a wildcard any name stands for all.
    let name = if host.is_wildcard() {
        format!("any.{}", host.bare())
    } else {
        host.to_string()
    };
    let name = ServerName::try_from(name).map_err(|e| e.to_string())?;
    let time = UnixTime::since_unix_epoch(Duration::from_secs(now.timestamp().unsigned_abs()));
    match verifier.verify_server_cert(leaf, rest, &name, &[], time) {
        Ok(_) => Ok(()),
        Err(rustls::Error::InvalidCertificate(Wrong::NotValidForName | Wrong::NotValidForNameContext { .. })) => {
            Err(format!("It is not for {host}: {}.", names_of(&parsed)))
        }
        Err(rustls::Error::InvalidCertificate(Wrong::UnknownIssuer)) => Err(missing()),
        Err(rustls::Error::InvalidCertificate(Wrong::Expired | Wrong::ExpiredContext { .. })) => {
            Err("A certificate of the chain has ended.".into())
        }
        // One that vouches for itself is a CA to itself.
        Err(rustls::Error::InvalidCertificate(Wrong::Other(_))) if is_own => Ok(()),
        Err(rustls::Error::InvalidCertificate(Wrong::BadSignature)) => {
            Err("A certificate of the chain was not signed by the one after it: put them in order, the site's own first.".into())
        }
        Err(rustls::Error::InvalidCertificate(Wrong::Other(_))) => {
            Err("A certificate of the chain may not be used where it stands: the site's own comes first, then its issuers, each of them a CA.".into())
        }
        Err(error) => Err(format!("The chain does not hold: {error}.")),
    }
}

fn names_of(leaf: &X509Certificate<'_>) -> String {
    let san = leaf.subject_alternative_name().ok().flatten();
    let names = san
        .iter()
        .flat_map(|san| &san.value.general_names)
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some(*name),
            _ => None,
        });
    let names: Vec<&str> = names.take(10).collect();
    if names.is_empty() {
        "it names no host at all".into()
    } else {
        format!("it is for {}", names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    };

    fn now() -> Timestamp {
        Timestamp::from_timestamp(1_800_000_000, 0).expect("a time")
    }

    fn date(days: i64) -> time::OffsetDateTime {
        time::OffsetDateTime::from_unix_timestamp((now() + TimeDelta::days(days)).timestamp()).expect("a date")
    }

    struct Made {
        chain: Vec<String>,
        key: String,
    }

    /// A leaf with its intermediate and root, after a change.
    fn made(names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Made {
        let ca = |name: &str| {
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            (params.not_before, params.not_after) = (date(-400), date(4_000));
            params
        };
        let keys: Vec<KeyPair> = (0..3).map(|_| KeyPair::generate().expect("a key")).collect();
        let root = ca("Root").self_signed(&keys[0]).expect("signed");
        let root_issuer = Issuer::new(ca("Root"), &keys[0]);
        let middle = ca("Middle").signed_by(&keys[1], &root_issuer).expect("signed");
        let issuer = Issuer::new(ca("Middle"), &keys[1]);
        let names: Vec<String> = names.iter().map(|n| (*n).to_owned()).collect();
        let mut params = CertificateParams::new(names).expect("names");
        (params.not_before, params.not_after) = (date(-1), date(60));
        change(&mut params);
        let leaf = params.signed_by(&keys[2], &issuer).expect("signed");
        Made {
            chain: vec![leaf.pem(), middle.pem(), root.pem()],
            key: keys[2].serialize_pem(),
        }
    }

    fn check(chain: &[String], key: &str, host: &str) -> Result<UploadedCertificate, String> {
        UploadChecker.check((&chain.concat(), key), &host.parse().expect("a name"), now())
    }

    #[test]
    fn a_good_one_is_taken_for_its_names_with_or_without_the_root() {
        let good = made(&["shop.example.com", "*.example.org"], |_| {});
        for (host, parts) in [
            ("shop.example.com", 3),
            ("shop.example.com", 2),
            ("*.example.org", 2),
            ("a.example.org", 2),
        ] {
            let taken = check(&good.chain[..parts], &good.key, host).unwrap_or_else(|e| panic!("{host}: {e}"));
            assert_eq!(
                (taken.issuer.as_str(), taken.not_after),
                ("Middle", now() + TimeDelta::days(60))
            );
        }
        let own = rcgen::generate_simple_self_signed(vec!["shop.example.com".into()]).expect("a pair");
        let taken = check(&[own.cert.pem()], &own.signing_key.serialize_pem(), "shop.example.com");
        assert!(taken.is_ok(), "{taken:?}");
    }

    #[test]
    fn what_would_not_work_is_refused_with_the_reason() {
        let good = made(&["shop.example.com"], |_| {});
        let refused = |chain: &[String], key: &str, host: &str| check(chain, key, host).expect_err("refused");
        let other = made(&["shop.example.com"], |_| {});
        let cases: Vec<(Vec<String>, String, &str, &str)> = vec![
            (
                good.chain.clone(),
                good.key.clone(),
                "other.example.com",
                "it is for shop.example.com",
            ),
            (
                good.chain.clone(),
                good.key.clone(),
                "*.example.com",
                "It is not for *.example.com",
            ),
            (
                good.chain[..1].to_vec(),
                good.key.clone(),
                "shop.example.com",
                "issuer (CN=Middle) is missing",
            ),
            (
                vec![good.chain[0].clone(), good.chain[2].clone()],
                good.key.clone(),
                "shop.example.com",
                "is missing",
            ),
            (
                good.chain.clone(),
                other.key,
                "shop.example.com",
                "another certificate's",
            ),
            (
                vec![good.chain[1].clone(), good.chain[0].clone()],
                good.key.clone(),
                "shop.example.com",
                "another certificate's",
            ),
            (
                vec!["x".into()],
                good.key.clone(),
                "shop.example.com",
                "no certificate in it",
            ),
            (
                good.chain.clone(),
                "x".into(),
                "shop.example.com",
                "no private key in it",
            ),
            (
                good.chain.clone(),
                "-----BEGIN ENCRYPTED PRIVATE KEY-----".into(),
                "shop.example.com",
                "encrypted",
            ),
        ];
        for (chain, key, host, said) in cases {
            let told = refused(&chain, &key, host);
            assert!(told.contains(said), "{said}: {told}");
        }
    }

    #[test]
    fn what_browsers_refuse_is_refused_here() {
        let with = |change: &dyn Fn(&mut CertificateParams)| made(&["shop.example.com"], change);
        let staple = || {
            // SEQUENCE of INTEGER 5: status_request.
            CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5])
        };
        for (made, said) in [
            (with(&|p| p.not_after = date(-1)), "It has ended"),
            (with(&|p| p.not_before = date(1)), "not valid before"),
            (
                with(&|p| p.not_after = date(1) - Duration::from_mins(1)),
                "within a day",
            ),
            (
                with(&|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]),
                "not for servers",
            ),
            (
                with(&|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)),
                "a CA's certificate",
            ),
            (with(&|p| p.custom_extensions = vec![staple()]), "must-staple"),
        ] {
            let told = check(&made.chain, &made.key, "shop.example.com").expect_err("refused");
            assert!(told.contains(said), "{said}: {told}");
        }
    }

    #[test]
    fn only_cas_vouch_for_visitors() {
        let made = made(&["shop.example.com"], |_| {});
        assert_eq!(UploadChecker.check_client_ca(&made.chain[2]), Ok(()));
        assert!(
            UploadChecker
                .check_client_ca(&made.chain[0])
                .is_err_and(|e| e.contains("is no CA"))
        );
        assert!(UploadChecker.check_client_ca("").is_err());
        let with_key = format!("{}{}", made.chain[2], made.key);
        let refused = UploadChecker.check_client_ca(&with_key).expect_err("refused");
        assert!(refused.contains("private key"), "{refused}");
    }
}
