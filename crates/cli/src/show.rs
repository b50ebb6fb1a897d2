//! Values for people: tables, cells, ages, lengths of time.

use chrono::{DateTime, SecondsFormat, Utc};
use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use slipway_domain::Timestamp;

use crate::style::clean;

/// What stands in a cell without a value.
const NONE: &str = "-";

/// A table without lines: headings in capitals, columns as wide as what they hold.
pub(crate) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .force_no_tty()
        .set_header(headings.to_vec());
    for row in rows {
        table.add_row(row.clone());
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.trim_fmt()
}

/// A member of an answer as a cell; a path into it is written with dots.
pub(crate) fn cell(value: &Value, path: &str) -> String {
    let found = path.split('.').try_fold(value, |v, name| v.get(name));
    found.map_or_else(|| NONE.to_owned(), plain)
}

/// A member that is a release's number, as people write it: `v7`.
pub(crate) fn release_cell(value: &Value, path: &str) -> String {
    let number = cell(value, path);
    if number == NONE {
        return number;
    }
    format!("v{}", number.trim_start_matches('v'))
}

/// An instance as people name it: the first twelve characters, as the engine's own tools show it.
pub(crate) fn instance(id: &str) -> String {
    clean(id).chars().take(12).collect()
}

/// A member that is a time, as an age.
pub(crate) fn age_cell(value: &Value, path: &str, now: Timestamp) -> String {
    time_of(value, path).map_or_else(|| NONE.to_owned(), |at| ago(at, now))
}

/// A member that is a time.
pub(crate) fn time_of(value: &Value, path: &str) -> Option<Timestamp> {
    let text = path.split('.').try_fold(value, |v, name| v.get(name))?.as_str()?;
    DateTime::parse_from_rfc3339(text).ok().map(|t| t.with_timezone(&Utc))
}

/// A time as people read it: RFC 3339 without parts of a second.
pub(crate) fn to_the_second(text: &str) -> String {
    DateTime::parse_from_rfc3339(text).map_or_else(
        |_| clean(text).into_owned(),
        |at| at.with_timezone(&Utc).to_rfc3339_opts(SecondsFormat::Secs, true),
    )
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => NONE.to_owned(),
        Value::String(text) if text.is_empty() => NONE.to_owned(),
        Value::String(text) => clean(text).into_owned(),
        Value::Array(items) if items.is_empty() => NONE.to_owned(),
        Value::Array(items) => items.iter().map(plain).collect::<Vec<_>>().join(", "),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        other => other.to_string(),
    }
}

/// How long ago, in whole units that have passed; or how long until then, to the nearest unit.
pub(crate) fn ago(at: Timestamp, now: Timestamp) -> String {
    let secs = (now - at).num_seconds();
    if secs >= 0 {
        let secs = secs.unsigned_abs();
        format!("{} ago", in_one_unit(secs, |unit| secs / unit))
    } else {
        let secs = secs.unsigned_abs();
        format!("in {}", in_one_unit(secs, |unit| (secs + unit / 2) / unit))
    }
}

/// Seconds in the first unit that keeps the number small; `count` says how many of a unit they are.
fn in_one_unit(secs: u64, count: impl Fn(u64) -> u64) -> String {
    let (minutes, hours, days) = (count(60), count(3_600), count(86_400));
    if secs < 60 {
        format!("{secs}s")
    } else if minutes < 60 {
        format!("{minutes}m")
    } else if hours < 24 {
        format!("{hours}h")
    } else {
        format!("{days}d")
    }
}

/// A length of time: `0.4s`, `12.3s`, `2m 05s`.
pub(crate) fn elapsed(millis: u64) -> String {
    let secs = millis / 1000;
    if secs < 60 {
        format!("{secs}.{}s", millis % 1000 / 100)
    } else if secs < 3_600 {
        format!("{}m {:02}s", secs / 60, secs % 60)
    } else {
        format!("{}h {:02}m", secs / 3_600, secs % 3_600 / 60)
    }
}

/// A number of bytes, rounded.
pub(crate) fn bytes(count: u64) -> String {
    const UNITS: [(u32, &str); 3] = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    for (shift, unit) in UNITS {
        if count >> shift > 0 {
            let tenths = (count >> (shift - 10)) * 10 / 1024;
            return format!("{}.{} {unit}", tenths / 10, tenths % 10);
        }
    }
    format!("{count} B")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;
    use slipway_domain::clock::testing::at;

    #[test]
    fn a_table_lines_up_and_does_not_trail_blanks() {
        let rows = [
            vec!["web".to_owned(), "1".to_owned()],
            vec!["directory".to_owned(), "22".to_owned()],
        ];
        assert_eq!(
            table(&["NAME", "N"], &rows),
            "NAME       N\nweb        1\ndirectory  22"
        );
    }

    #[test]
    fn cells_are_found_by_path_and_never_empty() {
        let value = json!({"a": {"b": [1, "x"]}, "n": null, "t": true, "e": "", "esc": "\u{1b}[31mx"});
        for (path, expected) in [
            ("a.b", "1, x"),
            ("n", "-"),
            ("t", "yes"),
            ("e", "-"),
            ("missing.too", "-"),
            ("esc", "x"),
        ] {
            assert_eq!(cell(&value, path), expected, "{path}");
        }
    }

    #[test]
    fn times_and_sizes_are_short() {
        assert_eq!(ago(at(0), at(59_000)), "59s ago");
        assert_eq!(ago(at(0), at(7_200_000)), "2h ago");
        assert_eq!(ago(at(0), at(89 * 86_400_000 + 86_399_000)), "89d ago");
        for (secs, expected) in [
            (59, "in 59s"),
            (89, "in 1m"),
            (3_599, "in 1h"),
            (86_399, "in 1d"),
            (90 * 86_400, "in 90d"),
            (90 * 86_400 - 1, "in 90d"),
        ] {
            assert_eq!(ago(at(secs * 1_000), at(0)), expected, "{secs}");
        }
        for (millis, expected) in [
            (420, "0.4s"),
            (59_999, "59.9s"),
            (125_000, "2m 05s"),
            (3_720_000, "1h 02m"),
        ] {
            assert_eq!(elapsed(millis), expected);
        }
        for (count, expected) in [
            (12, "12 B"),
            (1536, "1.5 KiB"),
            (256 << 20, "256.0 MiB"),
            (3 << 30, "3.0 GiB"),
        ] {
            assert_eq!(bytes(count), expected);
        }
    }
}
