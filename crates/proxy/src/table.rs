//! The routes in the form requests need them: compiled from a snapshot, swapped as a whole.
//!
//! Promises: what is known about an environment or an instance that is in both the old and the new snapshot is the
//! same object in both tables, so a change to one app leaves the connections and counters of every other alone.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

use http::HeaderValue;
use slipway_domain::clock::Timestamp;
use slipway_domain::generation::{ReleaseNumber, RouteVersion};
use slipway_domain::ids::EnvironmentId;
use slipway_domain::name::HostName;
use slipway_domain::routing::{EnvironmentRoute, Limits, Queue, RouteState, Snapshot, Upstream};
use slipway_domain::traffic::Tally;
use tokio::sync::Notify;

use crate::config::{API_BODY_BYTES_MAX, API_WAIT_MS_MAX, ProxyLimits};
use crate::host::wildcard_of;
use crate::load::Gauge;
use crate::metrics::RequestMetrics;
use crate::upstream::Instance;

/// One request in five may be tried again, after a first ten.
const RETRY_EARNED: i64 = 1;
const RETRY_COST: i64 = 5;
const RETRY_SAVED_MAX: i64 = 50;

/// What outlives snapshots about one environment.
#[derive(Debug)]
pub(crate) struct Environment {
    /// `None` for what is no app.
    pub(crate) id: Option<EnvironmentId>,
    /// `-` for what is no app: the API, and answers of the proxy's own.
    pub(crate) app: String,
    pub(crate) name: String,
    pub(crate) metrics: RequestMetrics,
    /// Requests that wait for the environment to serve.
    pub(crate) held: AtomicUsize,
    pub(crate) load: Gauge,
    retries: AtomicI64,
}

impl Environment {
    pub(crate) fn new(app: &str, name: &str) -> Self {
        Self {
            id: None,
            app: app.to_owned(),
            name: name.to_owned(),
            metrics: RequestMetrics::default(),
            held: AtomicUsize::new(0),
            load: Gauge::default(),
            retries: AtomicI64::new(RETRY_SAVED_MAX),
        }
    }

    /// A request arrived: a fifth of a retry is earned.
    pub(crate) fn earn_retry(&self) {
        if self.retries.load(Ordering::Relaxed) < RETRY_SAVED_MAX {
            self.retries.fetch_add(RETRY_EARNED, Ordering::Relaxed);
        }
    }

    /// Whether a request may be tried again; spends what that costs.
    pub(crate) fn spend_retry(&self) -> bool {
        let spend = |saved: i64| (saved >= RETRY_COST).then_some(saved - RETRY_COST);
        self.retries
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, spend)
            .is_ok()
    }
}

/// One release's instances and its share.
#[derive(Debug)]
pub(crate) struct Group {
    pub(crate) release: ReleaseNumber,
    pub(crate) weight: u32,
    pub(crate) instances: Vec<Arc<Instance>>,
}

/// Whether a route leads to an app or to the control plane.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RouteKind {
    App,
    Api,
}

/// What to do with a request for one host name.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) environment: Arc<Environment>,
    pub(crate) kind: RouteKind,
    pub(crate) state: RouteState,
    pub(crate) groups: Vec<Group>,
    /// Whether a visitor stays with the release that answered first.
    pub(crate) sticky: bool,
    /// Whether the control plane wants to know how many requests are in flight.
    pub(crate) counted: bool,
    pub(crate) limits: Limits,
}

/// All routes at one version.
#[derive(Debug)]
pub(crate) struct Table {
    pub(crate) version: RouteVersion,
    pub(crate) issued_at: Timestamp,
    hosts: HashMap<String, Arc<Route>>,
    routes: HashMap<EnvironmentId, Arc<Route>>,
    environments: BTreeMap<EnvironmentId, Arc<Environment>>,
    api: Option<Arc<Environment>>,
    instances: HashMap<Upstream, Arc<Instance>>,
    challenges: BTreeMap<String, String>,
    redirects: BTreeMap<HostName, HostName>,
    /// Whether an app may have names that nobody added.
    pub(crate) names_on_demand: bool,
    /// What browsers are told to remember, by name.
    hsts: HashMap<String, HeaderValue>,
}

/// What instances are made with.
#[derive(Debug, Clone)]
pub(crate) struct InstanceMaker {
    pub(crate) limits: ProxyLimits,
    pub(crate) drained: Arc<Notify>,
}

impl InstanceMaker {
    /// The same, for an app that bounds its requests itself. What it asks for cannot exceed the proxy's own bounds.
    fn bounded_by(&self, queue: Option<&Queue>) -> Self {
        let mut made = self.clone();
        if let Some(queue) = queue {
            let count = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
            let limits = &mut made.limits;
            limits.upstream_in_flight_max = limits.upstream_in_flight_max.min(count(queue.in_flight_max));
            limits.upstream_waiting_max = count(queue.waiting_max);
            limits.upstream_queue_ms_max = queue.wait_ms_max;
        }
        made
    }
}

