//! Who may do what: scopes on tokens, permissions on routes, and the caller that both meet in.
//!
//! Promises: one place decides. An object outside a caller's reach is invisible (404), not forbidden.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::{TeamId, TokenId};
use crate::name::{AppName, EnvironmentName, TokenName};
use crate::token::TokenKind;

macro_rules! words {
    ($($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $word:literal,)* })*) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in a scope.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }
        }
    )*};
}

words! {
    /// What is done.
    Verb {
        /// Look.
        Read = "read",
        /// Change.
        Write = "write",
        /// Bring a release into service.
        Deploy = "deploy",
        /// Run a command inside.
        Exec = "exec",
    }
    /// What it is done to.
    Resource {
        /// Apps, environments, specs, releases, deployments, instances.
        App = "app",
        /// Secrets and registry credentials.
        Secret = "secret",
        /// What apps write.
        Log = "log",
        /// Domains and certificates.
        Domain = "domain",
        /// Managed databases.
        Database = "database",
        /// API tokens.
        Token = "token",
        /// Teams and members.
        Team = "team",
        /// The audit log.
        Audit = "audit",
    }
}

/// A verb on a resource: what a route demands and what a scope grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Permission {
    /// What is done.
    pub verb: Verb,
    /// What it is done to.
    pub resource: Resource,
}

impl Permission {
    /// A verb on a resource.
    pub const fn new(verb: Verb, resource: Resource) -> Self {
        Self { verb, resource }
    }
}

impl fmt::Display for Permission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.verb.as_str(), self.resource.as_str())
    }
}

/// One grant on a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Everything on the platform.
    Admin,
    /// One verb on one resource.
    One(Permission),
}

/// The text is not a scope.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a scope: use `admin` or verb:resource with read, write, deploy or exec and app, secret, log, domain, database, token, team or audit"
)]
pub struct ScopeError(String);

impl FromStr for Scope {
    type Err = ScopeError;

    fn from_str(text: &str) -> Result<Self, ScopeError> {
        let refuse = || ScopeError(text.chars().take(60).collect());
        if text == "admin" {
            return Ok(Self::Admin);
        }
        let (verb, resource) = text.split_once(':').ok_or_else(refuse)?;
        let verb = Verb::ALL
            .iter()
            .copied()
            .find(|v| v.as_str() == verb)
            .ok_or_else(refuse)?;
        let resource = Resource::ALL
            .iter()
            .copied()
            .find(|r| r.as_str() == resource)
            .ok_or_else(refuse)?;
        Ok(Self::One(Permission { verb, resource }))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admin => f.write_str("admin"),
            Self::One(permission) => permission.fmt(f),
        }
    }
}

impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Scope {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

/// What a token may reach: its scopes, narrowed to apps and environments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The grants.
    pub scopes: Vec<Scope>,
    /// Only these apps, if given.
    pub apps: Option<Vec<AppName>>,
    /// Only these environments, if given.
    pub environments: Option<Vec<EnvironmentName>>,
}

impl Reach {
    /// Whether any scope grants the permission.
    pub fn grants(&self, permission: Permission) -> bool {
        self.scopes.iter().any(|s| match s {
            Scope::Admin => true,
            Scope::One(p) => *p == permission,
        })
    }

    /// Whether the app is inside.
    pub fn sees_app(&self, app: &AppName) -> bool {
        self.apps.as_ref().is_none_or(|apps| apps.contains(app))
    }

    /// Whether the environment is inside.
    pub fn sees_environment(&self, environment: &EnvironmentName) -> bool {
        self.environments.as_ref().is_none_or(|e| e.contains(environment))
    }

    /// Whether everything the other may reach lies inside this: a token can only be handed on narrower.
    pub fn covers(&self, other: &Self) -> bool {
        let scopes = other.scopes.iter().all(|s| match s {
            Scope::Admin => self.scopes.contains(&Scope::Admin),
            Scope::One(p) => self.grants(*p),
        });
        let narrower =
            |own: Option<usize>, all_in: bool, theirs: Option<usize>| own.is_none() || (theirs.is_some() && all_in);
        let apps_in = other
            .apps
            .as_ref()
            .is_some_and(|apps| apps.iter().all(|a| self.sees_app(a)));
        let environments_in = other
            .environments
            .as_ref()
            .is_some_and(|e| e.iter().all(|name| self.sees_environment(name)));
        scopes
            && narrower(
                self.apps.as_ref().map(Vec::len),
                apps_in,
                other.apps.as_ref().map(Vec::len),
            )
            && narrower(
                self.environments.as_ref().map(Vec::len),
                environments_in,
                other.environments.as_ref().map(Vec::len),
            )
    }
}

/// Who is calling, as the token says.
#[derive(Debug, Clone)]
pub struct Caller {
    /// The token.
    pub token: TokenId,
    /// Its kind.
    pub kind: TokenKind,
    /// Its name, which stands in records as the actor.
    pub name: TokenName,
    /// Its team.
    pub team: TeamId,
    /// What it may reach.
    pub reach: Reach,
}

impl Caller {
    /// Whether the caller administers the whole platform, across teams.
    pub fn is_admin(&self) -> bool {
        self.reach.scopes.contains(&Scope::Admin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reach(scopes: &[&str], apps: Option<&[&str]>) -> Reach {
        Reach {
            scopes: scopes.iter().map(|s| s.parse().expect("scope")).collect(),
            apps: apps.map(|a| a.iter().map(|n| n.parse().expect("app")).collect()),
            environments: None,
        }
    }

    #[test]
    fn every_scope_word_round_trips() {
        for verb in Verb::ALL {
            for resource in Resource::ALL {
                let text = Permission::new(*verb, *resource).to_string();
                assert_eq!(text.parse::<Scope>().map(|s| s.to_string()), Ok(text));
            }
        }
        for bad in ["", "app", "read:", "read:apps", "Admin", "*:app"] {
            assert!(bad.parse::<Scope>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_is_only_handed_on_narrower() {
        let admin = reach(&["admin"], None);
        let team = reach(&["deploy:app", "read:app"], None);
        let one = reach(&["deploy:app"], Some(&["web"]));
        let other = reach(&["deploy:app"], Some(&["api"]));
        for (own, wanted, covered) in [
            (&admin, &team, true),
            (&team, &admin, false),
            (&team, &one, true),
            (&one, &team, false),
            (&one, &one, true),
            (&one, &other, false),
            (&one, &reach(&["write:app"], Some(&["web"])), false),
        ] {
            assert_eq!(own.covers(wanted), covered, "{own:?} {wanted:?}");
        }
    }
}
