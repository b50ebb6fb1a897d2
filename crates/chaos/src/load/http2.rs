//! HTTP/2: many requests at once on few connections, which are opened anew when the server says goodbye.
//!
//! Promises: a GET that failed on a connection that had answered before is sent once more, on another connection;
//! what was under way on the old one goes on there.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use bytes::Bytes;
use http::Request;
use http_body_util::Empty;
use hyper::client::conn::http2::{Builder, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;
use tokio_util::task::TaskTracker;

use super::answer::whole;
use super::dial::{Dialer, Protocol};
use super::ledger::Ledger;
use super::trouble::{Trouble, chain};

const CONNECTIONS: usize = 3;

/// A connection that is shared by requests.
#[derive(Clone)]
struct Session {
    sender: SendRequest<Empty<Bytes>>,
    /// Whether it has answered before.
    answered: Arc<AtomicBool>,
}

impl Session {
    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.answered, &other.answered)
    }
}

/// Runs the streams of connections as tasks of the load.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, task: F) {
        self.0.spawn(task);
    }
}

pub(crate) struct Http2 {
    dialer: Arc<Dialer>,
    sessions: Vec<Mutex<Option<Session>>>,
    next: AtomicUsize,
}

impl Http2 {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            sessions: (0..CONNECTIONS).map(|_| Mutex::new(None)).collect(),
            next: AtomicUsize::new(0),
        }
    }

    /// The body of a right answer to a GET.
    pub(crate) async fn get(&self, ledger: &Ledger, path: &str) -> Result<Bytes, Trouble> {
        let place = &self.sessions[self.next.fetch_add(1, Ordering::Relaxed) % CONNECTIONS];
        let session = self.session(place, None).await?;
        let had_answered = session.answered.load(Ordering::Relaxed);
        match self.send(&session, path).await {
            Err(Trouble::NoAnswer(_)) if had_answered => {
                ledger.resent();
                let other = self.session(place, Some(&session)).await?;
                self.send(&other, path).await
            }
            ended => ended,
        }
    }

    async fn send(&self, session: &Session, path: &str) -> Result<Bytes, Trouble> {
        let uri = format!("https://{}{path}", self.dialer.host());
        let request = Request::get(uri).body(Empty::new())?;
        let sent = session.sender.clone().send_request(request).await;
        let response = sent.map_err(|error| Trouble::NoAnswer(chain(&error)))?;
        session.answered.store(true, Ordering::Relaxed);
        whole(response).await
    }

    /// The session at a place, or a new one where there is none that is of use.
    async fn session(&self, place: &Mutex<Option<Session>>, broken: Option<&Session>) -> Result<Session, Trouble> {
        let mut place = place.lock().await;
        if let Some(session) = place.as_ref()
            && !session.sender.is_closed()
            && !broken.is_some_and(|broken| broken.is(session))
        {
            return Ok(session.clone());
        }
        let session = self.open().await?;
        *place = Some(session.clone());
        Ok(session)
    }

    async fn open(&self) -> Result<Session, Trouble> {
        let stream = self.dialer.dial(Protocol::Http2).await?;
        let executor = Tracked(self.dialer.tracker());
        let shaken = Builder::new(executor).handshake(TokioIo::new(stream)).await;
        let (sender, connection) = shaken.map_err(|error| Trouble::NoConnection(chain(&error)))?;
        // Whoever waits for an answer on this connection gets the error; here it has no one to tell.
        self.dialer.drive(async move { drop(connection.await) });
        Ok(Session {
            sender,
            answered: Arc::default(),
        })
    }
}
