//! `dns_zones` and `acme_records`: zones that the platform may change, and what it made in them.

use std::collections::BTreeMap;

use slipway_domain::Timestamp;
use slipway_domain::domains::ZoneAccess;
use slipway_domain::ids::{TeamId, ZoneId};
use slipway_domain::name::HostName;
use slipway_domain::ports::{SealContext, Sealer, TextRecord, ZoneAccount};
use slipway_domain::secret::{Sealed, Secret};

use crate::row::parse;
use crate::{StoreError, Tx};

/// More than a team has.
const ZONES_MAX: i64 = 200;

/// A zone that records can be made in.
#[derive(Debug, Clone)]
pub struct DnsZone {
    /// Its identifier.
    pub id: ZoneId,
    /// Where it begins.
    pub zone: HostName,
    /// Whose it is; `None` for the platform.
    pub team: Option<TeamId>,
    /// Who keeps it.
    pub provider: String,
    /// What that one wants to know, a JSON object, sealed.
    pub sealed_settings: Sealed,
    /// The names of what was given.
    pub settings: Vec<String>,
    /// Whether teams may have their names' answers made in it.
    pub for_delegation: bool,
    /// What the last change came to, where that was nothing good.
    pub error: Option<String>,
    /// When it was set.
    pub updated_at: Timestamp,
    /// By whom.
    pub updated_by: String,
}

impl DnsZone {
    /// What its settings are sealed for.
    pub fn seal_context(team: Option<TeamId>, zone: &HostName) -> SealContext<'_> {
        SealContext {
            team,
            kind: "dns_zone",
            id: zone.as_str(),
        }
    }

    /// The account that it is changed with, opened.
    pub fn account(&self, sealer: &dyn Sealer) -> Result<ZoneAccount, String> {
        let settings = sealer
            .open(Self::seal_context(self.team, &self.zone), &self.sealed_settings)
            .map_err(|e| format!("The credentials of the zone {} do not open: {e}.", self.zone))?;
        let settings: BTreeMap<String, String> = serde_json::from_str(settings.expose())
            .map_err(|_| format!("The credentials of the zone {} cannot be read.", self.zone))?;
        Ok(ZoneAccount {
            zone: self.zone.clone(),
            provider: self.provider.clone(),
            settings: (settings.into_iter())
                .map(|(key, value)| (key, Secret::new(value)))
                .collect(),
        })
    }

    /// As decisions are made about it.
    pub fn access(&self) -> ZoneAccess {
        ZoneAccess {
            id: self.id,
            zone: self.zone.clone(),
            is_platforms: self.team.is_none(),
            is_for_delegation: self.for_delegation,
        }
    }
}

struct Row {
    id: uuid::Uuid,
    zone: String,
    team_id: Option<uuid::Uuid>,
    provider: String,
    sealed_settings: Vec<u8>,
    key_version: i32,
    settings: Vec<String>,
    for_delegation: bool,
    error: Option<String>,
    updated_at: Timestamp,
    updated_by: String,
}

impl TryFrom<Row> for DnsZone {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = ZoneId::from_uuid(r.id);
        Ok(Self {
            id,
            zone: parse(&r.zone, "dns_zones", "zone", &id)?,
            team: r.team_id.map(TeamId::from_uuid),
            provider: r.provider,
            sealed_settings: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_settings,
            },
            settings: r.settings,
            for_delegation: r.for_delegation,
            error: r.error,
            updated_at: r.updated_at,
            updated_by: r.updated_by,
        })
    }
}

/// A record that was made for an order, or was about to be.
#[derive(Debug, Clone)]
pub struct AcmeRecord {
    /// Where.
    pub zone: ZoneId,
    /// The record.
    pub record: TextRecord,
}

