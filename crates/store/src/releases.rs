//! `releases`: immutable but for `good`. Written by the API; the scheduler sets `good` with the first success.

use std::collections::BTreeSet;

use slipway_domain::ids::{EnvironmentId, ReleaseId, TeamId};
use slipway_domain::image::Pin;
use slipway_domain::release::{Release, ReleaseCause};
use slipway_domain::{ReleaseNumber, Timestamp};

use crate::row::{bad, json, one, spec, to_json};
use crate::{Page, StoreError, Tx};

/// Newest good releases of each environment whose images are kept for a rollback.
const KEPT_GOOD_MAX: i64 = 10;

pub(crate) struct Row {
    pub(crate) id: uuid::Uuid,
    pub(crate) environment_id: uuid::Uuid,
    pub(crate) number: i64,
    pub(crate) image: String,
    pub(crate) pin: serde_json::Value,
    pub(crate) spec: serde_json::Value,
    pub(crate) secrets: serde_json::Value,
    pub(crate) cause: String,
    pub(crate) created_at: Timestamp,
    pub(crate) created_by: String,
    pub(crate) good: bool,
    pub(crate) same_as: Option<uuid::Uuid>,
}

impl TryFrom<Row> for Release {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = ReleaseId::from_uuid(r.id);
        Ok(Self {
            id,
            environment: EnvironmentId::from_uuid(r.environment_id),
            number: ReleaseNumber(r.number),
            image: r.image,
            pin: json(r.pin, "releases", "pin", &id)?,
            spec: spec(&r.spec, "releases", &id)?,
            secrets: json(r.secrets, "releases", "secrets", &id)?,
            cause: ReleaseCause::parse(&r.cause).ok_or_else(|| bad("releases", "cause", &id))?,
            created_at: r.created_at,
            created_by: r.created_by,
            good: r.good,
            same_as: r.same_as.map(ReleaseId::from_uuid),
        })
    }
}

