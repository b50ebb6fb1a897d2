//! An idempotency key that a request has taken, until it is settled: answered, or given up.
//!
//! Promises: a key is settled even if the database is away or silent when it should be: it is tried again until it is
//! there, so that who repeats the call is not told for long that the first one is under way. What is tried late concerns
//! the request that took the key only, never one that took it after.

use std::sync::Arc;
use std::time::Duration;

use slipway_domain::Timestamp;
use slipway_domain::ids::TokenId;
use slipway_store::{Idempotent, StoreError, StoredAnswer};
use tokio::sync::Semaphore;

use crate::state::Shared;

const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(8);
/// After so many tries the sweep of what never ended takes over.
const TRIES_MAX: u32 = 100;
/// So many wait for the database at once; what comes on top is left to the sweep too.
static WAITING: Semaphore = Semaphore::const_new(256);

/// Who has taken which key, and when.
#[derive(Debug, Clone)]
pub(crate) struct Claim {
    pub(crate) token: TokenId,
    pub(crate) key: String,
    pub(crate) taken_at: Timestamp,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum End {
    /// With an answer for all who repeat it.
    Answered(StoredAnswer),
    /// Without having changed anything.
    GivenUp,
}

impl Claim {
    /// Takes the key, or says what became of the request that has it.
    pub(crate) async fn take(&self, state: &Arc<Shared>, hash: &[u8; 32]) -> Result<Idempotent, StoreError> {
        let mut tx = state.store.begin().await?;
        let taken = async {
            let since = state.started_at;
            let first = tx
                .begin_idempotent(self.token, &self.key, hash, self.taken_at, since)
                .await?;
            tx.commit().await?;
            Ok(first)
        };
        let taken = taken.await;
        if taken.is_err() {
            // It may have been taken all the same.
            self.clone().settle_later(state, End::GivenUp);
        }
        taken
    }

    /// Writes how the request ended, now or as soon as it can be.
    pub(crate) async fn settle(self, state: &Arc<Shared>, end: End) {
        if let Err(error) = self.write(state, &end).await {
            tracing::warn!(%error, "idempotency.not_settled: it is tried again");
            self.settle_later(state, end);
        }
    }

    fn settle_later(self, state: &Arc<Shared>, end: End) {
        let Ok(place) = WAITING.try_acquire() else {
            return;
        };
        let state = Arc::clone(state);
        tokio::spawn(async move {
            let mut pause = PAUSE_MIN;
            for _ in 0..TRIES_MAX {
                tokio::time::sleep(pause).await;
                if self.write(&state, &end).await.is_ok() {
                    break;
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
            drop(place);
        });
    }

    async fn write(&self, state: &Shared, end: &End) -> Result<(), StoreError> {
        let mut tx = state.store.begin().await?;
        match end {
            End::Answered(answer) => {
                tx.finish_idempotent(self.token, &self.key, self.taken_at, answer)
                    .await?;
            }
            End::GivenUp => tx.forget_idempotent(self.token, &self.key, self.taken_at).await?,
        }
        tx.commit().await
    }
}
