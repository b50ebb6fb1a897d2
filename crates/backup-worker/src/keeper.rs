//! Looks after one database: its log is stored as it is written, and copies are made of the whole.

use std::net::SocketAddr;
use std::time::Duration;

use slipway_domain::backup::StreamState;
use slipway_domain::database::{DatabasePasswords, PORT};
use slipway_domain::domains::Reason;
use slipway_domain::ids::DatabaseId;
use slipway_domain::ports::ServerLogin;
use slipway_postgres::Replication;
use slipway_store::Database;
use slipway_store::StoreError;
use tokio::sync::watch;

use crate::base::Bases;
use crate::lead::Lead;
use crate::log::Log;
use crate::stretch::{ended, established, resume_at, slot_name};
use crate::trouble::Trouble;
use crate::{Deps, stretch};

/// What is tried again is tried again after so many seconds, and less and less often.
const PAUSE_FIRST: Duration = Duration::from_secs(1);
const PAUSE_DOUBLINGS_MAX: u32 = 5;
/// One that has no server yet is asked for again after that.
const NOT_YET: Duration = Duration::from_secs(5);
/// A server says what it is asked within that, or is away.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// Looks after one database until it is no more.
pub(crate) async fn keep(deps: &Deps, lead: Lead, id: DatabaseId, mut hints: watch::Receiver<()>) {
    let mut keeper = Keeper {
        deps,
        lead,
        id,
        noted: None,
    };
    let mut failures = 0;
    loop {
        hints.mark_unchanged();
        let row = match keeper.row().await {
            Ok(Some(row)) if row.deleted_at.is_none() => row,
            Ok(_) => return,
            Err(error) => {
                tracing::warn!(database = %id, %error, "backup.database_unknown");
                tokio::time::sleep(NOT_YET).await;
                continue;
            }
        };
        if row.status.ready_at.is_none() {
            tokio::select! {
                () = tokio::time::sleep(NOT_YET) => {}
                _ = hints.changed() => {}
            }
            continue;
        }
        let begun = tokio::time::Instant::now();
        let trouble = Box::pin(keeper.look_after(row, hints.clone())).await;
        if matches!(trouble, Trouble::Store(StoreError::Fenced)) {
            return;
        }
        // One that held for a while begins anew.
        failures = if begun.elapsed() > Duration::from_mins(1) {
            1
        } else {
            failures + 1_u32
        };
        keeper.note(StreamState::Failing, Some(trouble.reason())).await;
        tokio::time::sleep(PAUSE_FIRST * 2_u32.pow(failures.saturating_sub(1).min(PAUSE_DOUBLINGS_MAX))).await;
    }
}

struct Keeper<'a> {
    deps: &'a Deps,
    lead: Lead,
    id: DatabaseId,
    noted: Option<(StreamState, Option<Reason>)>,
}

impl Keeper<'_> {
    async fn row(&self) -> Result<Option<Database>, StoreError> {
        let mut tx = self.deps.store.begin().await?;
        tx.database_by_id(self.id).await
    }

    /// Until something is wrong.
    async fn look_after(&mut self, row: Database, hints: watch::Receiver<()>) -> Trouble {
        match Box::pin(self.begin(row, hints)).await {
            Ok(trouble) | Err(trouble) => trouble,
        }
    }

    async fn begin(&mut self, row: Database, hints: watch::Receiver<()>) -> Result<Trouble, Trouble> {
        let (deps, lead) = (self.deps, self.lead);
        let login = login(deps, &row).await?;
        let mut line = answered(Replication::open(&login)).await?;
        let span = Box::pin(answered_about(established(deps, lead, &mut line, row.id))).await?;
        let stream = match answered(line.stream(&slot_name()?, resume_at(&span), span.timeline)).await {
            Err(Trouble::Server(error)) if error.is_gone() => {
                let trouble = Trouble::Server(error);
                ended(deps, lead, &span, &trouble.reason()).await?;
                return Err(trouble);
            }
            other => other?,
        };
        self.note(StreamState::Streaming, None).await;
        let log = Log::new(deps, lead, span.clone(), stream);
        let bases = Bases {
            deps,
            lead,
            row,
            login,
            span: span.clone(),
            stored: log.progress(),
        };
        let trouble = tokio::select! {
            trouble = log.run() => trouble,
            trouble = bases.run(hints) => trouble,
        };
        if matches!(trouble, Trouble::Gap { .. } | Trouble::Switched(_)) {
            stretch::ended(deps, lead, &span, &trouble.reason()).await?;
        }
        Ok(trouble)
    }

    /// Notes where it stands, if that is new.
    async fn note(&mut self, state: StreamState, reason: Option<Reason>) {
        let noted = Some((state, reason.clone()));
        if noted == self.noted {
            return;
        }
        let (code, detail) = (reason.as_ref().map(|r| &r.code), reason.as_ref().map(|r| &r.detail));
        tracing::info!(database = %self.id, state = state.as_str(), code, detail, "backup.stream");
        let written = async {
            let mut tx = self.lead.begin(&self.deps.store).await?;
            tx.note_backup_stream(self.id, (state, reason.as_ref()), self.deps.clock.now())
                .await?;
            tx.commit().await
        };
        match written.await {
            Ok(()) => self.noted = noted,
            Err(error) => tracing::warn!(database = %self.id, %error, "backup.stream_not_noted"),
        }
    }
}

async fn answered<T>(asked: impl Future<Output = Result<T, slipway_postgres::ReplicationError>>) -> Result<T, Trouble> {
    answered_about(async { asked.await.map_err(Trouble::from) }).await
}

async fn answered_about<T>(asked: impl Future<Output = Result<T, Trouble>>) -> Result<T, Trouble> {
    let answered = tokio::time::timeout(ANSWER_MAX, asked).await;
    answered.unwrap_or_else(|_| {
        let text = format!("it did not answer within {} s", ANSWER_MAX.as_secs());
        Err(slipway_postgres::ReplicationError::Away(text).into())
    })
}

async fn login(deps: &Deps, row: &Database) -> Result<ServerLogin, Trouble> {
    let found = deps.engine.database(row.id, &row.name).await?;
    let address = found.filter(|found| found.running).and_then(|found| found.address);
    let address = address.ok_or(Trouble::Stopped)?;
    let id = row.id.to_string();
    let context = DatabasePasswords::seal_context(row.team, &id);
    let opened = deps.sealer.open(context, &row.sealed_passwords);
    let opened = opened.map_err(|error| Trouble::Passwords(error.to_string()))?;
    let passwords = DatabasePasswords::parse(&opened).ok_or_else(|| Trouble::Passwords("they are damaged".into()))?;
    Ok(ServerLogin {
        address: SocketAddr::new(address, PORT),
        password: passwords.backup,
    })
}
