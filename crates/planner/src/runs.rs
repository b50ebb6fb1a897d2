//! One-off commands: what to do next with one, and what a time of the clock calls for.
//!
//! Promises: the engine is told to begin a command only after that was written down, so that it is begun at most once;
//! what cannot be seen is waited for, within bounds. A time that was missed is told and not made up for.

use chrono::TimeDelta;
use slipway_domain::Timestamp;
use slipway_domain::quantity::Span;
use slipway_domain::run::RunState;
use slipway_domain::spec::{Concurrency, CronJob};

/// An engine that cannot begin a command has so long.
const START_MAX: TimeDelta = TimeDelta::minutes(10);
/// A command by the clock begins at most so late.
const LATE_MAX: TimeDelta = TimeDelta::minutes(5);
/// So many missed times are counted.
const MISSED_MAX: u32 = 10_000;

/// What is known of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RunFacts {
    /// Where it stands.
    pub state: RunState,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its container was begun.
    pub started_at: Option<Timestamp>,
    /// After so long it is ended.
    pub timeout: Span,
    /// Whether somebody called it off.
    pub cancel_requested: bool,
}

/// What the engine says of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Container {
    /// It does not answer.
    Unknown,
    /// There is none, or one that was never begun.
    Absent,
    /// It runs.
    Running,
    /// It ended with this code.
    Ended {
        /// 0 is success.
        exit_code: i64,
    },
}

/// What to do next with a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunStep {
    /// Look again later.
    Wait,
    /// Write down that it is in this state now.
    Advance(RunState),
    /// Tell the engine to begin it.
    Start,
    /// It has ended like this, with the reason if it did not succeed.
    End(RunState, Option<String>),
    /// Remove what it left.
    Remove,
}

/// Decides the next step.
pub fn next(run: RunFacts, container: Container, now: Timestamp) -> RunStep {
    if run.state.is_final() {
        return match container {
            Container::Unknown => RunStep::Wait,
            _ => RunStep::Remove,
        };
    }
    if run.cancel_requested {
        return RunStep::End(RunState::Cancelled, None);
    }
    match (run.state, container) {
        (RunState::Pending, _) => RunStep::Advance(RunState::Starting),
        (RunState::Starting, _) if now > run.created_at + START_MAX => RunStep::End(
            RunState::Failed,
            Some("the container engine could not begin it within 10 minutes".into()),
        ),
        (_, Container::Unknown) => RunStep::Wait,
        (RunState::Starting, Container::Absent) => RunStep::Start,
        (RunState::Starting, _) => RunStep::Advance(RunState::Running),
        (_, Container::Absent) => RunStep::End(
            RunState::Lost,
            Some("its container is gone: whether it came to its end is not known".into()),
        ),
        (_, Container::Ended { exit_code: 0 }) => RunStep::End(RunState::Succeeded, None),
        (_, Container::Ended { exit_code }) => RunStep::End(RunState::Failed, Some(failure(exit_code))),
        (_, Container::Running) => {
            let end = run.started_at.unwrap_or(run.created_at) + run.timeout.to_chrono();
            if now >= end {
                RunStep::End(
                    RunState::Failed,
                    Some(format!("it did not end within {} and was stopped", run.timeout)),
                )
            } else {
                RunStep::Wait
            }
        }
    }
}

/// What an exit code says: the conventions of shells and of the engine's own init.
fn failure(exit_code: i64) -> String {
    let meaning = match exit_code {
        126 => ": the program is there and cannot be executed",
        127 => ": there is no such program in the image",
        _ => "",
    };
    format!("it ended with exit code {exit_code}{meaning}")
}

/// What has become of a command by the clock since it was last looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// The time that has come.
    pub at: Timestamp,
    /// The first of those before it that nobody was there for, and why nothing came of them.
    pub missed: Option<(Timestamp, String)>,
    /// What is done about it.
    pub verdict: Verdict,
}

/// What is done about a time that has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It runs; with `replace`, those that are under way are called off.
    Run {
        /// Whether they are.
        replace: bool,
    },
    /// It does not, for this reason.
    Skip(String),
}

