//! `custom_domains`: names that teams asked for, what DNS says of them, and whose they became.

use slipway_domain::Timestamp;
use slipway_domain::domains::{COOL_DOWN, Hsts, HstsStep, Inspection, Proof, ZoneAccess};
use slipway_domain::ids::{AppId, DomainId, EnvironmentId, TeamId};
use slipway_domain::name::{AppName, DomainName, EnvironmentName, HostName};
use slipway_domain::ports::Claim;

use crate::issuances::Issuance;
use crate::page::Page;
use crate::row::{bad, json, parse, to_json};
use crate::{StoreError, Tx};

/// A name that a team asked for.
#[derive(Debug, Clone)]
pub struct CustomDomain {
    /// Its identifier.
    pub id: DomainId,
    /// The name.
    pub host: DomainName,
    /// Who asked for it.
    pub team: TeamId,
    /// What it leads to.
    pub environment: EnvironmentId,
    /// The app of that environment.
    pub app_name: AppName,
    /// The name of that environment.
    pub environment_name: EnvironmentName,
    /// Proves whose it is, in a TXT record.
    pub token: String,
    /// Where visitors are sent on to.
    pub redirect_to: Option<HostName>,
    /// What browsers are told to remember.
    pub hsts: Hsts,
    /// Whether visitors must show a certificate.
    pub asks_visitors: bool,
    /// Whether a visitor brought it along.
    pub on_demand: bool,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
    /// How it was proven, if it was.
    pub proof: Option<Proof>,
    /// What the last look came to.
    pub inspection: Option<Inspection>,
    /// When that was.
    pub looked_at: Option<Timestamp>,
    /// When the next one is due.
    pub look_at: Timestamp,
    /// Looks in a row that found something wrong.
    pub look_failures: u32,
    /// The certificate in use.
    pub certificate: Option<DomainCertificate>,
    /// How the attempts to get one go.
    pub issuance: Option<Issuance>,
}

impl CustomDomain {
    /// As DNS is asked about it, given what other teams have to do with it and which zones may be changed.
    pub fn claim(&self, others: &OtherTeams, zones: Vec<ZoneAccess>, now: Timestamp) -> Claim {
        Claim {
            host: self.host.clone(),
            token: self.token.clone(),
            routed_proves: !others.have_a_word(),
            is_proven: self.proof.is_some(),
            is_anothers: others.keep_it(now),
            zones,
        }
    }
}

/// The certificate of a domain.
#[derive(Debug, Clone)]
pub struct DomainCertificate {
    /// Who issued it.
    pub issuer: String,
    /// Whether somebody brought it along.
    pub uploaded: bool,
    /// From when it is valid.
    pub not_before: Timestamp,
    /// Until when.
    pub not_after: Timestamp,
}

/// A name whose browsers may be told to remember for longer.
#[derive(Debug, Clone)]
pub struct HstsCandidate {
    /// Which one.
    pub id: DomainId,
    /// The name.
    pub host: DomainName,
    /// What browsers are told now.
    pub hsts: Hsts,
    /// When its certificate was got.
    pub renewed_at: Timestamp,
}

/// A new name.
#[derive(Debug, Clone)]
pub struct NewCustomDomain {
    /// Its identifier.
    pub id: DomainId,
    /// The name.
    pub host: DomainName,
    /// Who asks for it.
    pub team: TeamId,
    /// What it leads to.
    pub environment: EnvironmentId,
    /// Proves whose it is, in a TXT record.
    pub token: String,
    /// Where visitors are sent on to.
    pub redirect_to: Option<HostName>,
    /// Whether a visitor brought it along.
    pub on_demand: bool,
    /// When.
    pub created_at: Timestamp,
    /// By whom.
    pub created_by: String,
}

/// What other teams have to do with a name.
#[derive(Debug, Clone, Default)]
pub struct OtherTeams {
    /// One of them has proven it.
    pub has_it: bool,
    /// One of them has proven a name above it.
    pub has_parent: bool,
    /// One of them asks for it too.
    pub asks: bool,
    /// When the last of them gave it up.
    pub released_at: Option<Timestamp>,
}

