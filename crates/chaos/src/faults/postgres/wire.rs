//! The frames of the PostgreSQL protocol, version 3: startup packets, and messages with a kind and a length.
//!
//! Promises: a packet or message that no server would take ends the connection; bodies are streamed, except for the
//! beginning of those that are told in the log.

use std::io;

use tokio::io::{
    AsyncBufRead, AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, BufReader,
    BufWriter,
};

/// A simple query.
pub(crate) const QUERY: u8 = b'Q';
/// The end of a batch of the extended protocol.
pub(crate) const SYNC: u8 = b'S';
/// A statement of the extended protocol.
pub(crate) const PARSE: u8 = b'P';
/// Ends with `ReadyForQuery` too, though no driver in use sends it.
pub(crate) const FUNCTION_CALL: u8 = b'F';
/// From the server: the round trip is over.
pub(crate) const READY_FOR_QUERY: u8 = b'Z';

const CANCEL_REQUEST: u32 = 80_877_102;
const SSL_REQUEST: u32 = 80_877_103;
const GSS_REQUEST: u32 = 80_877_104;
/// From the server: it goes on without encryption.
const REFUSED: u8 = b'N';

/// As in the server.
const STARTUP_BYTES_MAX: u32 = 10_000;
/// A length counts itself.
const LENGTH_BYTES: u32 = 4;
/// As in the server, for the largest messages there are.
const MESSAGE_BYTES_MAX: u32 = 0x3fff_ffff;
/// Of a message's beginning that is read before it is forwarded.
const START_BYTES_MAX: usize = 4 * 1024;
const BUFFER_BYTES: usize = 16 * 1024;

pub(crate) type Reader = BufReader<Box<dyn AsyncRead + Send + Unpin>>;
pub(crate) type Writer = BufWriter<Box<dyn AsyncWrite + Send + Unpin>>;

/// Both directions of a connection, buffered.
pub(crate) fn halves(stream: impl AsyncRead + AsyncWrite + Send + 'static) -> (Reader, Writer) {
    let (reader, writer) = tokio::io::split(stream);
    (
        BufReader::with_capacity(BUFFER_BYTES, Box::new(reader)),
        BufWriter::with_capacity(BUFFER_BYTES, Box::new(writer)),
    )
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

/// What follows startup.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Startup {
    /// Messages.
    Framed,
    /// Bytes that nobody but the two sides understands.
    Unseen,
}

type Side<'a> = (&'a mut Reader, &'a mut Writer);

/// Passes packets on up to the one that begins a session, or that ends what can be understood.
pub(crate) async fn start(client: &mut Side<'_>, server: &mut Side<'_>) -> io::Result<Startup> {
    loop {
        let length = client.0.read_u32().await?;
        if !(2 * LENGTH_BYTES..=STARTUP_BYTES_MAX).contains(&length) {
            return Err(invalid("the length of a startup packet"));
        }
        let code = client.0.read_u32().await?;
        server.1.write_u32(length).await?;
        server.1.write_u32(code).await?;
        pass(client.0, server.1, (length - 2 * LENGTH_BYTES) as usize).await?;
        server.1.flush().await?;
        match code {
            SSL_REQUEST | GSS_REQUEST => {
                let answer = server.0.read_u8().await?;
                client.1.write_u8(answer).await?;
                client.1.flush().await?;
                if answer != REFUSED {
                    return Ok(Startup::Unseen);
                }
            }
            CANCEL_REQUEST => return Ok(Startup::Unseen),
            _ => return Ok(Startup::Framed),
        }
    }
}

/// A message up to its body.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) kind: u8,
    /// Of the body.
    pub(crate) length: usize,
}

impl Head {
    /// The next one. `None` if the sender has closed between two messages.
    pub(crate) async fn read(reader: &mut Reader) -> io::Result<Option<Self>> {
        if reader.fill_buf().await?.is_empty() {
            return Ok(None);
        }
        let kind = reader.read_u8().await?;
        let length = reader.read_u32().await?;
        if !(LENGTH_BYTES..=MESSAGE_BYTES_MAX).contains(&length) {
            return Err(invalid("the length of a message"));
        }
        let length = (length - LENGTH_BYTES) as usize;
        Ok(Some(Self { kind, length }))
    }

    /// The size of the whole message.
    pub(crate) fn bytes(self) -> usize {
        1 + LENGTH_BYTES as usize + self.length
    }

    /// Reads the beginning of the body.
    pub(crate) async fn start(self, reader: &mut Reader) -> io::Result<Vec<u8>> {
        let mut start = vec![0; self.length.min(START_BYTES_MAX)];
        reader.read_exact(&mut start).await?;
        Ok(start)
    }

    /// Writes the whole message: this, the part of the body that was read already, and the rest.
    pub(crate) async fn forward<W>(self, start: &[u8], reader: &mut Reader, writer: &mut W) -> io::Result<()>
    where
        W: AsyncWrite + Unpin,
    {
        let length = u32::try_from(self.length).map_err(|_| invalid("the length of a message"))?;
        writer.write_u8(self.kind).await?;
        writer.write_u32(length + LENGTH_BYTES).await?;
        writer.write_all(start).await?;
        pass(reader, writer, self.length - start.len()).await
    }
}

/// Copies exactly so many bytes.
pub(crate) async fn pass<R, W>(reader: &mut R, writer: &mut W, bytes: usize) -> io::Result<()>
where
    R: AsyncBufRead + Unpin,
    W: AsyncWrite + Unpin,
{
    let mut left = bytes;
    while left > 0 {
        let part = reader.fill_buf().await?;
        if part.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let length = part.len().min(left);
        writer.write_all(&part[..length]).await?;
        reader.consume(length);
        left -= length;
    }
    Ok(())
}
