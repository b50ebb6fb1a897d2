//! Values that must not be seen: in memory they print as `****`, at rest they are sealed.

use std::fmt;

use zeroize::Zeroizing;

/// A secret in memory: it prints as `****` and is wiped when dropped.
#[derive(Clone)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the value.
    pub fn new(value: String) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself: call it only where the value must leave the process.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("****")
    }
}

/// A value as the database keeps it: ciphertext with the version of the key that wraps its data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// Which master key wraps the data key; also bound into the associated data.
    pub key_version: i32,
    /// Wrapped data key, nonce and ciphertext, in the vault's own framing.
    pub bytes: Vec<u8>,
}
