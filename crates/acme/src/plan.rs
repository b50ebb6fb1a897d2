//! Which certificates must be issued now.

use std::collections::BTreeSet;

use slipway_domain::Timestamp;
use slipway_store::Certificate;

use crate::Names;

fn set(names: &[String]) -> BTreeSet<&str> {
    names.iter().map(String::as_str).collect()
}

/// The certificate in use for these names: of several the one that ends last.
pub(crate) fn current<'a>(certificates: &'a [Certificate], names: &[String]) -> Option<&'a Certificate> {
    let same = certificates.iter().filter(|c| set(&c.names) == set(names));
    same.max_by_key(|c| c.not_after)
}

/// Whether a certificate is to be replaced: when that was planned, or with a third of its life left.
fn is_old(certificate: &Certificate, now: Timestamp) -> bool {
    let third = certificate.not_after - (certificate.not_after - certificate.not_before) / 3;
    now < certificate.not_before || now >= certificate.renew_at.unwrap_or(third)
}

/// The sets of names that lack a certificate, or whose certificate is to be replaced.
pub(crate) fn due<'a>(wanted: &'a [Names], certificates: &[Certificate], now: Timestamp) -> Vec<&'a Names> {
    let fresh = |names: &&Names| current(certificates, names).is_some_and(|c| !is_old(c, now));
    wanted.iter().filter(|names| !fresh(names)).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};
    use slipway_domain::ids::CertificateId;
    use slipway_domain::secret::Sealed;

    fn day(d: i64) -> Timestamp {
        at(d * 86_400_000)
    }

    pub(crate) fn certificate(names: &[&str], from: i64, to: i64) -> Certificate {
        Certificate {
            id: CertificateId::mint(day(from), &FixedEntropy(1)),
            names: names.iter().map(|n| (*n).to_owned()).collect(),
            issuer: "i".into(),
            chain_pem: String::new(),
            sealed_key: Sealed {
                key_version: 1,
                bytes: vec![],
            },
            not_before: day(from),
            not_after: day(to),
            created_at: day(from),
            ca: None,
            renew_at: None,
            ari_at: None,
        }
    }

    #[test]
    fn a_certificate_is_replaced_with_a_third_of_its_life_left_or_when_that_was_planned() {
        let names = vec!["*.apps.localhost".to_owned()];
        let wanted = std::slice::from_ref(&names);
        let mut have = [certificate(&["*.apps.localhost"], 0, 90)];
        assert!(due(wanted, &have, day(59)).is_empty());
        assert_eq!(due(wanted, &have, day(61)), [&names]);
        assert_eq!(due(wanted, &[], day(1)), [&names]);
        have[0].renew_at = Some(day(20));
        assert!(due(wanted, &have, day(19)).is_empty());
        assert_eq!(due(wanted, &have, day(20)), [&names]);
    }

    #[test]
    fn the_order_of_names_does_not_matter() {
        let names = ["apps.localhost", "*.apps.localhost"].map(str::to_owned).to_vec();
        let current = [certificate(&["*.apps.localhost", "apps.localhost"], 0, 90)];
        assert!(due(&[names], &current, day(1)).is_empty());
    }
}
