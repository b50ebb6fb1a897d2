//! `certificates`: with their sealed keys.

use slipway_domain::Timestamp;
use slipway_domain::domains::Reason;
use slipway_domain::ids::{CertificateId, EnvironmentId, TeamId};
use slipway_domain::name::{AppName, EnvironmentName};
use slipway_domain::secret::Sealed;

use crate::issuances::{Issuance, OrderRow};
use crate::row::{json, parse, to_json};
use crate::{Page, StoreError, Tx};

/// A certificate, its key sealed.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// Its identifier.
    pub id: CertificateId,
    /// Names and one-label wildcards.
    pub names: Vec<String>,
    /// Who issued it.
    pub issuer: String,
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// The key, PKCS #8 PEM, sealed.
    pub sealed_key: Sealed,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when it is valid.
    pub not_after: Timestamp,
    /// When it was made.
    pub created_at: Timestamp,
    /// The directory of the CA; `None` for the internal one.
    pub ca: Option<String>,
    /// When it is to be replaced.
    pub renew_at: Timestamp,
    /// When the CA is to be asked again when that should be.
    pub ari_at: Option<Timestamp>,
    /// Attempts that failed before it was got.
    pub failures: u32,
    /// Whether somebody brought it along.
    pub uploaded: bool,
}

/// A certificate that its CA is to be told of that it holds no more.
#[derive(Debug, Clone)]
pub struct Revocation {
    /// The certificate.
    pub id: CertificateId,
    /// The directory of its CA.
    pub ca: String,
    /// Leaf first, PEM.
    pub chain_pem: String,
    /// Why, as RFC 5280 section 5.3.1 numbers it.
    pub reason: u8,
}

/// The platform's own names, and whether each app's is one of them.
#[derive(Debug, Clone, Default)]
pub struct OwnNames {
    /// Sets of names that there is to be a certificate for.
    pub sets: Vec<Vec<String>>,
    /// Whether each app's name below the base domain has a certificate of its own.
    pub apps: bool,
}

impl OwnNames {
    /// One text for each set: no name has a space in it.
    pub(crate) fn joined(&self) -> Vec<String> {
        self.sets.iter().map(|names| names.join(" ")).collect()
    }
}

/// Names that lack a certificate, or whose certificate is to be replaced.
#[derive(Debug, Clone)]
pub struct DueCertificate {
    /// The names.
    pub names: Vec<String>,
    /// The certificate that is to be replaced.
    pub replaces: Option<CertificateId>,
    /// How the attempts to get one go.
    pub issuance: Issuance,
}

/// A certificate of the platform's own whose renewal is late.
#[derive(Debug, Clone)]
pub struct OwnEnding {
    /// Its names.
    pub names: Vec<String>,
    /// The environment that answers there, if it is one's alone.
    pub environment: Option<EnvironmentId>,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
    /// Why there is no other.
    pub error: Option<Reason>,
}

/// A certificate in use, or the attempts to get one, as lists show them.
#[derive(Debug, Clone)]
pub struct CertificateRow {
    /// Its names.
    pub names: Vec<String>,
    /// The app that the first of them leads to.
    pub app: Option<AppName>,
    /// Who issued it.
    pub issuer: Option<String>,
    /// The directory of the CA.
    pub ca: Option<String>,
    /// From when it is valid.
    pub not_before: Option<Timestamp>,
    /// Until when it is valid.
    pub not_after: Option<Timestamp>,
    /// When it is to be replaced.
    pub renew_at: Option<Timestamp>,
    /// When it is tried again to get one.
    pub next_try_at: Option<Timestamp>,
    /// Failures in a row.
    pub failures: u32,
    /// What the last one said.
    pub error: Option<Reason>,
    /// Whether somebody brought it along.
    pub uploaded: bool,
    /// When the CA is told at the latest that one for these names holds no more, if it was asked for and is not done.
    pub revoke_at: Option<Timestamp>,
    /// What the CA said to that last.
    pub revocation_error: Option<Reason>,
}

