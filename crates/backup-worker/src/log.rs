//! The log of a server, stored as it is written: whole segments when they are whole, and of the one that is being
//! written every few seconds what is new in it.
//!
//! Promises: the server is told that a piece may go only when it was read back from the storage and noted; what is
//! stored is contiguous.

use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use slipway_domain::backup::{Home, Lsn, Object, Segment, StoredObject, Timeline};
use slipway_domain::ids::DatabaseId;
use slipway_domain::{Entropy, Timestamp};
use slipway_postgres::{WalEvent, WalStream};
use slipway_store::{LogObject, LogSpan};
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use crate::Deps;
use crate::lead::Lead;
use crate::spool::OpenSegment;
use crate::stretch::resume_at;
use crate::trouble::Trouble;

/// What changed in the open segment is stored this often.
const PART_EVERY: Duration = Duration::from_secs(5);
/// A server that hears nothing for a minute ends the line.
const ALIVE_EVERY: Duration = Duration::from_secs(10);
/// How often the server is asked whether it has more.
const ASK_EVERY: Duration = Duration::from_secs(3);

/// What an object of a log says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Label {
    database: DatabaseId,
    system: String,
    timeline: u32,
    from: String,
    to: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last_at: Option<Timestamp>,
}

impl Label {
    /// Of the file that says where a timeline comes from.
    pub(crate) fn history(home: Home, timeline: Timeline) -> Self {
        Self {
            database: home.database,
            system: home.system.to_string(),
            timeline: timeline.0,
            from: Lsn(0).to_string(),
            to: Lsn(0).to_string(),
            last_at: None,
        }
    }

    /// Whether it is of this very piece.
    pub(crate) fn is_of(&self, span: &LogSpan, (from, to): (Lsn, Lsn)) -> bool {
        let last_at = self.last_at.unwrap_or_default();
        *self == Self::of(span, (from, to), last_at) && self.last_at.is_some()
    }

    fn of(span: &LogSpan, (from, to): (Lsn, Lsn), last_at: Timestamp) -> Self {
        Self {
            database: span.database,
            system: span.system.to_string(),
            timeline: span.timeline.0,
            from: from.to_string(),
            to: to.to_string(),
            last_at: Some(last_at),
        }
    }
}

/// The number of a copy.
pub(crate) fn drawn(entropy: &dyn Entropy) -> u32 {
    let mut bytes = [0_u8; 4];
    entropy.fill(&mut bytes);
    u32::from_be_bytes(bytes)
}

/// A log that is being stored.
pub(crate) struct Log<'a> {
    deps: &'a Deps,
    lead: Lead,
    span: LogSpan,
    stream: WalStream,
    open: Option<OpenSegment>,
    /// What comes next from the server.
    expected: Lsn,
    /// Up to here it is stored.
    stored: watch::Sender<Lsn>,
    /// What was committed before, by the server's clock, is in what was received.
    covered_at: Timestamp,
    /// The server's clock when it last said that it is there, if nothing came since.
    quiet_at: Option<Timestamp>,
}

impl<'a> Log<'a> {
    /// Of a stream that begins where the stretch is to be gone on with.
    pub(crate) fn new(deps: &'a Deps, lead: Lead, span: LogSpan, stream: WalStream) -> Self {
        Self {
            deps,
            lead,
            expected: resume_at(&span),
            stored: watch::Sender::new(span.to),
            covered_at: span.covered_at,
            span,
            stream,
            open: None,
            quiet_at: None,
        }
    }

    /// Up to where it is stored, as it goes on.
    pub(crate) fn progress(&self) -> watch::Receiver<Lsn> {
        self.stored.subscribe()
    }

    /// Stores what comes, until something is wrong.
    pub(crate) async fn run(mut self) -> Trouble {
        let ticking = |every| {
            let mut tick = tokio::time::interval(every);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            tick
        };
        let (mut parts, mut asks) = (ticking(PART_EVERY), ticking(ASK_EVERY));
        loop {
            let done = tokio::select! {
                event = self.stream.next() => match event {
                    Ok(event) => self.take(event).await,
                    Err(error) => Err(error.into()),
                },
                _ = parts.tick() => self.store_part().await,
                _ = asks.tick() => self.confirm(true).await,
            };
            if let Err(trouble) = done {
                return trouble;
            }
        }
    }

    async fn take(&mut self, event: WalEvent) -> Result<(), Trouble> {
        match event {
            WalEvent::Wal { at, end, sent_at, data } => {
                self.quiet_at = None;
                self.receive(at, data).await?;
                if self.expected >= end {
                    self.covered_at = sent_at;
                }
                Ok(())
            }
            WalEvent::Alive { sent_at, asks, .. } => {
                // It may have had more to send when it said so. Since then it would have come.
                let quiet_at = self.quiet_at.replace(sent_at);
                if let Some(quiet_at) = quiet_at.filter(|_| *self.stored.borrow() >= self.expected) {
                    self.covered_at = quiet_at;
                    self.deps.covered.until(self.span.id, quiet_at);
                }
                if asks { self.confirm(false).await } else { Ok(()) }
            }
            WalEvent::Switched { timeline, .. } => Err(Trouble::Switched(timeline.0)),
        }
    }

