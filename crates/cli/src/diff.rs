//! The difference between two specs, member by member.
//!
//! Promises: pure; equal documents have no difference; each difference names its place as one would write it in TOML.

use serde_json::{Map, Value};

use crate::style::{Style, clean};

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Change {
    /// Where: `health.path`, `env.LOG_LEVEL`.
    pub(crate) path: String,
    /// What is there now.
    pub(crate) old: Option<Value>,
    /// What is wanted.
    pub(crate) new: Option<Value>,
}

/// All differences, in the order of their places.
pub(crate) fn diff(old: &Value, new: &Value) -> Vec<Change> {
    let mut changes = Vec::new();
    walk("", Some(old), Some(new), &mut changes);
    changes
}

fn walk(path: &str, old: Option<&Value>, new: Option<&Value>, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    if let Some((old, new)) = tables(old, new) {
        for place in 0..old.len().max(new.len()) {
            walk(&format!("{path}[{place}]"), old.get(place), new.get(place), changes);
        }
        return;
    }
    let empty = Map::new();
    let members = |side: Option<&Value>| match side {
        None => Some(None),
        Some(Value::Object(members)) => Some(Some(members.clone())),
        Some(_) => None,
    };
    match (members(old), members(new)) {
        // A table that comes or goes is shown by its members; only two missing ones cannot happen here.
        (Some(before), Some(after)) if before.is_some() || after.is_some() => {
            let (before, after) = (before.unwrap_or_else(|| empty.clone()), after.unwrap_or(empty));
            let mut names: Vec<&String> = before.keys().chain(after.keys()).collect();
            names.sort();
            names.dedup();
            for name in names {
                let inner = if path.is_empty() {
                    name.clone()
                } else {
                    format!("{path}.{name}")
                };
                walk(&inner, before.get(name), after.get(name), changes);
            }
        }
        _ => changes.push(Change {
            path: path.to_owned(),
            old: old.cloned(),
            new: new.cloned(),
        }),
    }
}

/// Two lists of tables, if they are: those are compared table by table.
fn tables<'a>(old: Option<&'a Value>, new: Option<&'a Value>) -> Option<(&'a [Value], &'a [Value])> {
    let items = |side: Option<&'a Value>| match side {
        None => Some(&[][..]),
        Some(Value::Array(items)) => items.iter().all(Value::is_object).then_some(items.as_slice()),
        Some(_) => None,
    };
    let (old, new) = (items(old)?, items(new)?);
    (!old.is_empty() || !new.is_empty()).then_some((old, new))
}

/// The difference as a line for people.
pub(crate) fn line(change: &Change, style: Style) -> String {
    let path = clean(&change.path);
    let shown = |value: &Value| clean(&value.to_string()).into_owned();
    match (&change.old, &change.new) {
        (None, Some(new)) => style.good(format!("  + {path} = {}", shown(new))),
        (Some(old), None) => style.bad(format!("  - {path} = {}", shown(old))),
        (Some(old), Some(new)) => style.warn(format!("  ~ {path} = {} -> {}", shown(old), shown(new))),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::env;
    use serde_json::json;

    fn check(old: &Value, new: &Value, expected: &[&str]) {
        let style = Style::of(false, &env(&[]));
        let lines: Vec<_> = diff(old, new).iter().map(|c| line(c, style)).collect();
        assert_eq!(lines, expected);
    }

    #[test]
    fn differences_are_named_as_in_the_manifest() {
        check(&json!({"a": 1}), &json!({"a": 1}), &[]);
        check(
            &json!({"env": {"A": "1", "B": "2"}, "health": {"interval": "1s"}, "mounts": []}),
            &json!({"env": {"A": "1", "C": "3"}, "health": {"interval": "2s", "path": "/up"}, "mounts": [{"path": "/d"}]}),
            &[
                "  - env.B = \"2\"",
                "  + env.C = \"3\"",
                "  ~ health.interval = \"1s\" -> \"2s\"",
                "  + health.path = \"/up\"",
                "  + mounts[0].path = \"/d\"",
            ],
        );
        check(&json!({}), &json!({"env": {"A": "1"}}), &["  + env.A = \"1\""]);
        check(&json!({"a": 1}), &json!({"a": {"b": 1}}), &["  ~ a = 1 -> {\"b\":1}"]);
    }
}
