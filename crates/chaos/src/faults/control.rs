//! The test's side of a proxy: the script in force, the count and log of calls, and calls that are held.
//!
//! Promises: a call that is waited for cannot slip by between the asking and the waiting.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::script::{Fault, Moment, Script};

/// Calls in the log; the oldest make room.
pub const CALLS_LOGGED_MAX: usize = 10_000;
/// Calls waited for at once.
pub const HOLDS_MAX: usize = 64;

/// A call as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Counted from 1 when the proxy started.
    pub number: u64,
    /// When it came.
    pub at: DateTime<Utc>,
    /// Method and path, or the first words of a query.
    pub what: String,
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "call {}: {}", self.number, self.what)
    }
}

/// A call that is waited for does not come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Missed {
    /// It came before it was asked for.
    #[error("call {0} has come already")]
    Already(u64),
    /// Nobody is there to take it.
    #[error("the proxy ended before the call came")]
    Ended,
    /// More are waited for than [`HOLDS_MAX`].
    #[error("{HOLDS_MAX} calls are waited for already")]
    TooMany,
}

/// A call that is held. Dropping this lets it go on as the script says.
#[derive(Debug)]
pub struct Held {
    call: Call,
    decide: oneshot::Sender<Fault>,
}

impl Held {
    /// Which one it is.
    pub fn call(&self) -> &Call {
        &self.call
    }

    /// Lets it go on like this, whatever the script says. Of a call that has had its effect, cutting before is
    /// cutting after.
    pub fn decide(self, fault: Fault) {
        // If the proxy has ended, so has the call.
        let _ = self.decide.send(fault);
    }
}

/// Which call to hold.
#[derive(Debug)]
enum Which {
    Number(u64),
    Saying(String),
}

#[derive(Debug)]
struct Hold {
    which: Which,
    moment: Moment,
    gate: Gate,
}

impl Hold {
    fn is_for(&self, call: &Call, moment: Moment) -> bool {
        let named = match &self.which {
            Which::Number(number) => call.number == *number,
            Which::Saying(words) => call.what.contains(words),
        };
        named && self.moment == moment
    }
}

#[derive(Debug, Default)]
struct Board {
    script: Script,
    calls: u64,
    log: VecDeque<Call>,
    holds: Vec<Hold>,
    ended: bool,
}

impl Board {
    fn take(&mut self, call: &Call, moment: Moment) -> Option<Gate> {
        let at = self.holds.iter().position(|hold| hold.is_for(call, moment))?;
        Some(self.holds.remove(at).gate)
    }
}

/// The test's side of a proxy.
#[derive(Debug, Clone, Default)]
pub struct Control {
    board: Arc<Mutex<Board>>,
}

impl Control {
    pub(crate) fn new(script: Script) -> Self {
        let control = Self::default();
        control.follow(script);
        control
    }

    /// Puts another script in force, for the calls to come. They are numbered on.
    pub fn follow(&self, script: Script) {
        self.board.lock().script = script;
    }

    /// How many calls have come.
    pub fn calls(&self) -> u64 {
        self.board.lock().calls
    }

    /// The calls that have come, at most the last [`CALLS_LOGGED_MAX`].
    pub fn log(&self) -> Vec<Call> {
        self.board.lock().log.iter().cloned().collect()
    }

    /// Holds the call with this number, from now on and until what this resolves to is dropped or told what to do.
    ///
    /// # Errors
    /// When it has come already, or the proxy ends before it comes.
    pub fn at_call(&self, number: u64, moment: Moment) -> impl Future<Output = Result<Held, Missed>> + Send + use<> {
        self.hold(Which::Number(number), moment)
    }

    /// The same for the next call whose entry in the log contains these words.
    ///
    /// # Errors
    /// When the proxy ends before it comes.
    pub fn at_next(&self, words: &str, moment: Moment) -> impl Future<Output = Result<Held, Missed>> + Send + use<> {
        self.hold(Which::Saying(words.to_owned()), moment)
    }

    fn hold(&self, which: Which, moment: Moment) -> impl Future<Output = Result<Held, Missed>> + Send + use<> {
        let registered = self.register(which, moment);
        async move { registered?.await.map_err(|_| Missed::Ended) }
    }

    fn register(&self, which: Which, moment: Moment) -> Result<oneshot::Receiver<Held>, Missed> {
        let mut board = self.board.lock();
        board.holds.retain(|hold| !hold.gate.0.is_closed());
        match which {
            _ if board.ended => return Err(Missed::Ended),
            _ if board.holds.len() >= HOLDS_MAX => return Err(Missed::TooMany),
            Which::Number(number) if number <= board.calls => return Err(Missed::Already(number)),
            _ => {}
        }
        let (arrived, waiting) = oneshot::channel();
        board.holds.push(Hold {
            which,
            moment,
            gate: Gate(arrived),
        });
        Ok(waiting)
    }

    /// Counts and logs a call, and says what happens to it.
    pub(crate) fn arrive(&self, what: String) -> Arrived {
        let mut board = self.board.lock();
        board.calls += 1;
        let call = Call {
            number: board.calls,
            at: Utc::now(),
            what,
        };
        if board.log.len() == CALLS_LOGGED_MAX {
            board.log.pop_front();
        }
        board.log.push_back(call.clone());
        Arrived {
            fault: board.script.fault(call.number),
            before: board.take(&call, Moment::Before),
            after: board.take(&call, Moment::After),
            call,
        }
    }