impl OtherTeams {
    /// Whether one of them has it, or gave it up a short while ago.
    pub fn keep_it(&self, now: Timestamp) -> bool {
        self.has_it || self.released_at.is_some_and(|at| at + COOL_DOWN > now)
    }

    /// Whether records that point here say nothing about whose the name is.
    pub const fn have_a_word(&self) -> bool {
        self.has_it || self.has_parent || self.asks || self.released_at.is_some()
    }
}

#[expect(clippy::struct_excessive_bools, reason = "a row has what the table has")]
struct Row {
    id: uuid::Uuid,
    host: String,
    team_id: uuid::Uuid,
    environment_id: uuid::Uuid,
    app: String,
    environment: String,
    token: String,
    redirect_to: Option<String>,
    hsts_max_age_seconds: Option<i32>,
    hsts_since: Option<Timestamp>,
    hsts_include_subdomains: bool,
    hsts_preload: bool,
    hsts_remembered_until: Option<Timestamp>,
    asks_visitors: bool,
    on_demand: bool,
    created_at: Timestamp,
    created_by: String,
    proof: Option<String>,
    inspection: Option<serde_json::Value>,
    looked_at: Option<Timestamp>,
    look_at: Timestamp,
    look_failures: i32,
    issuer: Option<String>,
    uploaded: Option<bool>,
    not_before: Option<Timestamp>,
    not_after: Option<Timestamp>,
    failures: Option<i32>,
    next_try_at: Option<Timestamp>,
    error: Option<serde_json::Value>,
}

impl TryFrom<Row> for CustomDomain {
    type Error = StoreError;

    fn try_from(r: Row) -> Result<Self, StoreError> {
        let id = DomainId::from_uuid(r.id);
        let certificate = match (r.issuer, r.not_before, r.not_after) {
            (Some(issuer), Some(not_before), Some(not_after)) => Some(DomainCertificate {
                issuer,
                uploaded: r.uploaded.unwrap_or(false),
                not_before,
                not_after,
            }),
            _ => None,
        };
        let issuance = r
            .failures
            .map(|failures| {
                let error = r.error.map(|e| json(e, "issuances", "error", &id)).transpose()?;
                Ok::<_, StoreError>(Issuance {
                    failures: u32::try_from(failures).unwrap_or(0),
                    next_try_at: r.next_try_at,
                    error,
                    order: None,
                })
            })
            .transpose()?;
        let proof = r
            .proof
            .map(|p| Proof::parse(&p).ok_or_else(|| bad("custom_domains", "proof", &id)))
            .transpose()?;
        Ok(Self {
            id,
            host: parse(&r.host, "custom_domains", "host", &id)?,
            team: TeamId::from_uuid(r.team_id),
            environment: EnvironmentId::from_uuid(r.environment_id),
            app_name: parse(&r.app, "apps", "name", &id)?,
            environment_name: parse(&r.environment, "environments", "name", &id)?,
            token: r.token,
            redirect_to: r
                .redirect_to
                .map(|to| parse(&to, "custom_domains", "redirect_to", &id))
                .transpose()?,
            hsts: Hsts {
                step: hsts_step(r.hsts_max_age_seconds, &id)?,
                since: r.hsts_since,
                include_subdomains: r.hsts_include_subdomains,
                preload: r.hsts_preload,
                remembered_until: r.hsts_remembered_until,
            },
            asks_visitors: r.asks_visitors,
            on_demand: r.on_demand,
            created_at: r.created_at,
            created_by: r.created_by,
            proof,
            inspection: r
                .inspection
                .map(|i| json(i, "custom_domains", "inspection", &id))
                .transpose()?,
            looked_at: r.looked_at,
            look_at: r.look_at,
            look_failures: u32::try_from(r.look_failures).unwrap_or(0),
            certificate,
            issuance,
        })
    }
}

