//! A validator of answers against an OpenAPI 3.1 document, for the part of JSON Schema that our document uses: `$ref`,
//! `type` (one or several), `enum`, `required`, `properties`, `additionalProperties`, `items`, `oneOf`, `anyOf`, `allOf`.
//!
//! Promises: stricter than JSON Schema in one point: a member that an object's schema does not list is wrong, because
//! an undocumented member is a lie by omission.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

/// A document to check answers against.
#[derive(Debug, Clone)]
pub struct Document(Value);

/// One operation of a document.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The method in lower case.
    pub method: String,
    /// The path with its `{parameters}`.
    pub path: String,
    /// The operation itself.
    pub value: Value,
}

impl Document {
    /// Out of its JSON.
    pub fn new(document: Value) -> Self {
        Self(document)
    }

    /// The JSON.
    pub fn value(&self) -> &Value {
        &self.0
    }

    /// All operations.
    pub fn operations(&self) -> Vec<Operation> {
        let mut all = Vec::new();
        for (path, item) in self.0["paths"].as_object().into_iter().flatten() {
            for (method, value) in item.as_object().into_iter().flatten() {
                if value["responses"].is_object() {
                    all.push(Operation {
                        method: method.clone(),
                        path: path.clone(),
                        value: value.clone(),
                    });
                }
            }
        }
        all
    }

    /// The operation that a request meets.
    pub fn operation(&self, method: &str, path: &str) -> Option<Operation> {
        let method = method.to_ascii_lowercase();
        let mut fitting: Vec<Operation> = self
            .operations()
            .into_iter()
            .filter(|o| o.method == method && fits(&o.path, path))
            .collect();
        // A literal path wins over one with parameters, as in the router.
        fitting.sort_by_key(|o| o.path.matches('{').count());
        fitting.into_iter().next()
    }

    /// Checks an answer: the status is documented, its media type is documented, its body has the documented shape.
    ///
    /// # Errors
    ///
    /// What is not as documented, in words.
    pub fn check(&self, request: (&str, &str), status: u16, media: &str, body: Option<&Value>) -> Result<(), String> {
        let (method, path) = request;
        let at = format!("{method} {path} {status}");
        let operation = self
            .operation(method, path)
            .ok_or_else(|| format!("{at}: no such operation"))?;
        let response = &operation.value["responses"][status.to_string()];
        if response.is_null() {
            return Err(format!("{at}: the status is not documented"));
        }
        let documented = response["content"].as_object();
        let Some(body) = body else {
            let bare = documented.is_none_or(Map::is_empty);
            return if bare {
                Ok(())
            } else {
                Err(format!("{at}: a body is documented, none came"))
            };
        };
        let content = documented
            .and_then(|c| c.get(media))
            .ok_or_else(|| format!("{at}: the media type `{media}` is not documented"))?;
        let mut problems = Vec::new();
        self.validate(&content["schema"], body, "", &mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(format!("{at}: {}\nin {body:#}", problems.join("; ")))
        }
    }

    /// Checks a value against a schema of the document by name.
    ///
    /// # Errors
    ///
    /// What does not fit, in words.
    pub fn check_shape(&self, name: &str, value: &Value) -> Result<(), String> {
        let mut problems = Vec::new();
        self.validate(&self.0["components"]["schemas"][name], value, "", &mut problems);
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems.join("; "))
        }
    }

    fn resolve<'a>(&'a self, schema: &'a Value) -> &'a Value {
        match schema["$ref"].as_str() {
            Some(reference) => self
                .0
                .pointer(reference.trim_start_matches('#'))
                .unwrap_or(&Value::Null),
            None => schema,
        }
    }

    fn fits_schema(&self, schema: &Value, value: &Value) -> bool {
        let mut problems = Vec::new();
        self.validate(schema, value, "", &mut problems);
        problems.is_empty()
    }

    fn validate(&self, schema: &Value, value: &Value, at: &str, problems: &mut Vec<String>) {
        let schema = self.resolve(schema);
        if schema.is_null() {
            problems.push(format!("{at}: no schema"));
            return;
        }
        for (key, exactly_one) in [("oneOf", true), ("anyOf", false)] {
            if let Some(choices) = schema[key].as_array() {
                let count = choices.iter().filter(|c| self.fits_schema(c, value)).count();
                if count == 0 || (exactly_one && count != 1) {
                    problems.push(format!(
                        "{at}: {value} fits {count} of {key} {}",
                        Value::from(choices.clone())
                    ));
                }
                return;
            }
        }
        if let Some(words) = schema["enum"].as_array()
            && !words.contains(value)
        {
            problems.push(format!("{at}: {value} is not one of {}", Value::from(words.clone())));
        }
        if !type_fits(&schema["type"], value) {
            problems.push(format!("{at}: {value} is not of type {}", schema["type"]));
            return;
        }
        match value {
            Value::Object(members) => self.object(schema, members, at, problems),
            Value::Array(items) if !schema["items"].is_null() => {
                for (i, item) in items.iter().enumerate() {
                    self.validate(&schema["items"], item, &format!("{at}/{i}"), problems);
                }
            }
            _ => {}
        }
    }

    fn object(&self, schema: &Value, members: &Map<String, Value>, at: &str, problems: &mut Vec<String>) {
        let mut parts = vec![schema];
        self.flatten(schema, &mut parts);
        let mut known = BTreeSet::new();
        for part in &parts {
            for name in part["required"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
            {
                if !members.contains_key(name) {
                    problems.push(format!("{at}: `{name}` is missing"));
                }
            }
            for (name, property) in part["properties"].as_object().into_iter().flatten() {
                known.insert(name.as_str());
                if let Some(value) = members.get(name) {
                    self.validate(property, value, &format!("{at}/{name}"), problems);
                }
            }
        }
        let additional = &schema["additionalProperties"];
        for (name, value) in members.iter().filter(|(n, _)| !known.contains(n.as_str())) {
            let place = format!("{at}/{name}");
            match additional {
                Value::Object(_) => self.validate(additional, value, &place, problems),
                // An object about which nothing is said is free.
                Value::Null if known.is_empty() => {}
                Value::Bool(true) => {}
                _ => problems.push(format!("{place}: not documented")),
            }
        }
    }

    fn flatten<'a>(&'a self, schema: &'a Value, parts: &mut Vec<&'a Value>) {
        for part in schema["allOf"].as_array().into_iter().flatten() {
            let part = self.resolve(part);
            parts.push(part);
            self.flatten(part, parts);
        }
    }
}