    /// No more calls will come: whoever waits for one is told.
    pub(crate) fn end(&self) {
        let mut board = self.board.lock();
        board.ended = true;
        board.holds.clear();
    }
}

/// Where a held call waits.
#[derive(Debug)]
struct Gate(oneshot::Sender<Held>);

impl Gate {
    /// Hands the call over and waits for the word. `None` if there is none.
    async fn pass(self, call: Call) -> Option<Fault> {
        let (decide, decided) = oneshot::channel();
        // If nobody waits any more, the call goes on.
        self.0.send(Held { call, decide }).ok()?;
        let word = decided.await.ok();
        // Lets the runtime see whether the client has gone meanwhile.
        tokio::task::yield_now().await;
        word
    }
}

/// A call on its way through a proxy.
#[derive(Debug)]
pub(crate) struct Arrived {
    call: Call,
    fault: Option<Fault>,
    before: Option<Gate>,
    after: Option<Gate>,
}

impl Arrived {
    pub(crate) fn call(&self) -> &Call {
        &self.call
    }

    /// Whether [`Self::before`] waits for somebody.
    pub(crate) fn is_held_before(&self) -> bool {
        self.before.is_some()
    }

    /// What to do before the call is forwarded.
    pub(crate) async fn before(&mut self) -> Option<Fault> {
        if let Some(gate) = self.before.take() {
            self.fault = gate.pass(self.call.clone()).await.or(self.fault);
        }
        self.fault
    }

    /// Whether its effect is waited for.
    pub(crate) fn is_watched(&self) -> bool {
        self.after.is_some() || self.is_cut_after()
    }

    /// Whether nothing of the answer will be passed on, whatever anybody says.
    pub(crate) fn is_discarded(&self) -> bool {
        self.after.is_none() && self.is_cut_after()
    }

    fn is_cut_after(&self) -> bool {
        self.fault == Some(Fault::CutAfter)
    }

    /// What to do after the call has had its effect.
    pub(crate) async fn after(self) -> Option<Fault> {
        let cut = self.fault.filter(|fault| *fault == Fault::CutAfter);
        match self.after {
            Some(gate) => gate.pass(self.call).await.or(cut),
            None => cut,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_call_is_held_until_it_is_told_what_to_do() {
        let control = Control::new(Script::new().at(1, Fault::Hang));
        let held = control.at_call(1, Moment::Before);
        let mut arrived = control.arrive("COMMIT".into());
        let (fault, ()) = tokio::join!(arrived.before(), async {
            let held = held.await.expect("it comes");
            assert_eq!(held.call().what, "COMMIT");
            held.decide(Fault::CutBefore);
        });
        assert_eq!(fault, Some(Fault::CutBefore));
    }

    #[tokio::test]
    async fn a_call_that_is_let_go_does_what_the_script_says() {
        let control = Control::new(Script::new().at(1, Fault::CutAfter));
        let held = control.at_next("COMMIT", Moment::After);
        let mut arrived = control.arrive("the word COMMIT".into());
        assert_eq!(arrived.before().await, Some(Fault::CutAfter));
        assert!(arrived.is_watched() && !arrived.is_discarded());
        let (fault, ()) = tokio::join!(arrived.after(), async { drop(held.await) });
        assert_eq!(fault, Some(Fault::CutAfter));
    }

    #[tokio::test]
    async fn waiting_for_what_cannot_come_ends() {
        let control = Control::new(Script::new());
        control.arrive("one".into());
        let early = control.at_call(1, Moment::Before).await;
        assert_eq!(early.expect_err("past"), Missed::Already(1));
        let waiting = control.at_call(2, Moment::Before);
        control.end();
        assert_eq!(waiting.await.expect_err("ended"), Missed::Ended);
        assert_eq!(
            control.at_call(3, Moment::After).await.expect_err("ended"),
            Missed::Ended
        );
    }

    #[tokio::test]
    async fn nobody_is_held_for_a_test_that_has_stopped_waiting() {
        let control = Control::new(Script::new());
        drop(control.at_call(1, Moment::Before));
        let mut arrived = control.arrive("one".into());
        assert_eq!(arrived.before().await, None);
        for _ in 0..=HOLDS_MAX {
            drop(control.at_next("anything", Moment::Before));
        }
        let mut kept: Vec<_> = (0..=HOLDS_MAX)
            .map(|_| control.at_next("anything", Moment::Before))
            .collect();
        let last = kept.pop().expect("there are some");
        assert_eq!(last.await.expect_err("too many"), Missed::TooMany);
    }

    #[test]
    fn the_log_keeps_the_last_calls_and_the_count_all() {
        let control = Control::new(Script::new());
        for number in 0..=CALLS_LOGGED_MAX {
            control.arrive(number.to_string());
        }
        let log = control.log();
        assert_eq!((log.len(), log[0].number), (CALLS_LOGGED_MAX, 2));
        assert_eq!(control.calls(), CALLS_LOGGED_MAX as u64 + 1);
    }
}
