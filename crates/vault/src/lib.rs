//! Values at rest: envelope encryption under a master key file.
//!
//! Promises: each value has a data key of its own, wrapped by the newest master key; whose value it is and the key's
//! version are bound into the ciphertext, so that a value moved to another row, or a changed bit, does not open.
//!
//! Framing: format byte 1, nonce (24) and wrapped data key (48), nonce (24) and ciphertext with its tag. Both are
//! XChaCha20-Poly1305 (draft-irtf-cfrg-xchacha-03) with the same associated data: every part of the context and the
//! key version, each with its length before it.

mod keys;

use std::path::Path;
use std::sync::Arc;

use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use slipway_domain::Entropy;
use slipway_domain::ids::TeamId;
use slipway_domain::ports::{SealContext, SealError, Sealer};
use slipway_domain::secret::{Sealed, Secret};
use zeroize::Zeroizing;

pub use keys::VaultError;
use keys::{KEY_BYTES, MasterKeys};

const FORMAT: u8 = 1;
const NONCE_BYTES: usize = 24;
const TAG_BYTES: usize = 16;
const WRAPPED_BYTES: usize = KEY_BYTES + TAG_BYTES;
const HEAD_BYTES: usize = 1 + NONCE_BYTES + WRAPPED_BYTES + NONCE_BYTES;
/// What a key check says when it opens.
const KEY_CHECK: &str = "slipway key check";

/// Master keys in memory, ready to seal and open.
pub struct Vault {
    keys: MasterKeys,
    entropy: Arc<dyn Entropy>,
}

impl std::fmt::Debug for Vault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// Reads the master key file, or makes it when there is none.
    pub fn load_or_create(path: &Path, entropy: Arc<dyn Entropy>) -> Result<Self, VaultError> {
        Ok(Self {
            keys: MasterKeys::load_or_create(path, entropy.as_ref())?,
            entropy,
        })
    }

    /// A sealed known text, to be kept with what is sealed under this key.
    pub fn key_check(&self) -> Result<Sealed, SealError> {
        self.seal(Self::check_context(), &Secret::new(KEY_CHECK.into()))
    }

    /// Whether this is the key that the known text was sealed with.
    pub fn verify_key_check(&self, sealed: &Sealed) -> Result<(), SealError> {
        let opened = self.open(Self::check_context(), sealed)?;
        if opened.expose() == KEY_CHECK {
            Ok(())
        } else {
            Err(SealError::Damaged)
        }
    }

    const fn check_context() -> SealContext<'static> {
        SealContext {
            team: None,
            kind: "key-check",
            id: "platform",
        }
    }

    fn random<const N: usize>(&self) -> Zeroizing<[u8; N]> {
        let mut bytes = Zeroizing::new([0; N]);
        self.entropy.fill(bytes.as_mut());
        bytes
    }
}

