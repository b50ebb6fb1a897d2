//! Databases made from backups.
//!
//! Promises: what is restored is always another database than the one that was backed up; nothing is touched before all
//! that is needed was fetched and checked; what one that was given up has unpacked goes with its database.

mod fetch;
mod replay;

use std::collections::HashSet;
use std::sync::Arc;

use parking_lot::Mutex;
use slipway_domain::backup::RestorePhase;
use slipway_domain::database::DatabasePasswords;
use slipway_domain::domains::Reason;
use slipway_domain::ids::{DatabaseId, TeamId};
use slipway_domain::secret::Sealed;
use slipway_domain::{Epoch, Timestamp};
use slipway_engine::DatabaseSpec;
use slipway_store::{Database, LogSpan, Restore, StoreError};
use tokio::sync::watch;
use tokio::time::{Duration, Instant};

use crate::Deps;
use crate::lead::Lead;
use crate::trouble::Trouble;

/// Behind every hint stands a look of our own.
const POLL: Duration = Duration::from_secs(5);
/// How often it is noted how far one is.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Restores what is asked for, a few at once.
pub(crate) async fn drive(deps: &Arc<Deps>, lead: Lead, mut hints: watch::Receiver<()>) {
    let mut tasks = tokio::task::JoinSet::new();
    let busy: Arc<Mutex<HashSet<DatabaseId>>> = Arc::default();
    loop {
        hints.mark_unchanged();
        match pending(deps).await {
            Ok(pending) => {
                for restore in pending {
                    if !busy.lock().insert(restore.database) {
                        continue;
                    }
                    let (deps, busy) = (Arc::clone(deps), Arc::clone(&busy));
                    tasks.spawn(async move {
                        let _permit = deps.limits.restores.acquire().await;
                        Box::pin(one(&deps, lead, &restore)).await;
                        busy.lock().remove(&restore.database);
                    });
                }
            }
            Err(error) => tracing::warn!(%error, "restores.unknown"),
        }
        tokio::select! {
            () = tokio::time::sleep(POLL) => {}
            _ = hints.changed() => {}
            Some(_) = tasks.join_next() => {}
        }
    }
}

async fn pending(deps: &Deps) -> Result<Vec<Restore>, StoreError> {
    let mut tx = deps.store.begin().await?;
    tx.pending_restores().await
}

async fn one(deps: &Deps, lead: Lead, restore: &Restore) {
    let id = restore.database;
    let trouble = match Box::pin(attempt(deps, lead, restore)).await {
        Ok(()) => return,
        Err(trouble) => trouble,
    };
    match trouble {
        // Another leads, or the platform's own database is away: it is begun anew.
        Trouble::Store(error) => tracing::warn!(database = %id, %error, "restore.interrupted"),
        Trouble::NotYet => {}
        trouble => {
            let reason = trouble.reason();
            tracing::warn!(database = %id, code = reason.code, detail = reason.detail, "restore.failed");
            let ended = async {
                let mut tx = lead.begin(&deps.store).await?;
                tx.restore_failed(id, &failed(reason), deps.clock.now()).await?;
                tx.commit().await
            };
            if let Err(error) = ended.await {
                tracing::warn!(database = %id, %error, "restore.failure_not_noted");
            }
            if let Err(error) = deps.engine.end_restore(id).await {
                tracing::warn!(database = %id, %error, "restore.server_stays");
            }
        }
    }
}

fn failed(reason: Reason) -> Reason {
    Reason {
        hint: format!(
            "{} Delete the database and restore once more when that is mended.",
            reason.hint
        ),
        ..reason
    }
}

async fn attempt(deps: &Deps, lead: Lead, restore: &Restore) -> Result<(), Trouble> {
    let mut tx = deps.store.begin().await?;
    let Some(row) = tx
        .database_by_id(restore.database)
        .await?
        .filter(|row| row.deleted_at.is_none())
    else {
        return Err(Trouble::Unwanted);
    };
    let spans = tx.spans(restore.source).await?;
    let span = spans
        .into_iter()
        .find(|span| span.id == restore.span)
        .ok_or(Trouble::Unwanted)?;
    drop(tx);
    // The scheduler gets the image and finds a subnet.
    let Some(subnet) = row.status.subnet.clone() else {
        return Err(Trouble::NotYet);
    };
    if !deps.engine.has_image(&row.pin).await? {
        return Err(Trouble::NotYet);
    }
    let own = passwords(deps, row.team, restore.database, &row.sealed_passwords)?;
    let source = passwords(deps, row.team, restore.database, &restore.sealed_passwords)?;
    let spec = DatabaseSpec {
        installation: deps.installation.clone(),
        team: row.team,
        id: row.id,
        name: row.name.clone(),
        major: row.version.major(),
        image: row.pin.clone(),
        size: row.size,
        password: own.superuser.clone(),
        subnet,
        epoch: Epoch(0),
    };
    let work = Work {
        deps,
        lead,
        restore,
        row: &row,
        span: &span,
        spec,
        own,
        source,
    };
    work.run().await
}

