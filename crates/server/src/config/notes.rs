//! What a usable configuration will not do although one may expect it.

use super::Config;

impl Config {
    /// What can be used and will not do what one may expect of it.
    pub fn notes(&self) -> Vec<String> {
        let names = [
            ("SLIPWAY_BASE_DOMAIN", Some(&self.base_domain)),
            ("SLIPWAY_API_DOMAIN", self.api_domain.as_ref()),
        ];
        let public = names
            .into_iter()
            .filter_map(|(setting, name)| Some((setting, name.filter(|n| !n.is_local())?)));
        public
            .map(|(setting, name)| {
                format!(
                    "{setting} {name} is a public name, and this version has no certificates for those: nothing \
                     answers there over TLS. Names that end in .localhost, .internal or .test have one of the \
                     platform's own CA."
                )
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::Sources;

    #[test]
    fn public_names_are_told_to_have_no_certificates() {
        let notes = |variables: &[(&str, &str)]| {
            let sources = Sources {
                file: None,
                flags: BTreeMap::new(),
                variables: variables
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                    .collect(),
                is_root: true,
                is_terminal: false,
            };
            Config::load(sources).expect("usable").notes()
        };
        assert_eq!(notes(&[("SLIPWAY_API_DOMAIN", "console.internal")]), [""; 0]);
        let both = notes(&[
            ("SLIPWAY_BASE_DOMAIN", "apps.example.com"),
            ("SLIPWAY_API_DOMAIN", "console.example.com"),
        ]);
        assert!(
            both[0].starts_with("SLIPWAY_BASE_DOMAIN apps.example.com is a public name"),
            "{both:?}"
        );
        assert!(
            both[1].starts_with("SLIPWAY_API_DOMAIN console.example.com is a public name"),
            "{both:?}"
        );
    }
}
