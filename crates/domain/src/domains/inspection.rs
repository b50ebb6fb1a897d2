//! What a look at DNS means: the records to make, what is wrong, and what is proven.

use serde::{Deserialize, Serialize};

/// How a domain was proven to be its team's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// It only resolves on this machine or in this network: the first to ask has it.
    Local,
    /// By the TXT record.
    Txt,
    /// Its records point here.
    Routed,
}

impl Proof {
    /// The word in the database and in answers.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Txt => "txt",
            Self::Routed => "routed",
        }
    }

    /// Back from the word.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Local, Self::Txt, Self::Routed]
            .into_iter()
            .find(|proof| proof.as_str() == text)
    }
}

/// A kind of record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum RecordType {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// An alias.
    Cname,
    /// A text.
    Txt,
    /// Who may issue certificates.
    Caa,
}

impl RecordType {
    /// As zone files have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::A => "A",
            Self::Aaaa => "AAAA",
            Self::Cname => "CNAME",
            Self::Txt => "TXT",
            Self::Caa => "CAA",
        }
    }
}

/// One record as it should be, and what there is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RecordCheck {
    /// Its type.
    pub kind: RecordType,
    /// Its name in full.
    pub name: String,
    /// What it must say; nothing if those that are there must go.
    pub value: String,
    /// What is there now.
    pub found: Vec<String>,
    /// Whether that will do.
    pub ok: bool,
    /// Records of one group stand in for each other: one whole group is enough.
    pub group: String,
    /// Whether the domain can do without its group.
    pub optional: bool,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// It could be better.
    Advice,
    /// Some visitors are or will be harmed.
    Warning,
    /// Nothing can be ordered while it is so.
    Error,
}

/// Something to know of a domain.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// How bad.
    pub level: Level,
    /// A stable word.
    pub code: String,
    /// What is so, in a sentence.
    pub detail: String,
    /// What to do.
    pub hint: String,
}

/// What a look came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "each is found out by itself")]
pub struct Inspection {
    /// The records to make.
    pub records: Vec<RecordCheck>,
    /// What is to be known, the worst first.
    pub findings: Vec<Finding>,
    /// What the records prove by themselves.
    pub proof: Option<Proof>,
    /// Whether visitors get here, all of them.
    pub points_here: bool,
    /// What DNSSEC says, in a word.
    pub dnssec: String,
    /// How long wrong records stay in caches at most.
    pub ttl_seconds: Option<u32>,
    /// Whether something answers in our place and hands requests on.
    #[serde(default)]
    pub behind_proxy: bool,
    /// Whether a CA can be answered in DNS.
    #[serde(default)]
    pub by_dns: bool,
    /// Whether CAA records let a CA look in DNS alone.
    #[serde(default)]
    pub dns_only: bool,
}

impl Inspection {
    /// What keeps a certificate from being ordered.
    pub fn obstacle(&self) -> Option<&Finding> {
        self.findings.iter().find(|f| f.level == Level::Error)
    }

    /// Whether a certificate can be had: the CA gets here, or finds its answer in DNS.
    pub fn may_order(&self) -> bool {
        (self.points_here || self.behind_proxy && self.by_dns) && self.obstacle().is_none()
    }
}
