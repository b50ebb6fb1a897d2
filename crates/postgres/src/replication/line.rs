//! One line to a server in replication mode: its messages, and logging in.
//!
//! Source: `PostgreSQL` documentation, chapter "Frontend/Backend Protocol". The library parses each kind of message but
//! one: the answer to `START_REPLICATION` (`CopyBothResponse`), which has its tag looked at here.

use bytes::{Buf as _, BytesMut};
use fallible_iterator::FallibleIterator as _;
use postgres_protocol::authentication::sasl::{ChannelBinding, SCRAM_SHA_256, ScramSha256};
use postgres_protocol::message::backend::{DataRowBody, ErrorResponseBody, Header, Message};
use postgres_protocol::message::frontend;
use slipway_domain::ports::ServerLogin;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::ReplicationError;

/// What a server may say at once: a piece of a backup is far smaller.
const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// The tag and the length of a message.
const HEADER_BYTES: usize = 5;

/// A line that is logged in.
#[derive(Debug)]
pub(super) struct Line {
    stream: TcpStream,
    received: BytesMut,
    sending: BytesMut,
}

/// What the server said.
pub(super) enum Said {
    /// One of the messages that the library knows.
    Message(Message),
    /// From now on both sides send data.
    CopyBoth,
}

impl Line {
    /// Opens a line as the role that makes backups.
    pub(super) async fn open(login: &ServerLogin, user: &str) -> Result<Self, ReplicationError> {
        let stream = TcpStream::connect(login.address).await?;
        stream.set_nodelay(true)?;
        let mut line = Self {
            stream,
            received: BytesMut::new(),
            sending: BytesMut::new(),
        };
        let hello = [
            ("user", user),
            ("replication", "true"),
            ("application_name", "slipway_backup"),
            ("client_encoding", "UTF8"),
        ];
        frontend::startup_message(hello, &mut line.sending)?;
        line.flush().await?;
        line.log_in(login).await?;
        Ok(line)
    }

    async fn log_in(&mut self, login: &ServerLogin) -> Result<(), ReplicationError> {
        let binding = ChannelBinding::unsupported();
        let mut scram = ScramSha256::new(login.password.expose().as_bytes(), binding);
        loop {
            match self.next().await? {
                Said::Message(Message::AuthenticationSasl(body)) => {
                    let mechanisms: Vec<&str> = body.mechanisms().collect()?;
                    if !mechanisms.contains(&SCRAM_SHA_256) {
                        return Err(unexpected("a way to log in that is not SCRAM-SHA-256"));
                    }
                    frontend::sasl_initial_response(SCRAM_SHA_256, scram.message(), &mut self.sending)?;
                    self.flush().await?;
                }
                Said::Message(Message::AuthenticationSaslContinue(body)) => {
                    scram.update(body.data()).map_err(|_| unexpected("a wrong proof"))?;
                    frontend::sasl_response(scram.message(), &mut self.sending)?;
                    self.flush().await?;
                }
                // The server proves that it knows the password as well.
                Said::Message(Message::AuthenticationSaslFinal(body)) => {
                    scram.finish(body.data()).map_err(|_| unexpected("a wrong proof"))?;
                }
                Said::Message(Message::ReadyForQuery(_)) => return Ok(()),
                Said::Message(
                    Message::AuthenticationOk
                    | Message::ParameterStatus(_)
                    | Message::BackendKeyData(_)
                    | Message::NoticeResponse(_),
                ) => {}
                _ => return Err(unexpected("something that is no part of logging in")),
            }
        }
    }

    /// Has a command run; what it answers is read with [`next`](Self::next).
    pub(super) async fn command(&mut self, command: &str) -> Result<(), ReplicationError> {
        frontend::query(command, &mut self.sending)?;
        self.flush().await
    }

    /// Runs a command to its end and gives the rows of its answers.
    pub(super) async fn rows(&mut self, command: &str) -> Result<Vec<Vec<Option<String>>>, ReplicationError> {
        self.command(command).await?;
        let mut rows = Vec::new();
        loop {
            match self.next().await? {
                Said::Message(Message::DataRow(body)) => rows.push(row(&body)?),
                Said::Message(Message::ReadyForQuery(_)) => return Ok(rows),
                Said::Message(_) => {}
                Said::CopyBoth => return Err(unexpected("data that nobody asked for")),
            }
        }
    }

    /// Sends a piece of data in the middle of a copy.
    pub(super) async fn send_data(&mut self, data: &[u8]) -> Result<(), ReplicationError> {
        frontend::CopyData::new(data)?.write(&mut self.sending);
        self.flush().await
    }

    /// Says that no more data comes from here.
    pub(super) async fn end_data(&mut self) -> Result<(), ReplicationError> {
        frontend::copy_done(&mut self.sending);
        self.flush().await
    }

    /// The next message; an error of the server's is an error. Nothing is lost when it is given up waiting for.
    pub(super) async fn next(&mut self) -> Result<Said, ReplicationError> {
        loop {
            if let Some(said) = self.parsed()? {
                return Ok(said);
            }
            let read = self.stream.read_buf(&mut self.received).await?;
            if read == 0 {
                return Err(ReplicationError::Away("the server ended the line".into()));
            }
        }
    }

    fn parsed(&mut self) -> Result<Option<Said>, ReplicationError> {
        let Some(header) = Header::parse(&self.received)? else {
            return Ok(None);
        };
        let length = usize::try_from(header.len()).unwrap_or(usize::MAX);
        if length > MESSAGE_BYTES_MAX {
            return Err(unexpected("a message that is too long"));
        }
        if header.tag() == b'W' {
            let whole = length + 1;
            if self.received.len() < whole.max(HEADER_BYTES) {
                return Ok(None);
            }
            self.received.advance(whole);
            return Ok(Some(Said::CopyBoth));
        }
        match Message::parse(&mut self.received)? {
            Some(Message::ErrorResponse(body)) => Err(refused(&body)),
            message => Ok(message.map(Said::Message)),
        }
    }

    async fn flush(&mut self) -> Result<(), ReplicationError> {
        let sending = self.sending.split();
        Ok(self.stream.write_all(&sending).await?)
    }
}

/// The values of a row, all of which are texts here.
pub(super) fn row(body: &DataRowBody) -> Result<Vec<Option<String>>, ReplicationError> {
    let text = |range: std::ops::Range<usize>| {
        let bytes = body.buffer().get(range).unwrap_or_default();
        String::from_utf8(bytes.to_vec()).map_err(|_| unexpected("a text that is not UTF-8"))
    };
    let ranges: Vec<_> = body.ranges().collect()?;
    ranges.into_iter().map(|range| range.map(text).transpose()).collect()
}

pub(super) fn unexpected(what: &str) -> ReplicationError {
    ReplicationError::Unexpected(format!("the server sent {what}"))
}

fn refused(body: &ErrorResponseBody) -> ReplicationError {
    let (mut code, mut message) = (String::new(), String::new());
    let mut fields = body.fields();
    while let Ok(Some(field)) = fields.next() {
        match field.type_() {
            b'C' => code = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            b'M' => message = String::from_utf8_lossy(field.value_bytes()).into_owned(),
            _ => {}
        }
    }
    ReplicationError::Refused { code, message }
}
