//! The platform's own names, and who issues for them.

use slipway_domain::name::HostName;
use slipway_store::OwnNames;

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
    /// The base domain with everything below it.
    fn wildcard(&self) -> Names {
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

    /// What is ordered for the platform itself: without a wildcard each app's own name.
    pub(crate) fn ordered(&self) -> OwnNames {
        OwnNames {
            sets: self.api.iter().filter(|a| !a.is_local()).map(only).collect(),
            apps: !self.base.is_local(),
        }
    }

    /// Whoever issues it.
    pub(crate) fn all(&self) -> OwnNames {
        let (local, ordered) = (self.local(), self.ordered());
        OwnNames {
            sets: local.sets.into_iter().chain(ordered.sets).collect(),
            apps: ordered.apps,
        }
    }
}
