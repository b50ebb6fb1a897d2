//! A platform whose domains are all well, with a real database.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use chrono::{TimeDelta, Timelike as _};
use futures_util::{StreamExt as _, stream};
use slipway_domain::alert::Notice;
use slipway_domain::clock::Clock as _;
use slipway_domain::domains::{Finding, Inspection, Level, Proof};
use slipway_domain::ids::{AppId, DomainId, EnvironmentId, TeamId};
use slipway_domain::limits::TeamLimits;
use slipway_domain::name::HostName;
use slipway_domain::ports::{
    BoxFuture, Claim, DomainInspector, SealContext, SealError, Sealer, TextRecord, ZoneAccount, ZoneEditor,
};
use slipway_domain::secret::{Sealed, Secret};
use slipway_domain::spec::Spec;
use slipway_domain::{Entropy, Generation, ReleaseNumber, Timestamp};
use slipway_store::{
    AlertFilter, App, CertificateRow, Desired, Environment, NewCustomDomain, Page, Store, StoreError, StoreOptions,
    Team,
};
use slipway_testkit::postgres::with_database;
use sqlx::ConnectOptions as _;
use sqlx::postgres::PgConnectOptions;
use uuid::Uuid;

use super::SimulatedClock;
use super::ca::Ca;
use crate::certificates::Orders;
use crate::lead::Lead;
use crate::looks::Looks;
use crate::queue::Queue;
use crate::windows::Windows;
use crate::{CaSettings, Deps, Issued, LocalAuthority, Platform, upkeep};

/// Numbers that differ, and the same ones in each run.
struct Dice(AtomicU64);

impl Entropy for Dice {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            // SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
            let mut z = self.0.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            let bytes = (z ^ (z >> 31)).to_le_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Everything that is asked of the world and always well.
struct Well;

/// What DNS says of every name.
#[derive(Clone)]
pub(super) struct Records(Arc<AtomicBool>);

impl Records {
    pub(super) fn are_there(&self, here: bool) {
        self.0.store(here, Ordering::Relaxed);
    }
}

impl DomainInspector for Records {
    fn inspect(&self, _: Claim) -> BoxFuture<'_, Inspection> {
        Box::pin(async {
            let here = self.0.load(Ordering::Relaxed);
            let missing = Finding {
                code: "no_such_name".into(),
                level: Level::Error,
                detail: "It is not there.".into(),
                hint: "Make it.".into(),
            };
            Inspection {
                records: Vec::new(),
                findings: if here { Vec::new() } else { vec![missing] },
                proof: Some(Proof::Routed),
                points_here: here,
                dnssec: "insecure".into(),
                ttl_seconds: Some(60),
                behind_proxy: false,
                by_dns: false,
                dns_only: false,
            }
        })
    }
}

impl ZoneEditor for Well {
    fn check(&self, _: &ZoneAccount) -> Result<(), String> {
        Ok(())
    }

    fn add<'a>(&'a self, _: &'a ZoneAccount, _: &'a TextRecord) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn remove<'a>(&'a self, _: &'a ZoneAccount, _: &'a TextRecord) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async { Ok(()) })
    }

    fn alias<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(async { None })
    }

    fn is_published<'a>(&'a self, _: &'a ZoneAccount, _: &'a TextRecord) -> BoxFuture<'a, bool> {
        Box::pin(async { true })
    }
}

impl Sealer for Well {
    fn seal(&self, _: SealContext<'_>, plaintext: &Secret) -> Result<Sealed, SealError> {
        Ok(Sealed {
            key_version: 1,
            bytes: plaintext.expose().as_bytes().to_vec(),
        })
    }

    fn open(&self, _: SealContext<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        let text = String::from_utf8(sealed.bytes.clone()).map_err(|_| SealError::Damaged)?;
        Ok(Secret::new(text))
    }

    fn fingerprint(&self, _: TeamId, _: &Secret) -> String {
        String::new()
    }
}

impl LocalAuthority for Well {
    fn issue(&self, names: &[String], now: Timestamp) -> Result<Issued, String> {
        let pair = rcgen::generate_simple_self_signed(names).map_err(|e| e.to_string())?;
        Ok(Issued {
            chain_pem: pair.cert.pem(),
            key_pem: pair.signing_key.serialize_pem(),
            not_before: now,
            not_after: now + TimeDelta::days(3650),
            issuer: "the test".into(),
        })
    }
}

/// The platform and its CA.
pub(super) struct World {
    pub(super) clock: SimulatedClock,
    /// The CA's own.
    pub(super) ca_clock: SimulatedClock,
    pub(super) records: Records,
    pub(super) ca: Ca,
    database: PgConnectOptions,
    deps: Deps,
    lead: Lead,
    domains: usize,
    is_new: bool,
}

impl World {
    /// Adds so many, a fifth of them below one registered domain.
    pub(super) async fn add_domains(&mut self, count: usize) {
        let (now, entropy) = (self.clock.now(), self.deps.entropy.as_ref());
        let mut tx = self.deps.store.begin().await.expect("begins");
        let (team, environment) = place(&mut tx, now, entropy).await.expect("inserted");
        for n in self.domains..self.domains + count {
            let host = match n % 5 {
                0 => format!("customer{n}.example.com"),
                _ => format!("shop{n}.com"),
            };
            let new = NewCustomDomain {
                id: DomainId::mint(now, entropy),
                host: host.parse().expect("a name"),
                team,
                environment,
                token: format!("{n}"),
                redirect_to: None,
                on_demand: false,
                created_at: now,
                created_by: "ana".into(),
            };
            tx.insert_custom_domain(&new).await.expect("inserted");
        }
        tx.commit().await.expect("commits");
        self.domains += count;
        self.is_new = true;
    }

