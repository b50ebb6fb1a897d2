//! The API's ports as tests have them: a registry that knows a few images, an engine with a few containers, a vault
//! that only turns bytes around, time that stands still until it is moved.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use slipway_domain::clock::testing::at;
use slipway_domain::domains::{Finding, Inspection, Level, RecordCheck, RecordType};
use slipway_domain::ids::{EnvironmentId, TeamId};
use slipway_domain::image::{ImageReference, Pin, Platform};
use slipway_domain::name::DomainName;
use slipway_domain::observed::{Instance, Observed};
use slipway_domain::ports::{
    BoxFuture, CertificateChecker, Claim, DomainInspector, ImageResolver, InstanceReader, LogLine, LogQuery,
    LogReceiver, PullPolicy, RegistryCredentials, ResolveError, SealContext, SealError, Sealer, TextRecord,
    UploadedCertificate, Usage, ZoneAccount, ZoneEditor,
};
use slipway_domain::secret::{Sealed, Secret};
use slipway_domain::{Clock, Entropy, Timestamp};

/// Bytes that are never the same twice.
pub(crate) struct Counter;

impl Entropy for Counter {
    fn fill(&self, buffer: &mut [u8]) {
        static COUNT: AtomicU64 = AtomicU64::new(1);
        for chunk in buffer.chunks_mut(8) {
            // A multiplier that spreads neighbouring numbers over all bytes (Knuth's).
            let count = COUNT.fetch_add(1, Ordering::Relaxed);
            let bytes = (count.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_be_bytes();
            chunk.copy_from_slice(&bytes[..chunk.len()]);
        }
    }
}

/// Time that a test moves; each look is a millisecond later, so that identifiers sort.
pub(crate) struct TestClock(pub(crate) AtomicU64);

impl TestClock {
    pub(crate) fn new() -> Self {
        Self(AtomicU64::new(1_800_000_000_000))
    }

    pub(crate) fn forward_days(&self, days: u64) {
        self.0.fetch_add(days * 86_400_000, Ordering::Relaxed);
    }
}

impl Clock for TestClock {
    fn now(&self) -> Timestamp {
        at(i64::try_from(self.0.fetch_add(1, Ordering::Relaxed)).expect("in range"))
    }
}

/// A registry: the tag decides what happens.
#[derive(Default)]
pub(crate) struct Registry {
    /// User name and password of the last question.
    pub(crate) asked_with: Mutex<Option<(String, String)>>,
}

fn digest(of: &str) -> String {
    let sum = of
        .bytes()
        .fold(7_u64, |sum, b| sum.wrapping_mul(31).wrapping_add(u64::from(b)));
    format!("sha256:{}", format!("{sum:016x}").repeat(4))
}

impl ImageResolver for Registry {
    fn resolve<'a>(
        &'a self,
        reference: &'a ImageReference,
        policy: PullPolicy,
        credentials: Option<&'a RegistryCredentials>,
    ) -> BoxFuture<'a, Result<Pin, ResolveError>> {
        *self.asked_with.lock().expect("not poisoned") =
            credentials.map(|c| (c.username.clone(), c.password.expose().to_owned()));
        Box::pin(async move {
            match reference.tag().unwrap_or("latest") {
                "missing" => return Err(ResolveError::NotFound("there is no tag `missing`".into())),
                "private" if credentials.is_none() => {
                    return Err(ResolveError::Unauthorized("the registry wants credentials".into()));
                }
                "arm" => {
                    let platform = |architecture: &str| Platform {
                        os: "linux".into(),
                        architecture: architecture.into(),
                    };
                    return Err(ResolveError::Platform {
                        wanted: platform("amd64"),
                        offered: vec![platform("arm64")],
                    });
                }
                "away" => return Err(ResolveError::Unavailable("the registry does not answer".into())),
                "engine-away" => return Err(ResolveError::EngineUnavailable("the engine does not answer".into())),
                "slow" => std::future::pending().await,
                "panic" => panic!("the resolver fell over its own feet"),
                _ => {}
            }
            let digest = digest(reference.as_given()).parse().expect("a digest");
            Ok(match policy {
                PullPolicy::Local => Pin::Local { id: digest },
                PullPolicy::Registry => Pin::Registry {
                    name: reference.name(),
                    registry: reference.registry().to_string(),
                    digest,
                },
            })
        })
    }
}

/// An engine with containers and lines set by the test.
#[derive(Default)]
pub(crate) struct Engine {
    pub(crate) away: Mutex<bool>,
    pub(crate) instances: Mutex<Vec<Instance>>,
    pub(crate) lines: Mutex<Vec<LogLine>>,
    pub(crate) query: Mutex<Option<LogQuery>>,
}

impl Engine {
    fn seen<T>(&self, what: T) -> Observed<T> {
        if *self.away.lock().expect("not poisoned") {
            Observed::Unknown {
                reason: "connection refused at /var/run/secret.sock".into(),
            }
        } else {
            Observed::Known(what)
        }
    }
}