impl Tx {
    /// The next number of an environment; hold its lock.
    #[tracing::instrument(name = "db.next_release_number", level = "debug", skip_all)]
    pub async fn next_release_number(&mut self, environment: EnvironmentId) -> Result<ReleaseNumber, StoreError> {
        let number = sqlx::query_scalar!(
            "update environments set last_release_number = last_release_number + 1 where id = $1 returning last_release_number",
            environment.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        number.map(ReleaseNumber).ok_or(StoreError::LostRace("the environment"))
    }

    /// Adds a release.
    #[tracing::instrument(name = "db.insert_release", level = "debug", skip_all)]
    pub async fn insert_release(&mut self, team: TeamId, r: &Release) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into releases (id, team_id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good, same_as)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)",
            r.id.uuid(),
            team.uuid(),
            r.environment.uuid(),
            r.number.0,
            r.image,
            to_json(&r.pin)?,
            r.spec.to_json(),
            to_json(&r.secrets)?,
            r.cause.as_str(),
            r.created_at,
            r.created_by,
            r.good,
            r.same_as.map(ReleaseId::uuid)
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// By identifier.
    #[tracing::instrument(name = "db.release", level = "debug", skip_all)]
    pub async fn release(&mut self, id: ReleaseId) -> Result<Option<Release>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good, same_as
             from releases where id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Release::try_from).transpose()
    }

    /// Those of the identifiers that no release has.
    #[tracing::instrument(name = "db.unknown_releases", level = "debug", skip_all)]
    pub async fn unknown_releases(&mut self, ids: BTreeSet<ReleaseId>) -> Result<BTreeSet<ReleaseId>, StoreError> {
        let all: Vec<_> = ids.into_iter().map(ReleaseId::uuid).collect();
        let unknown = sqlx::query_scalar!(
            "select i.id as \"id!\" from unnest($1::uuid[]) i (id)
             where not exists (select from releases r where r.id = i.id)",
            &all
        )
        .fetch_all(self.c())
        .await?;
        Ok(unknown.into_iter().map(ReleaseId::from_uuid).collect())
    }

    /// The next release has a greater number than this. Fence the transaction first.
    #[tracing::instrument(name = "db.pass_release_number", level = "debug", skip_all)]
    pub async fn pass_release_number(&mut self, id: EnvironmentId, number: ReleaseNumber) -> Result<(), StoreError> {
        self.fenced()?;
        sqlx::query!(
            "update environments set last_release_number = greatest(last_release_number, $2) where id = $1",
            id.uuid(),
            number.0
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// By number.
    #[tracing::instrument(name = "db.release_by_number", level = "debug", skip_all)]
    pub async fn release_by_number(
        &mut self,
        environment: EnvironmentId,
        number: ReleaseNumber,
    ) -> Result<Option<Release>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good, same_as
             from releases where environment_id = $1 and number = $2",
            environment.uuid(),
            number.0
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Release::try_from).transpose()
    }

    /// The newest good release, or the newest before a number.
    #[tracing::instrument(name = "db.last_good_release", level = "debug", skip_all)]
    pub async fn last_good_release(
        &mut self,
        environment: EnvironmentId,
        before: Option<ReleaseNumber>,
    ) -> Result<Option<Release>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good, same_as
             from releases where environment_id = $1 and good and ($2::bigint is null or number < $2)
             order by number desc limit 1",
            environment.uuid(),
            before.map(|n| n.0)
        )
        .fetch_optional(self.c())
        .await?;
        row.map(Release::try_from).transpose()
    }

    /// The newest ten between two numbers, both excluded, that ran a release command, oldest first.
    #[tracing::instrument(name = "db.release_commands_between", level = "debug", skip_all)]
    pub async fn release_commands_between(
        &mut self,
        environment: EnvironmentId,
        after: ReleaseNumber,
        before: ReleaseNumber,
    ) -> Result<Vec<ReleaseNumber>, StoreError> {
        let numbers = sqlx::query_scalar!(
            "select number from releases r where environment_id = $1 and number > $2 and number < $3 and exists (
                 select from deployments d join deployment_steps s on s.deployment_id = d.id
                 where d.release_id = r.id and s.name = 'release_command' and s.state <> 'skipped')
             order by number desc limit 10",
            environment.uuid(),
            after.0,
            before.0
        )
        .fetch_all(self.c())
        .await?;
        Ok(numbers.into_iter().rev().map(ReleaseNumber).collect())
    }

    /// Of an environment, newest first.
    #[tracing::instrument(name = "db.releases", level = "debug", skip_all)]
    pub async fn releases(
        &mut self,
        environment: EnvironmentId,
        page: &Page<ReleaseNumber>,
    ) -> Result<Vec<Release>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select id, environment_id, number, image, pin, spec, secrets, cause, created_at, created_by, good, same_as
             from releases where environment_id = $1 and number < coalesce($2, 9223372036854775807)
             order by number desc limit $3",
            environment.uuid(),
            page.after.map(|n| n.0),
            page.limit()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(Release::try_from).collect()
    }

    /// Takes a release out of those to go back to: it failed after it had the traffic. Fence the transaction first.
    #[tracing::instrument(name = "db.condemn_release", level = "debug", skip_all)]
    pub async fn condemn_release(&mut self, id: ReleaseId) -> Result<(), StoreError> {
        self.fenced()?;
        let done = sqlx::query!("update releases set good = false where id = $1", id.uuid())
            .execute(self.c())
            .await?;
        one(done.rows_affected(), "the release")
    }

    /// What must stay on the machine: what should run, what serves, what is being deployed, and rollback targets.
    #[tracing::instrument(name = "db.kept_images", level = "debug", skip_all)]
    pub async fn kept_images(&mut self) -> Result<Vec<Pin>, StoreError> {
        let rows = sqlx::query!(
            "select (array_agg(r.id))[1] as \"id!\", r.pin from (
                 select id, pin, environment_id, good,
                        row_number() over (partition by environment_id, good order by number desc) as place
                 from releases) r
             join environments e on e.id = r.environment_id
             join environment_status s on s.environment_id = e.id
             where (r.good and r.place <= $1) or r.id = e.release_id or r.id = s.serving_release_id
             group by r.pin",
            KEPT_GOOD_MAX
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| json(r.pin, "releases", "pin", &ReleaseId::from_uuid(r.id)))
            .collect()
    }

    /// Every image any release ever ran, those of environments that are gone included.
    #[tracing::instrument(name = "db.all_images", level = "debug", skip_all)]
    pub async fn all_images(&mut self) -> Result<Vec<Pin>, StoreError> {
        let rows = sqlx::query_scalar!("select pin as \"pin!\" from releases union select pin from orphan_images")
            .fetch_all(self.c())
            .await?;
        rows.into_iter()
            .map(|pin| json(pin, "releases", "pin", &"any of them"))
            .collect()
    }

    /// Of the environments that are gone: those images are gone too, or were never here.
    #[tracing::instrument(name = "db.forget_orphans", level = "debug", skip_all)]
    pub async fn forget_orphans(&mut self, gone: &[Pin]) -> Result<(), StoreError> {
        let pins = gone.iter().map(to_json).collect::<Result<Vec<_>, _>>()?;
        sqlx::query!("delete from orphan_images where pin = any($1)", &pins)
            .execute(self.c())
            .await?;
        Ok(())
    }
}
