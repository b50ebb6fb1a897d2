//! What is stored is compressed and then encrypted to public keys, in the formats of `zstd` (RFC 8878) and `age`
//! (age-encryption.org/v1), so that it can be read without this program.
//!
//! Promises: nothing here can read what it wrote; what is opened was not changed, cut off or put in another's place.
//! What an object says of itself stands before its content in a frame that `zstd` skips (RFC 8878, section 3.1.2).

use std::io::{Read, Write as _};
use std::str::FromStr as _;
use std::sync::Arc;

use age::Encryptor;
use age::stream::StreamWriter;
use age::x25519::{Identity, Recipient};
use bytes::Bytes;
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use slipway_domain::secret::Secret;

/// How hard the log is compressed: as the server compresses copies of itself.
const ZSTD_LEVEL: i32 = 3;
/// The frame that is skipped.
const SKIPPED: u32 = 0x184D_2A50;
/// What an object may say of itself.
const LABEL_BYTES_MAX: u32 = 64 << 10;

/// Why something cannot be sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// The text is no public key.
    #[error("{0} is no age public key: give one that begins with `age1`, as `age-keygen` prints it")]
    Recipient(String),
    /// The text is no private key.
    #[error(
        "it holds no age private key: give a file as `age-keygen` writes it, with a line that begins with `AGE-SECRET-KEY-1`"
    )]
    Identity,
    /// It cannot be sealed.
    #[error("it cannot be encrypted: {0}")]
    Sealing(String),
    /// It was sealed to other keys.
    #[error("none of the private keys here opens it")]
    WrongKey,
    /// It is not what was written.
    #[error("it is damaged: {0}")]
    Damaged(String),
}

/// Whom backups are encrypted to.
#[derive(Clone)]
pub struct Recipients(Arc<Vec<Recipient>>);

impl Recipients {
    /// From public keys in their text form; at least one.
    pub fn parse<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, SealError> {
        let parsed = keys
            .into_iter()
            .map(|key| Recipient::from_str(key).map_err(|_| SealError::Recipient(key.chars().take(70).collect())));
        let all = parsed.collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(SealError::Recipient("nothing".into()));
        }
        Ok(Self(Arc::new(all)))
    }

    /// Seals a whole object, with what it says of itself.
    pub fn seal(&self, label: &impl Serialize, content: &[u8]) -> Result<Bytes, SealError> {
        let mut sealing = self.sealing()?;
        let mut packed = frame(label)?;
        packed.extend(zstd::bulk::compress(content, ZSTD_LEVEL).map_err(|e| sealing_failed(&e))?);
        let mut sealed = sealing.push(&packed)?.to_vec();
        sealed.extend_from_slice(&sealing.finish()?);
        Ok(sealed.into())
    }

    /// Begins to seal an object that comes in pieces and is compressed already.
    pub fn sealing(&self) -> Result<Sealing, SealError> {
        let recipients = self.0.iter().map(|key| key as &dyn age::Recipient);
        let encryptor = Encryptor::with_recipients(recipients).map_err(|e| SealError::Sealing(e.to_string()))?;
        let outlet = Outlet::default();
        let writer = encryptor.wrap_output(outlet.clone()).map_err(|e| sealing_failed(&e))?;
        Ok(Sealing { writer, outlet })
    }
}

impl std::fmt::Debug for Recipients {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.0.iter().map(ToString::to_string)).finish()
    }
}

