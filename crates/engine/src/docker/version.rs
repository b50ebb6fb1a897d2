//! Which version of the engine's API is spoken.
//!
//! Promises: every engine is asked in the oldest form that it and Slipway both know, so that answers look the same
//! whatever engine gives them, as far as it can be had; an engine that was replaced by a newer or older one is agreed
//! with anew. A request without a version is answered in that engine's newest form, and is a form of asking that the
//! engine's reference calls deprecated: it is used only for the question which versions there are.
//!
//! The client library takes a version and then leaves it out of what it sends: it puts it before the path and joins
//! the path onto that once more, which takes its place (RFC 3986 section 5.2.2). So it is put back here.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bollard::Docker;
use bollard::models::SystemVersion;

use crate::docker::{QUESTION, within};
use crate::engine::EngineError;

/// The path that is asked for without a version.
const VERSIONS: &str = "/version";
/// The oldest version Slipway speaks: that of Docker 20.10.
const OLDEST: Version = Version { major: 1, minor: 41 };

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Version {
    major: u16,
    minor: u16,
}

impl FromStr for Version {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (major, minor) = text.split_once('.').unwrap_or((text, ""));
        Ok(Self {
            major: major.parse()?,
            minor: minor.parse()?,
        })
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The version that was agreed on, if one was; all clones are one.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spoken(Arc<AtomicU32>);

impl Spoken {
    fn get(&self) -> Option<Version> {
        let both = self.0.load(Ordering::Relaxed);
        let half = |n: u32| u16::try_from(n & 0xffff).unwrap_or_default();
        (both != 0).then(|| Version {
            major: half(both >> 16),
            minor: half(both),
        })
    }

    fn set(&self, version: Option<Version>) {
        let both = version.map_or(0, |v| u32::from(v.major) << 16 | u32::from(v.minor));
        self.0.store(both, Ordering::Relaxed);
    }

    /// Whether the engine has been asked.
    pub(crate) fn is_agreed(&self) -> bool {
        self.get().is_some()
    }

    /// Asks the engine what it speaks, and speaks that from now on.
    pub(crate) async fn agree(&self, docker: &Docker) -> Result<SystemVersion, EngineError> {
        let offered = within(QUESTION, docker.version()).await?;
        self.set(choose(
            offered.min_api_version.as_deref(),
            offered.api_version.as_deref(),
        ));
        Ok(offered)
    }

    /// The client, made to speak it.
    pub(crate) fn put_into(&self, docker: Docker) -> Docker {
        let spoken = self.clone();
        docker.with_request_modifier(move |mut request| {
            let uri = request.uri();
            let parts = (uri.scheme_str(), uri.authority(), uri.path_and_query());
            if let (Some(version), (Some(scheme), Some(authority), Some(rest))) = (spoken.get(), parts)
                && uri.path() != VERSIONS
                && let Ok(versioned) = format!("{scheme}://{authority}/v{version}{rest}").parse()
            {
                *request.uri_mut() = versioned;
            }
            request
        })
    }
}

/// The oldest version both sides know. `None` for an engine that does not tell, or is too old altogether: it is asked
/// without a version, and its answers tell how far that carries.
fn choose(least: Option<&str>, most: Option<&str>) -> Option<Version> {
    let most: Version = most?.parse().ok()?;
    let least = least.and_then(|text| text.parse().ok()).unwrap_or(OLDEST);
    let wanted = OLDEST.max(least);
    (wanted <= most).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_version_both_sides_know_is_spoken() {
        for (least, most, spoken) in [
            (Some("1.12"), Some("1.41"), Some("1.41")),
            (Some("1.24"), Some("1.51"), Some("1.41")),
            (Some("1.44"), Some("1.52"), Some("1.44")),
            (None, Some("1.43"), Some("1.41")),
            (Some("2.0"), Some("2.3"), Some("2.0")),
            (Some("1.12"), Some("1.40"), None),
            (Some("1.24"), None, None),
            (Some("1.24"), Some("new"), None),
        ] {
            let chosen = choose(least, most).map(|v| v.to_string());
            assert_eq!(chosen.as_deref(), spoken, "{least:?} to {most:?}");
        }
    }

    #[test]
    fn what_was_agreed_on_is_kept_by_all_clones_and_may_change() {
        let spoken = Spoken::default();
        let clone = spoken.clone();
        assert!(!clone.is_agreed());
        spoken.set(choose(Some("1.44"), Some("1.52")));
        assert_eq!(clone.get(), Some(Version { major: 1, minor: 44 }));
        spoken.set(None);
        assert!(!clone.is_agreed());
    }
}
