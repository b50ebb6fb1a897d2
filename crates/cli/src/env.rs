//! The world around a command, as an argument: variables, folder, clock, randomness, streams.
//!
//! Promises: nothing in this crate reads the process's environment, time or terminal but through these values, so a
//! whole command runs inside a test as it runs in a shell.

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, IsTerminal as _, Read, Write};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use slipway_domain::clock::{Clock, Entropy};
use slipway_domain::secret::Secret;
use slipway_domain::{Timestamp, ids};
use tokio::sync::Notify;

/// The most that is read from standard input or a file for one value.
pub(crate) const INPUT_BYTES_MAX: u64 = 1 << 20;

/// Asks for a value without echo: the question in, the answer out.
pub type Ask = Box<dyn Fn(&str) -> io::Result<String> + Send + Sync>;

/// Where a command runs.
pub struct Env {
    /// Environment variables.
    pub vars: BTreeMap<String, String>,
    /// The current folder.
    pub cwd: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness for idempotency keys.
    pub entropy: Arc<dyn Entropy>,
    /// How to ask a person for a hidden value; none when nobody is there.
    pub ask: Option<Ask>,
    /// What interrupts a wait.
    pub interrupt: Interrupt,
}

/// What interrupts a wait.
#[derive(Debug, Clone)]
pub enum Interrupt {
    /// Ctrl-C in the terminal.
    CtrlC,
    /// Whoever holds the other end.
    Notify(Arc<Notify>),
}

impl Interrupt {
    /// Ends when the wait is to end.
    pub(crate) async fn happened(&self) {
        match self {
            Self::CtrlC => {
                if tokio::signal::ctrl_c().await.is_err() {
                    // No handler could be set: the default one ends the process anyway.
                    std::future::pending::<()>().await;
                }
            }
            Self::Notify(notify) => notify.notified().await,
        }
    }
}

struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::from(std::time::SystemTime::now())
    }
}

struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}

impl Env {
    /// The process's own environment.
    pub fn of_process() -> Self {
        let ask: Ask = Box::new(|question| {
            dialoguer::Password::new()
                .with_prompt(question)
                .allow_empty_password(true)
                .interact()
                .map_err(|dialoguer::Error::IO(error)| error)
        });
        Self {
            vars: std::env::vars_os()
                .filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?)))
                .collect(),
            cwd: std::env::current_dir().unwrap_or_else(|_| PathBuf::from(".")),
            clock: Arc::new(SystemClock),
            entropy: Arc::new(SystemEntropy),
            ask: io::stdin().is_terminal().then_some(ask),
            interrupt: Interrupt::CtrlC,
        }
    }

    /// A variable that is set and not empty.
    pub(crate) fn var(&self, name: &str) -> Option<&str> {
        self.vars.get(name).map(String::as_str).filter(|v| !v.is_empty())
    }

    /// The home folder.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.var("HOME").map(PathBuf::from)
    }

    /// A fresh idempotency key.
    pub(crate) fn idempotency_key(&self) -> String {
        format!("cli-{}", ids::uuid_v7(self.clock.now(), self.entropy.as_ref()))
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Variables may hold secrets: they are not shown.
        f.debug_struct("Env").field("cwd", &self.cwd).finish_non_exhaustive()
    }
}

/// A stream that several parts of a command write to.
#[derive(Clone)]
pub struct Writer(Arc<Mutex<Box<dyn Write + Send>>>);

impl Writer {
    /// Takes the stream.
    pub fn new(stream: impl Write + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Box::new(stream))))
    }
}

impl Write for Writer {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).flush()
    }
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Writer(..)")
    }
}

/// The three streams and what is known about them.
pub struct Io {
    /// Standard input.
    pub stdin: Box<dyn Read + Send>,
    /// Whether a person sits at standard input.
    pub stdin_terminal: bool,
    /// Results.
    pub stdout: Writer,
    /// Whether results go to a terminal.
    pub stdout_terminal: bool,
    /// Progress and errors.
    pub stderr: Writer,
    /// Whether they go to a terminal.
    pub stderr_terminal: bool,
    /// The terminal's width in characters.
    pub columns: u16,
}

impl Io {
    /// The process's own streams.
    pub fn of_process() -> Self {
        let columns = dialoguer::console::Term::stderr()
            .size_checked()
            .map_or(100, |(_, columns)| columns);
        Self {
            stdin: Box::new(io::stdin()),
            stdin_terminal: io::stdin().is_terminal(),
            stdout: Writer::new(io::stdout()),
            stdout_terminal: io::stdout().is_terminal(),
            stderr: Writer::new(io::stderr()),
            stderr_terminal: io::stderr().is_terminal(),
            columns,
        }
    }

    /// All of standard input as one value: at most 1 MiB, one line end at the end is not part of it.
    pub(crate) fn read_value(&mut self) -> io::Result<Secret> {
        let mut text = String::new();
        (&mut self.stdin).take(INPUT_BYTES_MAX + 1).read_to_string(&mut text)?;
        if text.len() as u64 > INPUT_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "standard input is longer than 1 MiB",
            ));
        }
        let end = text
            .strip_suffix('\n')
            .map_or(text.len(), |t| t.strip_suffix('\r').unwrap_or(t).len());
        text.truncate(end);
        Ok(Secret::new(text))
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io")
            .field("columns", &self.columns)
            .finish_non_exhaustive()
    }
}