/// What was encrypted and not yet fetched.
#[derive(Clone, Default)]
struct Outlet(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Outlet {
    fn write(&mut self, piece: &[u8]) -> std::io::Result<usize> {
        self.0.lock().extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// An object that is being sealed.
pub struct Sealing {
    writer: StreamWriter<Outlet>,
    outlet: Outlet,
}

impl Sealing {
    /// Takes a piece, and gives what of the object is ready.
    pub fn push(&mut self, piece: &[u8]) -> Result<Bytes, SealError> {
        self.writer.write_all(piece).map_err(|e| sealing_failed(&e))?;
        Ok(std::mem::take(&mut *self.outlet.0.lock()).into())
    }

    /// Gives the rest of it. Without that it is no object.
    pub fn finish(self) -> Result<Bytes, SealError> {
        self.writer.finish().map_err(|e| sealing_failed(&e))?;
        Ok(std::mem::take(&mut *self.outlet.0.lock()).into())
    }
}

fn sealing_failed(error: &std::io::Error) -> SealError {
    SealError::Sealing(error.to_string())
}

/// What an object says of itself, as it stands before its content.
fn frame(label: &impl Serialize) -> Result<Vec<u8>, SealError> {
    let text = serde_json::to_vec(label).map_err(|e| SealError::Sealing(e.to_string()))?;
    let length = u32::try_from(text.len()).ok().filter(|n| *n <= LABEL_BYTES_MAX);
    let length = length.ok_or_else(|| SealError::Sealing("it says too much of itself".into()))?;
    let mut frame = SKIPPED.to_le_bytes().to_vec();
    frame.extend(length.to_le_bytes());
    frame.extend(text);
    Ok(frame)
}

/// The private keys that backups can be opened with.
#[derive(Clone)]
pub struct Identities(Arc<Vec<Identity>>);

impl Identities {
    /// From a file as `age-keygen` writes it: a key on each line, and comments.
    pub fn parse(file: &Secret) -> Result<Self, SealError> {
        let lines = file.expose().lines().map(str::trim);
        let keys = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        let parsed = keys.map(|key| Identity::from_str(key).map_err(|_| SealError::Identity));
        let all = parsed.collect::<Result<Vec<_>, _>>()?;
        if all.is_empty() {
            return Err(SealError::Identity);
        }
        Ok(Self(Arc::new(all)))
    }

    /// The public keys that belong to them.
    pub fn public(&self) -> Vec<String> {
        self.0.iter().map(|key| key.to_public().to_string()).collect()
    }

    /// Opens a whole object: what it says of itself, and its content of a known length at most.
    pub fn open<L: DeserializeOwned>(&self, sealed: &[u8], bytes_max: u64) -> Result<(L, Vec<u8>), SealError> {
        let mut packed = self.opening(sealed)?;
        let label = read_label(&mut packed)?;
        let mut content = Vec::new();
        let mut unpacked = zstd::stream::read::Decoder::new(packed).map_err(|e| damaged(&e))?;
        (&mut unpacked)
            .take(bytes_max.saturating_add(1))
            .read_to_end(&mut content)
            .map_err(|e| damaged(&e))?;
        if u64::try_from(content.len()).unwrap_or(u64::MAX) > bytes_max {
            return Err(SealError::Damaged("it is longer than it can be".into()));
        }
        Ok((label, content))
    }

    /// Begins to open an object; what is read of it is as it was written, or an error.
    pub fn opening<'a, R: Read + 'a>(&self, sealed: R) -> Result<impl Read + use<'a, R>, SealError> {
        let decryptor = age::Decryptor::new(sealed).map_err(|e| opened(&e))?;
        let keys = self.0.iter().map(|key| key as &dyn age::Identity);
        decryptor.decrypt(keys).map_err(|e| opened(&e))
    }
}

impl std::fmt::Debug for Identities {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.public()).finish()
    }
}

/// A new pair: the file with the private key, and the public key.
pub fn draw_identity() -> (Secret, String) {
    use age::secrecy::ExposeSecret as _;
    let identity = Identity::generate();
    let public = identity.to_public().to_string();
    let file = format!("# public key: {public}\n{}\n", identity.to_string().expose_secret());
    (Secret::new(file), public)
}

