//! `alerts`: what somebody is told of. Begun and ended only by the scheduler, under its fence.

use std::collections::BTreeMap;

use slipway_domain::Timestamp;
use slipway_domain::alert::{AlertKind, AlertPlace, Notice};
use slipway_domain::ids::{AlertId, EnvironmentId, ReleaseId, TeamId};
use slipway_domain::name::{AppName, EnvironmentName};

use crate::row::bad;
use crate::{Environment, Page, StoreError, Tx};

/// So many are handed out to be told at a time.
const UNTOLD_MAX: i64 = 32;

/// Whose alerts are listed.
#[derive(Debug, Clone, Copy, Default)]
pub struct AlertFilter<'a> {
    /// Only of this team.
    pub team: Option<TeamId>,
    /// Only of these apps.
    pub apps: Option<&'a [AppName]>,
    /// Only of these environments.
    pub environments: Option<&'a [EnvironmentName]>,
    /// Those that go on, or are over, if only those are wanted.
    pub firing: Option<bool>,
}

struct Row {
    id: uuid::Uuid,
    team: Option<String>,
    app_name: String,
    environment_name: String,
    kind: String,
    message: String,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
}

impl TryFrom<Row> for Notice {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = AlertId::from_uuid(r.id);
        Ok(Self {
            id,
            kind: AlertKind::parse(&r.kind).ok_or_else(|| bad("alerts", "kind", &id))?,
            place: r.team.map(|team| AlertPlace {
                team,
                app: r.app_name,
                environment: r.environment_name,
            }),
            message: r.message,
            started_at: r.started_at,
            ended_at: r.ended_at,
        })
    }
}

