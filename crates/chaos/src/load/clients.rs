//! One exchange of any kind, from the request to the check of the answer.

use std::sync::Arc;

use http::Request;
use http::header::{ACCEPT, HOST};
use tokio_util::sync::CancellationToken;

use super::answer::whole;
use super::check;
use super::dial::Dialer;
use super::http1::{Connection, Http1, get};
use super::http2::Http2;
use super::ledger::Ledger;
use super::trouble::Trouble;
use super::upload::Uploads;
use super::websocket::Sockets;
use super::{Kind, LoadError, Mix, Target};

/// Events that a stream is asked for.
const EVENTS: u32 = 3;

pub(crate) struct Clients {
    dialer: Arc<Dialer>,
    http1: Http1,
    http2: Http2,
    sockets: Sockets,
    uploads: Uploads,
    app: String,
}

impl Clients {
    pub(crate) fn new(target: Target, mixes: &[Mix], seed: u64, cut: CancellationToken) -> Result<Self, LoadError> {
        let dialer = Arc::new(Dialer::new(&target, cut)?);
        Ok(Self {
            http1: Http1::new(Arc::clone(&dialer)),
            http2: Http2::new(Arc::clone(&dialer)),
            sockets: Sockets::new(Arc::clone(&dialer)),
            uploads: Uploads::new(mixes, seed)?,
            app: target.app,
            dialer,
        })
    }

    /// Ends well only with one whole and right answer. Returns the release that gave it, where the answer says so.
    pub(crate) async fn exchange(&self, ledger: &Ledger, kind: Kind, id: &str) -> Result<Option<String>, Trouble> {
        match kind {
            Kind::Http1 => {
                let body = self.http1.get(ledger, &echo(id)).await?;
                check::echo(&body, id, &self.app).map(Some)
            }
            Kind::Http2 => {
                let body = self.http2.get(ledger, &echo(id)).await?;
                check::echo(&body, id, &self.app).map(Some)
            }
            Kind::WebSocket => self.sockets.echo(ledger, id).await.map(|()| None),
            Kind::Sse => self.events().await.map(|()| None),
            Kind::Upload { bytes } => self.upload(bytes, id).await.map(|()| None),
        }
    }

    async fn events(&self) -> Result<(), Trouble> {
        let mut request = get(&self.dialer, &format!("/sse?n={EVENTS}"))?;
        let kind = http::HeaderValue::from_static("text/event-stream");
        request.headers_mut().insert(ACCEPT, kind);
        let mut connection = Connection::open(&self.dialer).await?;
        let response = connection.send(request).await?;
        check::events(&whole(response).await?, EVENTS)
    }

    async fn upload(&self, bytes: u64, id: &str) -> Result<(), Trouble> {
        let request = Request::post(format!("/upload?id={id}"))
            .header(HOST, self.dialer.header())
            .body(self.uploads.body(bytes))?;
        let mut connection = Connection::open(&self.dialer).await?;
        let response = connection.send(request).await?;
        check::upload(&whole(response).await?, bytes, self.uploads.sum(bytes))
    }
}

fn echo(id: &str) -> String {
    format!("/echo?id={id}")
}
