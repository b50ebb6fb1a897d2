//! One question to one server.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ResolverOpts};
use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::TrustAnchors;
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use hickory_resolver::{ResolverBuilder, TokioResolver};
use slipway_domain::domains::{Answer, CaaRecord, LookFailure, ResolverAnswer};

/// To one attempt.
const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// A server that can be asked.
pub(crate) struct Server {
    pub(crate) name: String,
    pub(crate) address: SocketAddr,
    resolver: TokioResolver,
}

/// So many aliases are followed, one after the other.
const ALIASES_MAX: usize = 8;

fn same_name(one: &str, other: &str) -> bool {
    one.trim_end_matches('.')
        .eq_ignore_ascii_case(other.trim_end_matches('.'))
}

/// The servers of this machine.
pub(crate) fn system_servers() -> Result<Vec<SocketAddr>, String> {
    let (config, _) =
        hickory_resolver::system_conf::read_system_conf().map_err(|e| format!("/etc/resolv.conf: {e}"))?;
    let address = |server: &NameServerConfig| {
        let port = server.connections.first().map_or(53, |c| c.port);
        SocketAddr::new(server.ip, port)
    };
    let mut servers: Vec<SocketAddr> = config.name_servers().iter().map(address).collect();
    servers.dedup();
    Ok(servers)
}

fn connections(port: u16) -> Vec<ConnectionConfig> {
    let mut both = vec![ConnectionConfig::udp(), ConnectionConfig::tcp()];
    for connection in &mut both {
        connection.port = port;
    }
    both
}

impl Server {
    /// One that finds out what it does not know.
    pub(crate) fn recursive(address: SocketAddr) -> Result<Self, String> {
        Self::build(address, |_| {})
    }

    /// One of a zone's own, asked for what it knows itself.
    pub(crate) fn authoritative(address: SocketAddr) -> Result<Self, String> {
        Self::build(address, |options| options.recursion_desired = false)
    }

    /// One whose answers' signatures are checked here, up to these keys or those of the root. It remembers the keys of
    /// zones for their TTL, so it is made anew for each look.
    pub(crate) fn validating(address: SocketAddr, anchors: Option<Arc<TrustAnchors>>) -> Result<Self, String> {
        let builder = Self::builder(address, |options| options.validate = true);
        let builder = match anchors {
            Some(anchors) => builder.with_trust_anchor(anchors),
            None => builder,
        };
        Self::built(address, builder)
    }

    fn build(address: SocketAddr, change: impl FnOnce(&mut ResolverOpts)) -> Result<Self, String> {
        Self::built(address, Self::builder(address, change))
    }

    fn builder(address: SocketAddr, change: impl FnOnce(&mut ResolverOpts)) -> ResolverBuilder<TokioRuntimeProvider> {
        let server = NameServerConfig::new(address.ip(), true, connections(address.port()));
        let config = ResolverConfig::from_parts(None, Vec::new(), vec![server]);
        let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = TIMEOUT;
        options.attempts = ATTEMPTS;
        options.cache_size = 0;
        options.edns0 = true;
        options.use_hosts_file = ResolveHosts::Never;
        options.preserve_intermediates = true;
        options.try_tcp_on_error = true;
        change(options);
        builder
    }

    fn built(address: SocketAddr, builder: ResolverBuilder<TokioRuntimeProvider>) -> Result<Self, String> {
        let resolver = builder.build().map_err(|e| e.to_string())?;
        Ok(Self {
            name: address.to_string(),
            address,
            resolver,
        })
    }

    /// What it says to one question.
    pub(crate) async fn ask(&self, name: &str, kind: RecordType) -> Answer<Record> {
        match self.lookup(name, kind).await {
            Ok(lookup) => Answer::Found(lookup.answers().to_vec()),
            Err(error) => nothing(&error),
        }
    }

    pub(crate) async fn lookup(&self, name: &str, kind: RecordType) -> Result<Lookup, NetError> {
        // With the final dot no search list is gone through.
        let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')))?;
        self.resolver.lookup(name, kind).await
    }

