//! Tells somebody of each alert when it begins and when it is over.
//!
//! Promises: each is told at least once, however long nobody can be reached; what was over before anybody could be told
//! of it is not told.

use std::sync::Arc;
use std::time::Duration;

use slipway_domain::ports::Notifier;
use slipway_store::StoreError;

use crate::session::Session;

/// How often it is looked for what is still to be told.
const LOOK: Duration = Duration::from_secs(10);
/// The same, while somebody could not be told.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Tells what there is to tell for as long as the term lasts.
pub(crate) async fn tell(session: &Arc<Session>) {
    let Some(notifier) = session.deps.notifier.clone() else {
        return std::future::pending().await;
    };
    loop {
        let look = match tell_all(session, notifier.as_ref()).await {
            Ok(true) => LOOK,
            Ok(false) => LOOK_AGAIN,
            Err(error) => {
                tracing::warn!(%error, "alerts.unknown: the database does not answer");
                LOOK
            }
        };
        tokio::select! {
            () = tokio::time::sleep(look) => {}
            () = session.alerts.notified() => {}
        }
    }
}

/// Whether all were told that could be.
async fn tell_all(session: &Session, notifier: &dyn Notifier) -> Result<bool, StoreError> {
    let deps = &session.deps;
    let mut tx = deps.store.begin().await?;
    let untold = tx.untold_alerts(deps.clock.now()).await?;
    drop(tx);
    let mut all = true;
    for notice in untold {
        let told = notifier.tell(&notice).await;
        all &= told.is_ok();
        deps.observer.told(told.is_ok());
        let mut tx = deps.store.begin().await?;
        match told {
            Ok(()) => tx.alert_told(&notice).await?,
            Err(error) => {
                tracing::warn!(alert = %notice.id, error, "alert.not_told: it is tried again");
                tx.alert_not_told(&notice, deps.clock.now()).await?;
            }
        }
        tx.commit().await?;
    }
    Ok(all)
}