/// What the clock calls for: the newest time after `last_at`. Earlier ones that were missed are told with it.
pub fn due(job: &CronJob, last_at: Timestamp, unfinished: usize, now: Timestamp) -> Option<Due> {
    let (at, count) = job.schedule.last_between(last_at, now, MISSED_MAX)?;
    let told = |count: u32| {
        let plural = if count == 1 { "" } else { "s" };
        format!("nobody was there to run it: {count} time{plural} passed while the platform or the app was stopped")
    };
    let first = job.schedule.after(last_at).filter(|first| *first < at);
    let missed = first.map(|first| (first, told(count - 1)));
    let verdict = if now > at + LATE_MAX {
        Verdict::Skip(told(1))
    } else if unfinished > 0 && job.concurrency == Concurrency::Forbid {
        Verdict::Skip("the run before was still under way, and `concurrency` is `forbid`".into())
    } else {
        Verdict::Run {
            replace: unfinished > 0 && job.concurrency == Concurrency::Replace,
        }
    };
    Some(Due { at, missed, verdict })
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::at;
    use slipway_domain::cron::Schedule;

    const MINUTE: i64 = 60_000;

    fn run(state: RunState) -> RunFacts {
        RunFacts {
            state,
            created_at: at(0),
            started_at: (state == RunState::Running).then(|| at(0)),
            timeout: Span::from_secs(60),
            cancel_requested: false,
        }
    }

    #[test]
    fn a_run_is_written_down_before_it_begins_and_begins_once() {
        let step = |state, container| next(run(state), container, at(1_000));
        assert_eq!(
            step(RunState::Pending, Container::Absent),
            RunStep::Advance(RunState::Starting)
        );
        assert_eq!(step(RunState::Starting, Container::Absent), RunStep::Start);
        assert_eq!(
            step(RunState::Starting, Container::Running),
            RunStep::Advance(RunState::Running)
        );
        assert_eq!(step(RunState::Running, Container::Running), RunStep::Wait);
        for (container, state) in [
            (Container::Ended { exit_code: 0 }, RunState::Succeeded),
            (Container::Ended { exit_code: 3 }, RunState::Failed),
            (Container::Absent, RunState::Lost),
        ] {
            assert!(matches!(step(RunState::Running, container), RunStep::End(s, _) if s == state));
        }
        assert_eq!(step(RunState::Running, Container::Unknown), RunStep::Wait);
        assert_eq!(step(RunState::Lost, Container::Unknown), RunStep::Wait);
        assert_eq!(step(RunState::Succeeded, Container::Absent), RunStep::Remove);
    }

    #[test]
    fn a_run_ends_when_it_has_had_its_time_or_was_called_off() {
        let late = next(run(RunState::Running), Container::Running, at(60_000));
        assert!(matches!(late, RunStep::End(RunState::Failed, Some(why)) if why.contains("1m")));
        let never = next(run(RunState::Starting), Container::Unknown, at(10 * MINUTE + 1));
        assert!(matches!(never, RunStep::End(RunState::Failed, _)));
        for state in [RunState::Pending, RunState::Starting, RunState::Running] {
            let off = RunFacts {
                cancel_requested: true,
                ..run(state)
            };
            assert!(matches!(
                next(off, Container::Running, at(1)),
                RunStep::End(RunState::Cancelled, _)
            ));
        }
    }

    fn job(concurrency: Concurrency) -> CronJob {
        CronJob {
            name: "tick".parse().expect("a name"),
            schedule: Schedule::parse("*/10 * * * *", "UTC").expect("a schedule"),
            command: vec!["/tick".into()],
            concurrency,
            timeout: Span::from_secs(60),
        }
    }

    #[test]
    fn a_time_that_has_come_is_run_skipped_or_takes_the_place_of_the_last_one() {
        let asked = |concurrency, unfinished| due(&job(concurrency), at(0), unfinished, at(10 * MINUTE + 1));
        let run = |replace| {
            Some(Due {
                at: at(10 * MINUTE),
                missed: None,
                verdict: Verdict::Run { replace },
            })
        };
        assert_eq!(due(&job(Concurrency::Forbid), at(0), 0, at(10 * MINUTE - 1)), None);
        assert_eq!(asked(Concurrency::Forbid, 0), run(false));
        assert_eq!(asked(Concurrency::Allow, 1), run(false));
        assert_eq!(asked(Concurrency::Replace, 1), run(true));
        assert!(
            matches!(asked(Concurrency::Forbid, 1), Some(Due { verdict: Verdict::Skip(why), .. }) if why.contains("forbid"))
        );
    }

    #[test]
    fn times_that_were_missed_are_told_and_not_made_up_for() {
        let found = due(&job(Concurrency::Allow), at(0), 0, at(36 * MINUTE)).expect("due");
        assert_eq!(found.at, at(30 * MINUTE));
        assert!(matches!(found.verdict, Verdict::Skip(why) if why.contains("1 time passed")));
        let (first, why) = found.missed.expect("two before it");
        assert_eq!((first, why.contains("2 times passed")), (at(10 * MINUTE), true));
        let late = due(&job(Concurrency::Allow), at(0), 0, at(34 * MINUTE)).expect("due");
        assert_eq!(
            late.verdict,
            Verdict::Run { replace: false },
            "a little late is better than never"
        );
    }
}
