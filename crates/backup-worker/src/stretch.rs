//! Where a log is gone on with: the rule that no hole is passed over.

use slipway_domain::backup::{Home, Lsn, Object, Segment, SegmentSize};
use slipway_domain::domains::Reason;
use slipway_domain::ids::{DatabaseId, SpanId};
use slipway_domain::quantity::Bytes;
use slipway_postgres::{Replication, ReplicationError, Slot, SlotName, SystemIdentity};
use slipway_store::LogSpan;

use crate::lead::Lead;
use crate::trouble::Trouble;
use crate::{Deps, log};

/// Every server has one of this name: it is not shared.
const SLOT: &str = "slipway_backup";

/// The slot that keeps a server's log until it is stored.
pub(crate) fn slot_name() -> Result<SlotName, Trouble> {
    SlotName::new(SLOT).ok_or_else(|| ReplicationError::Unexpected("no name of a slot".into()).into())
}

/// The stretch that the log of a server goes on with; another one where the last one cannot be gone on with.
pub(crate) async fn established(
    deps: &Deps,
    lead: Lead,
    line: &mut Replication,
    database: DatabaseId,
) -> Result<LogSpan, Trouble> {
    let server = line.identify().await?;
    let name = slot_name()?;
    let slot = line.slot(&name).await?;
    let mut tx = deps.store.begin().await?;
    let last = tx.open_span(database).await?;
    drop(tx);
    let Some(last) = last else {
        return begun(deps, lead, line, database, &server).await;
    };
    let Some(broken) = broken(&last, &server, slot.as_ref()) else {
        return Ok(last);
    };
    tracing::warn!(%database, reason = broken.detail, "backup.log_interrupted");
    ended(deps, lead, &last, &broken).await?;
    begun(deps, lead, line, database, &server).await
}

/// Notes that a stretch does not go on.
pub(crate) async fn ended(deps: &Deps, lead: Lead, span: &LogSpan, why: &Reason) -> Result<(), Trouble> {
    let mut tx = lead.begin(&deps.store).await?;
    tx.end_span(span.id, why, deps.clock.now()).await?;
    Ok(tx.commit().await?)
}

/// Why a stretch cannot be gone on with, if it cannot.
fn broken(last: &LogSpan, server: &SystemIdentity, slot: Option<&Slot>) -> Option<Reason> {
    let why = |code: &str, detail: String| {
        Some(Reason {
            code: code.into(),
            detail,
            hint: "A new copy is made; what was stored before stays restorable.".into(),
        })
    };
    if server.system != last.system {
        return why("another_server", "Its files are another server's than before.".into());
    }
    if server.timeline != last.timeline {
        let detail = format!("Its server went on in timeline {}.", server.timeline.0);
        return why("timeline_switched", detail);
    }
    if server.flushed < last.to {
        let detail = format!(
            "Its log ends at {}, before {}, which is stored already.",
            server.flushed, last.to
        );
        return why("log_went_back", detail);
    }
    match slot.map(|slot| slot.restart) {
        None => why("slot_gone", "The slot that kept its log is gone.".into()),
        Some(None) => why(
            "log_removed",
            "Its server removed a piece of its log that was not stored yet: it was as long as it may be.".into(),
        ),
        Some(Some(kept)) if kept > last.to => {
            let detail = format!("Its log is kept from {kept} on only; it is stored up to {}.", last.to);
            why("log_removed", detail)
        }
        Some(Some(_)) => None,
    }
}

