//! What a usable configuration will not do although one may expect it.

use super::Config;
use super::PublicAddresses;
use crate::inspector;

impl Config {
    /// What can be used and will not do what one may expect of it.
    pub fn notes(&self) -> Vec<String> {
        let is_public = !self.base_domain.is_local() || self.api_domain.as_ref().is_some_and(|api| !api.is_local());
        let mut notes = Vec::new();
        if is_public && !self.domains.has_email {
            notes.push(
                "SLIPWAY_ACME_EMAIL is not set: the CA can tell nobody when something is wrong with a certificate."
                    .into(),
            );
        }
        if is_public && self.http_listen.port() != 80 {
            notes.push(format!(
                "SLIPWAY_HTTP_LISTEN {} is not port 80: CAs look there. Port 80 of the public address must lead to it.",
                self.http_listen
            ));
        }
        if !self.backups.is_chosen {
            notes.push(format!(
                "SLIPWAY_BACKUP_URL is not set: backups of databases go to {}, which is lost with this machine.",
                self.backups.location
            ));
        }
        if let PublicAddresses::These(addresses) = &self.domains.public_addresses {
            let private: Vec<String> = addresses
                .iter()
                .filter(|a| !inspector::is_public(a))
                .map(ToString::to_string)
                .collect();
            if !private.is_empty() {
                notes.push(format!(
                    "SLIPWAY_PUBLIC_ADDRESSES: {} is private: domains that point there are reached, and get certificates of a public CA, inside that network at most.",
                    private.join(", ")
                ));
            }
        }
        notes
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Sources;

    #[test]
    fn public_names_without_an_address_for_the_ca_or_port_80_are_told() {
        let notes = |variables: &[(&str, &str)]| {
            let sources = Sources {
                file: None,
                flags: BTreeMap::new(),
                variables: [("SLIPWAY_BACKUP_URL", "s3://bucket")]
                    .iter()
                    .chain(variables)
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
                is_root: true,
                is_terminal: false,
            };
            Config::load(sources).expect("usable").notes()
        };
        assert_eq!(notes(&[("SLIPWAY_API_DOMAIN", "console.internal")]), [""; 0]);
        let public = ("SLIPWAY_BASE_DOMAIN", "apps.example.com");
        let both = notes(&[public, ("SLIPWAY_HTTP_LISTEN", "0.0.0.0:8080")]);
        assert!(both[0].starts_with("SLIPWAY_ACME_EMAIL is not set"), "{both:?}");
        assert!(
            both[1].starts_with("SLIPWAY_HTTP_LISTEN 0.0.0.0:8080 is not port 80"),
            "{both:?}"
        );
        assert_eq!(notes(&[public, ("SLIPWAY_ACME_EMAIL", "ops@example.com")]), [""; 0]);
        let here = notes(&[("SLIPWAY_BACKUP_URL", "")]);
        assert!(here[0].contains("lost with this machine"), "{here:?}");
        let private = notes(&[("SLIPWAY_PUBLIC_ADDRESSES", "203.0.113.1,10.0.0.1")]);
        assert!(private[0].contains("10.0.0.1 is private"), "{private:?}");
    }
}
