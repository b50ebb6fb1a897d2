//! API tokens: `slw_<kind>_<30 base62 random><6 base62 CRC-32 of those 30>`.
//!
//! Promises: a malformed or mistyped token is refused without a database; only the SHA-256 of a token is ever kept.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::clock::Entropy;
use crate::secret::Secret;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
const RANDOM_LEN: usize = 30;
const CHECKSUM_LEN: usize = 6;

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// A person, also the first administrator.
    Pat,
    /// A pipeline that deploys.
    Dpl,
    /// A service.
    Svc,
}

impl TokenKind {
    /// The three letters in the token and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pat => "pat",
            Self::Dpl => "dpl",
            Self::Svc => "svc",
        }
    }
}

impl FromStr for TokenKind {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        match text {
            "pat" => Ok(Self::Pat),
            "dpl" => Ok(Self::Dpl),
            "svc" => Ok(Self::Svc),
            _ => Err(TokenError),
        }
    }
}

/// The text is not a token of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a Slipway token: it must look like `slw_pat_` and 36 letters or digits, with a valid checksum")]
pub struct TokenError;

/// A well-formed token. Its text is a secret.
#[derive(Debug, Clone)]
pub struct Token {
    kind: TokenKind,
    text: Secret,
}

/// The SHA-256 of a token's text: what the database keeps and is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct TokenHash(pub [u8; 32]);

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl Token {
    /// A new token from injected randomness; each base62 digit is drawn without bias.
    ///
    /// # Panics
    /// When the source of randomness is broken: a token anybody could guess is worse than none.
    pub fn mint(kind: TokenKind, entropy: &dyn Entropy) -> Self {
        let mut random = String::with_capacity(RANDOM_LEN);
        let mut pool = [0_u8; 64];
        let mut rounds = 0_u8;
        while random.len() < RANDOM_LEN {
            entropy.fill(&mut pool);
            // 248 is the largest multiple of 62 below 256: what lies above would favour the first digits.
            let fair = pool
                .iter()
                .filter(|b| **b < 248)
                .map(|b| char::from(BASE62[usize::from(*b % 62)]));
            random.extend(fair.take(RANDOM_LEN - random.len()));
            rounds += 1;
            assert!(rounds < 64, "the source of randomness yields no usable bytes");
        }
        let text = format!("slw_{}_{random}{}", kind.as_str(), checksum(&random));
        Self {
            kind,
            text: Secret::new(text),
        }
    }

    /// What it is for.
    pub const fn kind(&self) -> TokenKind {
        self.kind
    }

    /// The text, to be shown once.
    pub fn expose(&self) -> &str {
        self.text.expose()
    }

    /// What the database is asked for.
    pub fn hash(&self) -> TokenHash {
        TokenHash(Sha256::digest(self.text.expose().as_bytes()).into())
    }
}

impl FromStr for Token {
    type Err = TokenError;

    fn from_str(text: &str) -> Result<Self, TokenError> {
        let (kind, body) = text
            .strip_prefix("slw_")
            .and_then(|r| r.split_once('_'))
            .ok_or(TokenError)?;
        let kind = kind.parse()?;
        if body.len() != RANDOM_LEN + CHECKSUM_LEN || !body.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(TokenError);
        }
        let (random, given) = body.split_at(RANDOM_LEN);
        if checksum(random) == given {
            Ok(Self {
                kind,
                text: Secret::new(text.to_owned()),
            })
        } else {
            Err(TokenError)
        }
    }
}

fn checksum(random: &str) -> String {
    let mut value = crc32fast::hash(random.as_bytes());
    let mut digits = [b'0'; CHECKSUM_LEN];
    for digit in digits.iter_mut().rev() {
        *digit = BASE62[usize::try_from(value % 62).unwrap_or(0)];
        value /= 62;
    }
    digits.iter().copied().map(char::from).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::testing::FixedEntropy;

    #[test]
    fn a_minted_token_parses_and_a_mistyped_one_does_not() {
        let token = Token::mint(TokenKind::Dpl, &FixedEntropy(77));
        let text = token.expose().to_owned();
        assert_eq!(text.len(), "slw_dpl_".len() + 36);
        assert_eq!(text.parse::<Token>().map(|t| t.kind()), Ok(TokenKind::Dpl));
        for at in 8..text.len() {
            let mut wrong = text.clone().into_bytes();
            wrong[at] = if wrong[at] == b'x' { b'y' } else { b'x' };
            let wrong = String::from_utf8(wrong).expect("ascii");
            assert!(wrong.parse::<Token>().is_err(), "{at}");
        }
        for bad in [
            "",
            "slw_",
            "slw_pat_",
            "ghp_abc",
            &text[..text.len() - 1],
            &format!("{text}0"),
        ] {
            assert!(bad.parse::<Token>().is_err(), "{bad}");
        }
    }

    #[test]
    fn a_token_never_prints_itself() {
        let token = Token::mint(TokenKind::Pat, &FixedEntropy(3));
        assert!(!format!("{token:?} {:?}", token.hash()).contains(&token.expose()[8..]));
    }
}
