//! The server side of the PostgreSQL protocol, as far as a test needs it, and a client that speaks to it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::within;

const SSL_REQUEST: u32 = 80_877_103;
const CANCEL_REQUEST: u32 = 80_877_102;
const VERSION_3: u32 = 196_608;

/// Answers every query, and has seen every message.
pub(crate) struct Backend {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    _cut: DropGuard,
}

struct Shared {
    seen: Mutex<Vec<String>>,
    ended: watch::Sender<u32>,
    /// Says yes to TLS, and gives back what comes then.
    encrypts: bool,
}

impl Backend {
    pub(crate) async fn start(encrypts: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            ended: watch::Sender::new(0),
            encrypts,
        });
        let (tasks, cut) = (TaskTracker::new(), CancellationToken::new());
        let (inner, inner_tasks, inner_cut) = (Arc::clone(&shared), tasks.clone(), cut.clone());
        let accepting = async move {
            while let Ok((stream, _)) = listener.accept().await {
                let shared = Arc::clone(&inner);
                let serving = async move {
                    // A client that breaks off is what the tests are about.
                    let _ = serve(stream, &shared).await;
                    shared.ended.send_modify(|ended| *ended += 1);
                };
                inner_tasks.spawn(inner_cut.clone().run_until_cancelled_owned(serving));
            }
        };
        tasks.spawn(cut.clone().run_until_cancelled_owned(accepting));
        Self {
            address,
            shared,
            _cut: cut.drop_guard(),
        }
    }

    /// Every message after startup: its kind, and the words of a query.
    pub(crate) fn seen(&self) -> Vec<String> {
        self.shared.seen.lock().clone()
    }

    /// Waits until so many connections have ended.
    pub(crate) async fn ended(&self, count: u32) {
        let mut ended = self.shared.ended.subscribe();
        within("the connection to end", ended.wait_for(|ended| *ended >= count))
            .await
            .expect("the backend lives");
    }
}

async fn serve(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let code = stream.read_u32().await?;
        let mut rest = vec![0; length as usize - 8];
        stream.read_exact(&mut rest).await?;
        match code {
            SSL_REQUEST if shared.encrypts => {
                stream.write_u8(b'S').await?;
                let (mut reader, mut writer) = stream.split();
                tokio::io::copy(&mut reader, &mut writer).await?;
                return Ok(());
            }
            SSL_REQUEST => stream.write_u8(b'N').await?,
            CANCEL_REQUEST => {
                shared.seen.lock().push("cancel".into());
                return Ok(());
            }
            _ => break,
        }
    }
    write_message(&mut stream, b'R', &[0; 4]).await?;
    write_message(&mut stream, b'Z', b"I").await?;
    loop {
        let (kind, body) = read_message(&mut stream).await?;
        let text = String::from_utf8_lossy(&body).trim_end_matches('\0').to_owned();
        let told = if kind == b'Q' {
            text.chars().take(40).collect()
        } else {
            char::from(kind).to_string()
        };
        shared.seen.lock().push(told);
        match kind {
            b'Q' => {
                let rows: usize = text.strip_prefix("rows ").and_then(|n| n.parse().ok()).unwrap_or(0);
                if rows > 0 {
                    write_message(&mut stream, b'D', &vec![7_u8; rows]).await?;
                }
                write_message(&mut stream, b'C', b"DONE\0").await?;
                write_message(&mut stream, b'Z', b"I").await?;
            }
            b'S' => write_message(&mut stream, b'Z', b"I").await?,
            b'X' => return Ok(()),
            _ => {}
        }
    }
}

async fn write_message(stream: &mut (impl AsyncWrite + Unpin), kind: u8, body: &[u8]) -> io::Result<()> {
    let length = u32::try_from(body.len() + 4).expect("a short message");
    let mut bytes = vec![kind];
    bytes.extend_from_slice(&length.to_be_bytes());
    bytes.extend_from_slice(body);
    stream.write_all(&bytes).await
}

async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<(u8, Vec<u8>)> {
    let kind = stream.read_u8().await?;
    let length = stream.read_u32().await?;
    let mut body = vec![0; length as usize - 4];
    stream.read_exact(&mut body).await?;
    Ok((kind, body))
}

/// A connection of a client, past its startup.
pub(crate) struct Client(TcpStream);

impl Client {
    /// Connects and asks for TLS, as drivers do, before it goes on without.
    pub(crate) async fn connect(address: SocketAddr) -> Self {
        let mut client = Self(TcpStream::connect(address).await.expect("a connection"));
        let work = async {
            assert_eq!(client.ask_for_tls().await, b'N');
            client.packet(VERSION_3, b"user\0test\0\0").await;
            client.answer().await.expect("the startup's answer")
        };
        assert_eq!(within("the startup", work).await, b"RZ");
        client
    }

    /// Connects and says nothing.
    pub(crate) async fn silent(address: SocketAddr) -> Self {
        Self(TcpStream::connect(address).await.expect("a connection"))
    }

    /// The answer's one byte.
    pub(crate) async fn ask_for_tls(&mut self) -> u8 {
        self.packet(SSL_REQUEST, b"").await;
        within("an answer", self.0.read_u8()).await.expect("an answer")
    }

    pub(crate) async fn cancel(&mut self) {
        self.packet(CANCEL_REQUEST, &[1; 8]).await;
    }

    async fn packet(&mut self, code: u32, rest: &[u8]) {
        let length = u32::try_from(rest.len() + 8).expect("a short packet");
        let bytes = [length.to_be_bytes().as_slice(), code.to_be_bytes().as_slice(), rest].concat();
        self.0.write_all(&bytes).await.expect("written");
    }

    pub(crate) async fn send(&mut self, kind: u8, body: &[u8]) {
        write_message(&mut self.0, kind, body).await.expect("written");
    }

    pub(crate) async fn ask(&mut self, query: &str) {
        self.send(b'Q', format!("{query}\0").as_bytes()).await;
    }

    /// The kinds of the messages up to the next `ReadyForQuery`.
    pub(crate) async fn answer(&mut self) -> io::Result<Vec<u8>> {
        let mut kinds = Vec::new();
        loop {
            let (kind, _) = read_message(&mut self.0).await?;
            kinds.push(kind);
            if kind == b'Z' {
                return Ok(kinds);
            }
        }
    }

    /// Asks, and gets the kinds of the messages of the answer.
    pub(crate) async fn query(&mut self, query: &str) -> io::Result<Vec<u8>> {
        self.ask(query).await;
        within("an answer", self.answer()).await
    }

    /// What comes until the connection ends, in whatever way.
    pub(crate) async fn rest(mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let _ = within("the end", self.0.read_to_end(&mut bytes)).await;
        bytes
    }

    /// Bytes there and back.
    pub(crate) async fn echo(&mut self, bytes: &[u8]) -> Vec<u8> {
        self.0.write_all(bytes).await.expect("written");
        let mut back = vec![0; bytes.len()];
        within("the echo", self.0.read_exact(&mut back)).await.expect("whole");
        back
    }
}
