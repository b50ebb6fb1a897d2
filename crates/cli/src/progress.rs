//! The display of a deployment under way: one line per step, the one under way with a spinner and its own clock.
//!
//! Promises: it goes to standard error, so results stay clean; without a live terminal it is plain lines, at most one
//! every ten seconds for a step that takes long; `--quiet` is silence.

use std::collections::BTreeMap;
use std::io::{self, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle, TermLike};
use slipway_domain::deployment::StepState;
use tokio::time::Instant;

use crate::env::{Io, Writer};
use crate::model::{Deployment, Event, Step};
use crate::show;
use crate::style::{Style, clean};

/// Between two lines about the same step where there is no live terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// Between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(100);
/// As wide as the longest step's name.
const TITLE_WIDTH: usize = 16;
/// As wide as the usual length of time.
const TIME_WIDTH: usize = 7;

/// The display of one deployment.
pub(crate) struct Progress {
    out: Writer,
    style: Style,
    mode: Mode,
    /// The state that was last shown for each step.
    shown: BTreeMap<String, String>,
    current: Option<String>,
    last_line: Option<Instant>,
    lost: bool,
}

enum Mode {
    Quiet,
    Lines,
    Live(ProgressBar),
}

impl Progress {
    /// Begins.
    pub(crate) fn new(io: &Io, style: Style, quiet: bool) -> Self {
        let mode = if quiet {
            Mode::Quiet
        } else if style.live {
            Mode::Live(bar(io, style))
        } else {
            Mode::Lines
        };
        Self {
            out: io.stderr.clone(),
            style,
            mode,
            shown: BTreeMap::new(),
            current: None,
            last_line: None,
            lost: false,
        }
    }

    /// A line of its own.
    pub(crate) fn line(&mut self, text: &str) {
        match &self.mode {
            Mode::Quiet => {}
            Mode::Lines => {
                let _ = writeln!(self.out, "{text}");
            }
            Mode::Live(bar) => bar.println(text),
        }
    }

    /// The deployment as it is now.
    pub(crate) fn deployment(&mut self, deployment: &Deployment) {
        if self.lost {
            self.lost = false;
            self.line("the server answers again");
        }
        for step in &deployment.steps {
            // What goes on after the end, the drain of what served before, keeps nobody waiting.
            let goes_on = deployment.is_final() && step.is_running();
            if !goes_on && self.shown.get(&step.name) != Some(&step.state) {
                self.shown.insert(step.name.clone(), step.state.clone());
                self.step(step);
            }
        }
        let waiting = match deployment.state.as_str() {
            "pending" => "waiting to start".to_owned(),
            "awaiting_approval" => format!(
                "waiting until another token says `slipway deployments approve {}`",
                clean(&deployment.id)
            ),
            _ => return,
        };
        if self.shown.insert(String::new(), waiting.clone()).as_ref() != Some(&waiting) {
            match &self.mode {
                Mode::Live(bar) => bar.set_prefix(waiting),
                Mode::Lines if deployment.state != "pending" => self.line(&waiting),
                Mode::Lines | Mode::Quiet => {}
            }
        }
    }

    fn step(&mut self, step: &Step) {
        if step.is_running() {
            self.current = Some(step.name.clone());
            self.last_line = Some(Instant::now());
            match &self.mode {
                Mode::Quiet => {}
                Mode::Lines => self.line(&format!("{}: started", step.title())),
                Mode::Live(bar) => {
                    bar.reset_elapsed();
                    bar.set_prefix(step.title());
                    bar.set_message(clean(step.detail.as_deref().unwrap_or_default()).into_owned());
                }
            }
            return;
        }
        if self.current.as_ref() == Some(&step.name) {
            self.current = None;
            if let Mode::Live(bar) = &self.mode {
                bar.set_prefix("");
                bar.set_message("");
            }
        }
        if !step.is_skipped() {
            let line = if matches!(self.mode, Mode::Live(_)) {
                live_line(step, self.style)
            } else {
                plain_line(step)
            };
            self.line(&line);
        }
    }

    /// An event: its message tells how the step under way is getting on.
    pub(crate) fn event(&mut self, event: &Event) {
        let Some(message) = event.message.as_deref().filter(|m| !m.is_empty()) else {
            return;
        };
        // A share of the traffic may be told before its step is: it is what the step is about.
        let is_share = event.kind == "canary.step";
        // How a step ended is a line of its own.
        if event.kind == "step.succeeded"
            || (event.step.is_some() && event.step != self.current && !is_share)
            || is_bare(event)
        {
            return;
        }
        match &self.mode {
            Mode::Quiet => {}
            Mode::Live(bar) => bar.set_message(clean(message).into_owned()),
            // Hours may go by between two of these.
            Mode::Lines if is_share => self.line(&format!("canary: {}", clean(message))),
            Mode::Lines => {
                let due = self.last_line.is_none_or(|at| at.elapsed() >= LINE_EVERY);
                if let (true, Some(current)) = (due, &self.current) {
                    let line = format!("{}: {}", current.replace('_', " "), clean(message));
                    self.last_line = Some(Instant::now());
                    self.line(&line);
                }
            }
        }
    }

