//! Watches the raw bytes of an HTTP/1.1 connection for request heads that carry both `Content-Length` and
//! `Transfer-Encoding`.
//!
//! The HTTP library drops the length of such a request before anybody sees it (RFC 9112 section 6.3 allows that);
//! we refuse it, because something in front of us may have read it the other way.
//!
//! Promises: constant memory; it never changes a byte; when it loses track it goes silent, it never blames a
//! well-formed request.

const LINE_KEPT: usize = 48;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Before the first byte of a head; empty lines are skipped (RFC 9112 section 2.2).
    Between,
    Head,
    Body(u64),
    ChunkSize,
    ChunkData(u64),
    Trailers,
    Silent,
}

/// The state of one connection's request stream.
#[derive(Debug)]
pub(crate) struct Framing {
    phase: Phase,
    line: [u8; LINE_KEPT],
    line_len: usize,
    length: Option<u64>,
    chunked: bool,
    conflict: bool,
    heads: u64,
}

impl Framing {
    pub(crate) const fn new() -> Self {
        Self {
            phase: Phase::Between,
            line: [0; LINE_KEPT],
            line_len: 0,
            length: None,
            chunked: false,
            conflict: false,
            heads: 0,
        }
    }

    /// For connections that do not speak HTTP/1.1.
    pub(crate) const fn silent() -> Self {
        let mut framing = Self::new();
        framing.phase = Phase::Silent;
        framing
    }

    /// Whether the first byte of a head has come and its end has not.
    pub(crate) fn in_head(&self) -> bool {
        self.phase == Phase::Head
    }

    /// Whether the next byte would begin a new request.
    pub(crate) fn between(&self) -> bool {
        self.phase == Phase::Between
    }

    /// Takes the next bytes; calls `conflict` with the number of each head (from 0) that is ambiguous.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut conflict: impl FnMut(u64)) {
        while let Some(&byte) = bytes.first() {
            match self.phase {
                Phase::Silent => return,
                Phase::Body(left) | Phase::ChunkData(left) => {
                    let here = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
                    bytes = &bytes[usize::try_from(here).unwrap_or(bytes.len())..];
                    let left = left - here;
                    self.phase = match self.phase {
                        Phase::Body(_) if left == 0 => Phase::Between,
                        Phase::Body(_) => Phase::Body(left),
                        _ if left == 0 => Phase::ChunkSize,
                        _ => Phase::ChunkData(left),
                    };
                    continue;
                }
                _ => {}
            }
            bytes = &bytes[1..];
            if byte == b'\n' {
                self.end_of_line(&mut conflict);
            } else if self.phase == Phase::Between {
                if byte != b'\r' {
                    self.phase = Phase::Head;
                    self.push(byte);
                }
            } else {
                self.push(byte);
            }
        }
    }

    fn push(&mut self, byte: u8) {
        if self.line_len < LINE_KEPT {
            self.line[self.line_len] = byte;
            self.line_len += 1;
        }
    }

    fn end_of_line(&mut self, conflict: &mut impl FnMut(u64)) {
        let kept = self.line;
        let line = kept[..self.line_len].trim_ascii_end();
        self.line_len = 0;
        match self.phase {
            Phase::Head if line.is_empty() => self.end_of_head(conflict),
            Phase::Head => self.header(line),
            Phase::ChunkSize if line.is_empty() => {}
            Phase::ChunkSize => {
                let size = line.split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
                let size = std::str::from_utf8(size)
                    .ok()
                    .and_then(|text| u64::from_str_radix(text, 16).ok());
                self.phase = match size {
                    Some(0) => Phase::Trailers,
                    Some(size) => Phase::ChunkData(size),
                    None => Phase::Silent,
                };
            }
            Phase::Trailers if line.is_empty() => self.phase = Phase::Between,
            _ => {}
        }
    }

    fn header(&mut self, line: &[u8]) {
        let Some(colon) = line.iter().position(|b| *b == b':') else {
            return;
        };
        let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
        if name.eq_ignore_ascii_case(b"content-length") {
            if self.chunked {
                self.conflict = true;
            }
            self.length = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok());
            if self.length.is_none() {
                self.phase = Phase::Silent;
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.conflict |= self.length.is_some();
            self.chunked = true;
        }
    }

    fn end_of_head(&mut self, conflict: &mut impl FnMut(u64)) {
        if self.conflict {
            conflict(self.heads);
        }
        self.heads += 1;
        self.phase = match (self.chunked, self.length) {
            (true, _) => Phase::ChunkSize,
            (false, None | Some(0)) => Phase::Between,
            (false, Some(length)) => Phase::Body(length),
        };
        self.length = None;
        self.chunked = false;
        self.conflict = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str) -> Vec<u64> {
        let mut at_once = Vec::new();
        Framing::new().feed(text.as_bytes(), |n| at_once.push(n));
        let mut one_by_one = Vec::new();
        let mut framing = Framing::new();
        for byte in text.bytes() {
            framing.feed(&[byte], |n| one_by_one.push(n));
        }
        assert_eq!(at_once, one_by_one, "{text:?}");
        at_once
    }

    #[test]
    fn finds_the_ambiguous_head_wherever_it_stands() {
        let plain = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
        let sized = "POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nTE: ab";
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n5;x=y\r\nhello\r\n0\r\nT: 1\r\n\r\n";
        let both = "POST / HTTP/1.1\r\ncontent-length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let swapped = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nCONTENT-LENGTH: 3\r\n\r\n";
        assert_eq!(
            check(&format!("{plain}{}{chunked}", &sized[..sized.len() - 1])),
            Vec::<u64>::new()
        );
        for ambiguous in [both, swapped, &both.replace("\r\n", "\n")] {
            assert_eq!(check(ambiguous), [0]);
            assert_eq!(check(&format!("{plain}\r\n{chunked}{plain}{ambiguous}")), [3]);
        }
    }

    #[test]
    fn a_body_that_looks_like_a_head_is_not_one() {
        let inner = "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n";
        let outer = format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{inner}", inner.len());
        assert!(check(&outer).is_empty());
    }

    #[test]
    fn says_where_in_a_request_the_connection_is() {
        let mut framing = Framing::new();
        assert!(framing.between() && !framing.in_head());
        framing.feed(b"GET / HT", |_| {});
        assert!(framing.in_head());
        framing.feed(b"TP/1.1\r\n\r\n", |_| {});
        assert!(framing.between());
    }
}
