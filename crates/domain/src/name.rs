//! Names that people choose, parsed once.
//!
//! Promises: a value of these types is valid wherever it is used: as a DNS label, an environment variable, a
//! container name or a label, without further escaping.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// How long the name of a host is at most, without the dot of the root (RFC 1035 section 2.3.4).
pub const HOST_BYTES_MAX: usize = 253;
/// How long a part between two dots is at most.
pub const LABEL_BYTES_MAX: usize = 63;

/// Why a name was refused, in words for the person who typed it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} `{given}` is not valid: {rule}")]
pub struct NameError {
    what: &'static str,
    given: String,
    rule: &'static str,
}

macro_rules! names {
    ($($(#[$doc:meta])* $name:ident, $what:literal, $rule:literal, $check:path;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(String);

        impl $name {
            /// The text, valid by construction.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = NameError;

            fn from_str(text: &str) -> Result<Self, NameError> {
                if $check(text) {
                    Ok(Self(text.to_owned()))
                } else {
                    Err(NameError { what: $what, given: text.chars().take(80).collect(), rule: $rule })
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
                String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

names! {
    /// An app's name: one DNS label without `--`, unique on the platform.
    AppName, "the app name",
        "use 3 to 40 characters a-z, 0-9 and `-`, starting with a letter, ending with a letter or digit, without `--`",
        is_app_name;
    /// An environment's name: `production`, `staging`, a preview.
    EnvironmentName, "the environment name",
        "use 2 to 20 characters a-z, 0-9 and `-`, starting with a letter, ending with a letter or digit, without `--`",
        is_environment_name;
    /// A team's name.
    TeamName, "the team name",
        "use 2 to 40 characters a-z, 0-9 and `-`, starting with a letter, ending with a letter or digit, without `--`",
        is_team_name;
    /// A managed database's name: one DNS label, unique on the platform.
    DatabaseName, "the database name",
        "use 2 to 40 characters a-z, 0-9 and `-`, starting with a letter, ending with a letter or digit, without `--`",
        is_team_name;
    /// The name of an environment variable or of a secret.
    VariableName, "the variable name",
        "use up to 128 characters A-Z, a-z, 0-9 and `_`, not starting with a digit",
        is_variable_name;
    /// A volume's name inside one environment.
    VolumeName, "the volume name",
        "use 2 to 40 characters a-z, 0-9 and `-`, starting with a letter, ending with a letter or digit, without `--`",
        is_team_name;
    /// What a command that runs by the clock is called inside one environment.
    CronName, "the name",
        "use 2 to 40 characters a-z, 0-9 and `-`, starting with a letter, ending with a letter or digit, without `--`",
        is_team_name;
    /// A host name in lower case without a trailing dot (RFC 1123 section 2.1).
    HostName, "the host name",
        "use a full domain name in lower case such as `app.example.com`",
        is_host_name;
    /// A host name, or with `*.` before it all names that are one label longer (RFC 4592 section 2.1.1).
    DomainName, "the domain name",
        "use a full domain name in lower case such as `app.example.com` or `*.example.com`",
        is_domain_name;
    /// What a person calls a token.
    TokenName, "the token name",
        "use 1 to 80 printable characters",
        is_token_name;
}

fn is_label(text: &str, min: usize, max: usize) -> bool {
    let bytes = text.as_bytes();
    (min..=max).contains(&bytes.len())
        && bytes.first().is_some_and(u8::is_ascii_lowercase)
        && bytes.last().is_some_and(|b| *b != b'-')
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
        && !text.contains("--")
}

fn is_app_name(text: &str) -> bool {
    is_label(text, 3, 40)
}

fn is_environment_name(text: &str) -> bool {
    is_label(text, 2, 20)
}

fn is_team_name(text: &str) -> bool {
    is_label(text, 2, 40)
}

fn is_variable_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 128
        && !text.as_bytes()[0].is_ascii_digit()
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
}

fn is_host_name(text: &str) -> bool {
    text.len() <= HOST_BYTES_MAX
        && text.contains('.')
        && text.split('.').all(|label| {
            !label.is_empty()
                && label.len() <= LABEL_BYTES_MAX
                && !label.starts_with('-')
                && !label.ends_with('-')
                && label
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        })
}

fn is_domain_name(text: &str) -> bool {
    is_host_name(text.strip_prefix("*.").unwrap_or(text)) && text.len() <= HOST_BYTES_MAX
}

fn is_token_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= 80 && !text.chars().any(char::is_control)
}

impl AppName {
    /// The name an image suggests: its last repository segment, lower-cased, `_` and `.` turned to `-`.
    pub fn from_repository(repository: &str) -> Result<Self, NameError> {
        let last = repository.rsplit('/').next().unwrap_or(repository);
        last.to_ascii_lowercase().replace(['_', '.'], "-").parse()
    }
}

impl EnvironmentName {
    /// The environment that exists from the start.
    pub fn production() -> Self {
        Self("production".into())
    }

    /// Whether this is the environment that exists from the start.
    pub fn is_production(&self) -> bool {
        self.0 == "production"
    }
}

impl TeamName {
    /// The first team, made on first start.
    pub fn first() -> Self {
        Self("default".into())
    }
}

impl TokenName {
    /// The first token, made on first start.
    pub fn administrator() -> Self {
        Self("admin".into())
    }
}

impl HostName {
    /// The part that somebody registered, or nothing where nobody can: under `co.uk` many people have a name
    /// (<https://publicsuffix.org>).
    pub fn registered(&self) -> Option<&str> {
        psl::domain_str(&self.0)
    }

    /// Where an environment answers: `<app>.<base>`, another environment at `<app>--<environment>.<base>`.
    pub fn of(app: &AppName, environment: &EnvironmentName, base: &HostName) -> Self {
        if environment.is_production() {
            Self(format!("{app}.{base}"))
        } else {
            Self(format!("{app}--{environment}.{base}"))
        }
    }

    /// Whether the name ends in a label that only resolves on this machine or inside a network, where the internal
    /// CA is the right issuer (RFC 2606, RFC 6761, and `internal` as reserved by ICANN in 2024).
    pub fn is_local(&self) -> bool {
        is_local(&self.0)
    }
}

impl DomainName {
    /// Whether it stands for many names.
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with("*.")
    }

    /// The label at its end, where no registry of the world is known by it: a slip, or a name of a private network.
    pub fn unknown_top_level(&self) -> Option<&str> {
        let is_known = psl::suffix(self.0.as_bytes()).is_some_and(|suffix| suffix.is_known());
        (!is_known && !self.is_local())
            .then(|| self.0.rsplit('.').next())
            .flatten()
    }

    /// The host name, or the one that all of its names are below.
    pub fn bare(&self) -> HostName {
        HostName(self.0.strip_prefix("*.").unwrap_or(&self.0).to_owned())
    }

    /// The host name, if it stands for one only.
    pub fn host(&self) -> Option<HostName> {
        (!self.is_wildcard()).then(|| HostName(self.0.clone()))
    }

    /// All names one label below.
    pub fn below(host: &HostName) -> Self {
        Self(format!("*.{host}"))
    }

    /// Whether a name is meant by it.
    pub fn covers(&self, host: &HostName) -> bool {
        let parent = host.0.split_once('.').map(|(_, parent)| parent);
        self.0 == host.0 || parent.is_some() && self.0.strip_prefix("*.") == parent
    }

    /// See [`HostName::is_local`].
    pub fn is_local(&self) -> bool {
        is_local(&self.0)
    }
}

impl From<HostName> for DomainName {
    fn from(host: HostName) -> Self {
        Self(host.0)
    }
}

/// What local names end in.
pub const LOCAL_TOP_LEVELS: [&str; 3] = ["localhost", "internal", "test"];

fn is_local(name: &str) -> bool {
    name.rsplit('.')
        .next()
        .is_some_and(|last| LOCAL_TOP_LEVELS.contains(&last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn app_names_follow_the_contract() {
        for good in ["web", "a1b", "my-app", &"a".repeat(40)] {
            assert!(good.parse::<AppName>().is_ok(), "{good}");
        }
        for bad in ["", "ab", "1ab", "Web", "web-", "we--b", "web_1", &"a".repeat(41), "wéb"] {
            assert!(bad.parse::<AppName>().is_err(), "{bad}");
        }
    }

    #[test]
    fn what_somebody_registered_ends_below_a_public_suffix() {
        let registered = |text: &str| text.parse::<HostName>().expect("valid").registered().map(str::to_owned);
        assert_eq!(registered("a.shop.example.co.uk").as_deref(), Some("example.co.uk"));
        assert_eq!(registered("co.uk"), None);
    }

    #[test]
    fn a_wildcard_stands_for_one_label() {
        let name = |text: &str| text.parse::<DomainName>();
        for bad in [
            "*",
            "*.",
            "*.com",
            "a.*.com",
            "*a.example.com",
            "*.*.example.com",
            "example",
        ] {
            assert!(name(bad).is_err(), "{bad}");
        }
        let wildcard = name("*.example.com").expect("valid");
        let covers = |host: &str| wildcard.covers(&host.parse().expect("valid"));
        assert!(covers("a.example.com") && !covers("example.com") && !covers("a.b.example.com"));
        assert_eq!(wildcard.bare().as_str(), "example.com");
        assert!(wildcard.host().is_none());
        assert!(name("a.example.com").is_ok_and(|n| n.covers(&n.bare())));
    }

    #[test]
    fn an_image_repository_suggests_an_app_name() {
        let name = |r: &str| AppName::from_repository(r).map(|n| n.to_string());
        assert_eq!(name("team/My_App.v2"), Ok("my-app-v2".into()));
        assert!(name("team/x").is_err());
    }

    #[test]
    fn environments_answer_below_the_base_domain() {
        let app = "web".parse().expect("valid");
        let base = "apps.localhost".parse().expect("valid");
        let host = |e: &str| HostName::of(&app, &e.parse().expect("valid"), &base).to_string();
        assert_eq!(host("production"), "web.apps.localhost");
        assert_eq!(host("staging"), "web--staging.apps.localhost");
    }
}
