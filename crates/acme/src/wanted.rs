//! The platform's own names, and who issues for them.

use slipway_domain::Timestamp;
use slipway_domain::domains::{ZoneAccess, way};
use slipway_domain::name::{DomainName, HostName};
use slipway_store::{OwnNames, StoreError, Tx};

use crate::{Names, dns01};

/// The platform's own names.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Apps answer below it.
    pub base: HostName,
    /// Where the API answers through the proxy.
    pub api: Option<HostName>,
}

impl Platform {
    /// The base domain with everything below it.
    pub(crate) fn wildcard(&self) -> Names {
        vec![format!("*.{}", self.base), self.base.to_string()]
    }

    /// What the internal CA answers for: the base domain with everything below it, and the API's name, if they are local.
    pub(crate) fn local(&self) -> OwnNames {
        let base = self.base.is_local().then(|| self.wildcard());
        let api = self.api.iter().filter(|a| a.is_local()).map(only);
        OwnNames {
            sets: base.into_iter().chain(api).collect(),
            apps: false,
        }
    }

    /// What is ordered for the platform itself: with a zone that it may change one certificate for all apps, so that a
    /// new app costs no order. Until that is there each app has its own.
    pub(crate) fn ordered(&self, zones: &[ZoneAccess], has_wildcard: bool) -> OwnNames {
        let mut sets: Vec<Names> = self.api.iter().filter(|a| !a.is_local()).map(only).collect();
        let may = way(&DomainName::below(&self.base), None, "", zones).is_some();
        let is_public = !self.base.is_local();
        let wildcard = is_public && may;
        if wildcard {
            sets.push(self.wildcard());
        }
        OwnNames {
            sets,
            apps: is_public && !(wildcard && has_wildcard),
        }
    }

    /// What is to be kept, whoever issued it. One certificate for all apps is kept while it is valid, though the platform
    /// may not change the zone any more: until each app has its own, it is the only one they have.
    pub(crate) fn all(&self, ordered: OwnNames, has_wildcard: bool) -> OwnNames {
        let kept = has_wildcard.then(|| self.wildcard());
        let sets = self.local().sets.into_iter().chain(ordered.sets).chain(kept);
        OwnNames {
            sets: sets.collect(),
            apps: ordered.apps,
        }
    }
}

/// What there is to be beside custom domains.
pub(crate) struct Wanted {
    /// What is ordered.
    pub(crate) ordered: OwnNames,
    has_wildcard: bool,
}

impl Wanted {
    pub(crate) async fn read(tx: &mut Tx, platform: &Platform, now: Timestamp) -> Result<Self, StoreError> {
        let zones = dns01::platforms(tx).await?;
        let has_wildcard = tx.has_certificate(&platform.wildcard(), now).await?;
        Ok(Self {
            ordered: platform.ordered(&zones, has_wildcard),
            has_wildcard,
        })
    }

    /// What stays in use.
    pub(crate) fn kept(self, platform: &Platform) -> OwnNames {
        platform.all(self.ordered, self.has_wildcard)
    }
}

/// A certificate for one name.
fn only(host: &HostName) -> Names {
    vec![host.to_string()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};
    use slipway_domain::ids::ZoneId;

    #[test]
    fn one_certificate_for_all_apps_takes_the_place_of_many_once_it_is_there() {
        let platform = Platform {
            base: "apps.example.com".parse().expect("a name"),
            api: Some("console.example.net".parse().expect("a name")),
        };
        let zone = ZoneAccess {
            id: ZoneId::mint(at(1), &FixedEntropy(1)),
            zone: "example.com".parse().expect("a name"),
            is_platforms: true,
            is_for_delegation: false,
        };
        let sets = |own: &OwnNames| own.sets.iter().map(|names| names.join(" ")).collect::<Vec<_>>();
        let without = platform.ordered(&[], false);
        assert_eq!(
            (sets(&without), without.apps),
            (vec!["console.example.net".into()], true)
        );
        let zones = std::slice::from_ref(&zone);
        for (has_wildcard, apps) in [(false, true), (true, false)] {
            let with = platform.ordered(zones, has_wildcard);
            let all = vec![
                "console.example.net".to_owned(),
                "*.apps.example.com apps.example.com".into(),
            ];
            assert_eq!((sets(&with), with.apps), (all, apps));
        }
        // Who may no more change the zone goes back to one for each app, and keeps the one for all meanwhile.
        let without = platform.ordered(&[], true);
        assert!(without.apps && sets(&without).len() == 1);
        let wildcard = "*.apps.example.com apps.example.com".to_owned();
        assert!(sets(&platform.all(without.clone(), true)).contains(&wildcard));
        assert!(!sets(&platform.all(without, false)).contains(&wildcard));
    }
}
