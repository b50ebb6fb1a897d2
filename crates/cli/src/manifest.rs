//! Reading `slipway.toml` and specs in TOML or JSON, and writing specs as TOML.
//!
//! Promises: what is wrong is found here, before anything is sent, by the same parser that the server uses, and every
//! problem is told at once with its place.

use std::fs;
use std::io::{self, Read as _};
use std::path::Path;

use serde_json::{Map, Value};
use slipway_domain::spec::{Manifest, Spec, SpecErrors};

use crate::context::MANIFEST;
use crate::env::INPUT_BYTES_MAX;
use crate::error::CliError;

/// What to do about a document that is wrong.
const NOT_DONE: &str = "nothing was changed; mend it and try again";
/// How to come by one.
const MAKE_ONE: &str = "make one: a file `slipway.toml` with the line `app = \"name\"`, then what `slipway spec show --app name` prints of an app that is there; or name another file with --file";

/// Reads a text file of at most 1 MiB.
pub(crate) fn read_text(path: &Path) -> Result<String, CliError> {
    let cannot = |why: String, hint: &str| CliError::usage(format!("cannot read {}: {why}", path.display()), hint);
    let mut text = String::new();
    let file = fs::File::open(path).map_err(|e| {
        if e.kind() == io::ErrorKind::NotFound && path.file_name() == Some(MANIFEST.as_ref()) {
            cannot(e.to_string(), MAKE_ONE)
        } else {
            cannot(e.to_string(), "check the path")
        }
    })?;
    let read = file.take(INPUT_BYTES_MAX + 1).read_to_string(&mut text);
    read.map_err(|e| cannot(e.to_string(), "it must be a text file in UTF-8"))?;
    if text.len() as u64 > INPUT_BYTES_MAX {
        return Err(cannot("it is longer than 1 MiB".into(), "is it the right file?"));
    }
    Ok(text)
}

/// Reads a manifest.
pub(crate) fn read(path: &Path) -> Result<Manifest, CliError> {
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let value = parse(&read_text(path)?, &name)?;
    Manifest::from_json(&value).map_err(|errors| refuse(&errors, &name))
}

/// The app that a manifest names, whatever else is wrong with it; none if it names none, or is not there.
pub(crate) fn app_of(path: &Path) -> Result<Option<String>, CliError> {
    if !path.exists() {
        return Ok(None);
    }
    let value = parse(&read_text(path)?, MANIFEST)?;
    Ok(value.get("app").and_then(Value::as_str).map(str::to_owned))
}

/// A spec with all its defaults, as far as this client knows them.
pub(crate) fn normal(spec: &Value) -> Value {
    Spec::from_json(spec).map_or_else(|_| spec.clone(), |spec| spec.to_json())
}

/// Reads a spec out of TOML or JSON; `app` and `image` of a manifest are no part of it and may be there.
pub(crate) fn spec_of(text: &str, name: &str) -> Result<Spec, CliError> {
    let mut value = parse(text, name)?;
    if let Some(members) = value.as_object_mut() {
        for key in ["app", "image"] {
            if members.remove(key).is_some_and(|value| !value.is_string()) {
                let problem = format!("{name} has a problem:\n  /{key}: give a text: `{key} = \"…\"`");
                return Err(CliError::usage(problem, NOT_DONE));
            }
        }
    }
    Spec::from_json(&value).map_err(|errors| refuse(&errors, name))
}

fn parse(text: &str, name: &str) -> Result<Value, CliError> {
    if text.trim_start().starts_with('{') {
        return serde_json::from_str(text)
            .map_err(|e| CliError::usage(format!("{name} is not JSON: {e}"), "mend it and try again"));
    }
    toml::from_str(text).map_err(|e| {
        CliError::usage(
            format!("{name} is not TOML: {}", e.to_string().trim_end()),
            "mend it and try again",
        )
    })
}

fn refuse(errors: &SpecErrors, name: &str) -> CliError {
    let lines: Vec<String> = errors
        .0
        .iter()
        .map(|e| format!("\n  {}: {}", e.pointer, e.detail))
        .collect();
    let problems = if lines.len() == 1 { "a problem" } else { "problems" };
    CliError::usage(format!("{name} has {problems}:{}", lines.concat()), NOT_DONE)
}

/// A document as TOML; members without a value are left out, as TOML has none.
pub(crate) fn to_toml(value: &Value) -> Result<String, CliError> {
    let value = without_nulls(value);
    toml::to_string(&value).map_err(|e| CliError::failed(format!("the document cannot be shown as TOML: {e}")))
}

fn without_nulls(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members
                .iter()
                .filter(|(_, v)| !v.is_null())
                .map(|(k, v)| (k.clone(), without_nulls(v)));
            Value::Object(kept.collect::<Map<_, _>>())
        }
        Value::Array(items) => Value::Array(items.iter().filter(|v| !v.is_null()).map(without_nulls).collect()),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_problem_is_told_with_its_place() {
        let error = spec_of("internal_prot = 1\n[health]\npath = 3\n", "slipway.toml").expect_err("two problems");
        let text = error.to_string();
        assert!(text.contains("did you mean `internal_port`?"), "{text}");
        assert!(text.contains("/health/path"), "{text}");
        let error = spec_of("app = \"web\"\nimage = 3\n", "slipway.toml").expect_err("no text");
        assert!(error.to_string().contains("/image: give a text"), "{error}");
        assert_eq!(error.exit_code(), 2);
    }

    #[test]
    fn a_syntax_error_names_its_line() {
        let error = spec_of("a = 1\nb = \n", "slipway.toml").expect_err("no TOML");
        assert!(error.to_string().contains("line 2"), "{error}");
        assert!(
            spec_of("{\"a\":", "x.json")
                .expect_err("no JSON")
                .to_string()
                .contains("is not JSON")
        );
    }

    #[test]
    fn a_spec_written_as_toml_reads_back_the_same() {
        let spec = spec_of(
            "app = \"web\"\n[env]\nA = \"1\"\n[[mounts]]\nvolume = \"up\"\npath = \"/data\"\n",
            "m",
        )
        .expect("valid");
        let text = to_toml(&spec.to_json()).expect("TOML");
        assert_eq!(spec_of(&text, "again").expect("valid"), spec);
    }
}