impl InstanceReader for Engine {
    fn instances(&self, environment: EnvironmentId) -> BoxFuture<'_, Observed<Vec<Instance>>> {
        let all = self.instances.lock().expect("not poisoned").clone();
        let own = all.into_iter().filter(|i| i.environment == environment).collect();
        Box::pin(std::future::ready(self.seen(own)))
    }

    fn usage<'a>(&'a self, instances: &'a [String]) -> BoxFuture<'a, Vec<(String, Usage)>> {
        let usage = Usage {
            cpu_cores: 0.25,
            memory_bytes: 4096,
        };
        Box::pin(std::future::ready(
            instances.iter().map(|i| (i.clone(), usage)).collect(),
        ))
    }

    fn logs(&self, _: EnvironmentId, query: LogQuery) -> BoxFuture<'_, Observed<Box<dyn LogReceiver>>> {
        let receiver = Lines {
            left: self.lines.lock().expect("not poisoned").clone(),
            follow: query.follow,
        };
        *self.query.lock().expect("not poisoned") = Some(query);
        Box::pin(std::future::ready(
            self.seen(Box::new(receiver) as Box<dyn LogReceiver>),
        ))
    }

    fn run_output(&self, _run: slipway_domain::ids::RunId) -> BoxFuture<'_, Vec<String>> {
        Box::pin(async { vec!["a line so far".to_owned()] })
    }
}

struct Lines {
    left: Vec<LogLine>,
    follow: bool,
}

impl LogReceiver for Lines {
    fn next(&mut self) -> BoxFuture<'_, Option<LogLine>> {
        Box::pin(async {
            if self.left.is_empty() && self.follow {
                std::future::pending::<()>().await;
            }
            if self.left.is_empty() {
                None
            } else {
                Some(self.left.remove(0))
            }
        })
    }
}

/// A vault that turns bytes around and writes down whose they are.
pub(crate) struct Mirror;

impl Mirror {
    fn owner(context: SealContext<'_>) -> String {
        format!("{:?}/{}/{}", context.team, context.kind, context.id)
    }
}

impl Sealer for Mirror {
    fn seal(&self, context: SealContext<'_>, plaintext: &Secret) -> Result<Sealed, SealError> {
        let turned: String = plaintext.expose().chars().rev().collect();
        let bytes = format!("{}\0{turned}", Self::owner(context)).into_bytes();
        Ok(Sealed { key_version: 1, bytes })
    }

    fn open(&self, context: SealContext<'_>, sealed: &Sealed) -> Result<Secret, SealError> {
        let text = String::from_utf8(sealed.bytes.clone()).map_err(|_| SealError::Damaged)?;
        let (owner, turned) = text.split_once('\0').ok_or(SealError::Damaged)?;
        if owner == Self::owner(context) {
            Ok(Secret::new(turned.chars().rev().collect()))
        } else {
            Err(SealError::Damaged)
        }
    }

    fn fingerprint(&self, team: TeamId, plaintext: &Secret) -> String {
        digest(&format!("{team}{}", plaintext.expose()))[7..23].to_owned()
    }
}

/// All of them.
pub(crate) struct Ports {
    pub(crate) registry: Arc<Registry>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Arc<TestClock>,
}

/// A DNS in which nobody has made anything yet.
pub(crate) struct EmptyDns;

impl DomainInspector for EmptyDns {
    fn inspect(&self, claim: Claim) -> BoxFuture<'_, Inspection> {
        let record = RecordCheck {
            kind: RecordType::A,
            name: claim.host.to_string(),
            value: "203.0.113.10".into(),
            found: Vec::new(),
            ok: false,
            group: "addresses".into(),
            optional: false,
        };
        let finding = Finding {
            level: Level::Error,
            code: "no_such_name".into(),
            detail: format!("There is no {} in DNS yet.", claim.host),
            hint: "Make the records that are listed.".into(),
        };
        Box::pin(std::future::ready(Inspection {
            records: vec![record],
            findings: vec![finding],
            proof: None,
            points_here: false,
            dnssec: "unknown".into(),
            ttl_seconds: None,
            behind_proxy: false,
            by_dns: false,
            dns_only: false,
        }))
    }
}

/// Zones that nobody keeps: every change works but those of `refused.example`.
pub(crate) struct EmptyZones;

impl ZoneEditor for EmptyZones {
    fn check(&self, account: &ZoneAccount) -> Result<(), String> {
        let odd = account.settings.values().any(|value| value.expose() == "odd");
        if odd {
            Err("it makes no sense of it".into())
        } else {
            Ok(())
        }
    }

    fn add<'a>(&'a self, account: &'a ZoneAccount, _: &'a TextRecord) -> BoxFuture<'a, Result<(), String>> {
        let refused = account.zone.as_str() == "refused.example";
        let done = if refused {
            Err("it refuses the credentials".into())
        } else {
            Ok(())
        };
        Box::pin(std::future::ready(done))
    }

    fn remove<'a>(&'a self, _: &'a ZoneAccount, _: &'a TextRecord) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn alias<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(std::future::ready(None))
    }

    fn is_published<'a>(&'a self, _: &'a ZoneAccount, _: &'a TextRecord) -> BoxFuture<'a, bool> {
        Box::pin(std::future::ready(true))
    }
}

/// Takes every certificate but `wrong`.
pub(crate) struct AnyCertificate;

impl CertificateChecker for AnyCertificate {
    fn check(
        &self,
        (chain, _): (&str, &str),
        host: &DomainName,
        now: Timestamp,
    ) -> Result<UploadedCertificate, String> {
        if chain == "wrong" {
            return Err(format!("It is not for {host}."));
        }
        Ok(UploadedCertificate {
            issuer: "Somebody".into(),
            not_before: now,
            not_after: now + chrono::TimeDelta::days(60),
        })
    }

    fn check_client_ca(&self, pem: &str) -> Result<(), String> {
        if pem == "wrong" {
            Err("It is no CA.".into())
        } else {
            Ok(())
        }
    }
}