    /// The server does not answer at the moment.
    pub(crate) fn lost(&mut self) {
        if !self.lost {
            self.lost = true;
            self.line("the server does not answer; the deployment does not need us, trying again");
        }
    }

    /// Takes the spinner away.
    pub(crate) fn end(self) {
        if let Mode::Live(bar) = self.mode {
            bar.finish_and_clear();
        }
    }
}

/// Whether an event only says that its step is in a state, such as `switch running`: the display shows that anyway.
fn is_bare(event: &Event) -> bool {
    let (Some(step), Some(message)) = (&event.step, &event.message) else {
        return false;
    };
    let state = message.strip_prefix(step.replace('_', " ").as_str());
    state.is_some_and(|state| StepState::parse(state.trim()).is_some())
}

fn bar(io: &Io, style: Style) -> ProgressBar {
    let term = WriterTerm {
        out: io.stderr.clone(),
        columns: io.columns,
    };
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::term_like(Box::new(term)));
    let template = format!("  {{spinner}} {{prefix:{TITLE_WIDTH}}} {{took:>{TIME_WIDTH}}}  {{wide_msg}}");
    let look = ProgressStyle::with_template(&template).unwrap_or_else(|_| ProgressStyle::default_spinner());
    let look = look.tick_strings(style.spinner()).with_key(
        "took",
        |state: &indicatif::ProgressState, out: &mut dyn std::fmt::Write| {
            let millis = u64::try_from(state.elapsed().as_millis()).unwrap_or(u64::MAX);
            let _ = out.write_str(&show::elapsed(millis));
        },
    );
    bar.set_style(look);
    bar.enable_steady_tick(TICK);
    bar
}

fn live_line(step: &Step, style: Style) -> String {
    let sign = if step.is_failed() { style.cross() } else { style.check() };
    let took = step.took_ms().map(show::elapsed).unwrap_or_default();
    let detail = step.detail.as_deref().map(clean).unwrap_or_default();
    let line = format!(
        "  {sign} {:TITLE_WIDTH$} {took:>TIME_WIDTH$}  {}",
        step.title(),
        style.dim(detail)
    );
    line.trim_end().to_owned()
}

fn plain_line(step: &Step) -> String {
    let word = if step.is_failed() { "failed" } else { "ok" };
    let took = step
        .took_ms()
        .map(|ms| format!(", {}", show::elapsed(ms)))
        .unwrap_or_default();
    let detail = step
        .detail
        .as_deref()
        .filter(|d| !d.is_empty())
        .map(|d| format!(" ({})", clean(d)));
    format!("{}: {word}{took}{}", step.title(), detail.unwrap_or_default())
}

/// A terminal behind our own stream, so that a test sees what a person sees.
#[derive(Debug)]
struct WriterTerm {
    out: Writer,
    columns: u16,
}

impl WriterTerm {
    fn put(&self, text: &str) -> io::Result<()> {
        self.out.clone().write_all(text.as_bytes())
    }

    fn step(&self, count: usize, letter: char) -> io::Result<()> {
        if count > 0 {
            self.put(&format!("\u{1b}[{count}{letter}"))
        } else {
            Ok(())
        }
    }
}

impl TermLike for WriterTerm {
    fn width(&self) -> u16 {
        self.columns
    }

    fn move_cursor_up(&self, n: usize) -> io::Result<()> {
        self.step(n, 'A')
    }

    fn move_cursor_down(&self, n: usize) -> io::Result<()> {
        self.step(n, 'B')
    }

    fn move_cursor_right(&self, n: usize) -> io::Result<()> {
        self.step(n, 'C')
    }

    fn move_cursor_left(&self, n: usize) -> io::Result<()> {
        self.step(n, 'D')
    }

    fn write_line(&self, s: &str) -> io::Result<()> {
        self.put(&format!("{s}\n"))
    }

    fn write_str(&self, s: &str) -> io::Result<()> {
        self.put(s)
    }

    fn clear_line(&self) -> io::Result<()> {
        self.put("\r\u{1b}[2K")
    }

    fn flush(&self) -> io::Result<()> {
        self.out.clone().flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_that_only_names_its_step_and_state_is_nothing_to_show() {
        for (step, message, bare) in [
            (Some("switch"), "switch running", true),
            (Some("release_command"), "release command failed", true),
            (Some("switch"), "all traffic is on v7", false),
            (Some("health"), "health path /up answered 2xx", false),
            (None, "switch running", false),
        ] {
            let event = Event {
                kind: "step.running".into(),
                step: step.map(str::to_owned),
                message: Some(message.to_owned()),
            };
            assert_eq!(is_bare(&event), bare, "{message}");
        }
    }
}
