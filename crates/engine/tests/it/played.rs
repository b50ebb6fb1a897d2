//! What stands between the product and an engine, for looking: a socket that passes everything on and keeps what was
//! asked, and one that answers by itself as engines of other versions do.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use slipway_engine::docker::DockerEngine;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

/// The longest request head that is read.
const HEAD_BYTES_MAX: usize = 64 << 10;
const METHODS: [&str; 5] = ["GET", "POST", "PUT", "DELETE", "HEAD"];

/// A socket of a test's own.
pub(crate) struct Socket {
    directory: tempfile::TempDir,
    asked: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn bind(directory: &tempfile::TempDir) -> UnixListener {
    UnixListener::bind(path(directory)).expect("a socket")
}

fn path(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("docker.sock")
}

impl Socket {
    /// Passes everything on to this socket.
    pub(crate) fn in_front_of(real: &Path) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (listener, asked) = (bind(&directory), Arc::default());
        let (real, kept) = (real.to_owned(), Arc::clone(&asked));
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let engine = UnixStream::connect(&real).await.expect("the engine is there");
                let (from_client, to_client) = client.into_split();
                let (from_engine, to_engine) = engine.into_split();
                tokio::spawn(pass_on(from_client, to_engine, Some(Arc::clone(&kept))));
                tokio::spawn(pass_on(from_engine, to_client, None));
            }
        });
        Self {
            directory,
            asked,
            server,
        }
    }

    /// Answers with what `answer` says: a status and a body of JSON for a method and a target.
    pub(crate) fn playing(answer: impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let (listener, asked) = (bind(&directory), Arc::default());
        let (answer, kept) = (Arc::new(answer), Arc::clone(&asked));
        let server = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&answer), Arc::clone(&kept)));
            }
        });
        Self {
            directory,
            asked,
            server,
        }
    }

    /// The product's view of it.
    pub(crate) fn engine(&self) -> DockerEngine {
        DockerEngine::new(&format!("unix://{}", path(&self.directory).display()))
    }

    /// Every request so far, as `GET /info`, without what follows a question mark.
    pub(crate) fn asked(&self) -> Vec<String> {
        self.asked.lock().clone()
    }
}

/// `METHOD target` of a request line.
fn request_line(line: &str) -> Option<(&str, &str)> {
    let (method, rest) = line.trim_end().split_once(' ')?;
    let target = rest.strip_suffix(" HTTP/1.1")?;
    METHODS.contains(&method).then_some((method, target))
}

fn keep(asked: &Mutex<Vec<String>>, method: &str, target: &str) {
    let path = target.split('?').next().unwrap_or_default();
    asked.lock().push(format!("{method} {path}"));
}

async fn pass_on(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    asked: Option<Arc<Mutex<Vec<String>>>>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let count = from.read(&mut buffer).await.unwrap_or(0);
        if let Some(asked) = &asked {
            let text = String::from_utf8_lossy(&buffer[..count]);
            let lines = text.lines().filter_map(request_line);
            lines.for_each(|(method, target)| keep(asked, method, target));
        }
        if count == 0 || to.write_all(&buffer[..count]).await.is_err() {
            // One side ends; the other may still have something to say.
            let _ = to.shutdown().await;
            return;
        }
    }
}

async fn serve(
    mut client: UnixStream,
    answer: Arc<impl Fn(&str, &str) -> (u16, String) + Send + Sync + 'static>,
    asked: Arc<Mutex<Vec<String>>>,
) {
    let mut head = Vec::new();
    while !head.windows(4).any(|w| w == b"\r\n\r\n") && head.len() < HEAD_BYTES_MAX {
        if client.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let (method, target) = head.lines().next().and_then(request_line).expect("a request");
    keep(&asked, method, target);
    let (status, body) = answer(method, target);
    let length = body.len();
    let text = format!(
        "HTTP/1.1 {status} -\r\ncontent-type: application/json\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{body}"
    );
    // A client that has gone does not want its answer.
    let _ = client.write_all(text.as_bytes()).await;
}
