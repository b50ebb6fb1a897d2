//! A cookie that keeps a visitor with the release that answered first, while two share an app's traffic.
//!
//! Promises: only where the app asks for it; the cookie names a release number and nothing else, lasts as long as the
//! browser runs (RFC 6265 section 4.1.2), and one that names a release without traffic is of no effect.

use http::header::{COOKIE, HeaderMap, HeaderValue, SET_COOKIE};
use slipway_domain::ReleaseNumber;

const NAME: &str = "slipway-release";

/// The release the visitor was with.
pub(crate) fn release_of(headers: &HeaderMap) -> Option<ReleaseNumber> {
    let cookies = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = cookies
        .flat_map(|line| line.split(';'))
        .filter_map(|pair| pair.trim().split_once('='));
    let (_, value) = pairs.find(|(name, _)| *name == NAME)?;
    value.parse().ok().map(ReleaseNumber)
}

/// Keeps the visitor with the release.
pub(crate) fn keep(headers: &mut HeaderMap, release: ReleaseNumber) {
    let cookie = format!("{NAME}={}; Path=/; Secure; HttpOnly; SameSite=Lax", release.0);
    if let Ok(value) = HeaderValue::try_from(cookie) {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cookie_is_found_among_others_and_nonsense_is_none() {
        for (line, expected) in [
            ("a=1; slipway-release=7; b=2", Some(ReleaseNumber(7))),
            ("slipway-release=v7", None),
            ("xslipway-release=7", None),
            ("", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(COOKIE, HeaderValue::from_str(line).expect("a value"));
            assert_eq!(release_of(&headers), expected, "{line}");
        }
    }
}