fn associated(context: SealContext<'_>, key_version: i32) -> Vec<u8> {
    let team = context.team.map_or_else(|| "-".to_owned(), |t| t.to_string());
    let version = key_version.to_string();
    let mut data = vec![FORMAT];
    for part in [version.as_str(), &team, context.kind, context.id] {
        data.extend(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        data.extend(part.as_bytes());
    }
    data
}

fn encrypt(key: &[u8; KEY_BYTES], nonce: &[u8; NONCE_BYTES], plain: &[u8], aad: &[u8]) -> Result<Vec<u8>, SealError> {
    let cipher = XChaCha20Poly1305::new(key.into());
    cipher
        .encrypt(&XNonce::from(*nonce), Payload { msg: plain, aad })
        .map_err(|_| SealError::Damaged)
}

fn decrypt(key: &[u8; KEY_BYTES], nonce: &[u8], sealed: &[u8], aad: &[u8]) -> Result<Zeroizing<Vec<u8>>, SealError> {
    let nonce: [u8; NONCE_BYTES] = nonce.try_into().map_err(|_| SealError::Damaged)?;
    let cipher = XChaCha20Poly1305::new(key.into());
    let plain = cipher.decrypt(&XNonce::from(nonce), Payload { msg: sealed, aad });
    plain.map(Zeroizing::new).map_err(|_| SealError::Damaged)
}

impl Sealer for Vault {
    fn seal(&self, context: SealContext<'_>, plaintext: &Secret) -> Result<Sealed, SealError> {
        let (key_version, master) = self.keys.newest();
        let aad = associated(context, key_version);
        let data_key = self.random::<KEY_BYTES>();
        let (wrap_nonce, nonce) = (self.random::<NONCE_BYTES>(), self.random::<NONCE_BYTES>());
        let mut bytes = Vec::with_capacity(HEAD_BYTES + plaintext.expose().len() + TAG_BYTES);
        bytes.push(FORMAT);
        bytes.extend(wrap_nonce.iter());
        bytes.extend(encrypt(master, &wrap_nonce, data_key.as_ref(), &aad)?);
        bytes.extend(nonce.iter());
        bytes.extend(encrypt(&data_key, &nonce, plaintext.expose().as_bytes(), &aad)?);
        Ok(Sealed { key_version, bytes })
    }

    fn open(&self, context: SealContext<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        let master = self
            .keys
            .version(sealed.key_version)
            .ok_or(SealError::UnknownKey(sealed.key_version))?;
        if sealed.bytes.len() < HEAD_BYTES + TAG_BYTES || sealed.bytes[0] != FORMAT {
            return Err(SealError::Damaged);
        }
        let aad = associated(context, sealed.key_version);
        let (head, ciphertext) = sealed.bytes.split_at(HEAD_BYTES);
        let (wrap_nonce, rest) = head[1..].split_at(NONCE_BYTES);
        let (wrapped, nonce) = rest.split_at(WRAPPED_BYTES);
        let data_key = decrypt(master, wrap_nonce, wrapped, &aad)?;
        let data_key: Zeroizing<[u8; KEY_BYTES]> =
            Zeroizing::new(data_key.as_slice().try_into().map_err(|_| SealError::Damaged)?);
        let plain = decrypt(&data_key, nonce, ciphertext, &aad)?;
        let text = String::from_utf8(plain.to_vec()).map_err(|_| SealError::Damaged)?;
        Ok(Secret::new(text))
    }

    fn fingerprint(&self, team: TeamId, plaintext: &Secret) -> String {
        // Under the oldest key, so that equal values stay recognisable when keys are rotated.
        let team_key = keyed(
            self.keys.oldest(),
            &[b"slipway fingerprint", team.to_string().as_bytes()],
        );
        hex::encode(&keyed(&team_key, &[plaintext.expose().as_bytes()])[..6])
    }
}

fn keyed(key: &[u8; KEY_BYTES], parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    for part in parts {
        mac.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::{FixedEntropy, at};
    use std::sync::atomic::{AtomicU8, Ordering};

    /// Different bytes at each call.
    struct Counting(AtomicU8);

    impl Entropy for Counting {
        fn fill(&self, buffer: &mut [u8]) {
            buffer.fill(self.0.fetch_add(1, Ordering::Relaxed));
        }
    }

    fn vault(dir: &tempfile::TempDir) -> Vault {
        let entropy = Arc::new(Counting(AtomicU8::new(7)));
        Vault::load_or_create(&dir.path().join("master.key"), entropy).expect("a vault")
    }

    fn team(n: u8) -> TeamId {
        TeamId::mint(at(0), &FixedEntropy(n))
    }

    fn context(id: &str) -> SealContext<'_> {
        SealContext {
            team: Some(team(1)),
            kind: "secret",
            id,
        }
    }

    #[test]
    fn what_is_sealed_opens_for_its_owner_after_a_restart_and_for_nobody_else() {
        let dir = tempfile::tempdir().expect("a directory");
        let sealed = vault(&dir)
            .seal(context("a"), &Secret::new("value".into()))
            .expect("sealed");
        let vault = vault(&dir);
        assert_eq!(vault.open(context("a"), &sealed).expect("opens").expose(), "value");
        for other in [
            context("b"),
            SealContext {
                team: Some(team(2)),
                ..context("a")
            },
            SealContext {
                team: None,
                ..context("a")
            },
            SealContext {
                kind: "registry",
                ..context("a")
            },
        ] {
            assert_eq!(vault.open(other, &sealed).expect_err("moved"), SealError::Damaged);
        }
        let other_version = Sealed {
            key_version: 9,
            ..sealed
        };
        assert_eq!(
            vault.open(context("a"), &other_version).expect_err("unknown"),
            SealError::UnknownKey(9)
        );
    }

    #[test]
    fn no_bit_can_be_changed() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = vault(&dir);
        let sealed = vault.seal(context("a"), &Secret::new("value".into())).expect("sealed");
        for bit in 0..sealed.bytes.len() * 8 {
            let mut changed = sealed.clone();
            changed.bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open(context("a"), &changed).is_err(), "bit {bit}");
        }
        for length in 0..sealed.bytes.len() {
            let cut = Sealed {
                bytes: sealed.bytes[..length].to_vec(),
                ..sealed.clone()
            };
            assert!(vault.open(context("a"), &cut).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn another_key_does_not_pass_the_check() {
        let (one, two) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        let check = vault(&one).key_check().expect("sealed");
        assert_eq!(vault(&one).verify_key_check(&check), Ok(()));
        let other = Vault::load_or_create(&two.path().join("k"), Arc::new(FixedEntropy(99))).expect("a vault");
        assert_eq!(other.verify_key_check(&check), Err(SealError::Damaged));
    }

    #[test]
    fn a_fingerprint_tells_equal_values_of_one_team_and_nothing_more() {
        let dir = tempfile::tempdir().expect("a directory");
        let vault = vault(&dir);
        let of = |n, text: &str| vault.fingerprint(team(n), &Secret::new(text.into()));
        assert_eq!(of(1, "a"), of(1, "a"));
        assert_ne!(of(1, "a"), of(1, "b"));
        assert_ne!(of(1, "a"), of(2, "a"));
        assert_eq!(of(1, "a").len(), 12);
        assert_eq!(format!("{vault:?}"), "Vault(..)");
    }
}
