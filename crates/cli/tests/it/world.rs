//! A person's world in a test: a home folder, variables, what is typed, and what is seen.

use std::collections::BTreeMap;
use std::io::{self, Cursor, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use slipway_cli::{Env, Interrupt, Io, Writer, run_with};
use slipway_domain::clock::testing::{FixedClock, at};
use slipway_domain::clock::{Clock as _, Entropy};
use tempfile::TempDir;
use tokio::sync::Notify;

/// Randomness that differs from call to call, but not from run to run.
struct Counting(Mutex<u8>);

impl Entropy for Counting {
    fn fill(&self, buffer: &mut [u8]) {
        let mut next = self.0.lock().expect("not poisoned");
        *next += 1;
        buffer.fill(*next);
    }
}

/// A stream that keeps what is written.
#[derive(Clone, Default)]
pub(crate) struct Captured(Arc<Mutex<Vec<u8>>>);

impl Captured {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().expect("not poisoned").clone()).expect("UTF-8")
    }
}

impl Write for Captured {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.0.lock().expect("not poisoned").extend_from_slice(buffer);
        Ok(buffer.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A stream that nobody reads any more.
pub(crate) struct Broken;

impl Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::BrokenPipe.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Err(io::ErrorKind::BrokenPipe.into())
    }
}

/// What came of a command.
#[derive(Debug)]
pub(crate) struct Outcome {
    pub(crate) code: u8,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// The result as a document.
    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// Fails unless the command succeeded.
    #[track_caller]
    pub(crate) fn succeeded(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }

    /// Fails unless the command ended with this code and said this on standard error.
    #[track_caller]
    pub(crate) fn refused(self, code: u8, said: &[&str]) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        for text in said {
            assert!(self.stderr.contains(text), "`{text}` is missing in {self:?}");
        }
        self
    }
}

/// A person at a command line.
pub(crate) struct World {
    pub(crate) home: TempDir,
    pub(crate) vars: BTreeMap<String, String>,
    pub(crate) stdin: String,
    /// What is typed when asked without echo; with it, standard input is a terminal.
    pub(crate) typed: Option<String>,
    /// Whether both outputs are terminals.
    pub(crate) terminal: bool,
    pub(crate) stdout_broken: bool,
    pub(crate) interrupt: Arc<Notify>,
    entropy: Arc<Counting>,
}

impl World {
    /// Nothing but a home folder; the server is unknown.
    pub(crate) fn bare() -> Self {
        let home = tempfile::tempdir().expect("a temporary folder");
        let path = home.path().to_str().expect("UTF-8").to_owned();
        // The data folder is named, so that a server installed on the testing machine is not found.
        let vars = [
            ("HOME", path.clone()),
            ("SLIPWAY_DATA_DIR", format!("{path}/data")),
            ("TERM", "xterm".into()),
        ];
        Self {
            home,
            vars: vars.into_iter().map(|(k, v)| (k.to_owned(), v)).collect(),
            stdin: String::new(),
            typed: None,
            terminal: false,
            stdout_broken: false,
            interrupt: Arc::new(Notify::new()),
            entropy: Arc::new(Counting(Mutex::new(0))),
        }
    }

    /// With a server and a token in the environment.
    pub(crate) fn at(url: &str) -> Self {
        Self::bare().with("SLIPWAY_URL", url).with("SLIPWAY_TOKEN", &token())
    }

    pub(crate) fn with(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    pub(crate) fn stdin(mut self, text: &str) -> Self {
        text.clone_into(&mut self.stdin);
        self
    }

    pub(crate) fn terminal(mut self) -> Self {
        self.terminal = true;
        self
    }

    pub(crate) fn path(&self) -> &Path {
        self.home.path()
    }

    pub(crate) fn config(&self) -> PathBuf {
        self.path().join(".config/slipway/config.toml")
    }

    /// Writes a file into the current folder.
    pub(crate) fn file(&self, name: &str, text: &str) -> &Self {
        std::fs::write(self.path().join(name), text).expect("writable");
        self
    }

    /// Runs `slipway` with these words.
    pub(crate) async fn run(&self, words: &[&str]) -> Outcome {
        let env = Env {
            vars: self.vars.clone(),
            cwd: self.path().to_owned(),
            clock: Arc::new(FixedClock(now())),
            entropy: self.entropy.clone(),
            ask: self.typed.clone().map(|typed| {
                let ask: slipway_cli::Ask = Box::new(move |_: &str| Ok(typed.clone()));
                ask
            }),
            interrupt: Interrupt::Notify(self.interrupt.clone()),
        };
        let (stdout, stderr) = (Captured::default(), Captured::default());
        let io = Io {
            stdin: Box::new(Cursor::new(self.stdin.clone().into_bytes())),
            stdin_terminal: self.typed.is_some(),
            stdout: if self.stdout_broken {
                Writer::new(Broken)
            } else {
                Writer::new(stdout.clone())
            },
            stdout_terminal: self.terminal,
            stderr: Writer::new(stderr.clone()),
            stderr_terminal: self.terminal,
            columns: 100,
        };
        let words = std::iter::once("slipway").chain(words.iter().copied());
        let code = run_with(words, env, io).await;
        Outcome {
            code,
            stdout: stdout.text(),
            stderr: stderr.text(),
        }
    }
}

/// The fixed present.
pub(crate) fn now() -> slipway_domain::Timestamp {
    FixedClock(at(1_770_000_000_000)).now()
}

/// A well-formed token.
pub(crate) fn token() -> String {
    let entropy = slipway_domain::clock::testing::FixedEntropy(42);
    slipway_domain::token::Token::mint(slipway_domain::token::TokenKind::Pat, &entropy)
        .expose()
        .to_owned()
}
