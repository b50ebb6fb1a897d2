//! Between those who log and a standard error that somebody else reads, or does not.
//!
//! Promises: writing a line never waits for its reader (a pager that was left alone, a terminal that was stopped, a full
//! pipe); what waits is bounded in bytes, what does not fit is lost and counted, and the count is told in the log itself
//! when there is room again; at the end of the process the reader is waited for, but not for long.
//!
//! Not tracing-appender: its queue is bounded in lines and not in bytes, and at the end it prints that its reader does
//! not read, to where that same reader does not read.

use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// So much waits for a slow reader.
const WAITING_BYTES_MAX: usize = 1 << 20;
/// So long the last lines are waited for.
const END_MAX: Duration = Duration::from_secs(1);

#[derive(Debug, Default)]
struct State {
    waiting: Vec<u8>,
    lost_lines: u64,
    /// Whether something was taken out that is not written yet.
    is_writing: bool,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The end that lines are put in at. Each write is one line.
#[derive(Debug, Clone)]
pub(crate) struct LogQueue(Arc<Shared>);

/// Waits for the last lines when it is dropped.
#[derive(Debug)]
pub(crate) struct Flush(Arc<Shared>);

impl LogQueue {
    /// Begins carrying lines over, on a thread that ends with the process. `tell` says in the log how many were lost.
    pub(crate) fn start(
        mut output: impl Write + Send + 'static,
        tell: impl Fn(u64) + Send + 'static,
    ) -> io::Result<(Self, Flush)> {
        let shared = Arc::new(Shared::default());
        let carried = Arc::clone(&shared);
        let carry = move || {
            loop {
                let (lines, lost) = take(&carried);
                // A reader that has gone is nothing that could be told to anybody.
                let _ = output.write_all(&lines);
                let _ = output.flush();
                carried.state.lock().is_writing = false;
                carried.changed.notify_all();
                if lost > 0 {
                    tell(lost);
                }
            }
        };
        std::thread::Builder::new().name("log".into()).spawn(carry)?;
        Ok((Self(Arc::clone(&shared)), Flush(shared)))
    }
}

/// Waits for something to write, and takes all there is.
fn take(shared: &Shared) -> (Vec<u8>, u64) {
    let mut state = shared.state.lock();
    while state.waiting.is_empty() {
        shared.changed.wait(&mut state);
    }
    state.is_writing = true;
    (
        std::mem::take(&mut state.waiting),
        std::mem::take(&mut state.lost_lines),
    )
}

impl Write for LogQueue {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut state = self.0.state.lock();
        if state.waiting.len() + line.len() > WAITING_BYTES_MAX {
            state.lost_lines += 1;
        } else {
            state.waiting.extend_from_slice(line);
            self.0.changed.notify_all();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Flush {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        let is_pending = |state: &mut State| state.is_writing || !state.waiting.is_empty();
        self.0.changed.wait_while_for(&mut state, is_pending, END_MAX);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use super::*;

    #[test]
    fn a_reader_that_does_not_read_stops_nobody_and_is_told_what_it_missed() {
        let (mut reader, pipe) = io::pipe().expect("a pipe");
        let (lost, told) = std::sync::mpsc::channel();
        let (mut queue, flush) =
            LogQueue::start(pipe, move |lines| lost.send(lines).expect("listened to")).expect("a thread");
        // The pipe, what is being written and what waits hold less than this.
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        for _ in 0..4096 {
            queue.write_all(&line).expect("written");
        }
        let mut first = vec![0; 1 << 20];
        reader.read_exact(&mut first).expect("lines");
        assert!(first.chunks(1024).all(|read| read == line), "lines are whole");
        let reading = std::thread::spawn(move || {
            let mut rest = Vec::new();
            let mut piece = vec![0; 1 << 16];
            while !rest.ends_with(b"end\n") {
                let n = reader.read(&mut piece).expect("lines");
                rest.extend_from_slice(&piece[..n]);
            }
            rest.len()
        });
        let lost = told.recv().expect("a count");
        queue.write_all(b"end\n").expect("written");
        drop(flush);
        let rest = reading.join().expect("all read");
        let carried = u64::try_from((first.len() + rest - 4) / 1024).expect("few");
        assert_eq!(carried + lost, 4096, "each line was carried over or counted");
        assert!(lost > 0);
    }
}
