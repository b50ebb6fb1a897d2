//! `routes` and `route_version`: what proxies are told. Written by the scheduler; the version grows with every change.

use std::collections::BTreeSet;

use slipway_domain::Timestamp;
use slipway_domain::domains::Hsts;
use slipway_domain::generation::RouteVersion;
use slipway_domain::ids::{CertificateId, EnvironmentId};
use slipway_domain::name::{AppName, DomainName, EnvironmentName, HostName};
use slipway_domain::routing::{CertificateReference, GroupRoute, RouteState, Split};
use slipway_domain::spec::Spec;

use crate::custom_domains::hsts_step;
use crate::row::{bad, json, parse, spec, to_json};
use crate::{Challenge, ChallengeKind, Environment, StoreError, Tx};

/// What proxies are told of one environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteRow {
    /// What to do with requests.
    pub state: RouteState,
    /// Where to forward them.
    pub groups: Vec<GroupRoute>,
    /// How the traffic is shared, if not evenly.
    pub split: Option<Split>,
    /// Since which version.
    pub version: RouteVersion,
}

/// Everything a snapshot is made from, at one version.
#[derive(Debug, Clone)]
pub struct SnapshotRows {
    /// The version.
    pub version: RouteVersion,
    /// Host names.
    pub hosts: Vec<(DomainName, EnvironmentId)>,
    /// Environments: with the spec of the newest release that has traffic, for its limits.
    pub environments: Vec<SnapshotEnvironment>,
    /// Certificates in use.
    pub certificates: Vec<CertificateReference>,
    /// Names whose visitors are sent on to others.
    pub redirects: Vec<(HostName, HostName)>,
    /// What is special about a name.
    pub policies: Vec<NamePolicyRow>,
    /// What is answered to CAs.
    pub challenges: Vec<Challenge>,
}

/// What is special about a name.
#[derive(Debug, Clone)]
pub struct NamePolicyRow {
    /// The name.
    pub name: DomainName,
    /// What browsers are told to remember.
    pub hsts: Hsts,
    /// Who must vouch for visitors.
    pub client_ca_pem: Option<String>,
}

/// One environment of a snapshot.
#[derive(Debug, Clone)]
pub struct SnapshotEnvironment {
    /// Its identifier.
    pub id: EnvironmentId,
    /// Its app.
    pub app: AppName,
    /// Its name.
    pub name: EnvironmentName,
    /// What proxies are told; `None` before anything was.
    pub route: Option<(RouteState, Vec<GroupRoute>)>,
    /// Whether a visitor stays with the release that answered first.
    pub sticky: bool,
    /// The spec whose limits hold.
    pub spec: Spec,
}

fn state(text: &str, id: EnvironmentId) -> Result<RouteState, StoreError> {
    json(serde_json::Value::from(text), "routes", "state", &id)
}

impl Tx {
    /// The version in force.
    #[tracing::instrument(name = "db.route_version", level = "debug", skip_all)]
    pub async fn route_version(&mut self) -> Result<RouteVersion, StoreError> {
        let version = sqlx::query_scalar!("select version from route_version")
            .fetch_one(self.c())
            .await?;
        Ok(RouteVersion(version))
    }

    /// Says that proxies must know something new.
    #[tracing::instrument(name = "db.bump_routes", level = "debug", skip_all)]
    pub async fn bump_routes(&mut self) -> Result<RouteVersion, StoreError> {
        let version =
            sqlx::query_scalar!("update route_version set version = version + 1, changed_at = now() returning version")
                .fetch_one(self.c())
                .await?;
        Ok(RouteVersion(version))
    }

    /// Tells proxies something new of an environment and says since which version they must know it; what they are
    /// told already changes nothing. Fence the transaction first.
    #[tracing::instrument(name = "db.set_route", level = "debug", skip_all)]
    pub async fn set_route(
        &mut self,
        e: &Environment,
        state: RouteState,
        groups: &[GroupRoute],
        split: Option<Split>,
    ) -> Result<RouteVersion, StoreError> {
        self.fenced()?;
        if let Some(row) = self.route(e.id).await?
            && row.state == state
            && row.groups == groups
            && row.split == split
        {
            return Ok(row.version);
        }
        let version = self.bump_routes().await?;
        let word = to_json(&state)?;
        sqlx::query!(
            "insert into routes (environment_id, state, groups, version, split) values ($1, $2, $3, $4, $5)
             on conflict (environment_id) do update
                set state = excluded.state, groups = excluded.groups, version = excluded.version, split = excluded.split",
            e.id.uuid(),
            word.as_str().unwrap_or_default(),
            to_json(&groups)?,
            version.0,
            split.as_ref().map(to_json).transpose()?
        )
        .execute(self.c())
        .await?;
        Ok(version)
    }

    /// The instances of an environment that proxies send requests to.
    #[tracing::instrument(name = "db.routed_instances", level = "debug", skip_all)]
    pub async fn routed_instances(&mut self, id: EnvironmentId) -> Result<BTreeSet<String>, StoreError> {
        let groups = self.route(id).await?.map(|r| r.groups).unwrap_or_default();
        let with_traffic = groups.into_iter().filter(|g| g.weight > 0);
        Ok(with_traffic
            .flat_map(|g| g.instances)
            .map(|upstream| upstream.instance)
            .collect())
    }

