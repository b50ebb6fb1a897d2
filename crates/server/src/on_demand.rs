//! Names that nobody added and that visitors come with: the apps that may have such names are asked.
//!
//! Promises: nothing is ordered for a name that no app vouches for; an app is asked over its own address, for a bounded
//! while, by no more than so many at once; what is added goes the way of every other domain: it must lead here, and the
//! budgets of CAs hold.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use serde_json::json;
use slipway_domain::domains::{Verdict, Word, no_place, question, unfit, verdict};
use slipway_domain::ids::{DomainId, EnvironmentId};
use slipway_domain::name::{DomainName, HostName};
use slipway_domain::ports::{Claim, DomainInspector};
use slipway_domain::routing::{EnvironmentRoute, RouteState, Snapshot, Upstream};
use slipway_domain::spec::OnDemandTls;
use slipway_domain::{Clock, Entropy};
use slipway_scheduler::Bell;
use slipway_store::{AuditEntry, AuditOutcome, NewCustomDomain, Store, StoreError};
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use crate::error::ServerError;

/// How long an app may think about one name.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How long one that sleeps may take to be awake.
const AWAKE_MAX: Duration = Duration::from_secs(15);
/// So many names are asked about at once.
const AT_ONCE_MAX: usize = 8;

/// Asks apps about names.
pub(crate) struct OnDemand {
    store: Store,
    snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
    bell: Bell,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    inspector: Arc<dyn DomainInspector>,
    http: reqwest::Client,
    places: Semaphore,
}

impl OnDemand {
    pub(crate) fn new(
        store: Store,
        snapshots: watch::Receiver<Option<Arc<Snapshot>>>,
        bell: Bell,
        clock: Arc<dyn Clock>,
        entropy: Arc<dyn Entropy>,
        inspector: Arc<dyn DomainInspector>,
    ) -> Result<Self, ServerError> {
        let http = reqwest::Client::builder()
            // Apps are asked over plain HTTP: no roots are needed, so that a machine without any will do.
            .tls_certs_only([])
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(ANSWER_MAX)
            .user_agent("slipway-on-demand-tls/1")
            .build()
            .map_err(|e| ServerError::Setup(format!("no HTTP client can be made: {e}")))?;
        Ok(Self {
            store,
            snapshots,
            bell,
            clock,
            entropy,
            inspector,
            http,
            places: Semaphore::new(AT_ONCE_MAX),
        })
    }

    /// Whether a certificate for a name is on its way, or is now; `None` where nobody could be asked just now.
    pub(crate) async fn is_wanted(&self, host: &HostName) -> Result<Option<bool>, StoreError> {
        let Ok(_place) = self.places.try_acquire() else {
            tracing::debug!(%host, "on_demand.busy");
            return Ok(None);
        };
        let Some(snapshot) = self.snapshots.borrow().clone() else {
            return Ok(None);
        };
        self.decide(host, &snapshot).await.map(Some)
    }

    async fn decide(&self, host: &HostName, snapshot: &Snapshot) -> Result<bool, StoreError> {
        let name = DomainName::from(host.clone());
        let api = snapshot.api.as_ref().map(|api| &api.host);
        if host.is_local() || unfit(&name, &snapshot.base_domain, api).is_some() {
            return Ok(false);
        }
        let mut tx = self.store.begin().await?;
        let known = tx.is_on_demand(&name).await?;
        drop(tx);
        if let Some(on_demand) = known {
            return Ok(on_demand);
        }
        let asked = snapshot.environments.iter();
        let asked = asked.filter_map(|e| Some((e.id, e.on_demand_tls.clone()?)));
        let words = asked.map(|(id, settings)| async move { (id, self.ask(id, &settings, host).await) });
        let words: BTreeMap<EnvironmentId, Word> = join_all(words).await.into_iter().collect();
        match verdict(&words) {
            Verdict::Of(environment) if self.leads_here(&name).await => self.add(environment, name).await,
            Verdict::Of(_) => Ok(false),
            Verdict::Nobodys => {
                tracing::debug!(%host, "on_demand.nobodys");
                Ok(false)
            }
            Verdict::Unclear => {
                let said = |e: &EnvironmentRoute| {
                    let word = words.get(&e.id).filter(|word| **word != Word::No)?;
                    Some(format!("{}/{}: {word:?}", e.app, e.environment))
                };
                let said: Vec<String> = snapshot.environments.iter().filter_map(said).collect();
                tracing::warn!(%host, ?said, "on_demand.unclear: no app gets it that another may mean, too");
                Ok(false)
            }
        }
    }

    /// Whether a certificate could be had for a name now: one that leads nowhere takes nobody's place, and no visitor waits.
    async fn leads_here(&self, name: &DomainName) -> bool {
        let claim = Claim {
            host: name.clone(),
            token: String::new(),
            routed_proves: true,
            is_proven: false,
            is_anothers: false,
            zones: Vec::new(),
        };
        let found = self.inspector.inspect(claim).await;
        if !found.may_order() {
            let code = found.obstacle().map_or("not_here", |finding| finding.code.as_str());
            tracing::info!(host = %name, code, "on_demand.leads_elsewhere: an app serves the name, and DNS does not lead it here");
        }
        found.may_order()
    }