/// Whose a certificate is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateOwner {
    /// Its names.
    pub names: Vec<String>,
    /// Whether somebody brought it along.
    pub uploaded: bool,
    /// The team; none where it is the platform's own.
    pub team: Option<TeamId>,
    /// The app that the first name leads to.
    pub app: Option<AppName>,
    /// The environment that it leads to.
    pub environment: Option<EnvironmentName>,
}

impl CertificateRow {
    /// What lists are sorted by.
    pub fn key(&self) -> String {
        self.names.join(" ")
    }
}

struct Row {
    id: uuid::Uuid,
    names: Vec<String>,
    issuer: String,
    chain_pem: String,
    sealed_key: Vec<u8>,
    key_version: i32,
    not_before: Timestamp,
    not_after: Timestamp,
    created_at: Timestamp,
    ca: Option<String>,
    renew_at: Timestamp,
    ari_at: Option<Timestamp>,
    failures: i32,
    uploaded: bool,
}

impl From<Row> for Certificate {
    fn from(r: Row) -> Self {
        Self {
            id: CertificateId::from_uuid(r.id),
            names: r.names,
            issuer: r.issuer,
            chain_pem: r.chain_pem,
            sealed_key: Sealed {
                key_version: r.key_version,
                bytes: r.sealed_key,
            },
            not_before: r.not_before,
            not_after: r.not_after,
            created_at: r.created_at,
            ca: r.ca,
            renew_at: r.renew_at,
            ari_at: r.ari_at,
            failures: u32::try_from(r.failures).unwrap_or(0),
            uploaded: r.uploaded,
        }
    }
}

impl Tx {
    /// Adds a certificate and takes those of the same names out of use.
    #[tracing::instrument(name = "db.insert_certificate", level = "debug", skip_all)]
    pub async fn insert_certificate(&mut self, c: &Certificate) -> Result<(), StoreError> {
        sqlx::query!(
            "update certificates
             set replaced_at = $2, revoke_at = case when revoke_at is not null then least(revoke_at, $2) end
             where replaced_at is null and names = $1",
            &c.names,
            c.created_at
        )
        .execute(self.c())
        .await?;
        let version = self.bump_routes().await?;
        sqlx::query!(
            "insert into certificates (id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at,
                ca, renew_at, ari_at, failures, uploaded, route_version)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)",
            c.id.uuid(),
            &c.names,
            c.issuer,
            c.chain_pem,
            c.sealed_key.bytes,
            c.sealed_key.key_version,
            c.not_before,
            c.not_after,
            c.created_at,
            c.ca,
            c.renew_at,
            c.ari_at,
            i32::try_from(c.failures).unwrap_or(i32::MAX),
            c.uploaded,
            version.0
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// The names of those in use, and when each ends.
    #[tracing::instrument(name = "db.certificate_ends", level = "debug", skip_all)]
    pub async fn certificate_ends(&mut self) -> Result<Vec<(Vec<String>, Timestamp)>, StoreError> {
        let rows = sqlx::query!("select names, not_after from certificates where replaced_at is null order by names")
            .fetch_all(self.c())
            .await?;
        Ok(rows.into_iter().map(|r| (r.names, r.not_after)).collect())
    }

    /// Whether there is a certificate for these names.
    #[tracing::instrument(name = "db.has_certificate", level = "debug", skip_all)]
    pub async fn has_certificate(&mut self, names: &[String], now: Timestamp) -> Result<bool, StoreError> {
        let has = sqlx::query_scalar!(
            "select exists (select from certificates where names = $1 and replaced_at is null and not_after > $2) as \"has!\"",
            names,
            now
        )
        .fetch_one(self.c())
        .await?;
        Ok(has)
    }

