//! What DNS says of one name, as it was heard.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use crate::name::HostName;

/// What a question got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer<T> {
    /// Records of the kind that was asked for.
    Found(Vec<T>),
    /// The name is there and has none of them (RFC 2308 section 2.2).
    Nothing,
    /// There is no such name (RFC 8020).
    NoName,
    /// No answer that says anything.
    Failed(LookFailure),
}

impl<T> Answer<T> {
    /// The records, if there are any.
    pub fn records(&self) -> &[T] {
        match self {
            Self::Found(records) => records,
            _ => &[],
        }
    }
}

/// Why a question got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookFailure {
    /// The server said that it cannot tell (SERVFAIL).
    ServFail,
    /// The server would not tell (REFUSED).
    Refused,
    /// Nobody answered in time.
    Timeout,
    /// Its aliases lead back to themselves, or on for too long.
    CnameLoop,
}

impl LookFailure {
    /// In words that fit behind "the DNS server".
    pub const fn told(self) -> &'static str {
        match self {
            Self::ServFail => "answers SERVFAIL",
            Self::Refused => "refuses to answer",
            Self::Timeout => "does not answer",
            Self::CnameLoop => "leads from one CNAME to the next without an end",
        }
    }
}

/// What one server says of where a name leads.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolverAnswer {
    /// Which server.
    pub resolver: String,
    /// Whether it is one of the zone's own.
    pub authoritative: bool,
    /// Its IPv4 addresses.
    pub a: Answer<IpAddr>,
    /// Its IPv6 addresses.
    pub aaaa: Answer<IpAddr>,
    /// The names it is an alias of, in order.
    pub cnames: Vec<String>,
    /// How long the addresses may be remembered at most.
    pub ttl_seconds: Option<u32>,
}

impl ResolverAnswer {
    /// Whether the server could not be asked: that says nothing about the name.
    pub fn is_away(&self) -> bool {
        let away = |failed: bool, answer: &Answer<IpAddr>| {
            failed || matches!(answer, Answer::Failed(LookFailure::Timeout | LookFailure::Refused))
        };
        [&self.a, &self.aaaa].into_iter().fold(false, away)
    }
}

/// One CAA record (RFC 8659).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CaaRecord {
    /// Whether a CA that does not know the tag must refuse.
    pub critical: bool,
    /// `issue`, `issuewild`, `iodef` or another.
    pub tag: String,
    /// The value as written.
    pub value: String,
}

/// The CAA records that hold for a name: those of the closest name above it that has any.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caa {
    /// The name that has them.
    pub at: String,
    /// What they are.
    pub records: Vec<CaaRecord>,
}

/// What DNSSEC says of the answers (RFC 4035 section 4.3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dnssec {
    /// Signed, and the signatures hold.
    Secure,
    /// Not signed.
    Insecure,
    /// Signed, and the signatures do not hold: those who check them do not reach the name.
    Bogus(String),
    /// Could not be told.
    Unknown,
}

/// Everything that was heard of one name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Look {
    /// What each server says.
    pub answers: Vec<ResolverAnswer>,
    /// The texts at the place of the proof.
    pub proof: Answer<String>,
    /// The CAA records that hold; the outer failure says that they could not be asked for.
    pub caa: Result<Option<Caa>, LookFailure>,
    /// What DNSSEC says.
    pub dnssec: Dnssec,
    /// The zone that the name is in.
    pub zone: Option<HostName>,
    /// Whether names beside it that nobody made lead to the same place.
    pub by_wildcard: bool,
    /// The addresses behind the name that records are to point to.
    pub target: Answer<IpAddr>,
    /// What the name where a CA looks for its answer is an alias of.
    pub challenge_alias: Option<String>,
}
