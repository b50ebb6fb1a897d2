//! Between a client and a PostgreSQL server: frames the messages of protocol 3 and knows round trips.
//!
//! Promises: a call is one `Query` or `Sync` of a client, that is one round trip after startup; a call that is cut
//! after has been answered by the server to its `ReadyForQuery`, so that its effect is there. A call whose client is
//! gone is not forwarded. TLS and requests to cancel are passed through unseen. No message is held in memory that is
//! larger than [`KEPT_BYTES_MAX`].

mod rounds;
mod wire;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use parking_lot::Mutex;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::rounds::{Batch, Rounds, Watched};
use self::wire::{FUNCTION_CALL, Head, PARSE, QUERY, READY_FOR_QUERY, Reader, SYNC, Startup, Writer, halves, pass};
use super::control::Control;
use super::script::{Fault, Script};

/// Connections of clients at once; others wait to be accepted.
pub const CONNECTIONS_MAX: usize = 1_024;
/// Of an answer that is held. What is beyond is passed on, except for the end.
pub const KEPT_BYTES_MAX: usize = 1024 * 1024;
/// After a connection could not be accepted.
const ACCEPT_AGAIN_MS: u64 = 50;

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Upstream {
    /// At an address.
    Tcp(SocketAddr),
    /// At a socket's path, with its `.s.PGSQL.<port>`.
    Unix(PathBuf),
}

impl Upstream {
    async fn connect(&self) -> io::Result<(Reader, Writer)> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await?;
                stream.set_nodelay(true)?;
                Ok(halves(stream))
            }
            Self::Unix(path) => Ok(halves(UnixStream::connect(path).await?)),
        }
    }
}

/// A proxy on a port of 127.0.0.1. Dropping it closes every connection through it.
#[derive(Debug)]
pub struct PostgresProxy {
    address: SocketAddr,
    control: Control,
    _cut: DropGuard,
}

impl PostgresProxy {
    /// Listens on a free port for what goes to the server.
    ///
    /// Must run inside a Tokio runtime with time and I/O enabled.
    ///
    /// # Errors
    /// When there is no port to listen on.
    pub fn start(upstream: Upstream, script: Script) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let listener = TcpListener::from_std(listener)?;
        let control = Control::new(script);
        let cut = CancellationToken::new();
        let shared = Arc::new(Shared {
            upstream,
            control: control.clone(),
            cut: cut.clone(),
        });
        shared.run(Arc::clone(&shared).accept(listener));
        Ok(Self {
            address,
            control,
            _cut: cut.drop_guard(),
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its script, its log, and how to hold calls.
    pub fn control(&self) -> &Control {
        &self.control
    }
}

impl Drop for PostgresProxy {
    fn drop(&mut self) {
        self.control.end();
    }
}

struct Shared {
    upstream: Upstream,
    control: Control,
    cut: CancellationToken,
}

/// Whether a connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flow {
    On,
    End,
}

impl Shared {
    /// Runs a task until it ends or the proxy is dropped.
    fn run(&self, task: impl Future<Output = ()> + Send + 'static) {
        tokio::spawn(self.cut.clone().run_until_cancelled_owned(task));
    }

    async fn accept(self: Arc<Self>, listener: TcpListener) {
        let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            match listener.accept().await {
                Ok((client, _)) => self.run(Arc::clone(&self).serve(client, slot)),
                Err(_) => tokio::time::sleep(Duration::from_millis(ACCEPT_AGAIN_MS)).await,
            }
        }
    }

    async fn serve(self: Arc<Self>, client: TcpStream, slot: OwnedSemaphorePermit) {
        let _slot = slot;
        // Whichever side breaks off, the other one sees its connection closed.
        drop(self.carry(client).await);
    }

    async fn carry(&self, client: TcpStream) -> io::Result<()> {
        client.set_nodelay(true)?;
        let (mut from_client, mut to_client) = halves(client);
        let (mut from_server, mut to_server) = self.upstream.connect().await?;
        let mut client = (&mut from_client, &mut to_client);
        let mut server = (&mut from_server, &mut to_server);
        match wire::start(&mut client, &mut server).await? {
            Startup::Unseen => tokio::select! {
                ended = tokio::io::copy(&mut from_client, &mut to_server) => ended.map(drop),
                ended = tokio::io::copy(&mut from_server, &mut to_client) => ended.map(drop),
            },
            Startup::Framed => {
                let rounds = Mutex::new(Rounds::default());
                tokio::select! {
                    ended = self.requests(&rounds, &mut from_client, &mut to_server) => ended,
                    ended = answers(&rounds, &mut from_server, &mut to_client) => ended,
                }
            }
        }
    }