    /// What must be issued now: by the internal CA, or in an order. Names without any certificate come first, then
    /// those that were to be replaced first.
    #[tracing::instrument(name = "db.due_certificates", level = "debug", skip_all)]
    pub async fn due_certificates(
        &mut self,
        own: &OwnNames,
        is_local: bool,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<DueCertificate>, StoreError> {
        let rows = sqlx::query!(
            "with wanted as (
                 select array[host] as names from custom_domains
                 where proof is not null and (proof = 'local') = $1 and (proof = 'local' or may_order)
                 union select array[host] from domains where kind = 'platform' and $2
                 union select string_to_array(own, ' ') from unnest($3::text[]) own
             )
             select w.names as \"names!\", c.id as \"replaces?\", coalesce(i.failures, 0) as \"failures!\",
                    i.ca, i.order_url, i.sealed_key, i.key_version
             from wanted w
             left join certificates c on c.names = w.names and c.replaced_at is null
             left join issuances i on i.names = w.names
             -- A CA goes by its own clock: to order anew does not help against one of ours that was set back.
             where (c.id is null or $4 >= c.renew_at or $1 and $4 < c.not_before)
               and (i.next_try_at is null or i.next_try_at <= $4)
             order by c.renew_at nulls first, w.names limit $5",
            is_local,
            own.apps,
            &own.joined(),
            now,
            limit
        )
        .fetch_all(self.c())
        .await?;
        let due = rows.into_iter().map(|r| DueCertificate {
            names: r.names,
            replaces: r.replaces.map(CertificateId::from_uuid),
            issuance: Issuance {
                failures: u32::try_from(r.failures).unwrap_or(0),
                next_try_at: None,
                error: None,
                order: OrderRow::of(r.ca, r.order_url, r.sealed_key, r.key_version),
            },
        });
        Ok(due.collect())
    }

