//! The control plane: API, scheduler, feeds, control socket and its own metrics in one process.

use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use slipway_acme::{LocalIssue, Platform, UploadChecker};
use slipway_api::{ApiSettings, ApiState};
use slipway_dns::Editor;
use slipway_domain::routing::ApiRoute;
use slipway_domain::{Clock, Entropy};
use slipway_engine::docker::DockerEngine;
use slipway_scheduler::{Bell, Deps, Settings, TrafficBoard};
use slipway_store::{SchemaState, Store, StoreError, StoreOptions};
use slipway_vault::Vault;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::admin::{self, Admin};
use crate::ca::InternalCa;
use crate::caa::CaaIdentities;
use crate::clock::{SystemClock, SystemEntropy};
use crate::config::Config;
use crate::control_socket::{self, Control};
use crate::error::ServerError;
use crate::feeds::{Feeds, Fixed};
use crate::inspector::{self, Inspector};
use crate::mail::Mailer;
use crate::metrics::Metrics;
use crate::on_demand::OnDemand;
use crate::ports::EnginePorts;
use crate::tellers::Tellers;
use crate::up::stand_in;
use crate::webhook::Webhook;
use crate::{backups, bootstrap, files, housekeeping, telemetry};

/// The version of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long the database may take to answer at the start.
pub(crate) const DATABASE_WAIT: Duration = Duration::from_mins(1);
/// How long what is under way may take when the process is told to stop.
const GRACE: Duration = Duration::from_secs(10);

/// Options of `slipway serve`.
#[derive(Debug, Clone)]
pub(crate) struct ServeOptions {
    /// Refuse to start with pending migrations rather than apply them.
    pub no_migrate: bool,
    /// What this process does.
    pub roles: Vec<Role>,
}

/// A part of the control plane that a process may do alone. Every process feeds the proxies that are connected to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Role {
    /// Answers the REST API.
    Api,
    /// Carries out what is wanted, and keeps house; of several processes one leads.
    Scheduler,
    /// Looks at domains and gets certificates; of several processes one leads.
    Acme,
    /// Stores what managed databases write, and copies of them; of several processes one leads.
    BackupWorker,
}

impl Role {
    /// All of them.
    pub(crate) const ALL: [Self; 4] = [Self::Api, Self::Scheduler, Self::Acme, Self::BackupWorker];
}

/// Runs the control plane until told to stop.
pub(crate) async fn run(
    config: Config,
    options: ServeOptions,
    api_listener: Option<StdListener>,
    shutdown: CancellationToken,
) -> Result<(), ServerError> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let entropy: Arc<dyn Entropy> = Arc::new(SystemEntropy);
    files::private_directory(&config.data_dir, "SLIPWAY_DATA_DIR")?;
    let url = config.database_url.clone().ok_or_else(|| {
        ServerError::Setup("no database: set SLIPWAY_DATABASE_URL, or run `slipway up`, which brings its own".into())
    })?;
    let told = api_listener.as_ref().and_then(|listener| listener.try_clone().ok());
    let store = tokio::select! {
        connected = connect(&url, &shutdown) => connected?,
        never = stand_in::database_is_awaited(told) => match never {},
    };
    migrate(&store, &options).await?;
    let vault =
        Arc::new(bootstrap::vault(&store, &config.master_key_file, &config.dumps(), Arc::clone(&entropy)).await?);
    let team = bootstrap::first_team(&store, clock.as_ref(), entropy.as_ref()).await?;
    let token_file = config.data_dir.join("admin.token");
    let given = config.bootstrap_token.as_ref();
    bootstrap::admin_token(&store, team, given, &token_file, clock.as_ref(), entropy.as_ref()).await?;
    let ca = InternalCa::load_or_create(&config.data_dir.join("ca"), clock.now());
    let ca = ca.map_err(|e| ServerError::Setup(e.to_string()))?;
    let installation = bootstrap::installation(&config.data_dir, clock.now(), entropy.as_ref())?;
    for note in config.notes() {
        tracing::warn!("config.note: {note}");
    }
    let platform = Platform {
        base: config.base_domain.clone(),
        api: config.api_domain.clone(),
    };
    let local = LocalIssue {
        store: &store,
        authority: &ca,
        sealer: vault.as_ref(),
        platform: &platform,
        clock: clock.as_ref(),
        entropy: entropy.as_ref(),
    };
    local.run().await.map_err(|e| ServerError::Setup(e.to_string()))?;
    move_domains(&store, &config).await?;
    let dns = inspector::dns(&config)?;
    let zones = Arc::new(Editor::new(dns.clone(), config.domains.hook.clone()));
    let identities = CaaIdentities::known(&config.domains.cas);
    let inspector = Arc::new(Inspector::new(&config, dns, identities.clone(), store.clone()));
    Plane {
        config,
        installation,
        store,
        vault,
        clock,
        entropy,
        ca,
        platform,
        inspector,
        identities,
        zones,
        traffic: Arc::default(),
        roles: options.roles,
        shutdown,
    }
    .run(api_listener)
    .await
}