pub(crate) fn hsts_step(seconds: Option<i32>, id: &impl std::fmt::Display) -> Result<Option<HstsStep>, StoreError> {
    let step = |seconds| {
        let known = u32::try_from(seconds).ok().and_then(HstsStep::of);
        known.ok_or_else(|| bad("custom_domains", "hsts_max_age_seconds", id))
    };
    seconds.map(step).transpose()
}

/// Which ones are asked for: all of it is optional.
#[derive(Debug, Default)]
struct Asked<'a> {
    app: Option<AppId>,
    team: Option<TeamId>,
    host: Option<&'a str>,
    /// Those to be looked at by then, the longest overdue first.
    due: Option<Timestamp>,
    /// Those whose renewal is late by then.
    ending: Option<Timestamp>,
    apps: Option<Vec<String>>,
    environments: Option<Vec<String>>,
    after: Option<&'a str>,
    limit: Option<i64>,
}

/// What a caller may see of custom domains.
#[derive(Debug, Default)]
pub struct DomainFilter<'a> {
    /// Those of this app.
    pub app: Option<AppId>,
    /// Those of this team.
    pub team: Option<TeamId>,
    /// Those of these apps.
    pub apps: Option<&'a [AppName]>,
    /// Those that lead to these environments.
    pub environments: Option<&'a [EnvironmentName]>,
}

fn words<T: ToString>(names: Option<&[T]>) -> Option<Vec<String>> {
    names.map(|names| names.iter().map(ToString::to_string).collect())
}

