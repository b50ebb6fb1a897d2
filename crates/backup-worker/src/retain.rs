//! Gives up what need not be kept any more.
//!
//! Promises: what is given up is no backup from the first moment on: the object that makes a copy one goes first. What
//! cannot be removed now, because it is locked or the storage is away, is removed later. Nothing that a restore under way
//! needs goes.

use std::sync::Arc;

use slipway_domain::backup::{Home, Kept, Object, Retention, StoredCopy, kept};
use slipway_domain::ids::DatabaseId;
use slipway_store::{Backup, LogSpan, StoreError};
use tokio::sync::watch;
use tokio::time::Duration;

use crate::Deps;
use crate::lead::Lead;
use crate::trouble::Trouble;

/// How often it is looked for, hints or not.
const EVERY: Duration = Duration::from_hours(1);
/// Pieces of a log that are given up in one round of a database.
const PIECES_MAX: i64 = 1_000;

/// Looks through all databases again and again, those that are gone included.
pub(crate) async fn drive(deps: &Arc<Deps>, lead: Lead, mut hints: watch::Receiver<()>) {
    loop {
        hints.mark_unchanged();
        match databases(deps).await {
            Ok(all) => {
                for id in all {
                    if let Err(trouble) = Box::pin(round(deps, lead, id)).await {
                        tracing::warn!(database = %id, error = %trouble, "backup.nothing_given_up: it is tried again");
                    }
                }
            }
            Err(error) => tracing::warn!(%error, "backup.databases_unknown"),
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = hints.changed() => {}
        }
    }
}

async fn databases(deps: &Deps) -> Result<Vec<DatabaseId>, StoreError> {
    let mut tx = deps.store.begin().await?;
    tx.backed_up_databases().await
}

async fn round(deps: &Deps, lead: Lead, id: DatabaseId) -> Result<(), Trouble> {
    let mut tx = lead.begin(&deps.store).await?;
    if tx.pending_restores().await?.iter().any(|restore| restore.source == id) {
        return Ok(());
    }
    let spans = tx.spans(id).await?;
    let bases = tx.stored_bases(id).await?;
    let keeps = needed(
        &spans,
        &bases,
        kept(&copies(&bases), Retention::DEFAULT, deps.clock.now()),
    );
    for base in bases.iter().filter(|base| !keeps.copies.contains(&base.id)) {
        tx.expire_backup(base.id).await?;
    }
    let expiring = tx.expiring_backups(id).await?;
    let pieces = tx.unneeded_log_objects(id, &keeps.log, PIECES_MAX).await?;
    tx.commit().await?;
    for base in &expiring {
        give_up(deps, lead, &spans, base).await?;
    }
    for key in &pieces {
        deps.destination.delete(key).await?;
        let mut tx = lead.begin(&deps.store).await?;
        tx.forget_log_object(id, key).await?;
        tx.commit().await?;
    }
    if !expiring.is_empty() || !pieces.is_empty() {
        tracing::info!(database = %id, copies = expiring.len(), pieces = pieces.len(), "backup.given_up");
    }
    Ok(())
}

/// With the log of a stretch that has no copy yet: it is about to get one.
fn needed(spans: &[LogSpan], bases: &[Backup], mut keeps: Kept) -> Kept {
    for span in spans.iter().filter(|span| span.ended.is_none()) {
        if !bases.iter().any(|base| base.span == Some(span.id)) {
            keeps.log.push((span.id, span.from, None));
        }
    }
    keeps
}

fn copies(bases: &[Backup]) -> Vec<StoredCopy> {
    let copy = |base: &Backup| {
        let (from, to) = base.range?;
        Some(StoredCopy {
            id: base.id,
            span: base.span?,
            from,
            to,
            ended_at: base.ended_at?,
        })
    };
    bases.iter().filter_map(copy).collect()
}

async fn give_up(deps: &Deps, lead: Lead, spans: &[LogSpan], base: &Backup) -> Result<(), Trouble> {
    let span = spans
        .iter()
        .find(|span| base.span == Some(span.id))
        .ok_or(Trouble::Unwanted)?;
    let home = Home {
        database: base.database,
        system: span.system,
    };
    deps.destination
        .delete(&Object::Commit(base.id).key(home, span.segment))
        .await?;
    for (key, _) in deps.destination.list(&format!("{home}/base/{}", base.id)).await? {
        deps.destination.delete(&key).await?;
    }
    let mut tx = lead.begin(&deps.store).await?;
    tx.forget_backup(base.id).await?;
    Ok(tx.commit().await?)
}
