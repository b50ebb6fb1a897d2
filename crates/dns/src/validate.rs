//! What the signatures of a name are worth.
//!
//! Two look at them: the server that is asked, if it checks signatures itself, and the library here. A name is called
//! bogus only where that is beyond doubt, for whoever believes it takes a zone apart that may be whole.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::lookup::Lookup;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::dnssec::{Proof, TrustAnchors};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::RecordType;
use slipway_domain::domains::Dnssec;
use slipway_domain::name::HostName;

use crate::ask::Server;
use crate::plain::{Checking, Plain, ask};

/// To checking signatures, which takes a question for each zone on the way.
const VALIDATION_MAX: Duration = Duration::from_secs(5);

/// Checks signatures.
pub(crate) struct Validator {
    address: SocketAddr,
    anchors: Option<Arc<TrustAnchors>>,
}

/// What was found out, and by whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Judged {
    /// Nobody doubts it.
    Certain(Dnssec),
    /// The library finds the name bogus, and nobody else does.
    Doubted(String),
}

impl Judged {
    /// Where nothing more can be found out.
    pub(crate) fn alone(self) -> Dnssec {
        match self {
            Self::Certain(dnssec) => dnssec,
            Self::Doubted(why) => Dnssec::Bogus(why),
        }
    }

    fn ours(ours: Dnssec) -> Self {
        match ours {
            Dnssec::Bogus(why) => Self::Doubted(why),
            other => Self::Certain(other),
        }
    }
}

/// The keys in a file.
pub(crate) fn trust_anchors(path: &Path) -> Result<Arc<TrustAnchors>, String> {
    let wanted = "give lines such as `. IN DNSKEY 257 3 8 AwEAA…`";
    match TrustAnchors::from_file(path) {
        Ok(anchors) if !anchors.is_empty() => Ok(Arc::new(anchors)),
        Ok(_) => Err(format!("there is no key in it: {wanted}")),
        Err(error) => Err(format!("it cannot be read: {error}: {wanted}")),
    }
}

impl Validator {
    /// Over this server, up to the keys in the file or those of the root.
    pub(crate) fn new(address: SocketAddr, trust_anchor: Option<&Path>) -> Result<Self, String> {
        let anchors = trust_anchor.map(trust_anchors).transpose()?;
        Server::validating(address, anchors.clone())?;
        Ok(Self { address, anchors })
    }

    /// What the signatures of a name's addresses are worth.
    pub(crate) async fn dnssec(&self, name: &str) -> Judged {
        let (theirs, ours) = tokio::join!(
            ask(self.address, name, RecordType::A, Checking::Asked),
            self.own(name, RecordType::A)
        );
        match judged(theirs.as_ref(), ours) {
            Some(judgement) => judgement,
            None => Judged::Certain(self.unchecked(name).await),
        }
    }

    /// What a zone's own signatures are worth, if that can be told: those of its first record.
    pub(crate) async fn zone(&self, zone: &HostName) -> Dnssec {
        self.own(zone.as_str(), RecordType::SOA).await
    }

    /// The server does not answer: it may be for the signatures.
    async fn unchecked(&self, name: &str) -> Dnssec {
        let answer = ask(self.address, name, RecordType::A, Checking::Disabled).await;
        let answers = answer.is_some_and(|a| matches!(a.code, ResponseCode::NoError | ResponseCode::NXDomain));
        if answers {
            Dnssec::Bogus(format!(
                "the DNS server {} checks signatures, and answers only when it is told not to",
                self.address
            ))
        } else {
            Dnssec::Unknown
        }
    }

    /// What the library finds. A server that hands on no signatures makes everything look forged: then nothing can be
    /// told.
    async fn own(&self, name: &str, kind: RecordType) -> Dnssec {
        let Ok(server) = Server::validating(self.address, self.anchors.clone()) else {
            return Dnssec::Unknown;
        };
        let root = tokio::time::timeout(VALIDATION_MAX, server.lookup("", RecordType::SOA)).await;
        let is_signed = |root: &Lookup| root.answers().iter().any(|r| r.proof == Proof::Secure);
        if !matches!(&root, Ok(Ok(root)) if is_signed(root)) {
            return Dnssec::Unknown;
        }
        let looked = tokio::time::timeout(VALIDATION_MAX, server.lookup(name, kind)).await;
        let (proof, broken) = match looked {
            Ok(Ok(lookup)) => {
                let proof = lookup.answers().iter().map(|r| r.proof).min();
                (proof, "a signature does not fit its record")
            }
            Ok(Err(NetError::Dns(DnsError::DnssecBogus))) => {
                (Some(Proof::Bogus), "the chain of signatures from the root is broken")
            }
            Ok(Err(NetError::Dns(DnsError::Nsec { proof, .. }))) => {
                (Some(proof), "the proof that there is no such record does not hold")
            }
            Ok(Err(_)) | Err(_) => (None, ""),
        };
        match proof {
            Some(Proof::Secure) => Dnssec::Secure,
            Some(Proof::Insecure) => Dnssec::Insecure,
            Some(Proof::Bogus) => Dnssec::Bogus(broken.into()),
            Some(Proof::Indeterminate) | None => Dnssec::Unknown,
        }
    }
}

/// The judgement of both; `None` where the server is to be asked once more, without checking.
fn judged(theirs: Option<&Plain>, ours: Dnssec) -> Option<Judged> {
    match theirs {
        Some(theirs) if theirs.is_authentic => Some(Judged::Certain(Dnssec::Secure)),
        Some(theirs) if theirs.code == ResponseCode::ServFail => None,
        _ => Some(Judged::ours(ours)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_checks_signatures_is_believed_and_one_that_fails_is_asked_once_more() {
        let said = |code, is_authentic| Plain {
            code,
            is_authentic,
            records: Vec::new(),
        };
        let bogus = || Dnssec::Bogus("ours".into());
        let judged = |theirs: Option<Plain>, ours| super::judged(theirs.as_ref(), ours);
        let secure = Some(Judged::Certain(Dnssec::Secure));
        assert_eq!(judged(Some(said(ResponseCode::NoError, true)), bogus()), secure);
        assert_eq!(judged(Some(said(ResponseCode::NXDomain, true)), bogus()), secure);
        assert_eq!(judged(Some(said(ResponseCode::ServFail, false)), Dnssec::Unknown), None);
        let doubted = Some(Judged::Doubted("ours".into()));
        assert_eq!(judged(Some(said(ResponseCode::NoError, false)), bogus()), doubted);
        assert_eq!(judged(None, Dnssec::Insecure), Some(Judged::Certain(Dnssec::Insecure)));
    }
}
