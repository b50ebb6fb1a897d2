//! Changes zones: adds a TXT record and takes it back.
//!
//! Promises: one change at a time, for many providers read a set of records and write it back whole; a change ends
//! within a bounded time; an error says what the provider said.

mod hook;
mod provider;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use dns_update::{DnsRecord, DnsRecordType, DnsUpdater, Error};
use futures_util::future::join_all;
use slipway_domain::domains::Answer;
use slipway_domain::ports::{BoxFuture, TextRecord, ZoneAccount, ZoneEditor};
use tokio::sync::Mutex;

use crate::{Dns, zone};

/// Remembered no longer than that.
const TTL_SECONDS: u32 = 60;
/// To one change, with what a provider's API takes for it.
const CHANGE_MAX: Duration = Duration::from_mins(1);
/// To one look at the zone's own servers.
const LOOK_MAX: Duration = Duration::from_secs(5);

/// Changes zones by the API of whoever keeps them, or by a program of the operator's.
#[derive(Clone)]
pub struct Editor {
    dns: Option<Dns>,
    hook: Option<PathBuf>,
    /// Held by who changes something.
    turn: Arc<Mutex<()>>,
}

/// What is done with a record.
#[derive(Debug, Clone, Copy)]
enum Change {
    Add,
    Remove,
}

impl Editor {
    /// One that asks these servers, and has this program for the provider `exec`.
    pub fn new(dns: Option<Dns>, hook: Option<PathBuf>) -> Self {
        Self {
            dns,
            hook,
            turn: Arc::default(),
        }
    }

    async fn change(&self, account: &ZoneAccount, change: Change, record: &TextRecord) -> Result<(), String> {
        let turn = self.turn.lock().await;
        let done = async {
            if account.provider == provider::EXEC {
                let program = self.hook.as_deref().ok_or(provider::NO_HOOK)?;
                return hook::run(program, change, &account.zone, record).await;
            }
            let updater = provider::updater(account)?;
            by_api(&updater, &account.zone, change, record).await
        };
        let done = tokio::time::timeout(CHANGE_MAX, done).await;
        drop(turn);
        done.unwrap_or_else(|_| Err(format!("it did not answer within {} seconds", CHANGE_MAX.as_secs())))
    }
}

async fn by_api(
    updater: &DnsUpdater,
    zone: &slipway_domain::name::HostName,
    change: Change,
    record: &TextRecord,
) -> Result<(), String> {
    let (name, zone) = (record.name.as_str(), zone.as_str());
    let records = vec![DnsRecord::TXT(record.value.clone())];
    let done = match change {
        Change::Add => {
            updater
                .add_to_rrset(name, DnsRecordType::TXT, TTL_SECONDS, records, zone)
                .await
        }
        Change::Remove => updater.remove_from_rrset(name, DnsRecordType::TXT, records, zone).await,
    };
    match (change, done) {
        (_, Ok(())) | (Change::Remove, Err(Error::NotFound)) => Ok(()),
        (_, Err(error)) => Err(told(error)),
    }
}

/// What a provider said.
fn told(error: Error) -> String {
    match error {
        Error::Unauthorized => "it refuses the credentials".into(),
        Error::NotFound => "it does not know the zone: these credentials may be another account's".into(),
        Error::BadRequest => "it does not understand the request".into(),
        Error::InvalidRegion => "it has no such region".into(),
        Error::Protocol(said)
        | Error::Parse(said)
        | Error::Client(said)
        | Error::Response(said)
        | Error::Api(said)
        | Error::Serialize(said)
        | Error::Unsupported(said) => of_updates(&said),
        other => format!("{other:?}"),
    }
}

/// What an update that a name server did not take (RFC 2136, RFC 8945) means: the library tells what it stumbled over.
fn of_updates(said: &str) -> String {
    if said.contains("truncated HMACs") || said.contains("BADKEY") || said.contains("BADSIG") {
        return "the server refuses the TSIG key: `key_name`, `key` and `algorithm` must be those that it knows".into();
    }
    if said.contains("TSIG signature record not found") {
        return "the server refuses and does not sign its answer: it does not keep this zone (NOTAUTH), or this key may not \
                change it"
            .into();
    }
    if said.contains("Connection refused") {
        return "nothing answers at `server`".into();
    }
    said.to_owned()
}

impl ZoneEditor for Editor {
    fn check(&self, account: &ZoneAccount) -> Result<(), String> {
        if account.provider == provider::EXEC {
            return self.hook.as_ref().map(drop).ok_or_else(|| provider::NO_HOOK.into());
        }
        provider::updater(account).map(drop)
    }

    fn add<'a>(&'a self, account: &'a ZoneAccount, record: &'a TextRecord) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.change(account, Change::Add, record))
    }

    fn remove<'a>(&'a self, account: &'a ZoneAccount, record: &'a TextRecord) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(self.change(account, Change::Remove, record))
    }

    fn alias<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Option<String>> {
        Box::pin(async move {
            let dns = self.dns.as_ref()?;
            dns.alias(name).await
        })
    }

    fn is_published<'a>(&'a self, zone: &'a ZoneAccount, record: &'a TextRecord) -> BoxFuture<'a, bool> {
        Box::pin(async move {
            let Some(dns) = &self.dns else { return true };
            let mut answers = of_its_own(dns, zone, record).await;
            if answers.is_empty() {
                // Out of reach from here: the others may have to forget first that there was none.
                answers.push(dns.first().texts(&record.name).await);
            }
            answers.iter().all(|answer| answer.records().contains(&record.value))
        })
    }
}

/// What the zone's own servers say, as far as they can be reached.
async fn of_its_own(dns: &Dns, account: &ZoneAccount, record: &TextRecord) -> Vec<Answer<String>> {
    let servers = zone::servers(dns.first(), &account.zone).await;
    let asked = join_all(servers.iter().map(|server| server.texts(&record.name)));
    let mut answers = tokio::time::timeout(LOOK_MAX, asked).await.unwrap_or_default();
    answers.retain(|answer| !matches!(answer, Answer::Failed(_)));
    answers
}
