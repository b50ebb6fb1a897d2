//! Where backups go: object storage.
//!
//! Promises: a key is written once; success is said of an object only when it was read back and is what was sent; no
//! credentials are in what is told.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::buffered::BufWriter;
use object_store::path::Path;
use object_store::{GetOptions, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutOptions};
use sha2::{Digest as _, Sha256};
use slipway_domain::backup::StoredObject;
use slipway_domain::domains::Reason;

/// What is larger goes up in pieces of this size.
const PIECE_BYTES: usize = 8 << 20;
/// So many pieces go up at once.
const PIECES_MAX: usize = 2;

/// Why something is not stored, or cannot be had.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DestinationError {
    /// There is no such object.
    #[error("{0} is not there")]
    NotFound(String),
    /// There is one already.
    #[error("{0} is there already with other content")]
    Taken(String),
    /// The credentials are wrong, or do not suffice.
    #[error("{0}")]
    Refused(String),
    /// It does not answer, or is full.
    #[error("{0}")]
    Unavailable(String),
    /// No more is put there.
    #[error("{0}")]
    Full(String),
    /// It said that it stored something and gives back something else.
    #[error("{key} was read back and is not what was sent ({what})")]
    Lies {
        /// Which object.
        key: String,
        /// What is wrong with it.
        what: String,
    },
}

impl DestinationError {
    /// As people are told it.
    pub fn reason(&self) -> Reason {
        let (code, hint) = match self {
            Self::NotFound(_) => ("backup_object_missing", "Look at who else may delete in this storage."),
            Self::Taken(_) => (
                "backup_object_taken",
                "Give each platform a prefix of its own in SLIPWAY_BACKUP_URL.",
            ),
            Self::Refused(_) => (
                "backup_storage_refused",
                "See SLIPWAY_BACKUP_URL and the credentials in the environment of the platform.",
            ),
            Self::Unavailable(_) => (
                "backup_storage_unavailable",
                "It is tried again; see that the storage answers and has room.",
            ),
            Self::Full(_) => (
                "backup_storage_full",
                "Make room, or keep backups elsewhere: SLIPWAY_BACKUP_URL. It is tried again.",
            ),
            Self::Lies { .. } => (
                "backup_storage_lies",
                "The storage says that it keeps what it does not keep: use another one, and see its owner.",
            ),
        };
        Reason {
            code: code.into(),
            detail: format!("{self}."),
            hint: hint.into(),
        }
    }
}

/// Says why nothing more may be put somewhere, if so.
type Room = Arc<dyn Fn() -> Result<(), String> + Send + Sync>;

/// Object storage, below a prefix.
#[derive(Clone)]
pub struct Destination {
    store: Arc<dyn ObjectStore>,
    prefix: Path,
    room: Option<Room>,
}

impl fmt::Debug for Destination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.store, self.prefix)
    }
}

impl Destination {
    /// Everything goes below the prefix.
    pub fn new(store: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self {
            store,
            prefix,
            room: None,
        }
    }

    /// Asks before anything is put there whether there is room.
    #[must_use]
    pub fn with_room(self, room: impl Fn() -> Result<(), String> + Send + Sync + 'static) -> Self {
        Self {
            room: Some(Arc::new(room)),
            ..self
        }
    }

    fn has_room(&self) -> Result<(), DestinationError> {
        self.room
            .as_ref()
            .map_or(Ok(()), |room| room())
            .map_err(DestinationError::Full)
    }

    fn path(&self, key: &str) -> Path {
        self.prefix.parts().chain(Path::from(key).parts()).collect()
    }

    /// Stores a whole object and reads it back. One that is there already with the same content is as good.
    pub async fn put(&self, key: &str, content: Bytes) -> Result<StoredObject, DestinationError> {
        self.has_room()?;
        let path = self.path(key);
        let stored = stored(key, &content);
        let options = PutOptions {
            mode: PutMode::Create,
            ..PutOptions::default()
        };
        let put = self.store.put_opts(&path, content.into(), options).await;
        let was_there = match put {
            Ok(_) => false,
            Err(object_store::Error::AlreadyExists { .. }) => true,
            Err(error) => return Err(told(key, &error)),
        };
        match self.check(&stored).await {
            Err(DestinationError::Lies { key, .. }) if was_there => Err(DestinationError::Taken(key)),
            other => other.map(|()| stored),
        }
    }