fn fits(template: &str, path: &str) -> bool {
    let path = path.split('?').next().unwrap_or(path);
    let (mut left, mut right) = (template.split('/'), path.split('/'));
    loop {
        match (left.next(), right.next()) {
            (None, None) => return true,
            (Some(a), Some(b)) if a == b || (a.starts_with('{') && !b.is_empty()) => {}
            _ => return false,
        }
    }
}

fn type_fits(wanted: &Value, value: &Value) -> bool {
    let one = |word: &str| match word {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "string" => value.is_string(),
        "number" => value.is_number(),
        "integer" => value.is_i64() || value.is_u64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => false,
    };
    match wanted {
        Value::Null => true,
        Value::String(word) => one(word),
        Value::Array(words) => words.iter().filter_map(Value::as_str).any(one),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn document() -> Document {
        let thing = json!({
            "type": "object",
            "required": ["name", "size"],
            "properties": {
                "name": {"type": "string"},
                "size": {"type": ["integer", "null"]},
                "kind": {"enum": ["a", "b"]},
                "parts": {"type": "array", "items": {"$ref": "#/components/schemas/Part"}},
                "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                "other": {"oneOf": [{"type": "null"}, {"$ref": "#/components/schemas/Part"}]}
            }
        });
        let both = json!({"allOf": [
            {"$ref": "#/components/schemas/Part"},
            {"type": "object", "required": ["more"], "properties": {"more": {"type": "boolean"}}}
        ]});
        Document::new(json!({
            "components": {"schemas": {
                "Thing": thing,
                "Part": {"type": "object", "required": ["n"], "properties": {"n": {"type": "number"}}},
                "Both": both
            }},
            "paths": {"/things/{name}": {"get": {"responses": {
                "200": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}}}},
                "204": {"description": "nothing"}
            }}}}
        }))
    }

    #[test]
    fn shapes_that_fit_pass_and_others_are_named() {
        let document = document();
        for (shape, value, wrong) in [
            ("Thing", json!({"name": "x", "size": null}), ""),
            (
                "Thing",
                json!({"name": "x", "size": 1, "kind": "a", "parts": [{"n": 1.5}], "other": null}),
                "",
            ),
            (
                "Thing",
                json!({"name": "x", "size": 1, "labels": {"a": "b"}, "other": {"n": 1}}),
                "",
            ),
            ("Both", json!({"n": 1, "more": true}), ""),
            ("Thing", json!({"name": "x"}), "`size` is missing"),
            ("Thing", json!({"name": 1, "size": 1}), "/name: 1 is not of type"),
            ("Thing", json!({"name": "x", "size": 1.5}), "/size"),
            ("Thing", json!({"name": "x", "size": 1, "kind": "c"}), "is not one of"),
            (
                "Thing",
                json!({"name": "x", "size": 1, "parts": [{"n": 1}, {}]}),
                "/parts/1: `n` is missing",
            ),
            (
                "Thing",
                json!({"name": "x", "size": 1, "labels": {"a": 1}}),
                "/labels/a",
            ),
            ("Thing", json!({"name": "x", "size": 1, "other": 5}), "fits 0 of oneOf"),
            (
                "Thing",
                json!({"name": "x", "size": 1, "secret": 5}),
                "/secret: not documented",
            ),
            (
                "Both",
                json!({"n": 1, "more": true, "else": 1}),
                "/else: not documented",
            ),
            ("Both", json!({"n": 1}), "`more` is missing"),
        ] {
            let found = document.check_shape(shape, &value).err().unwrap_or_default();
            assert!(
                found.contains(wrong) && found.is_empty() == wrong.is_empty(),
                "{value}: {found}"
            );
        }
    }

    #[test]
    fn answers_must_have_a_documented_status_media_type_and_body() {
        let document = document();
        let thing = json!({"name": "x", "size": 1});
        let json = "application/json";
        for (path, status, media, body, wrong) in [
            ("/things/x?a=1", 200, json, Some(&thing), ""),
            ("/things/x", 204, "", None, ""),
            ("/things/x", 500, json, Some(&thing), "not documented"),
            ("/things/x", 200, "text/plain", Some(&thing), "media type"),
            ("/things/x", 200, json, None, "none came"),
            ("/things", 200, json, Some(&thing), "no such operation"),
        ] {
            let found = document
                .check(("GET", path), status, media, body)
                .err()
                .unwrap_or_default();
            assert!(
                found.contains(wrong) && found.is_empty() == wrong.is_empty(),
                "{path} {status}: {found}"
            );
        }
    }
}
