//! Server-sent events as the WHATWG's standard reads them (HTML, section 9.2.6), fed by pieces of any size.
//!
//! Promises: `\n`, `\r\n` and `\r` end lines, also across pieces; comments and unknown fields are skipped; one event is
//! at most [`EVENT_BYTES_MAX`] long.

/// The longest event.
pub(crate) const EVENT_BYTES_MAX: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct SseEvent {
    /// Its identifier, to resume after it.
    pub(crate) id: Option<String>,
    /// Its type; `message` if none was named.
    pub(crate) kind: String,
    /// Its data, lines joined.
    pub(crate) data: String,
}

/// The event is longer than allowed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TooLong;

/// A parser between two pieces.
#[derive(Debug, Default)]
pub(crate) struct Parser {
    line: Vec<u8>,
    after_return: bool,
    id: Option<String>,
    kind: String,
    data: Option<String>,
}

impl Parser {
    /// Takes a piece and gives the events that it completes.
    pub(crate) fn feed(&mut self, piece: &[u8]) -> Result<Vec<SseEvent>, TooLong> {
        let mut events = Vec::new();
        for byte in piece {
            let follows_return = std::mem::take(&mut self.after_return);
            match byte {
                b'\n' if follows_return => {}
                b'\n' | b'\r' => {
                    self.after_return = *byte == b'\r';
                    let line = std::mem::take(&mut self.line);
                    events.extend(self.end_line(&String::from_utf8_lossy(&line)));
                }
                other => self.line.push(*other),
            }
            if self.line.len() + self.data.as_ref().map_or(0, String::len) > EVENT_BYTES_MAX {
                return Err(TooLong);
            }
        }
        Ok(events)
    }

    fn end_line(&mut self, line: &str) -> Option<SseEvent> {
        if line.is_empty() {
            let kind = std::mem::take(&mut self.kind);
            let data = self.data.take()?;
            let kind = if kind.is_empty() { "message".to_owned() } else { kind };
            return Some(SseEvent {
                id: self.id.clone(),
                kind,
                data,
            });
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => value.clone_into(&mut self.kind),
            "data" => match &mut self.data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => self.data = Some(value.to_owned()),
            },
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STREAM: &[u8] = b": hello\n\nid: 1\nevent: step.started\ndata: {\"a\":\ndata: 1}\n\r\ndata:x\r\rretry: 5\nid: 3\n\nevent: e\ndata\n\ndata: cut";

    fn check(events: &[SseEvent]) {
        let seen: Vec<_> = events
            .iter()
            .map(|e| (e.id.as_deref().unwrap_or(""), e.kind.as_str(), e.data.as_str()))
            .collect();
        assert_eq!(
            seen,
            [
                ("1", "step.started", "{\"a\":\n1}"),
                ("1", "message", "x"),
                ("3", "e", "")
            ]
        );
    }

    #[test]
    fn events_are_the_same_however_the_stream_is_cut() {
        check(&Parser::default().feed(STREAM).expect("short"));
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let events: Vec<_> = STREAM
                .chunks(size)
                .flat_map(|p| parser.feed(p).expect("short"))
                .collect();
            check(&events);
        }
    }

    #[test]
    fn an_endless_line_is_an_error() {
        let mut parser = Parser::default();
        assert_eq!(parser.feed(&vec![b'x'; EVENT_BYTES_MAX + 1]), Err(TooLong));
    }
}