    async fn receive(&mut self, at: Lsn, data: Bytes) -> Result<(), Trouble> {
        if at != self.expected {
            return Err(Trouble::Gap {
                expected: self.expected.to_string(),
                found: at.to_string(),
            });
        }
        let mut rest: &[u8] = &data;
        while !rest.is_empty() {
            let open = match &mut self.open {
                Some(open) => open,
                none => {
                    let segment = Segment::at(self.span.timeline, self.expected, self.span.segment);
                    let stored = *self.stored.borrow();
                    none.insert(OpenSegment::create(
                        &self.deps.spool,
                        segment,
                        self.span.segment,
                        stored,
                    )?)
                }
            };
            let taken = open.take(rest)?;
            self.expected = self.expected.plus(u64::try_from(taken).unwrap_or_default());
            rest = rest.get(taken..).unwrap_or_default();
            if open.is_whole()
                && let Some(whole) = self.open.take()
            {
                self.store(&whole, (0, whole.filled)).await?;
            }
        }
        Ok(())
    }

    /// Stores what is new in the open segment.
    async fn store_part(&mut self) -> Result<(), Trouble> {
        let Some(mut open) = self.open.take() else {
            return Ok(());
        };
        let (from, to) = (open.stored, open.filled);
        let stored = if from < to {
            self.store(&open, (from, to)).await
        } else {
            Ok(())
        };
        if stored.is_ok() {
            open.stored = open.stored.max(to);
        }
        self.open = Some(open);
        stored
    }

    /// Stores what lies between two offsets of a segment, notes it, and tells the server.
    async fn store(&mut self, open: &OpenSegment, (from, to): (u64, u64)) -> Result<(), Trouble> {
        let start = open.segment.start(self.span.segment);
        let places = (start.plus(from), start.plus(to));
        let is_part = to - from < self.span.segment.bytes();
        let (segment, copy) = (open.segment, drawn(self.deps.entropy.as_ref()));
        let object = if is_part {
            Object::Part {
                segment,
                from,
                to,
                copy,
            }
        } else {
            Object::Segment { segment, copy }
        };
        let home = Home {
            database: self.span.database,
            system: self.span.system,
        };
        let key = object.key(home, self.span.segment);
        let label = Label::of(&self.span, places, self.covered_at);
        let deps = self.deps;
        let read = open.reader();
        let storing = async {
            // It is never closed.
            let _permit = deps.limits.packed.acquire().await;
            let recipients = deps.recipients.clone();
            let packed = tokio::task::spawn_blocking(move || {
                let content = read(from, to)?;
                Ok::<_, Trouble>(recipients.seal(&label, &content)?)
            });
            let sealed = packed.await.map_err(std::io::Error::other)??;
            Ok::<_, Trouble>(deps.destination.put(&key, sealed).await?)
        };
        let stored = self.while_alive(storing).await?;
        self.note(LogObject {
            object: stored,
            from: places.0,
            to: places.1,
            last_at: self.covered_at,
            is_part,
        })
        .await?;
        self.stored.send_if_modified(|stored| {
            let is_more = *stored < places.1;
            *stored = (*stored).max(places.1);
            is_more
        });
        self.confirm(false).await
    }

    /// Writes down what is stored; parts whose whole is there go.
    async fn note(&mut self, object: LogObject) -> Result<(), Trouble> {
        let mut tx = self.lead.begin(&self.deps.store).await?;
        let parts = tx.note_log_object(&self.span, &object).await?;
        tx.extend_span(self.span.id, object.to, object.last_at).await?;
        tx.commit().await?;
        for part in parts {
            // What cannot be removed now, because it is locked or the storage is away, is removed with the rest later.
            if let Err(error) = self.deps.destination.delete(&part).await {
                tracing::info!(key = part, %error, "backup.part_stays");
            }
        }
        Ok(())
    }

    /// Does something that may take long, and shows the server meanwhile that somebody is there.
    async fn while_alive(
        &mut self,
        storing: impl Future<Output = Result<StoredObject, Trouble>>,
    ) -> Result<StoredObject, Trouble> {
        let mut storing = std::pin::pin!(storing);
        let mut alive = tokio::time::interval(ALIVE_EVERY);
        loop {
            tokio::select! {
                stored = &mut storing => return stored,
                _ = alive.tick() => self.confirm(false).await?,
            }
        }
    }

    /// Tells the server what is stored, and may ask it to say something.
    async fn confirm(&mut self, asks: bool) -> Result<(), Trouble> {
        let stored = *self.stored.borrow();
        let now = self.deps.clock.now();
        Ok(self.stream.confirm((self.expected, stored), asks, now).await?)
    }
}
