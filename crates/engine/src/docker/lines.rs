//! From what the engine sends of a container's output to lines.
//!
//! Promises: one line is one line: the engine's log driver breaks long ones into pieces of 16 KiB, of which the first
//! is passed on and the rest is left out.

use bollard::container::LogOutput;
use slipway_domain::ReleaseNumber;
use slipway_domain::ports::{LogLine, LogQuery, LogStream};

/// The longest line that is passed on whole.
pub(crate) const LINE_BYTES_MAX: usize = 16 << 10;

/// A container whose lines are wanted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) id: String,
    pub(crate) release: ReleaseNumber,
}

/// Makes lines out of one container's output.
pub(crate) struct Assembler {
    source: Source,
    /// Whether the last piece of standard output, of standard error, ended within a line.
    within: [bool; 2],
}

impl Assembler {
    pub(crate) fn new(source: Source) -> Self {
        Self {
            source,
            within: [false; 2],
        }
    }

    /// The line that begins with this piece: `2026-01-02T03:04:05.678901234Z text`, as the engine writes it with
    /// timestamps. `None` for a piece that goes on with an earlier line.
    pub(crate) fn piece(&mut self, output: LogOutput) -> Option<LogLine> {
        let (stream, index) = match &output {
            LogOutput::StdErr { .. } => (LogStream::Stderr, 1),
            _ => (LogStream::Stdout, 0),
        };
        let bytes = output.into_bytes();
        let goes_on = std::mem::replace(&mut self.within[index], bytes.last() != Some(&b'\n'));
        if goes_on {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let (time, rest) = text.split_once(' ').unwrap_or((&text, ""));
        Some(LogLine {
            time: time.trim().parse().ok()?,
            stream,
            instance: self.source.id.clone(),
            release: self.source.release,
            line: cut(rest.trim_end_matches(['\n', '\r'])),
        })
    }
}

/// Whether a line is wanted.
pub(crate) fn fits(line: &LogLine, query: &LogQuery) -> bool {
    query.since.is_none_or(|s| line.time >= s)
        && query.until.is_none_or(|u| line.time <= u)
        && query.contains.as_ref().is_none_or(|c| line.line.contains(c.as_str()))
}

fn cut(text: &str) -> String {
    text[..text.floor_char_boundary(LINE_BYTES_MAX)].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(outputs: &[(&str, bool)]) -> Vec<(LogStream, String)> {
        let mut assembler = Assembler::new(Source {
            id: "c".into(),
            release: ReleaseNumber(3),
        });
        let output = |text: &str, error: bool| {
            let message = format!("2026-01-02T03:04:05.678901234Z {text}").into();
            if error {
                LogOutput::StdErr { message }
            } else {
                LogOutput::StdOut { message }
            }
        };
        let lines = outputs
            .iter()
            .filter_map(|(text, error)| assembler.piece(output(text, *error)));
        lines.map(|l| (l.stream, l.line)).collect()
    }

    #[test]
    fn a_line_in_pieces_is_one_line_even_with_the_other_stream_between() {
        let found = pieces(&[
            ("long", false),
            ("problem\n", true),
            ("er", false),
            (" end\n", false),
            ("next\r\n", false),
            ("\n", false),
        ]);
        let out = |text: &str| (LogStream::Stdout, text.to_owned());
        assert_eq!(
            found,
            [out("long"), (LogStream::Stderr, "problem".into()), out("next"), out("")]
        );
    }

    #[test]
    fn time_release_and_container_come_with_it() {
        let source = Source {
            id: "c".into(),
            release: ReleaseNumber(3),
        };
        let message = "2026-01-02T03:04:05.678901234Z a b\n".into();
        let line = Assembler::new(source)
            .piece(LogOutput::StdOut { message })
            .expect("a line");
        assert_eq!(line.time.timestamp_subsec_nanos(), 678_901_234);
        assert_eq!(
            (line.instance.as_str(), line.release, line.line.as_str()),
            ("c", ReleaseNumber(3), "a b")
        );
        let odd = LogOutput::StdOut {
            message: "no time\n".into(),
        };
        assert_eq!(
            Assembler::new(Source {
                id: "c".into(),
                release: ReleaseNumber(3)
            })
            .piece(odd),
            None
        );
    }

    #[test]
    fn too_long_a_line_is_cut_between_characters() {
        assert_eq!(cut(&"é".repeat(LINE_BYTES_MAX)).len(), LINE_BYTES_MAX);
        assert_eq!(
            cut(&format!("a{}", "é".repeat(LINE_BYTES_MAX))).len(),
            LINE_BYTES_MAX - 1
        );
        assert_eq!(cut("short"), "short");
    }
}