impl Tx {
    /// Begins an alert, unless the same one goes on; fence the transaction first.
    #[tracing::instrument(name = "db.raise_alert", level = "debug", skip_all)]
    pub async fn raise_alert(
        &mut self,
        id: AlertId,
        environment: &Environment,
        (kind, release, message): (AlertKind, ReleaseId, &str),
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "insert into alerts (id, team_id, environment_id, app_name, environment_name, kind, release_id, message,
                                 started_at, next_try_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)
             on conflict (environment_id, kind) where ended_at is null do nothing",
            id.uuid(),
            environment.team.uuid(),
            environment.id.uuid(),
            environment.app_name.as_str(),
            environment.name.as_str(),
            kind.as_str(),
            release.uuid(),
            message,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Ends an alert; fence the transaction first.
    #[tracing::instrument(name = "db.clear_alert", level = "debug", skip_all)]
    pub async fn clear_alert(
        &mut self,
        environment: EnvironmentId,
        kind: AlertKind,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "update alerts set ended_at = $3, tries = 0, next_try_at = $3
             where environment_id = $1 and kind = $2 and ended_at is null",
            environment.uuid(),
            kind.as_str(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Begins the alert of an environment's certificates, or tells it once more because there is something new to say.
    /// Who leads there must hold its lease.
    #[tracing::instrument(name = "db.raise_certificate_alert", level = "debug", skip_all)]
    pub async fn raise_certificate_alert(
        &mut self,
        id: AlertId,
        environment: EnvironmentId,
        message: &str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into alerts (id, team_id, environment_id, app_name, environment_name, kind, message, started_at, next_try_at)
             select $1, a.team_id, e.id, a.name, e.name, $3, $4, $5, $5
             from environments e join apps a on a.id = e.app_id where e.id = $2
             on conflict (environment_id, kind) where ended_at is null do update
                set message = excluded.message, started_told = false, tries = 0, next_try_at = excluded.next_try_at
                where alerts.message <> excluded.message",
            id.uuid(),
            environment.uuid(),
            AlertKind::CertificateExpiring.as_str(),
            message,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Begins the alert of the platform's own certificates, or tells it once more because there is something new to say,
    /// or ends it because there is nothing.
    #[tracing::instrument(name = "db.tell_of_own_certificates", level = "debug", skip_all)]
    pub async fn tell_of_own_certificates(
        &mut self,
        id: AlertId,
        message: Option<&str>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update alerts set ended_at = $1, tries = 0, next_try_at = $1
             where kind = $2 and team_id is null and ended_at is null and $3::text is null",
            now,
            AlertKind::CertificateExpiring.as_str(),
            message
        )
        .execute(self.c())
        .await?;
        sqlx::query!(
            "insert into alerts (id, app_name, environment_name, kind, message, started_at, next_try_at)
             select $1, '', '', $2, $3, $4, $4 where $3::text is not null
             on conflict (kind) where team_id is null and ended_at is null do update
                set message = excluded.message, started_told = false, tries = 0, next_try_at = excluded.next_try_at
                where alerts.message <> excluded.message",
            id.uuid(),
            AlertKind::CertificateExpiring.as_str(),
            message,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Whether an alert of a certificate goes on.
    #[tracing::instrument(name = "db.has_certificate_alerts", level = "debug", skip_all)]
    pub async fn has_certificate_alerts(&mut self) -> Result<bool, StoreError> {
        let some = sqlx::query_scalar!(
            "select exists (select from alerts where kind = $1 and ended_at is null) as \"some!\"",
            AlertKind::CertificateExpiring.as_str()
        )
        .fetch_one(self.c())
        .await?;
        Ok(some)
    }

    /// Ends the alerts of the certificates of all other environments than these; the platform's own goes on.
    #[tracing::instrument(name = "db.clear_certificate_alerts", level = "debug", skip_all)]
    pub async fn clear_certificate_alerts(&mut self, but: &[EnvironmentId], now: Timestamp) -> Result<(), StoreError> {
        let but: Vec<uuid::Uuid> = but.iter().map(|id| id.uuid()).collect();
        sqlx::query!(
            "update alerts set ended_at = $2, tries = 0, next_try_at = $2
             where kind = $3 and team_id is not null and ended_at is null and not coalesce(environment_id = any($1), false)",
            &but,
            now,
            AlertKind::CertificateExpiring.as_str()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The alerts that go on, and of which release.
    #[tracing::instrument(name = "db.open_alerts", level = "debug", skip_all)]
    pub(crate) async fn open_alerts(
        &mut self,
        environment: EnvironmentId,
    ) -> Result<BTreeMap<AlertKind, ReleaseId>, StoreError> {
        let rows = sqlx::query!(
            "select kind, release_id as \"release_id!\" from alerts
             where environment_id = $1 and ended_at is null and release_id is not null",
            environment.uuid()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let kind = AlertKind::parse(&r.kind).ok_or_else(|| bad("alerts", "kind", &environment))?;
                Ok((kind, ReleaseId::from_uuid(r.release_id)))
            })
            .collect()
    }

    /// Alerts, newest first.
    #[tracing::instrument(name = "db.alerts", level = "debug", skip_all)]
    pub async fn alerts(&mut self, wanted: &AlertFilter<'_>, page: &Page<AlertId>) -> Result<Vec<Notice>, StoreError> {
        let texts = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect::<Vec<_>>();
        let apps = wanted
            .apps
            .map(|names| texts(names.iter().map(AppName::as_str).collect()));
        let environments = wanted
            .environments
            .map(|names| texts(names.iter().map(EnvironmentName::as_str).collect()));
        let rows = sqlx::query_as!(
            Row,
            "select a.id, t.name as \"team?\", a.app_name, a.environment_name, a.kind, a.message, a.started_at, a.ended_at
             from alerts a left join teams t on t.id = a.team_id
             where ($1::uuid is null or a.team_id = $1) and ($2::text[] is null or a.app_name = any($2) and a.team_id is not null)
               and ($3::text[] is null or a.environment_name = any($3))
               and ($4::boolean is null or (a.ended_at is null) = $4) and ($5::uuid is null or a.id < $5)
             order by a.id desc limit $6",
            wanted.team.map(TeamId::uuid),
            apps.as_deref(),
            environments.as_deref(),
            wanted.firing,
            page.after.map(AlertId::uuid),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Notice::try_from).collect()
    }

    /// Alerts whose beginning or end is still to be told. What was over before anybody could be told of it is not.
    #[tracing::instrument(name = "db.untold_alerts", level = "debug", skip_all)]
    pub async fn untold_alerts(&mut self, now: Timestamp) -> Result<Vec<Notice>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select a.id, t.name as \"team?\", a.app_name, a.environment_name, a.kind, a.message, a.started_at, a.ended_at
             from alerts a left join teams t on t.id = a.team_id
             where a.next_try_at <= $1 and started_told = (ended_at is not null) and not ended_told
             order by a.next_try_at limit $2",
            now,
            UNTOLD_MAX
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Notice::try_from).collect()
    }

    /// Notes that somebody was told.
    #[tracing::instrument(name = "db.alert_told", level = "debug", skip_all)]
    pub async fn alert_told(&mut self, notice: &Notice) -> Result<(), StoreError> {
        sqlx::query!(
            "update alerts set started_told = true, ended_told = $2, tries = 0 where id = $1",
            notice.id.uuid(),
            notice.ended_at.is_some()
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes that nobody could be told: it is tried again 1, 2, 4, … seconds later, at most an hour.
    #[tracing::instrument(name = "db.alert_not_told", level = "debug", skip_all)]
    pub async fn alert_not_told(&mut self, notice: &Notice, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update alerts set tries = tries + 1,
                    next_try_at = $2::timestamptz + least(2 ^ least(tries, 16), 3600) * interval '1 second'
             where id = $1",
            notice.id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Forgets alerts that were over before this time.
    #[tracing::instrument(name = "db.prune_alerts", level = "debug", skip_all)]
    pub async fn prune_alerts(&mut self, before: Timestamp) -> Result<(), StoreError> {
        sqlx::query!("delete from alerts where ended_at < $1", before)
            .execute(self.c())
            .await?;
        Ok(())
    }
}
