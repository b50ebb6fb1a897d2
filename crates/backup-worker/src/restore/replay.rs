//! A server replays the log, and becomes the new database's own.
//!
//! A moment after the last transaction is none that the server ever reaches, and it refuses to go on; then it is replayed to
//! the end, and whether the last transaction was committed by that moment is checked afterwards. For a database that
//! sleeps at night that is the usual case.

use std::net::SocketAddr;
use std::time::Duration;

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::database::PORT;
use slipway_domain::ports::{DatabaseRoles, ServerError, ServerLogin};
use slipway_postgres::Adopted;
use tokio::time::Instant;

use super::Work;
use crate::trouble::Trouble;

/// How often the server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(200);
/// A replay takes as long as it takes, within reason.
const REPLAY_MAX: Duration = Duration::from_hours(24);
/// Commits are dated by the server's clock, in microseconds that are cut off.
const SLACK: TimeDelta = TimeDelta::milliseconds(1);

/// When the last transaction was committed that the restored server has.
pub(super) async fn run(work: &Work<'_>) -> Result<Option<Timestamp>, Trouble> {
    let mut settings = vec![
        // All of the log is there already: this only says that there is no more anywhere else.
        ("restore_command", "false".to_owned()),
        ("recovery_target_action", "promote".to_owned()),
        ("recovery_target_timeline", "current".to_owned()),
        // Who is let in before the end sees what was in between.
        ("hot_standby", "off".to_owned()),
        // Each of a thousand files written through by itself takes longer than the whole restore.
        ("recovery_init_sync_method", "syncfs".to_owned()),
    ];
    let whole = settings.clone();
    if let Some(until) = work.until() {
        // No letter for the zone: the server reads it before it knows any.
        settings.push((
            "recovery_target_time",
            until.format("%Y-%m-%d %H:%M:%S%.6f+00").to_string(),
        ));
    }
    let engine = &work.deps.engine;
    engine.recover(&work.spec, &settings).await?;
    let adopted = match adopted(work).await? {
        Some(adopted) => adopted,
        None if work.until().is_some() => {
            engine.recover(&work.spec, &whole).await?;
            self::adopted(work).await?.ok_or(Trouble::NotRecovered)?
        }
        None => return Err(Trouble::NotRecovered),
    };
    if let (Some(until), Some(last)) = (work.until(), adopted.last_commit_at)
        && last > until + SLACK
    {
        return Err(Trouble::TooFar);
    }
    engine.end_restore(work.restore.database).await?;
    Ok(adopted.last_commit_at)
}

/// Waits until the server is done, and makes it the new database's; nothing where it ended before.
async fn adopted(work: &Work<'_>) -> Result<Option<Adopted>, Trouble> {
    let deadline = Instant::now() + REPLAY_MAX;
    let roles = DatabaseRoles {
        name: work.row.name.clone(),
        owner_password: work.own.owner.clone(),
        reader_password: work.own.reader.clone(),
        backup_password: work.own.backup.clone(),
        connections: work.row.size.connections,
    };
    loop {
        let found = work.deps.engine.recovering(work.restore.database).await?;
        let Some(found) = found.filter(|found| found.running) else {
            return Ok(None);
        };
        if let Some(address) = found.address {
            let login = ServerLogin {
                address: SocketAddr::new(address, PORT),
                password: work.source.superuser.clone(),
            };
            let to = (&roles, &work.own.superuser);
            match slipway_postgres::adopt(&login, &work.restore.source_name, to).await {
                Ok(adopted) => return Ok(Some(adopted)),
                Err(ServerError::Away(_)) => {}
                Err(ServerError::Refused(why)) => return Err(Trouble::NotAdopted(why)),
            }
        }
        if Instant::now() > deadline {
            return Err(Trouble::NotRecovered);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
