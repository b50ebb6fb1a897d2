//! A question whose answer's header matters: whether the server checked signatures itself, and what it says when it is
//! told not to (RFC 4035 section 3.2; the library's resolver hides both).

use std::net::SocketAddr;
use std::time::Duration;

use hickory_resolver::proto::op::{Edns, Message, Query, ResponseCode};
use hickory_resolver::proto::rr::{Name, Record, RecordType};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

const TIMEOUT: Duration = Duration::from_secs(2);
const ATTEMPTS: usize = 2;

/// Whether the server is to check signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Checking {
    /// If it does so.
    Asked,
    /// Not for this question (the CD bit).
    Disabled,
}

/// What a server said.
#[derive(Debug, Clone)]
pub(crate) struct Plain {
    pub(crate) code: ResponseCode,
    /// It says that it checked the signatures and they hold (the AD bit).
    pub(crate) is_authentic: bool,
    pub(crate) records: Vec<Record>,
}

/// Asks one question; nothing where there is no answer.
pub(crate) async fn ask(server: SocketAddr, name: &str, kind: RecordType, checking: Checking) -> Option<Plain> {
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.'))).ok()?;
    let mut question = Message::query();
    question.metadata.recursion_desired = true;
    question.metadata.checking_disabled = checking == Checking::Disabled;
    question.add_query(Query::query(name, kind));
    let mut edns = Edns::new();
    edns.set_dnssec_ok(true);
    question.set_edns(edns);
    let bytes = question.to_vec().ok()?;
    for _ in 0..ATTEMPTS {
        let asked = tokio::time::timeout(TIMEOUT, over_udp(server, &bytes, question.metadata.id)).await;
        let Ok(Some(answer)) = asked else { continue };
        if !answer.metadata.truncation {
            return Some(read(answer));
        }
        let asked = tokio::time::timeout(TIMEOUT, over_tcp(server, &bytes, question.metadata.id)).await;
        return asked.ok().flatten().map(read);
    }
    None
}

fn read(answer: Message) -> Plain {
    Plain {
        code: answer.metadata.response_code,
        is_authentic: answer.metadata.authentic_data,
        records: answer.answers,
    }
}

async fn over_udp(server: SocketAddr, question: &[u8], id: u16) -> Option<Message> {
    let any = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let socket = UdpSocket::bind(any).await.ok()?;
    // Only what comes from the server is received.
    socket.connect(server).await.ok()?;
    socket.send(question).await.ok()?;
    let mut buffer = vec![0_u8; 4096];
    loop {
        let length = socket.recv(&mut buffer).await.ok()?;
        let answer = Message::from_vec(buffer.get(..length)?).ok();
        if let Some(answer) = answer.filter(|answer| answer.metadata.id == id) {
            return Some(answer);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8], id: u16) -> Option<Message> {
    let mut stream = TcpStream::connect(server).await.ok()?;
    let length = u16::try_from(question.len()).ok()?;
    stream.write_all(&length.to_be_bytes()).await.ok()?;
    stream.write_all(question).await.ok()?;
    let length = stream.read_u16().await.ok()?;
    let mut buffer = vec![0_u8; usize::from(length)];
    stream.read_exact(&mut buffer).await.ok()?;
    Message::from_vec(&buffer)
        .ok()
        .filter(|answer| answer.metadata.id == id)
}
