//! Web sockets that are kept between messages.
//!
//! Promises: a socket that was closed between two messages is opened anew and counted, and is no loss. A message that
//! crossed with a goodbye (close code 1000, 1001, 1012 or none) on a kept socket is sent once more and counted as
//! resent. Every other message without its echo is a loss.

use std::collections::VecDeque;
use std::sync::Arc;

use futures_util::{FutureExt as _, SinkExt as _, StreamExt as _};
use parking_lot::Mutex;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Error as SocketError, Message};
use tokio_tungstenite::{WebSocketStream, client_async_with_config};

use super::answer::{ANSWER_BYTES_MAX, beginning};
use super::dial::{Dialer, Protocol};
use super::ledger::Ledger;
use super::trouble::{Trouble, chain};

/// Sockets that are kept; each of them gets its turn.
const KEPT_MAX: usize = 8;

type Socket = WebSocketStream<TlsStream<TcpStream>>;

pub(crate) struct Sockets {
    dialer: Arc<Dialer>,
    kept: Mutex<VecDeque<Socket>>,
}

/// What a kept socket has said since its last echo.
enum Since {
    Nothing,
    Closed,
    Said(String),
}

impl Sockets {
    pub(crate) fn new(dialer: Arc<Dialer>) -> Self {
        Self {
            dialer,
            kept: Mutex::default(),
        }
    }

    /// Sends a text and gets it back.
    pub(crate) async fn echo(&self, ledger: &Ledger, text: &str) -> Result<(), Trouble> {
        if let Some(mut socket) = self.take(ledger).await? {
            match ask(&mut socket, text).await {
                Ok(()) => {
                    self.keep(socket);
                    return Ok(());
                }
                Err(Trouble::Goodbye(_)) => ledger.resent(),
                Err(trouble) => return Err(trouble),
            }
        }
        let mut socket = self.open().await?;
        ask(&mut socket, text).await?;
        self.keep(socket);
        Ok(())
    }

    async fn open(&self) -> Result<Socket, Trouble> {
        let stream = self.dialer.dial(Protocol::Http1).await?;
        let url = format!("wss://{}/ws", self.dialer.host());
        let config = WebSocketConfig::default().max_message_size(Some(ANSWER_BYTES_MAX));
        let shaken = client_async_with_config(url, stream, Some(config)).await;
        let (socket, _) = shaken.map_err(|error| Trouble::NoAnswer(chain(&error)))?;
        Ok(socket)
    }

    /// A kept socket that is still open, if there is one.
    async fn take(&self, ledger: &Ledger) -> Result<Option<Socket>, Trouble> {
        loop {
            let kept = self.kept.lock().pop_front();
            let Some(mut socket) = kept else { return Ok(None) };
            match since(&mut socket) {
                Since::Nothing => return Ok(Some(socket)),
                Since::Said(text) => return Err(Trouble::Wrong(format!("an echo that nobody waits for: {text}"))),
                Since::Closed => {
                    ledger.reopened();
                    // Answers a goodbye. If the other side is gone already, there is nobody to tell.
                    let _ = socket.flush().await;
                }
            }
        }
    }

    fn keep(&self, socket: Socket) {
        let mut kept = self.kept.lock();
        if kept.len() < KEPT_MAX {
            kept.push_back(socket);
        }
    }
}

fn since(socket: &mut Socket) -> Since {
    loop {
        match socket.next().now_or_never() {
            None => return Since::Nothing,
            Some(Some(Ok(Message::Ping(_) | Message::Pong(_)))) => {}
            Some(Some(Ok(Message::Text(text)))) => return Since::Said(beginning(text.as_bytes())),
            Some(Some(Ok(Message::Binary(bytes)))) => return Since::Said(beginning(&bytes)),
            Some(_) => return Since::Closed,
        }
    }
}

async fn ask(socket: &mut Socket, text: &str) -> Result<(), Trouble> {
    let broke = |error: SocketError| Trouble::Socket(chain(&error));
    socket.send(Message::text(text)).await.map_err(broke)?;
    loop {
        let message = match socket.next().await {
            Some(message) => message.map_err(broke)?,
            None => return Err(Trouble::Socket("it ended".into())),
        };
        match message {
            Message::Ping(_) | Message::Pong(_) => {}
            Message::Text(said) if said.as_str() == text => return Ok(()),
            Message::Close(frame) => return Err(closed(frame.as_ref())),
            other => {
                let said = beginning(&other.into_data());
                return Err(Trouble::Wrong(format!("{said:?} for {text:?}")));
            }
        }
    }
}

fn closed(frame: Option<&CloseFrame>) -> Trouble {
    let said = frame.map_or_else(|| "no code".to_owned(), ToString::to_string);
    let invites = frame.is_none_or(|frame| {
        let code = frame.code;
        matches!(code, CloseCode::Normal | CloseCode::Away | CloseCode::Restart)
    });
    if invites {
        Trouble::Goodbye(said)
    } else {
        Trouble::Socket(format!("it was closed: {said}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_close_that_invites_to_come_back_is_a_goodbye() {
        let frame = |code| CloseFrame {
            code,
            reason: "".into(),
        };
        assert!(matches!(closed(None), Trouble::Goodbye(_)));
        for code in [CloseCode::Normal, CloseCode::Away, CloseCode::Restart] {
            assert!(matches!(closed(Some(&frame(code))), Trouble::Goodbye(_)));
        }
        for code in [CloseCode::Error, CloseCode::Protocol, CloseCode::Policy] {
            assert!(matches!(closed(Some(&frame(code))), Trouble::Socket(_)));
        }
    }
}