impl Tx {
    /// Sets or replaces how a zone is changed.
    #[tracing::instrument(name = "db.put_dns_zone", level = "debug", skip_all)]
    pub async fn put_dns_zone(&mut self, z: &DnsZone) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into dns_zones (id, zone, team_id, provider, sealed_settings, key_version, settings, for_delegation,
                                    updated_at, updated_by)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
             on conflict (team_id, zone) do update
                set provider = excluded.provider, sealed_settings = excluded.sealed_settings,
                    key_version = excluded.key_version, settings = excluded.settings,
                    for_delegation = excluded.for_delegation, error = null,
                    updated_at = excluded.updated_at, updated_by = excluded.updated_by",
            z.id.uuid(),
            z.zone.as_str(),
            z.team.map(TeamId::uuid),
            z.provider,
            z.sealed_settings.bytes,
            z.sealed_settings.key_version,
            &z.settings,
            z.for_delegation,
            z.updated_at,
            z.updated_by
        )
        .execute(self.c())
        .await?;
        // Looks that found no way may find one now.
        sqlx::query!(
            "update custom_domains set look_at = $1
             where look_at > $1 and ($2::uuid is null or team_id = $2)
               and inspection @? '$.findings[*] ? (@.level == \"error\")'",
            z.updated_at,
            z.team.map(TeamId::uuid)
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// A team's zones, or the platform's, by name.
    #[tracing::instrument(name = "db.dns_zones", level = "debug", skip_all)]
    pub async fn dns_zones(&mut self, team: Option<TeamId>) -> Result<Vec<DnsZone>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select id, zone, team_id, provider, sealed_settings, key_version, settings, for_delegation, error, updated_at,
                    updated_by
             from dns_zones where team_id is not distinct from $1 order by zone limit $2",
            team.map(TeamId::uuid),
            ZONES_MAX
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(DnsZone::try_from).collect()
    }

    /// The zones that records can be made in for a team: its own and the platform's.
    #[tracing::instrument(name = "db.zones_open_to", level = "debug", skip_all)]
    pub async fn zones_open_to(&mut self, team: TeamId) -> Result<Vec<ZoneAccess>, StoreError> {
        let own = self.dns_zones(Some(team)).await?;
        let platforms = self.dns_zones(None).await?;
        Ok(own.iter().chain(&platforms).map(DnsZone::access).collect())
    }

    /// One by its identifier.
    #[tracing::instrument(name = "db.dns_zone", level = "debug", skip_all)]
    pub async fn dns_zone(&mut self, id: ZoneId) -> Result<Option<DnsZone>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, zone, team_id, provider, sealed_settings, key_version, settings, for_delegation, error, updated_at,
                    updated_by
             from dns_zones where id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(DnsZone::try_from).transpose()
    }

    /// Forgets how a zone is changed; false when that was not known.
    #[tracing::instrument(name = "db.delete_dns_zone", level = "debug", skip_all)]
    pub async fn delete_dns_zone(&mut self, team: Option<TeamId>, zone: &HostName) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "delete from dns_zones where team_id is not distinct from $1 and zone = $2",
            team.map(TeamId::uuid),
            zone.as_str()
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() == 1)
    }

    /// Notes what a change of a zone came to.
    #[tracing::instrument(name = "db.note_zone_change", level = "debug", skip_all)]
    pub async fn note_zone_change(&mut self, id: ZoneId, error: Option<&str>) -> Result<(), StoreError> {
        sqlx::query!(
            "update dns_zones set error = $2 where id = $1 and error is distinct from $2",
            id.uuid(),
            error
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Notes a record that is about to be made for an order.
    #[tracing::instrument(name = "db.note_acme_record", level = "debug", skip_all)]
    pub async fn note_acme_record(&mut self, record: &AcmeRecord, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into acme_records (zone_id, name, value, created_at) values ($1, $2, $3, $4) on conflict do nothing",
            record.zone.uuid(),
            record.record.name,
            record.record.value,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The records that an order left behind: those of longer ago than a time.
    #[tracing::instrument(name = "db.acme_records_before", level = "debug", skip_all)]
    pub async fn acme_records_before(&mut self, before: Timestamp) -> Result<Vec<AcmeRecord>, StoreError> {
        let rows = sqlx::query!(
            "select zone_id, name, value from acme_records where created_at < $1 order by created_at limit 64",
            before
        )
        .fetch_all(self.c())
        .await?;
        let records = rows.into_iter().map(|r| AcmeRecord {
            zone: ZoneId::from_uuid(r.zone_id),
            record: TextRecord {
                name: r.name,
                value: r.value,
            },
        });
        Ok(records.collect())
    }

    /// Leaves a record that could not be taken back for later.
    #[tracing::instrument(name = "db.postpone_acme_record", level = "debug", skip_all)]
    pub async fn postpone_acme_record(&mut self, record: &AcmeRecord, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!(
            "update acme_records set created_at = $4 where zone_id = $1 and name = $2 and value = $3",
            record.zone.uuid(),
            record.record.name,
            record.record.value,
            now
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Forgets a record that was taken back.
    #[tracing::instrument(name = "db.forget_acme_record", level = "debug", skip_all)]
    pub async fn forget_acme_record(&mut self, record: &AcmeRecord) -> Result<(), StoreError> {
        sqlx::query!(
            "delete from acme_records where zone_id = $1 and name = $2 and value = $3",
            record.zone.uuid(),
            record.record.name,
            record.record.value
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
