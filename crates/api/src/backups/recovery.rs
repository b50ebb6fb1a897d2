//! `GET /v1/databases/{database}/recovery`: which moments can be restored, and what would be lost now.

use slipway_domain::Timestamp;
use slipway_domain::backup::{StreamState, windows};
use slipway_store::{Backup, LogSpan, StreamStatus};
use slipway_wire::backups as wire;

use super::{copies, stretches};
use crate::call::Call;
use crate::domains::reason;
use crate::error::Result;
use crate::extract::Names;

/// What may be lost at most: what is written goes up every five seconds, and needs a while.
const RPO_SECONDS: u64 = 10;

/// Tell how a database could be restored.
#[utoipa::path(get, path = "/v1/databases/{database}/recovery", tag = "databases", operation_id = "database_recovery",
    params(("database" = String, Path, description = "The database's name.")),
    responses((status = 200, description = "What can be restored.", body = wire::Recovery)))]
pub(crate) async fn database_recovery(call: Call, Names(name): Names<String>) -> Result<axum::Json<wire::Recovery>> {
    let mut tx = call.begin().await?;
    let database = call.database(&mut tx, &name).await?;
    let spans = tx.spans(database.id).await?;
    let bases = tx.stored_bases(database.id).await?;
    let stream = tx.backup_stream(database.id).await?;
    Ok(axum::Json(recovery(&spans, &bases, stream, call.now())))
}

fn recovery(spans: &[LogSpan], bases: &[Backup], stream: Option<StreamStatus>, now: Timestamp) -> wire::Recovery {
    let windows = windows(&stretches(spans), &copies(bases)).into_iter();
    let windows = windows.map(|(from, to)| wire::RecoveryWindow { from, to });
    let gaps = spans.iter().filter_map(|span| {
        let (at, why) = span.ended.clone()?;
        Some(wire::RecoveryGap {
            at,
            reason: reason(why),
        })
    });
    let windows: Vec<_> = windows.collect();
    let open = spans.iter().find(|span| span.ended.is_none());
    let covered = open.filter(|span| bases.iter().any(|base| base.span == Some(span.id)));
    let lost = covered.map(|span| (now - span.covered_at).num_seconds());
    wire::Recovery {
        stream: match stream.as_ref().map(|stream| stream.state) {
            Some(StreamState::Streaming) => wire::StreamState::Streaming,
            Some(StreamState::Failing) => wire::StreamState::Failing,
            Some(StreamState::Connecting) | None => wire::StreamState::Connecting,
        },
        stream_since: stream.as_ref().map(|stream| stream.since),
        reason: stream.and_then(|stream| stream.reason).map(reason),
        windows,
        gaps: gaps.collect(),
        declared_rpo_seconds: RPO_SECONDS,
        current_rpo_seconds: lost.map(|seconds| u64::try_from(seconds).unwrap_or_default()),
        last_backup_at: bases.iter().filter_map(|base| base.ended_at).max(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use slipway_domain::backup::{BackupKind, BackupState, Lsn, SegmentSize, Timeline};
    use slipway_domain::domains::Reason;
    use slipway_domain::ids::{BackupId, DatabaseId, SpanId, TeamId};

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + TimeDelta::minutes(minute)
    }

    fn span(number: u128, (began, covered): (i64, i64), ended: Option<i64>) -> LogSpan {
        LogSpan {
            id: SpanId::from_uuid(uuid::Uuid::from_u128(number)),
            database: DatabaseId::from_uuid(uuid::Uuid::from_u128(1)),
            system: 1,
            timeline: Timeline(1),
            segment: SegmentSize::of(1 << 20).expect("a size"),
            from: Lsn(0),
            to: Lsn(1_000),
            began_at: at(began),
            covered_at: at(covered),
            ended: ended.map(|ended| {
                let why = Reason {
                    code: "slot_gone".into(),
                    detail: "It is gone.".into(),
                    hint: String::new(),
                };
                (at(ended), why)
            }),
        }
    }

    fn base(span: u128, ended: i64, to: u64) -> Backup {
        Backup {
            id: BackupId::from_uuid(uuid::Uuid::from_u128(u128::from(to))),
            database: DatabaseId::from_uuid(uuid::Uuid::from_u128(1)),
            database_name: "orders".parse().expect("a name"),
            team: TeamId::from_uuid(uuid::Uuid::from_u128(1)),
            kind: BackupKind::Base,
            state: BackupState::Stored,
            reason: None,
            requested_by: "platform".into(),
            created_at: at(ended),
            started_at: Some(at(ended)),
            ended_at: Some(at(ended)),
            span: Some(SpanId::from_uuid(uuid::Uuid::from_u128(span))),
            range: Some((Lsn(0), Lsn(to))),
            source_bytes: None,
            done_bytes: 0,
            stored_bytes: None,
        }
    }

    fn shown(found: &wire::Recovery) -> Vec<(Timestamp, Timestamp)> {
        found.windows.iter().map(|w| (w.from, w.to)).collect()
    }

    #[test]
    fn a_window_begins_with_the_first_copy_of_a_stretch_and_ends_with_what_is_stored() {
        let spans = [span(1, (0, 60), None)];
        let found = recovery(&spans, &[base(1, 30, 500), base(1, 20, 400)], None, at(61));
        assert_eq!(shown(&found), [(at(20), at(60))]);
        assert_eq!(
            (found.current_rpo_seconds, found.last_backup_at),
            (Some(60), Some(at(30)))
        );
        assert!(found.gaps.is_empty());
    }

    #[test]
    fn what_lies_between_two_stretches_is_no_window() {
        let spans = [span(1, (0, 60), Some(70)), span(2, (70, 100), None)];
        let found = recovery(&spans, &[base(1, 10, 500), base(2, 80, 900)], None, at(100));
        assert_eq!(shown(&found), [(at(10), at(60)), (at(80), at(100))]);
        assert_eq!(found.gaps.len(), 1);
        assert_eq!(found.gaps[0].at, at(70));
    }

    #[test]
    fn a_stretch_without_a_copy_restores_nothing_and_says_no_loss() {
        let spans = [span(1, (0, 60), None)];
        let found = recovery(&spans, &[], None, at(61));
        assert_eq!((shown(&found), found.current_rpo_seconds), (vec![], None));
        let unfinished = recovery(&spans, &[base(1, 30, 1_001)], None, at(61));
        assert_eq!(shown(&unfinished), []);
    }
}