fn read_label<L: DeserializeOwned>(packed: &mut impl Read) -> Result<L, SealError> {
    let mut number = || {
        let mut bytes = [0_u8; 4];
        let read = packed.read_exact(&mut bytes);
        read.map(|()| u32::from_le_bytes(bytes)).map_err(|e| damaged(&e))
    };
    let (magic, length) = (number()?, number()?);
    if magic != SKIPPED || length > LABEL_BYTES_MAX {
        return Err(SealError::Damaged("it does not say what it is".into()));
    }
    let mut text = vec![0_u8; usize::try_from(length).unwrap_or_default()];
    packed.read_exact(&mut text).map_err(|e| damaged(&e))?;
    serde_json::from_slice(&text).map_err(|e| SealError::Damaged(format!("it does not say what it is: {e}")))
}

fn opened(error: &age::DecryptError) -> SealError {
    match error {
        age::DecryptError::NoMatchingKeys => SealError::WrongKey,
        other => SealError::Damaged(other.to_string()),
    }
}

fn damaged(error: &std::io::Error) -> SealError {
    SealError::Damaged(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (Recipients, Identities) {
        let (file, public) = draw_identity();
        (
            Recipients::parse([public.as_str()]).expect("a public key"),
            Identities::parse(&file).expect("a private key"),
        )
    }

    #[test]
    fn what_was_sealed_is_opened_by_each_of_the_keys_and_by_no_other() {
        let ((_, ours), (_, escrow), (_, other)) = (pair(), pair(), pair());
        let keys = [ours.public(), escrow.public()].concat();
        let recipients = Recipients::parse(keys.iter().map(String::as_str)).expect("public keys");
        let content = b"rows of a table ".repeat(1_000);
        let sealed = recipients.seal(&"label", &content).expect("sealed");
        assert!(sealed.len() < content.len());
        for identities in [&ours, &escrow] {
            let opened: (String, Vec<u8>) = identities.open(&sealed, 16_000).expect("opened");
            assert_eq!(opened, ("label".to_owned(), content.clone()));
        }
        assert_eq!(other.open::<String>(&sealed, 16_000), Err(SealError::WrongKey));
        assert!(matches!(
            ours.open::<String>(&sealed, 15_999),
            Err(SealError::Damaged(_))
        ));
    }

    #[test]
    fn every_change_is_noticed() {
        let (recipients, identities) = pair();
        let sealed = recipients.seal(&"label", &b"content".repeat(20_000)).expect("sealed");
        for at in 0..sealed.len() {
            let mut changed = sealed.to_vec();
            changed[at] ^= 1;
            assert!(identities.open::<String>(&changed, 1 << 20).is_err(), "byte {at}");
            assert!(
                identities.open::<String>(&sealed[..at], 1 << 20).is_err(),
                "cut at {at}"
            );
        }
        let mut longer = sealed.to_vec();
        longer.push(0);
        assert!(identities.open::<String>(&longer, 1 << 20).is_err());
    }

    #[test]
    fn what_comes_in_pieces_is_the_same_object() {
        let (recipients, identities) = pair();
        let mut sealing = recipients.sealing().expect("begun");
        let content: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut sealed = Vec::new();
        for piece in content.chunks(10_007) {
            sealed.extend_from_slice(&sealing.push(piece).expect("pushed"));
        }
        sealed.extend_from_slice(&sealing.finish().expect("finished"));
        let mut opened = Vec::new();
        let mut reader = identities.opening(sealed.as_slice()).expect("opening");
        reader.read_to_end(&mut opened).expect("read");
        assert_eq!(opened, content);
    }

    #[test]
    fn keys_that_are_none_are_refused_with_what_would_do() {
        let error = Recipients::parse(["age1x"]).expect_err("no key");
        assert!(error.to_string().contains("age-keygen"), "{error}");
        assert!(Recipients::parse([]).is_err());
        for file in ["", "# nothing\n", "AGE-SECRET-KEY-1X\n"] {
            assert_eq!(
                Identities::parse(&Secret::new(file.into())).err(),
                Some(SealError::Identity)
            );
        }
    }
}