    /// Those of the platform's own names whose end is near, or past: when the renewal is late.
    #[tracing::instrument(name = "db.own_ending", level = "debug", skip_all)]
    pub async fn own_ending(&mut self, own: &OwnNames, now: Timestamp) -> Result<Vec<OwnEnding>, StoreError> {
        let rows = sqlx::query!(
            "select c.names, c.not_before, c.not_after, i.error, d.environment_id as \"environment_id?\"
             from certificates c
             left join domains d on c.names = array[d.host] and d.kind = 'platform'
             left join issuances i on i.names = c.names
             where c.replaced_at is null and (array_to_string(c.names, ' ') = any($1) or d.host is not null and $2)
               and renewal_is_late(c.not_before, c.not_after, $3)
             order by c.names",
            &own.joined(),
            own.apps,
            now
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let name = r.names.join(" ");
                Ok(OwnEnding {
                    environment: r.environment_id.map(EnvironmentId::from_uuid),
                    not_before: r.not_before,
                    not_after: r.not_after,
                    error: r.error.map(|e| json(e, "issuances", "error", &name)).transpose()?,
                    names: r.names,
                })
            })
            .collect()
    }

    /// Those in use that nobody wants any more.
    #[tracing::instrument(name = "db.unwanted_certificates", level = "debug", skip_all)]
    pub async fn unwanted_certificates(&mut self, own: &OwnNames) -> Result<Vec<CertificateId>, StoreError> {
        let ids = sqlx::query_scalar!(
            "select id from certificates c
             where replaced_at is null and not array_to_string(names, ' ') = any($2)
               and not exists (select from domains d where c.names = array[d.host] and (d.kind = 'custom' or $1))",
            own.apps,
            &own.joined()
        )
        .fetch_all(self.c())
        .await?;
        Ok(ids.into_iter().map(CertificateId::from_uuid).collect())
    }

    /// Takes certificates out of use.
    #[tracing::instrument(name = "db.retire_certificates", level = "debug", skip_all)]
    pub async fn retire_certificates(&mut self, ids: &[CertificateId], now: Timestamp) -> Result<(), StoreError> {
        let ids: Vec<uuid::Uuid> = ids.iter().map(|id| id.uuid()).collect();
        sqlx::query!("update certificates set replaced_at = $2 where id = any($1)", &ids, now)
            .execute(self.c())
            .await?;
        self.bump_routes().await?;
        Ok(())
    }

    /// Those whose CA is to be asked by now when they should be replaced.
    #[tracing::instrument(name = "db.windows_due", level = "debug", skip_all)]
    pub async fn windows_due(&mut self, now: Timestamp, limit: i64) -> Result<Vec<Certificate>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at, ca, renew_at, ari_at,
                    failures, uploaded
             from certificates
             -- Nothing is planned later than that, but by a clock that was set back since.
             where replaced_at is null and (ari_at <= $1 or ari_at > $1 + interval '3 days')
             order by ari_at limit $2",
            now,
            limit
        )
        .fetch_all(self.c())
        .await?;
        Ok(rows.into_iter().map(Certificate::from).collect())
    }

    /// By identifier.
    #[tracing::instrument(name = "db.certificate", level = "debug", skip_all)]
    pub async fn certificate(&mut self, id: CertificateId) -> Result<Option<Certificate>, StoreError> {
        let row = sqlx::query_as!(
            Row,
            "select id, names, issuer, chain_pem, sealed_key, key_version, not_before, not_after, created_at, ca, renew_at, ari_at,
                    failures, uploaded
             from certificates where id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        Ok(row.map(Certificate::from))
    }

    /// Whose the certificate for a name is, in use or to be had.
    #[tracing::instrument(name = "db.certificate_owner", level = "debug", skip_all)]
    pub async fn certificate_owner(&mut self, name: &str) -> Result<Option<CertificateOwner>, StoreError> {
        let row = sqlx::query!(
            "select coalesce(c.names, i.names) as \"names!\", d.team_id as \"team_id?\", a.name as \"app?\", e.name as \"environment?\",
                    coalesce(c.uploaded, false) as \"uploaded!\"
             from (select names, uploaded from certificates where replaced_at is null) c
             full join (select names from issuances) i on i.names = c.names
             left join domains d on d.host = (coalesce(c.names, i.names))[1]
             left join environments e on e.id = d.environment_id left join apps a on a.id = e.app_id
             where $1 = any(coalesce(c.names, i.names)) limit 1",
            name
        )
        .fetch_optional(self.c())
        .await?;
        row.map(|r| {
            Ok(CertificateOwner {
                names: r.names,
                uploaded: r.uploaded,
                team: r.team_id.map(TeamId::from_uuid),
                app: r.app.map(|app| parse(&app, "apps", "name", &name)).transpose()?,
                environment: r
                    .environment
                    .map(|e| parse(&e, "environments", "name", &name))
                    .transpose()?,
            })
        })
        .transpose()
    }

    /// Those in use and those to be had, by name; of one team or all, of some apps or all.
    #[tracing::instrument(name = "db.certificate_rows", level = "debug", skip_all)]
    pub async fn certificate_rows(
        &mut self,
        team: Option<TeamId>,
        apps: Option<&[AppName]>,
        page: &Page<String>,
    ) -> Result<Vec<CertificateRow>, StoreError> {
        let apps: Option<Vec<String>> = apps.map(|apps| apps.iter().map(ToString::to_string).collect());
        let rows = sqlx::query!(
            "select coalesce(c.names, i.names) as \"names!\", a.name as \"app?\", c.issuer as \"issuer?\", c.ca,
                    c.not_before as \"not_before?\", c.not_after as \"not_after?\", c.renew_at as \"renew_at?\", i.next_try_at,
                    coalesce(i.failures, 0) as \"failures!\", i.error, coalesce(c.uploaded, false) as \"uploaded!\",
                    (select min(r.revoke_at) from certificates r
                     where r.names = coalesce(c.names, i.names) and r.revoked_at is null) as revoke_at,
                    (select r.revocation_error from certificates r
                     where r.names = coalesce(c.names, i.names) and r.revoked_at is null and r.revocation_error is not null
                     order by r.created_at desc limit 1) as revocation_error
             from (select * from certificates where replaced_at is null) c
             full join issuances i on i.names = c.names
             left join domains d on d.host = (coalesce(c.names, i.names))[1]
             left join environments e on e.id = d.environment_id left join apps a on a.id = e.app_id
             where ($1::uuid is null or d.team_id = $1) and ($4::text[] is null or a.name = any($4))
               and ($2::text is null or array_to_string(coalesce(c.names, i.names), ' ') collate \"C\" > $2)
             order by array_to_string(coalesce(c.names, i.names), ' ') collate \"C\" limit $3",
            team.map(TeamId::uuid),
            page.after.as_deref(),
            i64::from(page.limit),
            apps.as_deref()
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let name = r.names.join(" ");
                Ok(CertificateRow {
                    app: r.app.map(|app| parse(&app, "apps", "name", &name)).transpose()?,
                    issuer: r.issuer,
                    ca: r.ca,
                    not_before: r.not_before,
                    not_after: r.not_after,
                    renew_at: r.renew_at,
                    next_try_at: r.next_try_at,
                    failures: u32::try_from(r.failures).unwrap_or(0),
                    error: r.error.map(|e| json(e, "issuances", "error", &name)).transpose()?,
                    uploaded: r.uploaded,
                    revoke_at: r.revoke_at,
                    revocation_error: r
                        .revocation_error
                        .map(|e| json(e, "certificates", "revocation_error", &name))
                        .transpose()?,
                    names: r.names,
                })
            })
            .collect()
    }

    /// Notes when a certificate is to be replaced, and when the CA is asked again.
    #[tracing::instrument(name = "db.plan_renewal", level = "debug", skip_all)]
    pub async fn plan_renewal(
        &mut self,
        id: CertificateId,
        renew_at: Timestamp,
        ari_at: Option<Timestamp>,
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update certificates set renew_at = $2, ari_at = $3 where id = $1",
            id.uuid(),
            renew_at,
            ari_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Has a certificate replaced now; false where there is none.
    #[tracing::instrument(name = "db.renew_now", level = "debug", skip_all)]
    pub async fn renew_now(&mut self, names: &[String], now: Timestamp) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update certificates set renew_at = least(renew_at, $2) where names = $1 and replaced_at is null",
            names,
            now
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// Has the CA told that a certificate holds no more, once it is replaced and at a time at the latest; false where
    /// there is none of a CA.
    #[tracing::instrument(name = "db.ask_revocation", level = "debug", skip_all)]
    pub async fn ask_revocation(
        &mut self,
        names: &[String],
        reason: u8,
        at_the_latest: Timestamp,
    ) -> Result<bool, StoreError> {
        let done = sqlx::query!(
            "update certificates set revocation_reason = $2, revoke_at = $3, revocation_error = null
             where names = $1 and replaced_at is null and ca is not null",
            names,
            i16::from(reason),
            at_the_latest
        )
        .execute(self.c())
        .await?;
        Ok(done.rows_affected() > 0)
    }

    /// What CAs are to be told now that it holds no more.
    #[tracing::instrument(name = "db.revocations_due", level = "debug", skip_all)]
    pub async fn revocations_due(&mut self, now: Timestamp, limit: i64) -> Result<Vec<Revocation>, StoreError> {
        let rows = sqlx::query!(
            "select id, ca as \"ca!\", chain_pem, revocation_reason from certificates
             where revoke_at <= $1 and revoked_at is null and ca is not null
             order by revoke_at limit $2",
            now,
            limit
        )
        .fetch_all(self.c())
        .await?;
        let due = rows.into_iter().map(|r| Revocation {
            id: CertificateId::from_uuid(r.id),
            ca: r.ca,
            chain_pem: r.chain_pem,
            reason: r.revocation_reason.and_then(|n| u8::try_from(n).ok()).unwrap_or(0),
        });
        Ok(due.collect())
    }

    /// The CA was told, or is to be told again at a time.
    #[tracing::instrument(name = "db.note_revocation", level = "debug", skip_all)]
    pub async fn note_revocation(
        &mut self,
        id: CertificateId,
        revoked_at: Option<Timestamp>,
        (again_at, error): (Option<Timestamp>, Option<&Reason>),
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update certificates set revoked_at = $2, revoke_at = $3, revocation_error = $4 where id = $1",
            id.uuid(),
            revoked_at,
            again_at,
            error.map(to_json).transpose()?
        )
        .execute(self.c())
        .await?;
        Ok(())
    }
}