    async fn ask(&self, id: EnvironmentId, settings: &OnDemandTls, host: &HostName) -> Word {
        let Some((carried, instance)) = self.awake(id).await else {
            return Word::Unknown;
        };
        let url = format!("http://{}{}", instance.address, question(&settings.ask, host));
        let request = self
            .http
            .get(url)
            .header(http::header::HOST, carried.as_str())
            .header("x-forwarded-proto", "https");
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Word::Yes,
            Ok(answer) if answer.status().is_server_error() => Word::Unknown,
            Ok(_) => Word::No,
            Err(error) => {
                tracing::debug!(%host, environment = %id, %error, "on_demand.not_answered");
                Word::Unknown
            }
        }
    }

    /// An instance of an environment and the name it is called by, once it is awake.
    async fn awake(&self, id: EnvironmentId) -> Option<(HostName, Upstream)> {
        let mut snapshots = self.snapshots.clone();
        let deadline = Instant::now() + AWAKE_MAX;
        let mut woken = false;
        loop {
            let snapshot = snapshots.borrow_and_update().clone()?;
            let environment = snapshot.environments.iter().find(|e| e.id == id)?;
            match environment.state {
                RouteState::Serving => {
                    let host = HostName::of(&environment.app, &environment.environment, &snapshot.base_domain);
                    return Some((host, instance(environment, self.entropy.as_ref())?));
                }
                RouteState::Asleep if !woken => {
                    self.wake(id).await.ok()?;
                    woken = true;
                }
                RouteState::Asleep | RouteState::Holding | RouteState::Starting => {}
                RouteState::Empty | RouteState::Failed | RouteState::Stopped | RouteState::Maintenance => return None,
            }
            tokio::time::timeout_at(deadline, snapshots.changed())
                .await
                .ok()?
                .ok()?;
        }
    }

    async fn wake(&self, id: EnvironmentId) -> Result<(), StoreError> {
        let mut tx = self.store.begin().await?;
        tx.ask_to_wake(&[id], self.clock.now()).await?;
        tx.commit().await?;
        self.bell.wanted(&[id]);
        Ok(())
    }

    /// Adds a name to an environment, if there is a place and no other team has to do with it.
    async fn add(&self, id: EnvironmentId, host: DomainName) -> Result<bool, StoreError> {
        let now = self.clock.now();
        let mut tx = self.store.begin().await?;
        let have = tx.brought_names(id, now).await?;
        let Some(environment) = tx.environment_by_id(id).await? else {
            return Ok(false);
        };
        // Another visitor, or another proxy, was quicker.
        if let Some(on_demand) = tx.is_on_demand(&host).await? {
            return Ok(on_demand);
        }
        let max = environment
            .spec
            .on_demand_tls
            .as_ref()
            .map_or(0, |settings| settings.max);
        let app = format!("{}/{}", environment.app_name, environment.name);
        if let Some(why) = no_place(have, max) {
            tracing::warn!(%host, app, why, "on_demand.no_place");
            return Ok(false);
        }
        if tx.other_teams(environment.team, &host).await?.have_a_word() {
            tracing::warn!(%host, app, "on_demand.anothers: another team has, had or asks for it or a name above it");
            return Ok(false);
        }
        let mut token = [0_u8; 16];
        self.entropy.fill(&mut token);
        let new = NewCustomDomain {
            id: DomainId::mint(now, self.entropy.as_ref()),
            host,
            team: environment.team,
            environment: id,
            token: hex::encode(token),
            redirect_to: None,
            on_demand: true,
            created_at: now,
            created_by: "a visitor".into(),
        };
        tx.insert_custom_domain(&new).await?;
        let entry = AuditEntry {
            team: Some(environment.team),
            actor: json!({"type": "platform", "name": "slipway"}),
            action: "domain.create".into(),
            target: json!({"type": "domain", "id": new.id, "name": new.host}),
            outcome: AuditOutcome::Allowed,
            reason: Some(format!("a visitor came with it, and {app} serves it")),
            request_id: None,
            trace_id: None,
            change: Some(json!({"environment": environment.name, "on_demand": true})),
        };
        tx.append_audit(&entry, now).await?;
        tx.commit().await?;
        tracing::info!(host = %new.host, app, "on_demand.added");
        Ok(true)
    }
}

/// One of the instances that have traffic.
fn instance(environment: &EnvironmentRoute, entropy: &dyn Entropy) -> Option<Upstream> {
    let groups = environment.groups.iter().filter(|group| group.weight > 0);
    let all: Vec<&Upstream> = groups.flat_map(|group| &group.instances).collect();
    let mut dice = [0_u8; 1];
    entropy.fill(&mut dice);
    let at = usize::from(dice[0]).checked_rem(all.len())?;
    all.get(at).map(|instance| (*instance).clone())
}
