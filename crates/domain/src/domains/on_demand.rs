//! Names that visitors bring along: who gets one.
//!
//! Promises: an app gets a name only by its own word, and none that another app may mean too; how many there are, and
//! how many come in an hour, has a bound, so that nobody uses up what a CA allows the whole platform.

use std::collections::BTreeMap;

use crate::ids::EnvironmentId;
use crate::name::{DomainName, HostName};

/// So many names an environment gets in an hour at most.
const NAMES_PER_HOUR_MAX: u64 = 20;
/// So many all environments get in an hour at most: less than CAs allow, so that names that people add have a place.
const NAMES_PER_HOUR_IN_ALL_MAX: u64 = 60;

/// Why a name cannot be an app's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unfit {
    /// It is the base domain's.
    BelowBase,
    /// The API answers there.
    Api,
    /// Names below it are registered by many, or it is no name of the public DNS.
    Registry,
}

/// Why a name cannot be an app's, if it cannot.
pub fn unfit(host: &DomainName, base: &HostName, api: Option<&HostName>) -> Option<Unfit> {
    let lowest = host.bare();
    let is_below = lowest == *base || lowest.as_str().ends_with(&format!(".{base}"));
    if is_below || host.covers(base) {
        return Some(Unfit::BelowBase);
    }
    if api.is_some_and(|api| host.covers(api)) {
        return Some(Unfit::Api);
    }
    let is_registry = !host.is_local() && lowest.registered().is_none();
    is_registry.then_some(Unfit::Registry)
}

/// What an app says of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It serves it.
    Yes,
    /// It does not.
    No,
    /// It could not be asked, or did not know.
    Unknown,
}

/// Whose a name is by the word of all that were asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// One says yes, all others no.
    Of(EnvironmentId),
    /// All say no.
    Nobodys,
    /// More than one says yes, or one of the others could not be asked and may mean it too.
    Unclear,
}

/// Whose a name is.
pub fn verdict(words: &BTreeMap<EnvironmentId, Word>) -> Verdict {
    let mut serves = words.iter().filter(|(_, word)| **word == Word::Yes).map(|(id, _)| *id);
    let (first, second) = (serves.next(), serves.next());
    let is_unknown = words.values().any(|word| *word == Word::Unknown);
    match first {
        Some(id) if second.is_none() && !is_unknown => Verdict::Of(id),
        None if !is_unknown => Verdict::Nobodys,
        _ => Verdict::Unclear,
    }
}

/// How many names there are that visitors brought along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BroughtNames {
    /// Of the environment.
    pub count: u64,
    /// Of the environment within the last hour.
    pub last_hour: u64,
    /// Of all environments within the last hour.
    pub last_hour_in_all: u64,
}

/// Why there is no place for one more, if there is none.
pub fn no_place(have: BroughtNames, max: u32) -> Option<String> {
    if have.count >= u64::from(max) {
        return Some(format!(
            "it has {max} names already, which is what `on_demand_tls.max` allows"
        ));
    }
    if have.last_hour >= NAMES_PER_HOUR_MAX {
        return Some(format!("it got {NAMES_PER_HOUR_MAX} names within an hour"));
    }
    (have.last_hour_in_all >= NAMES_PER_HOUR_IN_ALL_MAX)
        .then(|| format!("the apps of this platform got {NAMES_PER_HOUR_IN_ALL_MAX} names within an hour"))
}

/// What an app is asked.
pub fn question(ask: &str, host: &HostName) -> String {
    let joint = if ask.contains('?') { '&' } else { '?' };
    format!("{ask}{joint}domain={host}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::{FixedEntropy, at};

    #[test]
    fn a_name_is_an_apps_when_it_alone_says_yes_and_all_others_no() {
        use Word::{No, Unknown, Yes};
        let id = |n: i64| EnvironmentId::mint(at(n), &FixedEntropy(1));
        for (words, wanted) in [
            (&[][..], Verdict::Nobodys),
            (&[No, No], Verdict::Nobodys),
            (&[Yes], Verdict::Of(id(0))),
            (&[No, Yes], Verdict::Of(id(1))),
            (&[Yes, Yes], Verdict::Unclear),
            (&[Yes, Unknown], Verdict::Unclear),
            (&[No, Unknown], Verdict::Unclear),
        ] {
            let words = (0..).map(id).zip(words.iter().copied()).collect();
            assert_eq!(verdict(&words), wanted, "{words:?}");
        }
    }

    #[test]
    fn there_is_a_place_until_one_of_the_bounds_is_reached() {
        let have = |count, last_hour, last_hour_in_all| BroughtNames {
            count,
            last_hour,
            last_hour_in_all,
        };
        assert_eq!(no_place(have(99, 19, 59), 100), None);
        for (have, why) in [
            (have(100, 0, 0), "on_demand_tls.max"),
            (have(20, 20, 20), "within an hour"),
            (have(0, 0, 60), "this platform"),
        ] {
            assert!(no_place(have, 100).is_some_and(|said| said.contains(why)), "{why}");
        }
    }

    #[test]
    fn names_of_the_platform_and_of_registries_are_nobodys() {
        let base: HostName = "apps.example.com".parse().expect("a name");
        let api: HostName = "console.example.net".parse().expect("a name");
        for (host, why) in [
            ("apps.example.com", Some(Unfit::BelowBase)),
            ("web.apps.example.com", Some(Unfit::BelowBase)),
            ("*.example.com", Some(Unfit::BelowBase)),
            ("console.example.net", Some(Unfit::Api)),
            ("*.example.net", Some(Unfit::Api)),
            ("co.uk", Some(Unfit::Registry)),
            ("shop.example.org", None),
            ("example.com", None),
        ] {
            let host = host.parse().expect("a name");
            assert_eq!(unfit(&host, &base, Some(&api)), why, "{host}");
        }
    }

    #[test]
    fn the_name_is_added_to_the_query() {
        let host = "shop.example.org".parse().expect("a name");
        assert_eq!(question("/ask", &host), "/ask?domain=shop.example.org");
        assert_eq!(question("/ask?key=1", &host), "/ask?key=1&domain=shop.example.org");
    }
}