    #[tracing::instrument(name = "db.route", level = "debug", skip_all)]
    pub(crate) async fn route(&mut self, id: EnvironmentId) -> Result<Option<RouteRow>, StoreError> {
        let row = sqlx::query!(
            "select state, groups, version, split from routes where environment_id = $1",
            id.uuid()
        )
        .fetch_optional(self.c())
        .await?;
        row.map(|r| {
            Ok(RouteRow {
                state: state(&r.state, id)?,
                groups: json(r.groups, "routes", "groups", &id)?,
                split: r.split.map(|v| json(v, "routes", "split", &id)).transpose()?,
                version: RouteVersion(r.version),
            })
        })
        .transpose()
    }

    /// Everything a snapshot is made from, as of one moment.
    #[tracing::instrument(name = "db.snapshot_rows", level = "debug", skip_all)]
    pub async fn snapshot_rows(&mut self) -> Result<SnapshotRows, StoreError> {
        sqlx::query!("set transaction isolation level repeatable read read only")
            .execute(self.c())
            .await?;
        let version = self.route_version().await?;
        let hosts = sqlx::query!("select host, environment_id from domains order by host")
            .fetch_all(self.c())
            .await?;
        let hosts = hosts
            .into_iter()
            .map(|r| {
                let id = EnvironmentId::from_uuid(r.environment_id);
                Ok((parse(&r.host, "domains", "host", &id)?, id))
            })
            .collect::<Result<_, StoreError>>()?;
        let rows = sqlx::query!(
            "select e.id, a.name as app, e.name, e.spec, rt.state as \"state?\", rt.groups as \"groups?\",
                    coalesce((rt.split -> 'sticky')::boolean, false) as \"sticky!\",
                    r.spec as \"routed?\"
             from environments e join apps a on a.id = e.app_id
             join environment_status s on s.environment_id = e.id
             left join routes rt on rt.environment_id = e.id
             left join releases r on r.id = coalesce(
                 (select n.id from releases n where n.environment_id = e.id and n.number = greatest(
                     (select max((g #>> '{}')::bigint)
                      from jsonb_path_query(rt.groups, '$[*].release ? (@.type() == \"number\")') g),
                     -- Instances that were taken over have the number of the release they were started under.
                     (select v.number from releases v where v.id = s.serving_release_id))),
                 s.serving_release_id, e.release_id)
             where e.desired <> 'deleted' or rt.state is not null"
        )
        .fetch_all(self.c())
        .await?;
        let environments = rows
            .into_iter()
            .map(|r| {
                let id = EnvironmentId::from_uuid(r.id);
                let route = match r.state.zip(r.groups) {
                    Some((word, groups)) => Some((state(&word, id)?, json(groups, "routes", "groups", &id)?)),
                    None => None,
                };
                Ok(SnapshotEnvironment {
                    id,
                    app: parse(&r.app, "apps", "name", &id)?,
                    name: parse(&r.name, "environments", "name", &id)?,
                    route,
                    sticky: r.sticky,
                    spec: spec(r.routed.as_ref().unwrap_or(&r.spec), "releases", &id)?,
                })
            })
            .collect::<Result<_, StoreError>>()?;
        Ok(SnapshotRows {
            version,
            hosts,
            environments,
            certificates: self.certificate_references().await?,
            redirects: self.redirects().await?,
            policies: self.policies().await?,
            challenges: self.challenges().await?,
        })
    }

    async fn redirects(&mut self) -> Result<Vec<(HostName, HostName)>, StoreError> {
        let rows = sqlx::query!(
            "select host, redirect_to as \"redirect_to!\" from custom_domains
             where redirect_to is not null and proven_at is not null order by host"
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let host = parse(&r.host, "custom_domains", "host", &r.host)?;
                Ok((host, parse(&r.redirect_to, "custom_domains", "redirect_to", &r.host)?))
            })
            .collect()
    }

    async fn policies(&mut self) -> Result<Vec<NamePolicyRow>, StoreError> {
        let rows = sqlx::query!(
            "select host, hsts_max_age_seconds, hsts_include_subdomains, hsts_preload, hsts_remembered_until, client_ca_pem
             from custom_domains
             where proven_at is not null
               and (hsts_max_age_seconds is not null or hsts_remembered_until > now() or client_ca_pem is not null)
             order by host"
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                Ok(NamePolicyRow {
                    name: parse(&r.host, "custom_domains", "host", &r.host)?,
                    hsts: Hsts {
                        step: hsts_step(r.hsts_max_age_seconds, &r.host)?,
                        since: None,
                        include_subdomains: r.hsts_include_subdomains,
                        preload: r.hsts_preload,
                        remembered_until: r.hsts_remembered_until,
                    },
                    client_ca_pem: r.client_ca_pem,
                })
            })
            .collect()
    }

    async fn challenges(&mut self) -> Result<Vec<Challenge>, StoreError> {
        let rows = sqlx::query!("select host, kind, token, answer from acme_challenges order by host, token")
            .fetch_all(self.c())
            .await?;
        rows.into_iter()
            .map(|r| {
                let kind = ChallengeKind::parse(&r.kind).ok_or_else(|| bad("acme_challenges", "kind", &r.host))?;
                Ok(Challenge {
                    host: r.host,
                    kind,
                    token: r.token,
                    answer: r.answer,
                })
            })
            .collect()
    }

    async fn certificate_references(&mut self) -> Result<Vec<CertificateReference>, StoreError> {
        let rows = sqlx::query!(
            "select id, names, not_after as \"not_after: Timestamp\" from certificates where replaced_at is null order by id"
        )
        .fetch_all(self.c())
        .await?;
        rows.into_iter()
            .map(|r| {
                let id = CertificateId::from_uuid(r.id);
                if r.names.is_empty() {
                    return Err(bad("certificates", "names", &id));
                }
                Ok(CertificateReference {
                    id,
                    names: r.names,
                    not_after: r.not_after,
                })
            })
            .collect()
    }
}
