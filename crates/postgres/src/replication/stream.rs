//! The log as the server writes it (`START_REPLICATION … PHYSICAL`).

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use chrono::{DateTime, TimeDelta, Utc};
use postgres_protocol::message::backend::Message;
use slipway_domain::Timestamp;
use slipway_domain::backup::{Lsn, Timeline};

use super::line::{Line, Said, row, unexpected};
use super::{ReplicationError, SlotName, text};

/// What comes of the stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WalEvent {
    /// A piece of the log.
    Wal {
        /// Where it begins.
        at: Lsn,
        /// Where the server's log ended when it was sent. Only what goes up to there has all that was committed by then.
        end: Lsn,
        /// The server's clock when it was sent.
        sent_at: Timestamp,
        /// The piece.
        data: Bytes,
    },
    /// The server is there; up to here it sent all there is.
    Alive {
        /// Where its log ends.
        end: Lsn,
        /// Its clock.
        sent_at: Timestamp,
        /// Whether it asks for a sign of life.
        asks: bool,
    },
    /// This history ends, and another one begins there.
    Switched {
        /// The next history.
        timeline: Timeline,
        /// Where it begins.
        at: Lsn,
    },
}

/// A stream under way.
#[derive(Debug)]
pub struct WalStream {
    line: Line,
}

impl WalStream {
    pub(super) async fn begin(
        mut line: Line,
        slot: &SlotName,
        from: Lsn,
        timeline: Timeline,
    ) -> Result<Self, ReplicationError> {
        let command = format!("START_REPLICATION SLOT {slot} PHYSICAL {from} TIMELINE {}", timeline.0);
        line.command(&command).await?;
        loop {
            match line.next().await? {
                Said::CopyBoth => return Ok(Self { line }),
                Said::Message(Message::NoticeResponse(_)) => {}
                Said::Message(_) => return Err(unexpected("something that is no stream")),
            }
        }
    }

    /// The next that comes. Nothing is lost when it is given up waiting for.
    pub async fn next(&mut self) -> Result<WalEvent, ReplicationError> {
        loop {
            match self.line.next().await? {
                Said::Message(Message::CopyData(body)) => return piece(body.into_bytes()),
                Said::Message(Message::CopyDone) => return self.switched().await,
                Said::Message(Message::NoticeResponse(_) | Message::ParameterStatus(_)) => {}
                _ => return Err(unexpected("something that is no part of a stream")),
            }
        }
    }

    /// Says up to where the log is stored for good: the server keeps it no longer than that. It can be asked to say in turn
    /// that it is there ([`WalEvent::Alive`]).
    pub async fn confirm(
        &mut self,
        (received, stored): (Lsn, Lsn),
        asks: bool,
        now: Timestamp,
    ) -> Result<(), ReplicationError> {
        let mut status = BytesMut::with_capacity(34);
        status.put_u8(b'r');
        status.put_u64(received.0);
        status.put_u64(stored.0);
        // Nothing is applied here.
        status.put_u64(0);
        status.put_i64((now - epoch()).num_microseconds().unwrap_or_default());
        status.put_u8(u8::from(asks));
        self.line.send_data(&status).await
    }

    async fn switched(&mut self) -> Result<WalEvent, ReplicationError> {
        self.line.end_data().await?;
        let mut next = None;
        loop {
            match self.line.next().await? {
                Said::Message(Message::DataRow(body)) => {
                    let row = row(&body)?;
                    let timeline = text(&row, 0).and_then(|number| number.parse().ok()).map(Timeline);
                    next = timeline.zip(text(&row, 1).and_then(|place| place.parse().ok()));
                }
                Said::Message(Message::ReadyForQuery(_)) => {
                    let (timeline, at) =
                        next.ok_or_else(|| ReplicationError::Away("the server ended the stream".into()))?;
                    return Ok(WalEvent::Switched { timeline, at });
                }
                Said::Message(_) => {}
                Said::CopyBoth => return Err(unexpected("a stream within a stream")),
            }
        }
    }
}

/// What the server's clock counts from.
fn epoch() -> Timestamp {
    DateTime::<Utc>::from_timestamp(946_684_800, 0).unwrap_or_default()
}

fn clock(microseconds: i64) -> Timestamp {
    epoch() + TimeDelta::microseconds(microseconds)
}

fn piece(mut piece: Bytes) -> Result<WalEvent, ReplicationError> {
    match piece.first() {
        Some(b'w') if piece.len() >= 25 => {
            piece.advance(1);
            let at = Lsn(piece.get_u64());
            let end = Lsn(piece.get_u64());
            let sent_at = clock(piece.get_i64());
            Ok(WalEvent::Wal {
                at,
                end,
                sent_at,
                data: piece,
            })
        }
        Some(b'k') if piece.len() >= 18 => {
            piece.advance(1);
            let end = Lsn(piece.get_u64());
            let sent_at = clock(piece.get_i64());
            Ok(WalEvent::Alive {
                end,
                sent_at,
                asks: piece.get_u8() == 1,
            })
        }
        _ => Err(unexpected("a piece of an unknown kind")),
    }
}