async fn begun(
    deps: &Deps,
    lead: Lead,
    line: &mut Replication,
    database: DatabaseId,
    server: &SystemIdentity,
) -> Result<LogSpan, Trouble> {
    let unreadable = |what: &str| ReplicationError::Unexpected(format!("the server sent {what}"));
    let size = line.setting("wal_segment_size").await?;
    let size = segment_size(&size).ok_or_else(|| unreadable("a segment size that is none"))?;
    let name = slot_name()?;
    if line.slot(&name).await?.is_some() {
        line.drop_slot(&name).await?;
    }
    line.create_slot(&name).await?;
    let slot = line.slot(&name).await?;
    let kept = slot
        .and_then(|slot| slot.restart)
        .ok_or_else(|| unreadable("a slot that keeps nothing"))?;
    let from = Segment::at(server.timeline, kept, size).start(size);
    if server.timeline.0 > 1 {
        let history = line.timeline_history(server.timeline).await?;
        let home = Home {
            database,
            system: server.system,
        };
        let sealed = deps
            .recipients
            .seal(&log::Label::history(home, server.timeline), &history)?;
        let object = Object::History {
            timeline: server.timeline,
            copy: log::drawn(deps.entropy.as_ref()),
        };
        deps.destination.put(&object.key(home, size), sealed).await?;
    }
    let now = deps.clock.now();
    let span = LogSpan {
        id: SpanId::mint(now, deps.entropy.as_ref()),
        database,
        system: server.system,
        timeline: server.timeline,
        segment: size,
        from,
        to: from,
        began_at: now,
        covered_at: now,
        ended: None,
    };
    let mut tx = lead.begin(&deps.store).await?;
    tx.begin_span(&span).await?;
    tx.commit().await?;
    tracing::info!(%database, from = %span.from, timeline = span.timeline.0, "backup.log_begun");
    Ok(span)
}

/// As the server writes it, such as `16MB`.
fn segment_size(text: &str) -> Option<SegmentSize> {
    let (number, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "kB" => 1 << 10,
        "MB" => 1 << 20,
        "GB" => 1 << 30,
        _ => return None,
    };
    SegmentSize::of(Bytes(number.parse().ok()?).0.checked_mul(unit)?)
}

/// Where the first byte is to be asked for that a stretch goes on with: servers send whole segments to who begins one.
pub(crate) fn resume_at(span: &LogSpan) -> Lsn {
    Segment::at(span.timeline, span.to, span.segment).start(span.segment)
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::backup::Timeline;
    use slipway_domain::clock::testing::{FixedEntropy, at};

    fn span() -> LogSpan {
        LogSpan {
            id: SpanId::mint(at(1_000), &FixedEntropy(1)),
            database: DatabaseId::mint(at(1_000), &FixedEntropy(2)),
            system: 7,
            timeline: Timeline(1),
            segment: SegmentSize::of(1 << 20).expect("a size"),
            from: Lsn(0x10_0000),
            to: Lsn(0x28_0000),
            began_at: at(1_000),
            covered_at: at(2_000),
            ended: None,
        }
    }

    #[test]
    fn a_stretch_goes_on_only_where_nothing_is_missing() {
        let server = |system, timeline, flushed| SystemIdentity {
            system,
            timeline: Timeline(timeline),
            flushed: Lsn(flushed),
        };
        let slot = |restart: Option<u64>| Slot {
            restart: restart.map(Lsn),
            timeline: Some(Timeline(1)),
        };
        let good = server(7, 1, 0x30_0000);
        let code = |server: &SystemIdentity, slot: Option<Slot>| broken(&span(), server, slot.as_ref()).map(|r| r.code);
        assert_eq!(code(&good, Some(slot(Some(0x28_0000)))), None);
        assert_eq!(code(&good, Some(slot(Some(0x20_0000)))), None);
        let cases = [
            (good.clone(), None, "slot_gone"),
            (good.clone(), Some(slot(None)), "log_removed"),
            (good.clone(), Some(slot(Some(0x28_0001))), "log_removed"),
            (server(8, 1, 0x30_0000), Some(slot(Some(0))), "another_server"),
            (server(7, 2, 0x30_0000), Some(slot(Some(0))), "timeline_switched"),
            (server(7, 1, 0x27_FFFF), Some(slot(Some(0))), "log_went_back"),
        ];
        for (server, slot, expected) in cases {
            assert_eq!(code(&server, slot).as_deref(), Some(expected));
        }
        assert_eq!(resume_at(&span()), Lsn(0x20_0000));
    }

    #[test]
    fn sizes_are_read_as_the_server_writes_them() {
        for (text, bytes) in [
            ("16MB", Some(16 << 20)),
            ("1GB", Some(1 << 30)),
            ("1024kB", Some(1 << 20)),
            ("16", None),
            ("3MB", None),
            ("", None),
        ] {
            assert_eq!(segment_size(text).map(SegmentSize::bytes), bytes, "{text}");
        }
    }
}