    /// Begins to store an object that comes in pieces.
    pub fn upload(&self, key: &str) -> Upload {
        let writer = BufWriter::with_capacity(Arc::clone(&self.store), self.path(key), PIECE_BYTES);
        Upload {
            destination: self.clone(),
            key: key.to_owned(),
            writer: writer.with_max_concurrency(PIECES_MAX),
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Reads an object and compares it with what it should be.
    pub async fn check(&self, expected: &StoredObject) -> Result<(), DestinationError> {
        let mut pieces = self.read(&expected.key).await?;
        let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
        while let Some(piece) = pieces.try_next().await? {
            bytes += length(&piece);
            hash.update(&piece);
        }
        let lies = |what: String| {
            Err(DestinationError::Lies {
                key: expected.key.clone(),
                what,
            })
        };
        if bytes != expected.bytes {
            return lies(format!("{bytes} bytes instead of {}", expected.bytes));
        }
        if hex::encode(hash.finalize()) != expected.sha256 {
            return lies("other content".into());
        }
        Ok(())
    }

    /// Reads an object piece by piece.
    pub async fn read(
        &self,
        key: &str,
    ) -> Result<futures_util::stream::BoxStream<'static, Result<Bytes, DestinationError>>, DestinationError> {
        let found = self.store.get_opts(&self.path(key), GetOptions::default()).await;
        let found = found.map_err(|error| told(key, &error))?;
        let key = key.to_owned();
        Ok(found.into_stream().map_err(move |error| told(&key, &error)).boxed())
    }

    /// Reads a whole object of a known length at most.
    pub async fn get(&self, key: &str, bytes_max: u64) -> Result<Bytes, DestinationError> {
        let mut pieces = self.read(key).await?;
        let mut all = Vec::new();
        while let Some(piece) = pieces.try_next().await? {
            all.extend_from_slice(&piece);
            if length(&all) > bytes_max {
                return Err(DestinationError::Lies {
                    key: key.to_owned(),
                    what: format!("more than {bytes_max} bytes"),
                });
            }
        }
        Ok(all.into())
    }

    /// The keys below one, with their lengths, in no order.
    pub async fn list(&self, below: &str) -> Result<Vec<(String, u64)>, DestinationError> {
        let path = self.path(below);
        let listed: Vec<ObjectMeta> = self
            .store
            .list(Some(&path))
            .try_collect()
            .await
            .map_err(|error| told(below, &error))?;
        let own = self.prefix.parts().count();
        let key = |path: &Path| path.parts().skip(own).collect::<Path>().to_string();
        Ok(listed
            .into_iter()
            .map(|meta| (key(&meta.location), meta.size))
            .collect())
    }

    /// Removes an object; one that is not there is as good.
    pub async fn delete(&self, key: &str) -> Result<(), DestinationError> {
        match self.store.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(error) => Err(told(key, &error)),
        }
    }
}

/// An object that goes up piece by piece.
pub struct Upload {
    destination: Destination,
    key: String,
    writer: BufWriter,
    hash: Sha256,
    bytes: u64,
}

impl Upload {
    /// Sends a piece.
    pub async fn push(&mut self, piece: Bytes) -> Result<(), DestinationError> {
        self.destination.has_room()?;
        self.hash.update(&piece);
        self.bytes += length(&piece);
        let put = self.writer.put(piece).await;
        put.map_err(|error| told(&self.key, &error))
    }

    /// Ends it, and reads it back.
    pub async fn finish(mut self) -> Result<StoredObject, DestinationError> {
        use tokio::io::AsyncWriteExt as _;
        if let Err(error) = self.writer.shutdown().await {
            let told = DestinationError::Unavailable(format!("{}: {error}", self.key));
            self.abort().await;
            return Err(told);
        }
        let stored = StoredObject {
            key: self.key,
            bytes: self.bytes,
            sha256: hex::encode(self.hash.finalize()),
        };
        self.destination.check(&stored).await?;
        Ok(stored)
    }

    /// Gives it up; what was sent of it is removed as far as the storage can be reached.
    pub async fn abort(&mut self) {
        // It fails where nothing was sent yet.
        if let Err(error) = self.writer.abort().await {
            tracing::debug!(key = self.key, %error, "backup.upload_not_aborted");
        }
    }
}

fn stored(key: &str, content: &[u8]) -> StoredObject {
    StoredObject {
        key: key.to_owned(),
        bytes: length(content),
        sha256: hex::encode(Sha256::digest(content)),
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// What an error of the library means, in one line.
fn told(key: &str, error: &object_store::Error) -> DestinationError {
    use std::error::Error as _;
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        cause = inner.source();
    }
    let text = format!("{key}: {}", text.split_whitespace().collect::<Vec<_>>().join(" "));
    match error {
        object_store::Error::NotFound { .. } => DestinationError::NotFound(key.to_owned()),
        object_store::Error::AlreadyExists { .. } => DestinationError::Taken(key.to_owned()),
        object_store::Error::PermissionDenied { .. } | object_store::Error::Unauthenticated { .. } => {
            DestinationError::Refused(text)
        }
        _ => DestinationError::Unavailable(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use object_store::memory::InMemory;

    fn destination() -> Destination {
        Destination::new(Arc::new(InMemory::new()), Path::from("some/prefix"))
    }

    #[tokio::test]
    async fn a_key_is_written_once_and_again_only_with_the_same_content() {
        let destination = destination();
        let first = destination.put("v1/a", "one".into()).await.expect("stored");
        assert_eq!(first.bytes, 3);
        assert_eq!(destination.put("v1/a", "one".into()).await, Ok(first));
        let other = destination.put("v1/a", "two".into()).await;
        assert_eq!(other, Err(DestinationError::Taken("v1/a".into())));
        assert_eq!(destination.get("v1/a", 3).await.as_deref(), Ok(&b"one"[..]));
        assert!(matches!(
            destination.get("v1/a", 2).await,
            Err(DestinationError::Lies { .. })
        ));
        assert_eq!(destination.list("v1").await, Ok(vec![("v1/a".to_owned(), 3)]));
    }

    #[tokio::test]
    async fn nothing_is_put_where_there_is_no_room() {
        let full = destination().with_room(|| Err("5 of 100 bytes are free".into()));
        let refused = full.put("v1/a", "one".into()).await.expect_err("refused");
        assert_eq!(refused.reason().code, "backup_storage_full");
        assert_eq!(full.list("v1").await, Ok(vec![]));
        let mut upload = full.upload("v1/b");
        assert_eq!(upload.push("one".into()).await, Err(refused));
    }

    #[tokio::test]
    async fn what_comes_in_pieces_is_read_back() {
        let destination = destination();
        for bytes in [0_usize, 10, PIECE_BYTES, PIECE_BYTES * 3 + 1] {
            let key = format!("v1/{bytes}");
            let mut upload = destination.upload(&key);
            let content = vec![7_u8; bytes];
            for piece in content.chunks(1 << 20) {
                upload.push(Bytes::copy_from_slice(piece)).await.expect("sent");
            }
            assert_eq!(upload.finish().await, Ok(stored(&key, &content)));
        }
    }
}