/// Has proxies say anew what they have in force, and apps answer below the base domain of the settings.
async fn move_domains(store: &Store, config: &Config) -> Result<(), ServerError> {
    let mut tx = store.begin().await?;
    tx.disconnect_proxies().await?;
    // Those of another control plane on this database say anew, too, what they have in force.
    tx.bump_routes().await?;
    let moved = tx.move_platform_domains(&config.base_domain).await?;
    tx.commit().await?;
    if moved > 0 {
        tracing::info!(moved, base_domain = %config.base_domain, "domains.moved: apps answer below the new base domain");
    }
    Ok(())
}

/// Waits for the database to answer: it may be starting beside us.
async fn connect(url: &str, shutdown: &CancellationToken) -> Result<Store, ServerError> {
    let begun = tokio::time::Instant::now();
    let mut said = false;
    loop {
        match Store::connect(url, StoreOptions::default()).await {
            Ok(store) => return Ok(store),
            Err(error @ StoreError::Unavailable(_)) if begun.elapsed() < DATABASE_WAIT && !shutdown.is_cancelled() => {
                if !said {
                    tracing::warn!(%error, "database.awaited");
                    said = true;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            Err(error) => {
                return Err(ServerError::Setup(format!(
                    "{error}; check SLIPWAY_DATABASE_URL and that Postgres runs"
                )));
            }
        }
    }
}

async fn migrate(store: &Store, options: &ServeOptions) -> Result<(), ServerError> {
    match store.schema_state().await? {
        SchemaState::Pending(count) if options.no_migrate => Err(ServerError::Setup(format!(
            "{count} migrations are pending: run `slipway migrate`, or start without --no-migrate"
        ))),
        _ => {
            let applied = store.migrate().await?;
            if applied > 0 {
                tracing::info!(applied, "schema.migrated");
            }
            Ok(())
        }
    }
}

/// Everything the tasks of the control plane share.
struct Plane {
    config: Config,
    installation: String,
    store: Store,
    vault: Arc<Vault>,
    clock: Arc<dyn Clock>,
    entropy: Arc<dyn Entropy>,
    ca: InternalCa,
    platform: Platform,
    inspector: Arc<Inspector>,
    identities: CaaIdentities,
    zones: Arc<Editor>,
    traffic: Arc<TrafficBoard>,
    roles: Vec<Role>,
    shutdown: CancellationToken,
}

impl Plane {
    async fn run(self, api_listener: Option<StdListener>) -> Result<(), ServerError> {
        let engine = DockerEngine::new(&self.config.docker_host);
        let bell = Bell::default();
        let feeds = Arc::new(Feeds::new());
        let metrics = Arc::new(Metrics::default());
        let tasks = TaskTracker::new();

        let socket = &self.config.control_socket;
        let listener = control_socket::bind(socket).map_err(ServerError::io(format!(
            "the control socket {} cannot be opened",
            socket.display()
        )))?;
        let admin_listener = tokio::net::TcpListener::bind(self.config.admin_listen)
            .await
            .map_err(ServerError::io(format!(
                "SLIPWAY_ADMIN_LISTEN {} cannot be opened",
                self.config.admin_listen
            )))?;
        let api = if self.does(Role::Api) {
            Some(listen(api_listener, self.config.api_listen).await?)
        } else {
            None
        };

        self.spawn_feeds(&tasks, &feeds);
        let cas = self.config.domains.cas.clone();
        tasks.spawn(self.identities.clone().keep_asking(cas, self.shutdown.clone()));
        self.spawn_control(&tasks, listener, &feeds, &bell)?;
        if self.does(Role::Scheduler) {
            let deps = self.deps(&engine, &metrics)?;
            tasks.spawn(slipway_scheduler::run(deps, bell.clone(), self.shutdown.clone()));
            self.spawn_housekeeping(&tasks);
        }
        if self.does(Role::Acme) {
            tasks.spawn(slipway_acme::run(self.acme(), self.shutdown.clone()));
        }
        if self.does(Role::BackupWorker) {
            let deps = self.backup_worker(&engine)?;
            tasks.spawn(slipway_backup_worker::run(deps, self.shutdown.clone()));
        }
        let admin = Admin {
            store: self.store.clone(),
            engine: engine.clone(),
            metrics: Arc::clone(&metrics),
            version: VERSION,
            snapshots: feeds.snapshots.subscribe(),
            clock: Arc::clone(&self.clock),
            started_at: self.clock.now(),
        };
        let stop = self.shutdown.clone();
        tasks.spawn(async move { report("admin", admin::serve(admin_listener, admin, stop).await) });

        let (stopping, stopped) = tokio::sync::watch::channel(false);
        let served = if let Some(listener) = api {
            let state = self.api_state(&engine, &feeds, &bell, metrics, stopped);
            self.serve_api(listener, state, stopping).await
        } else {
            self.shutdown.cancelled().await;
            Ok(())
        };
        self.shutdown.cancel();
        tasks.close();
        if tokio::time::timeout(GRACE, tasks.wait()).await.is_err() {
            tracing::warn!("shutdown: some tasks did not end in time");
        }
        served
    }

    fn does(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Answers until told to stop; waiting calls and streams are told by `stopping`.
    async fn serve_api(
        &self,
        listener: tokio::net::TcpListener,
        state: ApiState,
        stopping: tokio::sync::watch::Sender<bool>,
    ) -> Result<(), ServerError> {
        let router = slipway_api::router(state);
        tracing::info!(listen = %self.config.api_listen, version = VERSION, "api.listening");
        let shutdown = self.shutdown.clone();
        let served = axum::serve(listener, router.into_make_service_with_connect_info::<SocketAddr>())
            .with_graceful_shutdown(async move {
                shutdown.cancelled().await;
                stopping.send_replace(true);
            });
        served.await.map_err(ServerError::io("the API cannot be served"))
    }

    fn spawn_feeds(&self, tasks: &TaskTracker, feeds: &Arc<Feeds>) {
        let api = self.config.api_domain.clone().map(|host| ApiRoute {
            host,
            address: reachable(self.config.api_listen),
        });
        let fixed = Fixed {
            base_domain: self.config.base_domain.clone(),
            api,
        };
        let (feeds, store, clock) = (Arc::clone(feeds), self.store.clone(), Arc::clone(&self.clock));
        let shutdown = self.shutdown.clone();
        tasks.spawn(async move { feeds.run(&store, &fixed, clock.as_ref(), &shutdown).await });
    }

    fn spawn_control(
        &self,
        tasks: &TaskTracker,
        listener: tokio::net::UnixListener,
        feeds: &Feeds,
        bell: &Bell,
    ) -> Result<(), ServerError> {
        let on_demand = OnDemand::new(
            self.store.clone(),
            feeds.snapshots.subscribe(),
            bell.clone(),
            Arc::clone(&self.clock),
            Arc::clone(&self.entropy),
            Arc::clone(&self.inspector) as _,
        )?;
        let control = Control {
            store: self.store.clone(),
            sealer: Arc::clone(&self.vault) as _,
            snapshots: feeds.snapshots.subscribe(),
            traffic: Arc::clone(&self.traffic),
            clock: Arc::clone(&self.clock),
            on_demand: Arc::new(on_demand),
            bell: bell.clone(),
            shutdown: self.shutdown.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(async move { report("control socket", control_socket::serve(listener, control).await) });
        Ok(())
    }

    fn spawn_housekeeping(&self, tasks: &TaskTracker) {
        let keeper = housekeeping::Keeper {
            config: self.config.clone(),
            store: self.store.clone(),
            clock: Arc::clone(&self.clock),
        };
        let shutdown = self.shutdown.clone();
        tasks.spawn(async move { keeper.run(&shutdown).await });
    }

    fn holder(&self) -> uuid::Uuid {
        self.config
            .lease_holder
            .unwrap_or_else(|| slipway_domain::ids::uuid_v7(self.clock.now(), self.entropy.as_ref()))
    }

    fn acme(&self) -> slipway_acme::Deps {
        slipway_acme::Deps {
            store: self.store.clone(),
            sealer: Arc::clone(&self.vault) as _,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            inspector: Arc::clone(&self.inspector) as _,
            zones: Arc::clone(&self.zones) as _,
            local: Arc::new(self.ca.clone()),
            cas: self.config.domains.cas.clone(),
            platform: self.platform.clone(),
            doubt: Arc::default(),
            holder: self.holder(),
        }
    }

    fn backup_worker(&self, engine: &DockerEngine) -> Result<slipway_backup_worker::Deps, ServerError> {
        Ok(slipway_backup_worker::Deps::new(
            self.store.clone(),
            Arc::new(engine.clone()),
            Arc::clone(&self.vault) as _,
            (Arc::clone(&self.clock), Arc::clone(&self.entropy)),
            backups::settings(
                &self.config.backups,
                (&self.config.data_dir, self.config.disk_free_min),
                (self.installation.clone(), self.holder()),
            )?,
        ))
    }

    fn deps(&self, engine: &DockerEngine, metrics: &Arc<Metrics>) -> Result<Deps, ServerError> {
        let webhook = self.config.alert_webhook_url.clone().map(Webhook::new).transpose()?;
        let mailer = self.config.mail.as_ref().map(Mailer::new).transpose()?;
        let tellers = webhook.map(|w| Box::new(w) as _).into_iter();
        let tellers = Tellers::new(tellers.chain(mailer.map(|m| Box::new(m) as _)).collect());
        Ok(Deps {
            store: self.store.clone(),
            engine: Arc::new(engine.clone()),
            sealer: Arc::clone(&self.vault) as _,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            traffic: Arc::clone(&self.traffic),
            servers: Arc::new(slipway_postgres::Servers),
            notifier: tellers.map(|tellers| Arc::new(tellers) as _),
            observer: Arc::clone(metrics) as _,
            link: Arc::new(telemetry::link),
            settings: Arc::new(Settings {
                holder: self.holder(),
                installation: self.installation.clone(),
                base_domain: self.config.base_domain.clone(),
                network_pool: self.config.network_pool,
                disk_free_min: self.config.disk_free_min,
                otlp_endpoint: self.config.apps_otlp_endpoint().map(str::to_owned),
            }),
        })
    }

    fn api_state(
        &self,
        engine: &DockerEngine,
        feeds: &Feeds,
        bell: &Bell,
        metrics: Arc<Metrics>,
        stopped: tokio::sync::watch::Receiver<bool>,
    ) -> ApiState {
        let ports = Arc::new(EnginePorts(engine.clone()));
        let bell = bell.clone();
        ApiState {
            store: self.store.clone(),
            resolver: Arc::clone(&ports) as _,
            instances: ports,
            inspector: Arc::clone(&self.inspector) as _,
            zones: Arc::clone(&self.zones) as _,
            checker: Arc::new(UploadChecker),
            sealer: Arc::clone(&self.vault) as _,
            clock: Arc::clone(&self.clock),
            entropy: Arc::clone(&self.entropy),
            started_at: self.clock.now(),
            settings: ApiSettings {
                api_domain: self.config.api_domain.clone(),
                postgres_image: self.config.postgres_images.clone(),
                internal_root_pem: self.ca.root_pem().to_owned(),
                staging_directory: self.config.domains.cas.iter().find_map(|ca| ca.staging.clone()),
                ..ApiSettings::new(self.config.base_domain.clone(), self.config.https_port(), VERSION)
            },
            wake: Arc::new(move || bell.intent()),
            events: feeds.events.subscribe(),
            trace: telemetry::continue_trace,
            observe: Arc::new(move |answered| metrics.answered(answered)),
            shutdown: stopped,
        }
    }
}

/// The listener that was handed down, or one of our own.
async fn listen(given: Option<StdListener>, address: SocketAddr) -> Result<tokio::net::TcpListener, ServerError> {
    let fail = || ServerError::io(format!("SLIPWAY_API_LISTEN {address} cannot be opened"));
    match given {
        Some(listener) => {
            listener.set_nonblocking(true).map_err(fail())?;
            tokio::net::TcpListener::from_std(listener).map_err(fail())
        }
        None => tokio::net::TcpListener::bind(address).await.map_err(fail()),
    }
}

/// Where the proxy on this machine reaches a listener.
fn reachable(listen: SocketAddr) -> SocketAddr {
    match listen.ip() {
        ip if ip.is_unspecified() => SocketAddr::new(std::net::Ipv4Addr::LOCALHOST.into(), listen.port()),
        ip => SocketAddr::new(ip, listen.port()),
    }
}

fn report(what: &str, result: std::io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{what} ended");
    }
}
