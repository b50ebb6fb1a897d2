//! Copies of whole servers.
//!
//! Promises: a copy counts only once its last object is stored, which names all others, each read back; and that is
//! written only when the log that belongs to it is stored as well. The server verifies the checksum of every page on
//! the way, and one that is wrong fails the copy.

use std::time::Duration;

use slipway_domain::Timestamp;
use slipway_domain::backup::{BackupKind, BackupState, BaseSet, Home, Lsn, Object, StoredObject};
use slipway_domain::domains::Reason;
use slipway_domain::ids::BackupId;
use slipway_domain::ports::ServerLogin;
use slipway_postgres::{BaseBackup, BaseEnd, BaseEvent, Replication, ReplicationError};
use slipway_store::Database;
use slipway_store::{Backup, LogSpan};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::destination::Upload;
use crate::lead::Lead;
use crate::schedule::{again_at, due_at};
use crate::seal::Sealing;
use crate::trouble::Trouble;
use crate::{Deps, log};

/// How often it is noted how far a copy is.
const PROGRESS_EVERY: Duration = Duration::from_secs(2);
/// Behind every hint stands a look of our own.
const POLL: Duration = Duration::from_mins(1);
/// Who asked for what nobody asked for.
const PLATFORM: &str = "platform";

/// Makes the copies of one server, as long as its log is stored.
pub(crate) struct Bases<'a> {
    pub(crate) deps: &'a Deps,
    pub(crate) lead: Lead,
    pub(crate) row: Database,
    pub(crate) login: ServerLogin,
    pub(crate) span: LogSpan,
    /// Up to where the log is stored.
    pub(crate) stored: watch::Receiver<Lsn>,
}

impl Bases<'_> {
    /// Makes copies when they are due or asked for, until the platform's database cannot be used.
    pub(crate) async fn run(mut self, mut hints: watch::Receiver<()>) -> Trouble {
        let mut failures = 0;
        let mut failed_at = None;
        loop {
            hints.mark_unchanged();
            let next = match self.next(failures, failed_at).await {
                Ok(next) => next,
                Err(trouble) => return trouble,
            };
            let wait = match next {
                Next::Now(backup) => {
                    let _permit = self.deps.limits.bases.acquire().await;
                    match self.make(&backup).await {
                        Ok(()) => failures = 0,
                        Err(Trouble::Store(error)) => return error.into(),
                        Err(trouble) => {
                            failures += 1;
                            failed_at = Some(self.deps.clock.now());
                            if let Err(error) = self.failed(&backup, &trouble.reason()).await {
                                return error;
                            }
                        }
                    }
                    continue;
                }
                Next::At(at) => (at - self.deps.clock.now()).to_std().unwrap_or_default().min(POLL),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = hints.changed() => {}
            }
        }
    }

    async fn next(&self, failures: u32, failed_at: Option<Timestamp>) -> Result<Next, Trouble> {
        let now = self.deps.clock.now();
        let mut tx = self.lead.begin(&self.deps.store).await?;
        let pending = tx.pending_backup(self.row.id).await?;
        match pending {
            Some(backup) if backup.state == BackupState::Waiting => return Ok(Next::Now(Box::new(backup))),
            // Whoever made it is no more: what was stored of it is no backup.
            Some(backup) => {
                tx.backup_failed(backup.id, &interrupted(), now).await?;
                let again = self.asked(&backup.requested_by, now);
                tx.ask_backup(&again).await?;
                tx.commit().await?;
                return Ok(Next::Now(Box::new(again)));
            }
            None => {}
        }
        let mut due = due_at(tx.last_base(self.span.id).await?, now);
        if let Some(failed_at) = failed_at.filter(|_| failures > 0) {
            due = due.max(again_at(failures, failed_at));
        }
        if due > now {
            return Ok(Next::At(due));
        }
        let backup = self.asked(PLATFORM, now);
        tx.ask_backup(&backup).await?;
        tx.commit().await?;
        Ok(Next::Now(Box::new(backup)))
    }

    fn asked(&self, by: &str, now: Timestamp) -> Backup {
        Backup {
            id: BackupId::mint(now, self.deps.entropy.as_ref()),
            database: self.row.id,
            database_name: self.row.name.clone(),
            team: self.row.team,
            kind: BackupKind::Base,
            state: BackupState::Waiting,
            reason: None,
            requested_by: by.to_owned(),
            created_at: now,
            started_at: None,
            ended_at: None,
            span: None,
            range: None,
            source_bytes: None,
            done_bytes: 0,
            stored_bytes: None,
        }
    }

    async fn failed(&self, backup: &Backup, why: &Reason) -> Result<(), Trouble> {
        tracing::warn!(database = %self.row.name, backup = %backup.id, reason = why.code, detail = why.detail, "backup.failed");
        let mut tx = self.lead.begin(&self.deps.store).await?;
        tx.backup_failed(backup.id, why, self.deps.clock.now()).await?;
        Ok(tx.commit().await?)
    }

    async fn make(&mut self, backup: &Backup) -> Result<(), Trouble> {
        let started_at = self.deps.clock.now();
        let mut line = Replication::open(&self.login).await?;
        let server_version = line.setting("server_version").await?;
        let base = line.base_backup(&backup.id.to_string()).await?;
        let start = base.start();
        if start.timeline != self.span.timeline {
            return Err(Trouble::Switched(start.timeline.0));
        }
        let mut tx = self.lead.begin(&self.deps.store).await?;
        tx.begin_backup(backup.id, self.span.id, start.bytes, started_at)
            .await?;
        tx.commit().await?;
        let home = Home {
            database: self.row.id,
            system: self.span.system,
        };
        let mut copy = Copy {
            bases: self,
            backup: backup.id,
            home,
            objects: Vec::new(),
            current: None,
            read: 0,
        };
        let stored = copy.receive(base).await;
        let (end, source_bytes) = match stored {
            Ok(done) => done,
            Err(trouble) => {
                copy.give_up().await;
                return Err(trouble);
            }
        };
        let objects = copy.objects;
        let ended_at = self.deps.clock.now();
        // Nothing of it can be used before the log that was written meanwhile is there.
        let reached = self.stored.wait_for(|stored| *stored >= end.at).await;
        reached.map_err(|_| ReplicationError::Away("its log is not stored any more".into()))?;
        let set = BaseSet {
            id: backup.id,
            home,
            name: self.row.name.to_string(),
            server_version,
            segment: self.span.segment,
            timeline: start.timeline,
            from: start.at,
            to: end.at,
            started_at,
            ended_at,
            source_bytes,
            objects,
        };
        self.commit(&set).await
    }

    async fn commit(&self, set: &BaseSet) -> Result<(), Trouble> {
        let text = set.to_json().map_err(|e| std::io::Error::other(e.to_string()))?;
        let key = Object::Commit(set.id).key(set.home, set.segment);
        let commit = self.deps.destination.put(&key, text.into()).await?;
        let bytes = set.objects.iter().map(|o| o.bytes).sum::<u64>() + commit.bytes;
        let mut tx = self.lead.begin(&self.deps.store).await?;
        tx.backup_stored(set.id, (set.from, set.to), bytes, self.deps.clock.now())
            .await?;
        tx.commit().await?;
        tracing::info!(database = %self.row.name, backup = %set.id, bytes, source_bytes = set.source_bytes, "backup.stored");
        Ok(())
    }
}

