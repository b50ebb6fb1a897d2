//! Reading one table of a spec: every key is asked for by name, what was not asked for is an error.

use std::fmt;
use std::str::FromStr;

use serde_json::{Map, Value};

use crate::nearest::nearest;

/// One thing wrong with a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// Where, as a JSON pointer.
    pub pointer: String,
    /// What, and what to do.
    pub detail: String,
    /// Which kind.
    pub kind: FieldErrorKind,
}

/// The kinds that callers tell apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorKind {
    /// The value or key is wrong.
    Invalid,
    /// The feature exists in the contract and is not built yet.
    NotAvailable,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.pointer, self.detail)
    }
}

/// A table being read.
pub(super) struct Section<'a> {
    pointer: String,
    members: Option<&'a Map<String, Value>>,
    asked: Vec<&'static str>,
    errors: Vec<FieldError>,
}

impl<'a> Section<'a> {
    /// Begins with a value that must be a table.
    pub(super) fn new(pointer: String, value: &'a Value) -> Self {
        let mut section = Self {
            pointer,
            members: value.as_object(),
            asked: Vec::new(),
            errors: Vec::new(),
        };
        if section.members.is_none() {
            let at = section.pointer.clone();
            section.invalid_at(at, format!("must be a table, not {}", kind_of(value)));
        }
        section
    }

    /// Where a member stands.
    pub(super) fn at(&self, key: &str) -> String {
        format!("{}/{}", self.pointer, key.replace('~', "~0").replace('/', "~1"))
    }

    /// The member's value, remembered as known.
    pub(super) fn get(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.members.and_then(|m| m.get(key))
    }

    /// A member that is a table of its own.
    pub(super) fn table(&mut self, key: &'static str, read: impl FnOnce(&mut Section<'a>)) {
        if let Some(value) = self.get(key) {
            let mut inner = Section::new(self.at(key), value);
            read(&mut inner);
            self.errors.append(&mut inner.finish());
        }
    }

    /// A member that is a text to be parsed.
    pub(super) fn text<T>(&mut self, key: &'static str, into: &mut T)
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if let Some(value) = self.get(key) {
            match value.as_str() {
                Some(text) => match text.parse() {
                    Ok(parsed) => *into = parsed,
                    Err(error) => self.invalid(key, error.to_string()),
                },
                None => self.invalid(key, format!("must be a text, not {}", kind_of(value))),
            }
        }
    }

    /// A member that is a whole number within bounds.
    pub(super) fn number(&mut self, key: &'static str, bounds: std::ops::RangeInclusive<u32>, into: &mut u32) {
        if let Some(value) = self.get(key) {
            match value
                .as_u64()
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| bounds.contains(n))
            {
                Some(number) => *into = number,
                None => self.invalid(
                    key,
                    format!("must be a whole number from {} to {}", bounds.start(), bounds.end()),
                ),
            }
        }
    }

    /// A member that is true or false.
    pub(super) fn flag(&mut self, key: &'static str, into: &mut bool) {
        if let Some(value) = self.get(key) {
            match value.as_bool() {
                Some(flag) => *into = flag,
                None => self.invalid(key, format!("must be true or false, not {}", kind_of(value))),
            }
        }
    }

    /// A member that is a list of texts.
    pub(super) fn texts(&mut self, key: &'static str) -> Option<Vec<(String, &'a str)>> {
        let value = self.get(key)?;
        let Some(items) = value.as_array() else {
            self.invalid(key, format!("must be a list of texts, not {}", kind_of(value)));
            return None;
        };
        let mut texts = Vec::with_capacity(items.len());
        for (i, item) in items.iter().enumerate() {
            let at = format!("{}/{i}", self.at(key));
            match item.as_str() {
                Some(text) => texts.push((at, text)),
                None => self.invalid_at(at, format!("must be a text, not {}", kind_of(item))),
            }
        }
        Some(texts)
    }

    /// A member of the contract whose feature is not built yet.
    pub(super) fn not_available(&mut self, key: &'static str) {
        if self.get(key).is_some() {
            let pointer = self.at(key);
            self.errors.push(FieldError {
                detail: format!("`{key}` is not available in this version; leave it out"),
                pointer,
                kind: FieldErrorKind::NotAvailable,
            });
        }
    }

    /// Something is wrong with a member.
    pub(super) fn invalid(&mut self, key: &str, detail: String) {
        let pointer = self.at(key);
        self.invalid_at(pointer, detail);
    }

    /// Something is wrong somewhere inside.
    pub(super) fn invalid_at(&mut self, pointer: String, detail: String) {
        self.errors.push(FieldError {
            pointer,
            detail,
            kind: FieldErrorKind::Invalid,
        });
    }

    /// Takes over what was found wrong elsewhere.
    pub(super) fn push(&mut self, error: FieldError) {
        self.errors.push(error);
    }

    /// All that is wrong, unknown keys included.
    pub(super) fn finish(mut self) -> Vec<FieldError> {
        let unknown: Vec<&String> = self
            .members
            .into_iter()
            .flat_map(Map::keys)
            .filter(|k| !self.asked.contains(&k.as_str()))
            .collect();
        for key in unknown {
            let nearest = nearest(key, self.asked.iter().copied());
            let shown: String = key.chars().take(60).collect();
            let detail = match nearest {
                Some(known) => format!("unknown key `{shown}`; did you mean `{known}`?"),
                None => format!("unknown key `{shown}`; known here: {}", self.asked.join(", ")),
            };
            self.invalid(key, detail);
        }
        self.errors
    }
}

/// What a value is, for people.
pub fn kind_of(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "a table",
    }
}