impl Table {
    /// Before any snapshot: knows no name.
    pub(crate) fn empty() -> Self {
        Self {
            version: RouteVersion(0),
            issued_at: Timestamp::default(),
            hosts: HashMap::new(),
            routes: HashMap::new(),
            environments: BTreeMap::new(),
            api: None,
            instances: HashMap::new(),
            challenges: BTreeMap::new(),
            redirects: BTreeMap::new(),
            names_on_demand: false,
            hsts: HashMap::new(),
        }
    }

    /// The table for a snapshot, taking over what the previous one knew.
    pub(crate) fn compile(previous: &Self, snapshot: &Snapshot, maker: &InstanceMaker) -> Self {
        let mut table = Self::empty();
        table.version = snapshot.version;
        table.issued_at = snapshot.issued_at;
        table.challenges.clone_from(&snapshot.challenges);
        table.redirects.clone_from(&snapshot.redirects);
        table.hsts = (snapshot.policies.iter())
            .filter_map(|(name, policy)| Some((name.to_string(), policy.hsts.as_ref()?.parse().ok()?)))
            .collect();
        table.names_on_demand = snapshot.environments.iter().any(|e| e.on_demand_tls.is_some());
        for route in &snapshot.environments {
            let compiled = Arc::new(table.compile_environment(previous, route, maker));
            table.routes.insert(route.id, compiled);
        }
        for (host, id) in &snapshot.hosts {
            if let Some(route) = table.routes.get(id) {
                table.hosts.insert(host.to_string(), Arc::clone(route));
            }
        }
        if let Some(api) = &snapshot.api {
            table.compile_api(previous, &api.host, api.address, maker);
        }
        table
    }

    fn compile_environment(&mut self, previous: &Self, route: &EnvironmentRoute, maker: &InstanceMaker) -> Route {
        let environment = previous.environments.get(&route.id).cloned().unwrap_or_else(|| {
            let mut environment = Environment::new(route.app.as_str(), route.environment.as_str());
            environment.id = Some(route.id);
            Arc::new(environment)
        });
        self.environments.insert(route.id, Arc::clone(&environment));
        let maker = &maker.bounded_by(route.limits.queue.as_ref());
        let mut groups = Vec::with_capacity(route.groups.len());
        for group in &route.groups {
            let instances = group
                .instances
                .iter()
                .map(|up| self.instance(previous, up, true, maker))
                .collect();
            groups.push(Group {
                release: group.release,
                weight: group.weight,
                instances,
            });
        }
        Route {
            environment,
            kind: RouteKind::App,
            state: route.state,
            groups,
            sticky: route.sticky,
            counted: route.counted,
            limits: route.limits,
        }
    }

    fn compile_api(&mut self, previous: &Self, host: &HostName, address: SocketAddr, maker: &InstanceMaker) {
        let environment = previous
            .api
            .clone()
            .unwrap_or_else(|| Arc::new(Environment::new("-", "api")));
        let upstream = Upstream {
            instance: "control-plane".into(),
            address,
        };
        let instances = vec![self.instance(previous, &upstream, false, maker)];
        let limits = Limits {
            body_bytes_max: API_BODY_BYTES_MAX,
            first_byte_ms_max: API_WAIT_MS_MAX,
            queue: None,
        };
        let route = Route {
            environment: Arc::clone(&environment),
            kind: RouteKind::Api,
            state: RouteState::Serving,
            groups: vec![Group {
                release: ReleaseNumber(0),
                weight: 1,
                instances,
            }],
            sticky: false,
            counted: false,
            limits,
        };
        self.api = Some(environment);
        self.hosts.insert(host.to_string(), Arc::new(route));
    }

    fn instance(&mut self, previous: &Self, up: &Upstream, counted: bool, maker: &InstanceMaker) -> Arc<Instance> {
        let made = self.instances.entry(up.clone()).or_insert_with(|| {
            previous.instances.get(up).cloned().unwrap_or_else(|| {
                Arc::new(Instance::new(
                    up.clone(),
                    counted,
                    maker.limits,
                    Arc::clone(&maker.drained),
                ))
            })
        });
        Arc::clone(made)
    }

    /// Where requests for this host name, in lower case and without a trailing dot, go.
    pub(crate) fn find(&self, host: &str) -> Option<Arc<Route>> {
        let found = self.hosts.get(host).or_else(|| self.hosts.get(&wildcard_of(host)?));
        found.cloned()
    }

    /// The `Strict-Transport-Security` of a name.
    pub(crate) fn hsts(&self, host: &str) -> Option<HeaderValue> {
        if self.hsts.is_empty() {
            return None;
        }
        if self.hosts.contains_key(host) {
            return self.hsts.get(host).cloned();
        }
        self.hsts.get(&wildcard_of(host)?).cloned()
    }

    /// The key authorization for an ACME token.
    pub(crate) fn challenge(&self, token: &str) -> Option<&str> {
        self.challenges.get(token).map(String::as_str)
    }

    /// The name that visitors of this one are sent on to.
    pub(crate) fn redirect(&self, host: &str) -> Option<&HostName> {
        self.redirects.get(host)
    }