    /// From the client to the server, until the client closes or a call cuts.
    async fn requests(&self, rounds: &Mutex<Rounds>, client: &mut Reader, server: &mut Writer) -> io::Result<()> {
        let mut batch = Batch::default();
        while let Some(head) = Head::read(client).await? {
            match head.kind {
                QUERY | SYNC => {
                    let start = head.start(client).await?;
                    let what = std::mem::take(&mut batch).told(head.kind, &start);
                    if self.call(what, rounds, client, server).await? == Flow::End {
                        return Ok(());
                    }
                    head.forward(&start, client, server).await?;
                }
                PARSE => {
                    let start = head.start(client).await?;
                    batch.add_parse(&start);
                    head.forward(&start, client, server).await?;
                }
                kind => {
                    if kind == FUNCTION_CALL {
                        rounds.lock().begin(None);
                    }
                    batch.add(kind);
                    head.forward(&[], client, server).await?;
                }
            }
            if client.buffer().is_empty() {
                server.flush().await?;
            }
        }
        Ok(())
    }

    /// Decides about one call, before it is forwarded.
    async fn call(
        &self,
        what: String,
        rounds: &Mutex<Rounds>,
        client: &mut Reader,
        server: &mut Writer,
    ) -> io::Result<Flow> {
        let mut arrived = self.control.arrive(what);
        // What came before this call is the server's, whatever happens to the call.
        server.flush().await?;
        match arrived.before().await {
            None | Some(Fault::CutAfter) => {}
            Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
            Some(Fault::Hang) => {
                // Nothing will be forwarded any more: what comes is read to see the client go away.
                tokio::io::copy(client, &mut tokio::io::sink()).await?;
                return Ok(Flow::End);
            }
            Some(Fault::CutBefore | Fault::Status(_)) => return Ok(Flow::End),
        }
        if is_gone(client) {
            return Ok(Flow::End);
        }
        rounds.lock().begin(arrived.is_watched().then_some(arrived));
        Ok(Flow::On)
    }
}

/// From the server to the client, until the server closes or a call cuts.
async fn answers(rounds: &Mutex<Rounds>, server: &mut Reader, client: &mut Writer) -> io::Result<()> {
    let mut round = 0;
    let mut kept: Vec<u8> = Vec::new();
    while let Some(head) = Head::read(server).await? {
        let watched = rounds.lock().watched(round);
        let ready = head.kind == READY_FOR_QUERY;
        match watched {
            Some(_) if ready || kept.len() + head.bytes() <= KEPT_BYTES_MAX => {
                head.forward(&[], server, &mut kept).await?;
            }
            Some(Watched { discarded: true }) => {
                kept.clear();
                pass(server, &mut tokio::io::sink(), head.length).await?;
            }
            _ => {
                client.write_all(&kept).await?;
                kept.clear();
                head.forward(&[], server, client).await?;
            }
        }
        if ready {
            let arrived = rounds.lock().end(round);
            if let Some(arrived) = arrived {
                // What came before this answer is the client's, whatever happens to the answer.
                client.flush().await?;
                match arrived.after().await {
                    None => {}
                    Some(Fault::Delay(time)) => tokio::time::sleep(time).await,
                    // The other direction sees the client go away.
                    Some(Fault::Hang) => std::future::pending().await,
                    Some(Fault::CutBefore | Fault::CutAfter | Fault::Status(_)) => return Ok(()),
                }
                client.write_all(&kept).await?;
                kept.clear();
            }
            round += 1;
        }
        if server.buffer().is_empty() {
            client.flush().await?;
        }
    }
    Ok(())
}

/// Whether the client has closed its connection. Not seen while something that it sent is still to be read.
fn is_gone(client: &mut Reader) -> bool {
    match client.fill_buf().now_or_never() {
        Some(Ok(waiting)) => waiting.is_empty(),
        Some(Err(_)) => true,
        None => false,
    }
}