enum Next {
    Now(Box<Backup>),
    At(Timestamp),
}

fn interrupted() -> Reason {
    Reason {
        code: "interrupted".into(),
        detail: "The process that made it ended.".into(),
        hint: "Another one is made in its place.".into(),
    }
}

/// A copy that is being received.
struct Copy<'a, 'b> {
    bases: &'a Bases<'b>,
    backup: BackupId,
    home: Home,
    objects: Vec<StoredObject>,
    current: Option<(Upload, Sealing)>,
    read: u64,
}

impl Copy<'_, '_> {
    async fn receive(&mut self, mut base: BaseBackup) -> Result<(BaseEnd, u64), Trouble> {
        let mut manifest = Vec::new();
        let mut told_at = Instant::now();
        loop {
            match base.next().await? {
                BaseEvent::Archive(name) => {
                    let name = name.trim_end_matches(".zst").trim_end_matches(".tar").to_owned();
                    self.begin(&Object::Archive {
                        backup: self.backup,
                        name,
                    })
                    .await?;
                }
                BaseEvent::Data(piece) => self.push(&piece).await?,
                BaseEvent::Read(bytes) => {
                    self.read = bytes;
                    if told_at.elapsed() >= PROGRESS_EVERY {
                        told_at = Instant::now();
                        let mut tx = self.bases.lead.begin(&self.bases.deps.store).await?;
                        tx.note_backup_progress(self.backup, bytes).await?;
                        tx.commit().await?;
                    }
                }
                BaseEvent::Manifest => self.finish().await?,
                BaseEvent::ManifestData(piece) => manifest.extend_from_slice(&piece),
                BaseEvent::End(end) => {
                    self.finish().await?;
                    self.manifest(&manifest).await?;
                    return Ok((end, self.read));
                }
            }
        }
    }

    async fn begin(&mut self, object: &Object) -> Result<(), Trouble> {
        self.finish().await?;
        let deps = self.bases.deps;
        let upload = deps.destination.upload(&object.key(self.home, self.bases.span.segment));
        self.current = Some((upload, deps.recipients.sealing()?));
        Ok(())
    }

    async fn push(&mut self, piece: &[u8]) -> Result<(), Trouble> {
        let (upload, sealing) = self
            .current
            .as_mut()
            .ok_or_else(|| ReplicationError::Unexpected("the server sent data of no archive".into()))?;
        let sealed = sealing.push(piece)?;
        if !sealed.is_empty() {
            upload.push(sealed).await?;
        }
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), Trouble> {
        if let Some((mut upload, sealing)) = self.current.take() {
            let pushed = upload.push(sealing.finish()?).await;
            if let Err(error) = pushed {
                upload.abort().await;
                return Err(error.into());
            }
            self.objects.push(upload.finish().await?);
        }
        Ok(())
    }

    async fn manifest(&mut self, manifest: &[u8]) -> Result<(), Trouble> {
        let deps = self.bases.deps;
        let key = Object::Manifest(self.backup).key(self.home, self.bases.span.segment);
        let sealed = deps
            .recipients
            .seal(&log::Label::history(self.home, self.bases.span.timeline), manifest)?;
        self.objects.push(deps.destination.put(&key, sealed).await?);
        Ok(())
    }

    /// Removes what was stored of it, as far as that can be done now.
    async fn give_up(&mut self) {
        if let Some((mut upload, _)) = self.current.take() {
            upload.abort().await;
        }
        for object in &self.objects {
            if let Err(error) = self.bases.deps.destination.delete(&object.key).await {
                tracing::info!(key = object.key, %error, "backup.object_stays");
            }
        }
    }
}