    /// Where a name leads.
    pub(crate) async fn addresses(&self, name: &str, authoritative: bool) -> ResolverAnswer {
        let (a, aaaa) = tokio::join!(self.ask(name, RecordType::A), self.ask(name, RecordType::AAAA));
        let mut cnames = Vec::new();
        let mut ttl_seconds = None;
        for record in records(&a).iter().chain(records(&aaaa)) {
            if let RData::CNAME(target) = &record.data {
                let target = target.0.to_ascii();
                if !cnames.contains(&target) {
                    cnames.push(target);
                }
            }
            ttl_seconds = ttl_seconds.max(Some(record.ttl));
        }
        let (mut a, mut aaaa) = (a, aaaa);
        let found = |answer: &Answer<Record>| records(answer).iter().any(|r| address(&r.data).is_some());
        // A server that finds out what it does not know says of a circle only that it failed.
        let failed =
            |answer: &Answer<Record>| matches!(answer, Answer::Failed(failure) if *failure != LookFailure::ServFail);
        if !found(&a) && !found(&aaaa) && !failed(&a) && cnames.is_empty() {
            cnames = self.aliases(name).await;
            let is_loop = cnames.len() > ALIASES_MAX || cnames.last().is_some_and(|last| same_name(last, name));
            if is_loop {
                a = Answer::Failed(LookFailure::CnameLoop);
                aaaa = Answer::Failed(LookFailure::CnameLoop);
            }
        }
        ResolverAnswer {
            resolver: self.name.clone(),
            authoritative,
            a: of_kind(a, address),
            aaaa: of_kind(aaaa, address),
            cnames,
            ttl_seconds,
        }
    }

    /// The names that a name is an alias of, one after the other, until there is none, or one for the second time.
    pub(crate) async fn aliases(&self, name: &str) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        while names.len() <= ALIASES_MAX {
            let at = names.last().map_or(name, String::as_str);
            let answer = self.ask(at, RecordType::CNAME).await;
            let target = records(&answer).iter().find_map(|r| match &r.data {
                RData::CNAME(target) => Some(target.0.to_ascii()),
                _ => None,
            });
            let Some(target) = target else { break };
            let seen = same_name(&target, name) || names.iter().any(|n| same_name(n, &target));
            names.push(target);
            if seen {
                // Whichever of them is the second time: the chain has no end.
                names.push(name.to_owned());
                break;
            }
        }
        names
    }

    /// The texts at a name.
    pub(crate) async fn texts(&self, name: &str) -> Answer<String> {
        let text = |data: &RData| match data {
            RData::TXT(text) => {
                let bytes = text.txt_data.concat();
                Some(String::from_utf8_lossy(&bytes).into_owned())
            }
            _ => None,
        };
        of_kind(self.ask(name, RecordType::TXT).await, text)
    }

    /// The CAA records at a name.
    pub(crate) async fn caa(&self, name: &str) -> Answer<CaaRecord> {
        let caa = |data: &RData| match data {
            RData::CAA(caa) => Some(CaaRecord {
                critical: caa.issuer_critical,
                tag: caa.tag.clone(),
                value: String::from_utf8_lossy(&caa.value).into_owned(),
            }),
            _ => None,
        };
        of_kind(self.ask(name, RecordType::CAA).await, caa)
    }
}

pub(crate) fn records(answer: &Answer<Record>) -> &[Record] {
    answer.records()
}

pub(crate) fn address(data: &RData) -> Option<IpAddr> {
    match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    }
}

/// The records of one kind; aliases that lead to none are nothing.
pub(crate) fn of_kind<T>(answer: Answer<Record>, read: impl Fn(&RData) -> Option<T>) -> Answer<T> {
    match answer {
        Answer::Found(records) => {
            let found: Vec<T> = records.iter().filter_map(|r| read(&r.data)).collect();
            if found.is_empty() {
                Answer::Nothing
            } else {
                Answer::Found(found)
            }
        }
        Answer::Nothing => Answer::Nothing,
        Answer::NoName => Answer::NoName,
        Answer::Failed(failure) => Answer::Failed(failure),
    }
}

/// What an error says of the records.
fn nothing<T>(error: &NetError) -> Answer<T> {
    match error {
        NetError::Dns(DnsError::NoRecordsFound(none)) => match none.response_code {
            ResponseCode::NXDomain => Answer::NoName,
            ResponseCode::NoError => Answer::Nothing,
            ResponseCode::Refused => Answer::Failed(LookFailure::Refused),
            _ => Answer::Failed(LookFailure::ServFail),
        },
        NetError::Dns(DnsError::Nsec { response, .. }) => match response.response_code {
            ResponseCode::NXDomain => Answer::NoName,
            _ => Answer::Nothing,
        },
        NetError::Dns(DnsError::ResponseCode(ResponseCode::Refused)) => Answer::Failed(LookFailure::Refused),
        NetError::Dns(_) => Answer::Failed(LookFailure::ServFail),
        NetError::Timeout | NetError::NoConnections | NetError::Io(_) => Answer::Failed(LookFailure::Timeout),
        error if is_loop(error) => Answer::Failed(LookFailure::CnameLoop),
        _ => Answer::Failed(LookFailure::ServFail),
    }
}

/// The library follows aliases a bounded number of times and says so in words only.
fn is_loop(error: &NetError) -> bool {
    let text = error.to_string();
    text.contains("max depth") || text.contains("recursion") || text.contains("cname")
}