    /// The instances of the previous table that are not in this one.
    pub(crate) fn gone_since(&self, previous: &Self) -> Vec<Arc<Instance>> {
        let gone = previous
            .instances
            .iter()
            .filter(|(upstream, _)| !self.instances.contains_key(*upstream));
        gone.map(|(_, instance)| Arc::clone(instance)).collect()
    }

    /// Whether an instance of this name is in the table, at whatever address.
    pub(crate) fn names_instance(&self, name: &str) -> bool {
        self.instances.keys().any(|upstream| upstream.instance == name)
    }

    pub(crate) fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.instances.values()
    }

    /// What was counted of the instances of each environment in which more than one release has traffic.
    pub(crate) fn compared(&self) -> BTreeMap<EnvironmentId, BTreeMap<String, Tally>> {
        let compared = self.routes.iter().filter(|(_, route)| route.groups.len() > 1);
        compared
            .map(|(id, route)| {
                let instances = route.groups.iter().flat_map(|group| &group.instances);
                let tallies = instances.map(|instance| (instance.name().to_owned(), instance.tally()));
                (*id, tallies.collect())
            })
            .collect()
    }

    /// The environments whose load the control plane wants to know.
    pub(crate) fn counted(&self) -> impl Iterator<Item = (EnvironmentId, &Gauge)> {
        let counted = self.routes.iter().filter(|(_, route)| route.counted);
        counted.map(|(id, route)| (*id, &route.environment.load))
    }

    /// Every environment, for metrics; the API's last.
    pub(crate) fn environments(&self) -> impl Iterator<Item = &Arc<Environment>> {
        self.environments.values().chain(self.api.as_ref())
    }

    pub(crate) fn hosts_len(&self) -> usize {
        self.hosts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;
    use slipway_domain::routing::{ApiRoute, GroupRoute, SNAPSHOT_FORMAT};

    fn snapshot(version: i64, web: &[&str]) -> Snapshot {
        let id = |n: u128| -> EnvironmentId { format!("env_{n:026}").parse().expect("an id") };
        let route = |n: u128, app: &str, instances: &[&str]| EnvironmentRoute {
            id: id(n),
            app: app.parse().expect("a name"),
            environment: "production".parse().expect("a name"),
            state: RouteState::Serving,
            groups: vec![GroupRoute {
                release: slipway_domain::ReleaseNumber(1),
                weight: 1,
                instances: instances
                    .iter()
                    .map(|name| Upstream {
                        instance: (*name).into(),
                        address: ([127, 0, 0, 1], 80).into(),
                    })
                    .collect(),
            }],
            sticky: false,
            on_demand_tls: None,
            counted: false,
            limits: Limits {
                body_bytes_max: 1,
                first_byte_ms_max: 1,
                queue: None,
            },
        };
        Snapshot {
            format: SNAPSHOT_FORMAT,
            version: RouteVersion(version),
            issued_at: at(0),
            base_domain: "apps.localhost".parse().expect("a name"),
            api: Some(ApiRoute {
                host: "console.test".parse().expect("a name"),
                address: ([127, 0, 0, 1], 7070).into(),
            }),
            hosts: [("web.apps.localhost", id(1)), ("blog.apps.localhost", id(2))]
                .map(|(host, id)| (host.parse().expect("a name"), id))
                .into(),
            environments: vec![route(1, "web", web), route(2, "blog", &["b1"])],
            certificates: vec![],
            challenges: BTreeMap::new(),
            tls_challenges: BTreeMap::new(),
            redirects: BTreeMap::new(),
            policies: BTreeMap::new(),
        }
    }

    fn route(table: &Table, host: &str) -> Arc<Route> {
        table.find(host).expect("a route")
    }

    #[test]
    fn what_stays_in_the_snapshot_stays_the_same_object() {
        let maker = InstanceMaker {
            limits: ProxyLimits::default(),
            drained: Arc::new(Notify::new()),
        };
        let first = Table::compile(&Table::empty(), &snapshot(1, &["w1", "w2"]), &maker);
        let second = Table::compile(&first, &snapshot(2, &["w2", "w3"]), &maker);
        for host in ["web.apps.localhost", "blog.apps.localhost", "console.test"] {
            assert!(
                Arc::ptr_eq(&route(&first, host).environment, &route(&second, host).environment),
                "{host}"
            );
        }
        let blog = |table: &Table| Arc::clone(&route(table, "blog.apps.localhost").groups[0].instances[0]);
        assert!(Arc::ptr_eq(&blog(&first), &blog(&second)));
        let gone: Vec<_> = second
            .gone_since(&first)
            .iter()
            .map(|gone| gone.name().to_owned())
            .collect();
        assert_eq!(gone, ["w1"]);
        assert!(second.find("nobody.apps.localhost").is_none());
    }

    #[test]
    fn retries_are_a_fifth_of_the_requests() {
        let environment = Environment::new("web", "production");
        let free = (0..100).filter(|_| environment.spend_retry()).count();
        assert_eq!(free, 10);
        (0..50).for_each(|_| environment.earn_retry());
        assert_eq!((0..100).filter(|_| environment.spend_retry()).count(), 10);
    }
}