fn passwords(deps: &Deps, team: TeamId, id: DatabaseId, sealed: &Sealed) -> Result<DatabasePasswords, Trouble> {
    let text = id.to_string();
    let opened = deps.sealer.open(DatabasePasswords::seal_context(team, &text), sealed);
    let opened = opened.map_err(|error| Trouble::Passwords(error.to_string()))?;
    DatabasePasswords::parse(&opened).ok_or_else(|| Trouble::Passwords("they are damaged".into()))
}

/// One restore.
struct Work<'a> {
    deps: &'a Deps,
    lead: Lead,
    restore: &'a Restore,
    row: &'a Database,
    span: &'a LogSpan,
    spec: DatabaseSpec,
    /// What the restored server is to have.
    own: DatabasePasswords,
    /// What it has until then.
    source: DatabasePasswords,
}

impl Work<'_> {
    async fn run(&self) -> Result<(), Trouble> {
        let deps = self.deps;
        let identities = deps.identities.as_ref().ok_or(Trouble::NoIdentity)?;
        self.note(RestorePhase::Fetching, (0, 0)).await?;
        let set = fetch::set(deps, self.span, self.restore).await?;
        let mut tx = deps.store.begin().await?;
        let pieces = tx.log_objects(self.span.id, (set.from, self.restore.to)).await?;
        drop(tx);
        let archives: Vec<_> = set
            .objects
            .iter()
            .filter(|object| object.key.ends_with(".tar.zst.age"))
            .collect();
        let total = archives.iter().map(|object| object.bytes).sum::<u64>()
            + pieces.iter().map(|piece| piece.object.bytes).sum::<u64>();
        let done = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let directory = tempfile::tempdir_in(&deps.spool)?;
        let fetching = async {
            let mut progress = |bytes: u64| {
                done.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
            };
            let mut files = Vec::new();
            for object in archives {
                files.push(fetch::archive(deps, object, &mut progress).await?);
            }
            let range = (set.from, self.restore.to);
            let log = fetch::log(
                deps,
                identities,
                (self.span, &pieces),
                range,
                (directory.path(), &mut progress),
            )
            .await?;
            Ok::<_, Trouble>((files, log))
        };
        let (files, log) = self.told(fetching, &done, total).await?;

        self.note(RestorePhase::Unpacking, (total, total)).await?;
        deps.engine.begin_restore(&self.spec).await?;
        for file in files {
            let stream = fetch::unpacked(identities, file);
            deps.engine.unpack_restore(&self.spec, stream).await?;
        }
        for segment in log {
            let name = segment.name(self.span.segment);
            let content = tokio::fs::read(directory.path().join(&name)).await?;
            deps.engine
                .put_restore(&self.spec, &format!("pg_wal/{name}"), &content)
                .await?;
        }
        deps.engine.put_restore(&self.spec, "recovery.signal", b"").await?;

        self.note(RestorePhase::Replaying, (total, total)).await?;
        let restored_to = replay::run(self).await?;
        let mut tx = self.lead.begin(&deps.store).await?;
        tx.restore_done(self.restore.database, restored_to, deps.clock.now())
            .await?;
        tx.commit().await?;
        tracing::info!(database = %self.row.name, source = %self.restore.source_name, ?restored_to, "restore.done");
        Ok(())
    }

    async fn note(&self, phase: RestorePhase, bytes: (u64, u64)) -> Result<(), Trouble> {
        let mut tx = self.lead.begin(&self.deps.store).await?;
        tx.note_restore(self.restore.database, phase, bytes, self.deps.clock.now())
            .await?;
        Ok(tx.commit().await?)
    }

    /// Does something, and notes meanwhile how far it is.
    async fn told<T>(
        &self,
        doing: impl Future<Output = Result<T, Trouble>>,
        done: &std::sync::atomic::AtomicU64,
        total: u64,
    ) -> Result<T, Trouble> {
        let mut doing = std::pin::pin!(doing);
        let mut tick = tokio::time::interval_at(Instant::now() + PROGRESS_EVERY, PROGRESS_EVERY);
        loop {
            tokio::select! {
                ended = &mut doing => return ended,
                _ = tick.tick() => {
                    let bytes = done.load(std::sync::atomic::Ordering::Relaxed);
                    self.note(RestorePhase::Fetching, (bytes, total)).await?;
                }
            }
        }
    }

    fn until(&self) -> Option<Timestamp> {
        self.restore.until
    }
}