impl Tx {
    async fn domains_asked(&mut self, asked: Asked<'_>) -> Result<Vec<CustomDomain>, StoreError> {
        let rows = sqlx::query_as!(
            Row,
            "select d.id, d.host, d.team_id, d.environment_id, a.name as app, e.name as environment, d.token, d.redirect_to,
                    d.hsts_max_age_seconds, d.hsts_since, d.hsts_include_subdomains, d.hsts_preload, d.hsts_remembered_until,
                    d.client_ca_pem is not null as \"asks_visitors!\",
                    d.on_demand, d.created_at, d.created_by, d.proof, d.inspection, d.looked_at, d.look_at, d.look_failures,
                    c.issuer as \"issuer?\", c.uploaded as \"uploaded?\", c.not_before as \"not_before?\", c.not_after as \"not_after?\",
                    i.failures as \"failures?\", i.next_try_at, i.error
             from custom_domains d
             join environments e on e.id = d.environment_id join apps a on a.id = e.app_id
             left join certificates c on d.proof is not null and c.names = array[d.host] and c.replaced_at is null
               -- One that a proxy does not have yet serves nobody, unless the one before it still does.
               and (not exists (select from proxies p where p.connected and p.applied_version < c.route_version)
                    or exists (select from certificates o where o.names = c.names and o.replaced_at is not null
                                                            and o.not_after > now()))
             left join issuances i on d.proof is not null and i.names = array[d.host]
             where ($1::uuid is null or e.app_id = $1) and ($2::uuid is null or d.team_id = $2)
               and ($3::text is null or d.host = $3) and ($4::timestamptz is null or d.look_at <= $4
                    -- Nothing is planned later than that, but by a clock that was set back since.
                    or d.look_at > $4 + interval '1 day')
               and ($5::timestamptz is null or renewal_is_late(c.not_before, c.not_after, $5)
                    -- Nothing renews these.
                    or c.uploaded and c.not_after - $5 <= interval '21 days')
               and ($6::text[] is null or a.name = any($6)) and ($7::text[] is null or e.name = any($7))
               and ($8::text is null or d.host collate \"C\" > $8)
             order by case when $4::timestamptz is null then null else d.look_at end, d.host collate \"C\", d.id limit $9",
            asked.app.map(AppId::uuid),
            asked.team.map(TeamId::uuid),
            asked.host,
            asked.due,
            asked.ending,
            asked.apps.as_deref(),
            asked.environments.as_deref(),
            asked.after,
            asked.limit
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter().map(CustomDomain::try_from).collect()
    }

    /// One page of those that a caller may see, by name.
    #[tracing::instrument(name = "db.custom_domains_page", level = "debug", skip_all)]
    pub async fn custom_domains_page(
        &mut self,
        filter: &DomainFilter<'_>,
        page: &Page<String>,
    ) -> Result<Vec<CustomDomain>, StoreError> {
        let asked = Asked {
            app: filter.app,
            team: filter.team,
            apps: words(filter.apps),
            environments: words(filter.environments),
            after: page.after.as_deref(),
            limit: Some(page.limit()),
            ..Asked::default()
        };
        self.domains_asked(asked).await
    }

    /// Asks for a name.
    #[tracing::instrument(name = "db.insert_custom_domain", level = "debug", skip_all)]
    pub async fn insert_custom_domain(&mut self, d: &NewCustomDomain) -> Result<(), StoreError> {
        sqlx::query!(
            "insert into custom_domains (id, host, team_id, environment_id, token, redirect_to, created_at, created_by, look_at, on_demand)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $7, $9)",
            d.id.uuid(),
            d.host.as_str(),
            d.team.uuid(),
            d.environment.uuid(),
            d.token,
            d.redirect_to.as_ref().map(HostName::as_str),
            d.created_at,
            d.created_by,
            d.on_demand
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// How many people added to an app, without those that visitors brought along.
    #[tracing::instrument(name = "db.count_added_domains", level = "debug", skip_all)]
    pub async fn count_added_domains(&mut self, app: AppId) -> Result<i64, StoreError> {
        let count = sqlx::query_scalar!(
            "select count(*) as \"count!\" from custom_domains d join environments e on e.id = d.environment_id
             where e.app_id = $1 and not d.on_demand",
            app.uuid()
        )
        .fetch_one(self.c())
        .await?;
        Ok(count)
    }

    /// A name of an app whose visitors are sent on to this one.
    #[tracing::instrument(name = "db.domain_sent_on", level = "debug", skip_all)]
    pub async fn domain_sent_on(&mut self, app: AppId, to: &HostName) -> Result<Option<DomainName>, StoreError> {
        let host = sqlx::query_scalar!(
            "select d.host from custom_domains d join environments e on e.id = d.environment_id
             where e.app_id = $1 and d.redirect_to = $2 order by d.host limit 1",
            app.uuid(),
            to.as_str()
        )
        .fetch_optional(self.c())
        .await?;
        host.map(|host| parse(&host, "custom_domains", "host", &host))
            .transpose()
    }

    /// One of an app.
    #[tracing::instrument(name = "db.custom_domain", level = "debug", skip_all)]
    pub async fn custom_domain(&mut self, app: AppId, host: &DomainName) -> Result<Option<CustomDomain>, StoreError> {
        let found = self
            .domains_asked(Asked {
                app: Some(app),
                host: Some(host.as_str()),
                ..Asked::default()
            })
            .await?;
        Ok(found.into_iter().next())
    }

    /// What a team asked for under a name, in whichever app.
    #[tracing::instrument(name = "db.custom_domain_of_team", level = "debug", skip_all)]
    pub async fn custom_domain_of_team(
        &mut self,
        team: TeamId,
        host: &DomainName,
    ) -> Result<Option<CustomDomain>, StoreError> {
        let found = self
            .domains_asked(Asked {
                team: Some(team),
                host: Some(host.as_str()),
                ..Asked::default()
            })
            .await?;
        Ok(found.into_iter().next())
    }

    /// The one that was proven, of whichever team.
    #[tracing::instrument(name = "db.proven_domain", level = "debug", skip_all)]
    pub async fn proven_domain(&mut self, host: &str) -> Result<Option<CustomDomain>, StoreError> {
        let found = self
            .domains_asked(Asked {
                host: Some(host),
                ..Asked::default()
            })
            .await?;
        Ok(found.into_iter().find(|d| d.proof.is_some()))
    }

    /// Those to be looked at by now, the longest overdue first.
    #[tracing::instrument(name = "db.domains_due", level = "debug", skip_all)]
    pub async fn domains_due(&mut self, now: Timestamp, limit: i64) -> Result<Vec<CustomDomain>, StoreError> {
        self.domains_asked(Asked {
            due: Some(now),
            limit: Some(limit),
            ..Asked::default()
        })
        .await
    }

    /// Those whose certificate is about to end, or has ended: when its renewal is late.
    #[tracing::instrument(name = "db.domains_ending", level = "debug", skip_all)]
    pub async fn domains_ending(&mut self, now: Timestamp, limit: i64) -> Result<Vec<CustomDomain>, StoreError> {
        self.domains_asked(Asked {
            ending: Some(now),
            limit: Some(limit),
            ..Asked::default()
        })
        .await
    }

    /// When the next look is due that is not due yet.
    #[tracing::instrument(name = "db.next_look_at", level = "debug", skip_all)]
    pub async fn next_look_at(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        let next = sqlx::query_scalar!("select min(look_at) from custom_domains where look_at > $1", now)
            .fetch_one(self.c())
            .await?;
        Ok(next)
    }

    /// What other teams have to do with a name.
    #[tracing::instrument(name = "db.other_teams", level = "debug", skip_all)]
    pub async fn other_teams(&mut self, team: TeamId, host: &DomainName) -> Result<OtherTeams, StoreError> {
        // Those above it, and the wildcards that cover it or something above it.
        let mut parents = Vec::new();
        let bare = host.bare();
        let mut rest = bare.as_str();
        if host.is_wildcard() {
            parents.push(rest.to_owned());
        }
        while let Some((_, parent)) = rest.split_once('.') {
            parents.extend([parent.to_owned(), format!("*.{parent}")]);
            rest = parent;
        }
        let row = sqlx::query!(
            "select exists (select from domains where host = $2 and team_id <> $1) as \"has_it!\",
                    exists (select from domains where kind = 'custom' and host = any($3) and team_id <> $1) as \"has_parent!\",
                    exists (select from custom_domains where host = $2 and team_id <> $1) as \"asks!\",
                    (select released_at from released_domains where host = $2 and team_id <> $1) as released_at",
            team.uuid(),
            host.as_str(),
            &parents
        )
        .fetch_one(self.c())
        .await?;
        Ok(OtherTeams {
            has_it: row.has_it,
            has_parent: row.has_parent,
            asks: row.asks,
            released_at: row.released_at,
        })
    }

    /// Notes what a look came to and when the next one is due. What was asked for while it was under way is due still.
    #[tracing::instrument(name = "db.note_look", level = "debug", skip_all)]
    pub async fn note_look(
        &mut self,
        domain: &CustomDomain,
        inspection: &Inspection,
        failures: u32,
        (now, next): (Timestamp, Timestamp),
    ) -> Result<(), StoreError> {
        sqlx::query!(
            "update custom_domains
             set inspection = $2, looked_at = $3, look_at = case when look_at = $7 then $4 else look_at end,
                 look_failures = $5, may_order = $6
             where id = $1",
            domain.id.uuid(),
            to_json(inspection)?,
            now,
            next,
            i32::try_from(failures).unwrap_or(i32::MAX),
            inspection.may_order(),
            domain.look_at
        )
        .execute(self.c())
        .await?;
        Ok(())
    }

    /// Makes the name its team's and tells the proxies; false when another has it, or this one has gone.
    #[tracing::instrument(name = "db.prove_domain", level = "debug", skip_all)]
    pub async fn prove_domain(&mut self, id: DomainId, proof: Proof, now: Timestamp) -> Result<bool, StoreError> {
        let made = sqlx::query!(
            "insert into domains (host, team_id, environment_id, kind, created_at)
             select host, team_id, environment_id, 'custom', $2 from custom_domains where id = $1
             on conflict (host) do nothing",
            id.uuid(),
            now
        )
        .execute(self.c())
        .await?;
        if made.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!(
            "update custom_domains set proof = $2, proven_at = $3 where id = $1",
            id.uuid(),
            proof.as_str(),
            now
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(true)
    }

    /// Looks at it as soon as may be.
    #[tracing::instrument(name = "db.look_soon", level = "debug", skip_all)]
    pub async fn look_soon(&mut self, id: DomainId, now: Timestamp) -> Result<(), StoreError> {
        sqlx::query!("update custom_domains set look_at = $2 where id = $1", id.uuid(), now)
            .execute(self.c())
            .await?;
        Ok(())
    }

    /// Sends its visitors on, or lets its app answer them.
    #[tracing::instrument(name = "db.redirect_domain", level = "debug", skip_all)]
    pub async fn redirect_domain(&mut self, id: DomainId, to: Option<&HostName>) -> Result<(), StoreError> {
        sqlx::query!(
            "update custom_domains set redirect_to = $2 where id = $1",
            id.uuid(),
            to.map(HostName::as_str)
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(())
    }

    /// Tells browsers something else to remember.
    #[tracing::instrument(name = "db.set_hsts", level = "debug", skip_all)]
    pub async fn set_hsts(&mut self, id: DomainId, hsts: &Hsts) -> Result<(), StoreError> {
        sqlx::query!(
            "update custom_domains
             set hsts_max_age_seconds = $2, hsts_since = $3, hsts_include_subdomains = $4, hsts_preload = $5,
                 hsts_remembered_until = $6
             where id = $1",
            id.uuid(),
            hsts.step
                .map(|step| i32::try_from(step.max_age_seconds()).unwrap_or(i32::MAX)),
            hsts.since,
            hsts.include_subdomains,
            hsts.preload,
            hsts.remembered_until
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(())
    }

    /// Has visitors show a certificate that one of these vouches for, or lets anybody in.
    #[tracing::instrument(name = "db.set_client_ca", level = "debug", skip_all)]
    pub async fn set_client_ca(&mut self, id: DomainId, pem: Option<&str>) -> Result<(), StoreError> {
        sqlx::query!(
            "update custom_domains set client_ca_pem = $2 where id = $1",
            id.uuid(),
            pem
        )
        .execute(self.c())
        .await?;
        self.bump_routes().await?;
        Ok(())
    }

    /// Names whose browsers may be told to remember for longer: all is well with them, and the certificate in use was
    /// got without a failure after the last step.
    #[tracing::instrument(name = "db.hsts_candidates", level = "debug", skip_all)]
    pub async fn hsts_candidates(&mut self, now: Timestamp) -> Result<Vec<HstsCandidate>, StoreError> {
        let rows = sqlx::query!(
            "select d.id, d.host, d.hsts_max_age_seconds, d.hsts_since, d.hsts_include_subdomains, d.hsts_preload,
                    d.hsts_remembered_until, c.created_at as renewed_at
             from custom_domains d
             join certificates c on c.names @> array[d.host] and c.replaced_at is null and c.not_after > $1
             where d.hsts_max_age_seconds < 31536000 and d.may_order and c.failures = 0 and c.created_at > d.hsts_since
               and not exists (select from issuances i where i.names = c.names and i.failures > 0)",
            now
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let id = DomainId::from_uuid(r.id);
                Ok(HstsCandidate {
                    id,
                    host: parse(&r.host, "custom_domains", "host", &id)?,
                    hsts: Hsts {
                        step: hsts_step(r.hsts_max_age_seconds, &id)?,
                        since: r.hsts_since,
                        include_subdomains: r.hsts_include_subdomains,
                        preload: r.hsts_preload,
                        remembered_until: r.hsts_remembered_until,
                    },
                    renewed_at: r.renewed_at,
                })
            })
            .collect()
    }

    /// Gives a name up.
    #[tracing::instrument(name = "db.delete_custom_domain", level = "debug", skip_all)]
    pub async fn delete_custom_domain(&mut self, d: &CustomDomain) -> Result<(), StoreError> {
        sqlx::query!("delete from custom_domains where id = $1", d.id.uuid())
            .execute(self.c())
            .await?;
        if d.proof.is_some() {
            sqlx::query!(
                "delete from domains where host = $1 and team_id = $2 and kind = 'custom'",
                d.host.as_str(),
                d.team.uuid()
            )
            .execute(self.c())
            .await?;
            self.bump_routes().await?;
        }
        Ok(())
    }
}
