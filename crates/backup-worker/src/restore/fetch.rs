//! What a restore needs, fetched and checked before anything is touched: the archives of the copy, and the files of the
//! log, put together out of what there is of each.
//!
//! Promises: what is given on is what was stored, byte for byte; an object that is missing, damaged, cut off, sealed to
//! another key or put in another's place ends the restore here.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::Path;

use bytes::Bytes;
use futures_util::{StreamExt as _, TryStreamExt as _};
use slipway_domain::backup::{BaseSet, Home, Lsn, Object, Segment, StoredObject};
use slipway_engine::FileStream;
use slipway_store::{LogObject, LogSpan, Restore};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use crate::Deps;
use crate::destination::DestinationError;
use crate::log::Label;
use crate::seal::{Identities, SealError};
use crate::trouble::Trouble;

/// The object that makes a copy one is a list of a few others.
const SET_BYTES_MAX: u64 = 1 << 20;
/// A piece of an archive on its way.
const PIECE_BYTES: usize = 256 << 10;
/// So many pieces are on their way.
const PIECES_MAX: usize = 8;

/// What says how much was fetched.
pub(super) type Progress<'a> = &'a mut (dyn FnMut(u64) + Send);

/// The set of a copy.
pub(super) async fn set(deps: &Deps, span: &LogSpan, restore: &Restore) -> Result<BaseSet, Trouble> {
    let home = Home {
        database: restore.source,
        system: span.system,
    };
    let key = Object::Commit(restore.backup).key(home, span.segment);
    let stored = deps.destination.get(&key, SET_BYTES_MAX).await?;
    let set = BaseSet::parse(&stored).map_err(|error| SealError::Damaged(format!("{key}: {error}")))?;
    if set.id != restore.backup || set.home != home {
        return Err(SealError::Damaged(format!("{key}: it is another one's")).into());
    }
    Ok(set)
}

/// An archive of the copy, on this machine, as it was stored.
pub(super) async fn archive(deps: &Deps, stored: &StoredObject, progress: Progress<'_>) -> Result<File, Trouble> {
    use sha2::{Digest as _, Sha256};
    let mut file = tempfile::tempfile_in(&deps.spool)?;
    let mut pieces = deps.destination.read(&stored.key).await?;
    let (mut hash, mut bytes) = (Sha256::new(), 0_u64);
    while let Some(piece) = pieces.try_next().await? {
        hash.update(&piece);
        bytes += u64::try_from(piece.len()).unwrap_or_default();
        file.write_all(&piece)?;
        progress(u64::try_from(piece.len()).unwrap_or_default());
    }
    if bytes != stored.bytes || hex::encode(hash.finalize()) != stored.sha256 {
        return Err(DestinationError::Lies {
            key: stored.key.clone(),
            what: "it is not what was stored".into(),
        }
        .into());
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(file)
}

/// An archive, opened and unpacked on its way.
pub(super) fn unpacked(identities: &Identities, archive: File) -> FileStream {
    let (sender, receiver) = mpsc::channel::<Result<Bytes, String>>(PIECES_MAX);
    let identities = identities.clone();
    spawn_blocking(move || {
        let read = || -> Result<(), String> {
            let opened = identities.opening(archive).map_err(|error| error.to_string())?;
            let mut unpacked = zstd::stream::read::Decoder::new(opened).map_err(|error| error.to_string())?;
            loop {
                let mut piece = vec![0_u8; PIECE_BYTES];
                let read = unpacked.read(&mut piece).map_err(|error| error.to_string())?;
                if read == 0 {
                    return Ok(());
                }
                piece.truncate(read);
                if sender.blocking_send(Ok(piece.into())).is_err() {
                    // Nobody wants it any more.
                    return Ok(());
                }
            }
        };
        if let Err(error) = read() {
            // Nobody may be left to hear it.
            let _ = sender.blocking_send(Err(error));
        }
    });
    let pieces = futures_util::stream::unfold(receiver, async |mut receiver| {
        receiver.recv().await.map(|piece| (piece, receiver))
    });
    pieces.boxed()
}

/// The files of the log from one place to another, each with its name, in a directory.
pub(super) async fn log(
    deps: &Deps,
    identities: &Identities,
    (span, pieces): (&LogSpan, &[LogObject]),
    (from, to): (Lsn, Lsn),
    (directory, progress): (&Path, Progress<'_>),
) -> Result<Vec<Segment>, Trouble> {
    let size = span.segment;
    let mut segments = Vec::new();
    let mut at = Segment::at(span.timeline, from, size).start(size);
    while at < to {
        let segment = Segment::at(span.timeline, at, size);
        let mut file = File::create(directory.join(segment.name(size)))?;
        file.set_len(size.bytes())?;
        let end = segment.end(size).min(to);
        while at < end {
            let piece = next(pieces, at, segment.end(size)).ok_or_else(|| Trouble::Gap {
                expected: at.to_string(),
                found: "nothing".into(),
            })?;
            let content = opened(deps, identities, span, piece).await?;
            file.seek(SeekFrom::Start(piece.from.since(segment.start(size))))?;
            file.write_all(&content)?;
            progress(piece.object.bytes);
            at = piece.to;
        }
        file.sync_all()?;
        segments.push(segment);
    }
    Ok(segments)
}

/// The piece that goes furthest from a place on, within a file.
fn next(pieces: &[LogObject], at: Lsn, end: Lsn) -> Option<&LogObject> {
    let of_file = pieces
        .iter()
        .filter(|piece| piece.from <= at && at < piece.to && piece.to <= end);
    of_file.max_by_key(|piece| piece.to)
}

async fn opened(deps: &Deps, identities: &Identities, span: &LogSpan, piece: &LogObject) -> Result<Vec<u8>, Trouble> {
    // What is sealed is never much larger than what it holds.
    let sealed_max = span.segment.bytes().saturating_mul(2);
    let sealed = deps.destination.get(&piece.object.key, sealed_max).await?;
    let (identities, length) = (identities.clone(), piece.to.since(piece.from));
    let (label, content) = spawn_blocking(move || identities.open::<Label>(&sealed, length))
        .await
        .map_err(std::io::Error::other)?
        .map_err(|error| named(&piece.object.key, error))?;
    let is_it = label.is_of(span, (piece.from, piece.to));
    if !is_it || u64::try_from(content.len()).unwrap_or_default() != length {
        return Err(named(&piece.object.key, SealError::Damaged("it is another piece".into())).into());
    }
    Ok(content)
}

fn named(key: &str, error: SealError) -> SealError {
    match error {
        SealError::Damaged(why) => SealError::Damaged(format!("{key}: {why}")),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_put_together_out_of_what_goes_furthest() {
        let piece = |from: u64, to: u64| LogObject {
            object: StoredObject {
                key: format!("{from}-{to}"),
                bytes: 1,
                sha256: String::new(),
            },
            from: Lsn(from),
            to: Lsn(to),
            last_at: slipway_domain::clock::testing::at(0),
            is_part: true,
        };
        let pieces = [
            piece(0, 10),
            piece(0, 100),
            piece(10, 30),
            piece(100, 120),
            piece(100, 250),
        ];
        let keys = |at: u64, end: u64| next(&pieces, Lsn(at), Lsn(end)).map(|piece| piece.object.key.clone());
        assert_eq!(keys(0, 100).as_deref(), Some("0-100"));
        assert_eq!(keys(20, 90).as_deref(), Some("10-30"));
        assert_eq!(keys(100, 200).as_deref(), Some("100-120"), "not beyond the file");
        assert_eq!(keys(120, 200), None);
    }
}
