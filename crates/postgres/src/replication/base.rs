//! A copy of a whole server (`BASE_BACKUP`), as it comes over the line: one compressed archive for each tablespace, then
//! the manifest, which knows the checksum of every file.

use bytes::{Buf as _, Bytes};
use postgres_protocol::message::backend::Message;
use slipway_domain::backup::{Lsn, Timeline};

use super::line::{Line, Said, row, unexpected};
use super::{ReplicationError, text};
use crate::sql::literal;

/// How hard the server compresses: what more costs is not worth what it saves.
const ZSTD_LEVEL: u8 = 3;

/// Where a copy begins in the log, and how much there is to copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseStart {
    /// The log is needed from here on.
    pub at: Lsn,
    /// In which history.
    pub timeline: Timeline,
    /// The server's own estimate of what it is about to read.
    pub bytes: u64,
}

/// Where a copy ends in the log: it can be used once the log up to here is there as well.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BaseEnd {
    /// The log is needed up to here.
    pub at: Lsn,
    /// In which history.
    pub timeline: Timeline,
}

/// What comes of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BaseEvent {
    /// An archive begins, such as `base.tar.zst`.
    Archive(String),
    /// A piece of the archive that began last.
    Data(Bytes),
    /// So many bytes of the server's were read so far.
    Read(u64),
    /// The manifest begins.
    Manifest,
    /// A piece of the manifest.
    ManifestData(Bytes),
    /// It is whole.
    End(BaseEnd),
}

/// A copy under way.
#[derive(Debug)]
pub struct BaseBackup {
    line: Line,
    start: BaseStart,
    in_manifest: bool,
    end: Option<BaseEnd>,
}

impl BaseBackup {
    pub(super) async fn begin(mut line: Line, label: &str) -> Result<Self, ReplicationError> {
        // A checkpoint at once: otherwise a quiet server waits minutes before it begins.
        let command = format!(
            "BASE_BACKUP (LABEL {}, PROGRESS true, CHECKPOINT 'fast', WAIT false, MANIFEST 'yes', \
             MANIFEST_CHECKSUMS 'SHA256', COMPRESSION 'zstd', COMPRESSION_DETAIL 'level={ZSTD_LEVEL}')",
            literal(label)
        );
        line.command(&command).await?;
        let (mut at, mut bytes) = (None, 0_u64);
        loop {
            match line.next().await? {
                Said::Message(Message::DataRow(body)) if at.is_none() => at = Some(place(&row(&body)?)?),
                Said::Message(Message::DataRow(body)) => {
                    let kibibytes: u64 = text(&row(&body)?, 2).and_then(|n| n.parse().ok()).unwrap_or_default();
                    bytes = bytes.saturating_add(kibibytes.saturating_mul(1024));
                }
                Said::Message(Message::CopyOutResponse(_)) => break,
                Said::Message(
                    Message::RowDescription(_) | Message::CommandComplete(_) | Message::NoticeResponse(_),
                ) => {}
                _ => return Err(unexpected("something that is no part of a base backup")),
            }
        }
        let (at, timeline) = at.ok_or_else(|| unexpected("no beginning of a base backup"))?;
        Ok(Self {
            line,
            start: BaseStart { at, timeline, bytes },
            in_manifest: false,
            end: None,
        })
    }

    /// Where it begins.
    pub const fn start(&self) -> BaseStart {
        self.start
    }

    /// The next that comes of it; after [`BaseEvent::End`] nothing does.
    pub async fn next(&mut self) -> Result<BaseEvent, ReplicationError> {
        loop {
            match self.line.next().await? {
                Said::Message(Message::CopyData(body)) => return self.piece(body.into_bytes()),
                Said::Message(Message::DataRow(body)) => {
                    let (at, timeline) = place(&row(&body)?)?;
                    self.end = Some(BaseEnd { at, timeline });
                }
                // Only now is it known that the server met no error, a page with a wrong checksum included.
                Said::Message(Message::ReadyForQuery(_)) => {
                    let end = self.end.ok_or_else(|| unexpected("no end of a base backup"))?;
                    return Ok(BaseEvent::End(end));
                }
                Said::Message(
                    Message::RowDescription(_)
                    | Message::CommandComplete(_)
                    | Message::CopyDone
                    | Message::NoticeResponse(_),
                ) => {}
                _ => return Err(unexpected("something that is no part of a base backup")),
            }
        }
    }

    fn piece(&mut self, mut piece: Bytes) -> Result<BaseEvent, ReplicationError> {
        if piece.is_empty() {
            return Err(unexpected("an empty piece"));
        }
        match piece.get_u8() {
            b'd' if self.in_manifest => Ok(BaseEvent::ManifestData(piece)),
            b'd' => Ok(BaseEvent::Data(piece)),
            b'p' if piece.len() >= 8 => Ok(BaseEvent::Read(piece.get_u64())),
            b'n' => {
                let name = piece.split(|b| *b == 0).next().unwrap_or_default();
                let name = String::from_utf8(name.to_vec()).map_err(|_| unexpected("an archive without a name"))?;
                Ok(BaseEvent::Archive(name))
            }
            b'm' => {
                self.in_manifest = true;
                Ok(BaseEvent::Manifest)
            }
            _ => Err(unexpected("a piece of an unknown kind")),
        }
    }
}

fn place(row: &[Option<String>]) -> Result<(Lsn, Timeline), ReplicationError> {
    let place = || Some((text(row, 0)?.parse().ok()?, Timeline(text(row, 1)?.parse().ok()?)));
    place().ok_or_else(|| unexpected("a place in the log that cannot be read"))
}
