//! How text looks on one stream: colours and signs where the reader can see them, plain words where not.
//!
//! Promises: `NO_COLOR`, `TERM=dumb` and pipes get no escape sequence; a terminal that is not UTF-8 gets ASCII; text of
//! others (log lines, names, messages) cannot move the cursor or hide anything.

use std::borrow::Cow;
use std::fmt::Display;

use owo_colors::OwoColorize as _;

use crate::env::Env;

/// The look of one stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Style {
    /// Whether the stream is a terminal that can move its cursor.
    pub(crate) live: bool,
    color: bool,
    unicode: bool,
}

impl Style {
    /// Decides from what the stream is and what the environment says.
    pub(crate) fn of(terminal: bool, env: &Env) -> Self {
        let dumb = env.var("TERM").is_none_or(|t| t == "dumb");
        let locale = ["LC_ALL", "LC_CTYPE", "LANG"]
            .into_iter()
            .find_map(|name| env.var(name))
            .unwrap_or_default();
        let utf8 = locale.to_ascii_lowercase().replace('-', "").contains("utf8");
        Self {
            live: terminal && !dumb,
            color: terminal && !dumb && env.var("NO_COLOR").is_none(),
            unicode: terminal && utf8,
        }
    }

    pub(crate) fn good(self, text: impl Display) -> String {
        if self.color {
            text.green().to_string()
        } else {
            text.to_string()
        }
    }

    pub(crate) fn bad(self, text: impl Display) -> String {
        if self.color {
            text.red().bold().to_string()
        } else {
            text.to_string()
        }
    }

    pub(crate) fn warn(self, text: impl Display) -> String {
        if self.color {
            text.yellow().to_string()
        } else {
            text.to_string()
        }
    }

    pub(crate) fn dim(self, text: impl Display) -> String {
        if self.color {
            text.dimmed().to_string()
        } else {
            text.to_string()
        }
    }

    pub(crate) fn strong(self, text: impl Display) -> String {
        if self.color {
            text.bold().to_string()
        } else {
            text.to_string()
        }
    }

    /// The sign of success.
    pub(crate) fn check(self) -> String {
        self.good(if self.unicode { "✓" } else { "ok" })
    }

    /// The sign of failure.
    pub(crate) fn cross(self) -> String {
        self.bad(if self.unicode { "✗" } else { "failed" })
    }

    /// The edge of a quoted block.
    pub(crate) fn edge(self) -> String {
        self.dim(if self.unicode { "│" } else { "|" })
    }

    /// The pictures of something under way; the last one stands when it is done.
    pub(crate) fn spinner(self) -> &'static [&'static str] {
        if self.unicode {
            &["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", " "]
        } else {
            &["-", "\\", "|", "/", " "]
        }
    }

    /// What stands for "and more".
    pub(crate) fn ellipsis(self) -> &'static str {
        if self.unicode { "…" } else { "..." }
    }
}

/// Text of others, made safe for a terminal: no escape sequences, no control characters.
pub(crate) fn clean(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let stripped = anstream::adapter::strip_str(text).to_string();
    Cow::Owned(
        stripped
            .chars()
            .map(|c| if c == '\t' { ' ' } else { c })
            .filter(|c| !is_unsafe(*c))
            .collect(),
    )
}

/// Control characters, and the marks that turn the direction of writing.
fn is_unsafe(c: char) -> bool {
    c.is_control() || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::env;

    #[test]
    fn colours_and_signs_only_where_they_can_be_seen() {
        let utf8 = [("TERM", "xterm"), ("LANG", "en_US.UTF-8")];
        let full = Style::of(true, &env(&utf8));
        assert!(full.live && full.color && full.unicode);
        assert_eq!(
            Style::of(false, &env(&utf8)),
            Style {
                live: false,
                color: false,
                unicode: false
            }
        );
        let dumb = Style::of(true, &env(&[("TERM", "dumb"), ("LANG", "C.UTF-8")]));
        assert!(!dumb.live && !dumb.color);
        let no_color = Style::of(true, &env(&[("TERM", "xterm"), ("NO_COLOR", "1"), ("LC_ALL", "C")]));
        assert!(no_color.live && !no_color.color && !no_color.unicode);
        assert_eq!(no_color.check(), "ok");
    }

    #[test]
    fn text_of_others_cannot_move_the_cursor() {
        assert_eq!(clean("plain äöü"), "plain äöü");
        assert_eq!(clean("\u{1b}[2J\u{1b}[31mred\u{1b}[0m\r\u{7}x"), "redx");
        assert_eq!(clean("a\tb"), "a b");
        assert_eq!(clean("\u{202e}abc"), "abc");
    }
}
