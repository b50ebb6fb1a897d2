//! Which certificates there are to be, and who issues them.

use slipway_domain::domains::Inspection;
use slipway_domain::name::HostName;
use slipway_store::CustomDomain;

use crate::{Names, only};

/// The platform's own names.
#[derive(Debug, Clone)]
pub struct Platform {
    /// Apps answer below it.
    pub base: HostName,
    /// Where the API answers through the proxy.
    pub api: Option<HostName>,
}

impl Platform {
    /// What the internal CA answers for: the base domain with everything below it, and the API's name, if they are local.
    pub(crate) fn local(&self) -> Vec<Names> {
        let mut wanted = Vec::new();
        if self.base.is_local() {
            wanted.push(vec![format!("*.{}", self.base), self.base.to_string()]);
        }
        wanted.extend(self.api.iter().filter(|a| a.is_local()).map(only));
        wanted
    }

    /// What is ordered for the platform itself: without a wildcard each app's own name.
    fn public(&self, apps: &[HostName]) -> Vec<Names> {
        let api = self.api.iter().filter(|a| !a.is_local());
        let apps = apps.iter().filter(|_| !self.base.is_local());
        api.chain(apps).map(only).collect()
    }
}

/// All there are to be.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Wanted {
    /// From the internal CA.
    pub(crate) local: Vec<Names>,
    /// To be ordered.
    pub(crate) ordered: Vec<Names>,
    /// What may not be ordered now, and whose certificates stay all the same.
    pub(crate) kept: Vec<Names>,
}

/// What there is to be: for the platform, its apps and the domains that were proven.
pub(crate) fn wanted(platform: &Platform, apps: &[HostName], domains: &[CustomDomain]) -> Wanted {
    let mut wanted = Wanted {
        local: platform.local(),
        ordered: platform.public(apps),
        kept: Vec::new(),
    };
    for domain in domains {
        let names = only(&domain.host);
        let may_order = domain.inspection.as_ref().is_some_and(Inspection::may_order);
        if domain.host.is_local() {
            wanted.local.push(names);
        } else if may_order {
            wanted.ordered.push(names);
        } else {
            wanted.kept.push(names);
        }
    }
    wanted
}