    /// The platform forgets every certificate, what was being tried, and its accounts at CAs.
    pub(super) async fn loses_everything(&self) {
        let mut connection = self.database.connect().await.expect("connects");
        sqlx::raw_sql("delete from certificates; delete from issuances; delete from acme_accounts")
            .execute(&mut connection)
            .await
            .expect("deleted");
    }

    /// Has the platform itself answer under a public name.
    pub(super) fn answers_at(&mut self, api: &str) {
        self.deps.platform.api = Some(api.parse().expect("a name"));
        self.is_new = true;
    }

    /// Has another CA asked first.
    pub(super) fn has_first(&mut self, directory: &str) {
        let first = CaSettings::new(directory.to_owned(), None, None, None);
        self.deps.cas.insert(0, first);
    }

    /// The alerts that go on.
    pub(super) async fn alerts(&self) -> Vec<Notice> {
        let mut tx = self.deps.store.begin().await.expect("begins");
        let firing = AlertFilter {
            firing: Some(true),
            ..AlertFilter::default()
        };
        let page = Page { after: None, limit: 50 };
        tx.alerts(&firing, &page).await.expect("read")
    }

    /// Lets time pass for both, and then does what is due.
    pub(super) async fn pass(&mut self, time: TimeDelta) {
        self.clock.turn(time);
        self.ca_clock.turn(time);
        // What comes of the rest does not matter here by the hour.
        if self.clock.now().hour().is_multiple_of(6) || self.is_new {
            self.drain::<Looks>().await;
            upkeep::round(&self.deps, self.lead).await.expect("done");
            self.is_new = false;
        }
        self.drain::<Windows>().await;
        self.drain::<Orders>().await;
    }

    /// Does what is due until nothing is.
    async fn drain<Q: Queue>(&self) {
        loop {
            let due = Q::due(&self.deps, 64).await.expect("asked");
            if due.now.is_empty() {
                return;
            }
            let work = due.now.into_iter().map(|item| Q::work(&self.deps, self.lead, item));
            let mut under_way = stream::iter(work).buffer_unordered(Q::AT_ONCE_MAX);
            while let Some(done) = under_way.next().await {
                done.expect("done");
            }
        }
    }

    /// What lists of certificates show of the domains.
    pub(super) async fn rows(&self) -> Vec<CertificateRow> {
        let mut tx = self.deps.store.begin().await.expect("begins");
        let page = Page {
            after: None,
            limit: 10_000,
        };
        let rows = tx.certificate_rows(None, None, &page).await.expect("read");
        rows.into_iter()
            .filter(|row| !row.names[0].contains("localhost"))
            .collect()
    }
}

async fn place(
    tx: &mut slipway_store::Tx,
    now: Timestamp,
    entropy: &dyn Entropy,
) -> Result<(TeamId, EnvironmentId), StoreError> {
    let team = Team {
        id: TeamId::mint(now, entropy),
        name: "default".parse().expect("a name"),
        created_at: now,
        limits: TeamLimits::default(),
    };
    tx.insert_team(&team).await?;
    let app = App {
        id: AppId::mint(now, entropy),
        team: team.id,
        team_name: team.name.clone(),
        name: "sites".parse().expect("a name"),
        created_at: now,
        created_by: "ana".into(),
    };
    tx.insert_app(&app).await?;
    let environment = Environment {
        id: EnvironmentId::mint(now, entropy),
        team: team.id,
        app: app.id,
        app_name: app.name.clone(),
        name: "production".parse().expect("a name"),
        created_at: now,
        created_by: "ana".into(),
        spec: Spec::default(),
        spec_generation: 1,
        staged: false,
        generation: Generation(0),
        desired: Desired::Running,
        release: None,
        subnet: None,
        last_release_number: ReleaseNumber(0),
        expiry: None,
        decided_at: now,
    };
    tx.insert_environment(&environment, &base()).await?;
    Ok((team.id, environment.id))
}

fn base() -> HostName {
    "apps.localhost".parse().expect("a name")
}

/// Runs a test with a platform that leads on a database of its own.
pub(super) async fn simulate<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    with_database("slipway_acme", async |options| {
        let dir = tempfile::tempdir().expect("a directory");
        let world = world(options, dir.path()).await;
        test(world).await;
    })
    .await;
}

async fn world(database: PgConnectOptions, dir: &std::path::Path) -> World {
    let store = Store::connect(database.to_url_lossy().as_str(), StoreOptions::default())
        .await
        .expect("a database");
    store.migrate().await.expect("migrated");
    let (clock, ca_clock) = (SimulatedClock::starting(), SimulatedClock::starting());
    let ca = Ca::start(ca_clock.clone()).await;
    let roots = dir.join("ca.pem");
    std::fs::write(&roots, ca.own_pem()).expect("written");
    let holder = Uuid::from_u128(1);
    let records = Records(Arc::new(AtomicBool::new(true)));
    let deps = Deps {
        store,
        sealer: Arc::new(Well),
        clock: Arc::new(clock.clone()),
        entropy: Arc::new(Dice(AtomicU64::new(7))),
        inspector: Arc::new(records.clone()),
        zones: Arc::new(Well),
        local: Arc::new(Well),
        cas: vec![CaSettings::new(ca.directory(), None, Some(roots), None)],
        platform: Platform {
            base: base(),
            api: None,
        },
        doubt: Arc::default(),
        holder,
    };
    let lead = Lead::for_an_hour(&deps).await.expect("leads");
    World {
        clock,
        ca_clock,
        records,
        ca,
        database,
        deps,
        lead,
        domains: 0,
        is_new: true,
    }
}
