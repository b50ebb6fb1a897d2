//! The words of a parser for people who know HTTP and JSON and not Rust.
//!
//! Promises: no name of a type of the language, no "struct", no "variant": what must be given, and what was.

use slipway_domain::nearest::nearest;

/// What is wrong, in plain words; `text` is a message of serde or of a number's or switch's parser.
pub(crate) fn humane(text: &str) -> String {
    let wrong = ["invalid type: ", "invalid value: "]
        .iter()
        .find_map(|prefix| text.strip_prefix(prefix))
        .and_then(|rest| rest.split_once(", expected "));
    if let Some((found, expected)) = wrong {
        return format!("must be {}, not {}", wanted(expected), given(found));
    }
    if let Some(rest) = text.strip_prefix("unknown variant ") {
        return choice(rest);
    }
    if let Some((name, names)) = text
        .strip_prefix("unknown field ")
        .and_then(|rest| rest.split_once(", expected "))
    {
        let names = names.trim_start_matches("one of ");
        // Every second part is a name: they stand between backticks.
        let known = names.split('`').skip(1).step_by(2);
        let meant =
            nearest(name.trim_matches('`'), known).map_or_else(String::new, |n| format!(", did you mean `{n}`?"));
        let there_is = if meant.is_empty() { "; there is" } else { " There is" };
        return format!("unknown member {name}{meant}{there_is} {names}");
    }
    match text {
        "invalid digit found in string" | "cannot parse integer from empty string" => "must be a whole number".into(),
        "number too large to fit in target type" | "number too small to fit in target type" => {
            "the number is too large".into()
        }
        "provided string was not `true` or `false`" => "must be `true` or `false`".into(),
        _ => text
            .replace("unknown field", "unknown member")
            .replace("missing field", "missing member")
            .replace("duplicate field", "given twice: member"),
    }
}

/// `` `x`, expected one of `a`, `b` `` or `` `x`, expected `a` or `b` ``.
fn choice(rest: &str) -> String {
    let Some((found, words)) = rest.split_once(", expected ") else {
        return format!("cannot be {rest}");
    };
    let words = words.trim_start_matches("one of ");
    let words = words
        .rsplit_once(", ")
        .map_or_else(|| words.to_owned(), |(first, last)| format!("{first} or {last}"));
    format!("must be {words}, not {found}")
}

fn wanted(expected: &str) -> String {
    let whole = |max: u64| format!("a whole number from 0 to {max}");
    match expected.split_whitespace().next().unwrap_or_default() {
        "u8" => whole(u8::MAX.into()),
        "u16" => whole(u16::MAX.into()),
        "u32" => whole(u32::MAX.into()),
        "u64" | "usize" => "a whole number, not negative".into(),
        "i32" | "i64" => "a whole number".into(),
        "f64" | "f32" => "a number".into(),
        "a" if expected.contains("boolean") => "true or false".into(),
        "a" if expected == "a string" || expected == "a borrowed string" => "a text".into(),
        "a" if expected.contains("sequence") => "a list".into(),
        "a" if expected == "a map" => "an object".into(),
        "struct" | "map" => "an object".into(),
        "string" => "a text".into(),
        _ => expected.to_owned(),
    }
}

fn given(found: &str) -> String {
    let (kind, value) = found.split_once(' ').unwrap_or((found, ""));
    match kind {
        "string" => "a text".into(),
        "integer" | "floating" => match value.trim_start_matches("point ").trim_matches('`') {
            "" => "a number".into(),
            number => number.to_owned(),
        },
        "boolean" => value.trim_matches('`').to_owned(),
        "sequence" => "a list".into(),
        "map" => "an object".into(),
        _ => found.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::humane;

    #[test]
    fn what_a_parser_says_is_told_without_the_words_of_its_language() {
        for (said, told) in [
            (
                "invalid type: string \"x\", expected u32",
                "must be a whole number from 0 to 4294967295, not a text",
            ),
            (
                "invalid value: integer `-1`, expected u16",
                "must be a whole number from 0 to 65535, not -1",
            ),
            (
                "invalid type: floating point `1.5`, expected u64",
                "must be a whole number, not negative, not 1.5",
            ),
            (
                "invalid type: map, expected a sequence",
                "must be a list, not an object",
            ),
            (
                "invalid type: sequence, expected struct Limits",
                "must be an object, not a list",
            ),
            (
                "invalid type: boolean `true`, expected a string",
                "must be a text, not true",
            ),
            (
                "unknown variant `all`, expected `local` or `registry`",
                "must be `local` or `registry`, not `all`",
            ),
            (
                "unknown variant `z`, expected one of `a`, `b`, `c`",
                "must be `a`, `b` or `c`, not `z`",
            ),
            (
                "unknown field `x`, expected `a` or `b`",
                "unknown member `x`; there is `a` or `b`",
            ),
            (
                "unknown field `mesage`, expected one of `message`, `pull`",
                "unknown member `mesage`, did you mean `message`? There is `message`, `pull`",
            ),
            ("missing field `count`", "missing member `count`"),
            ("duplicate field `count`", "given twice: member `count`"),
            ("invalid digit found in string", "must be a whole number"),
            ("provided string was not `true` or `false`", "must be `true` or `false`"),
            (
                "`9q` is not a duration such as `30s`",
                "`9q` is not a duration such as `30s`",
            ),
        ] {
            assert_eq!(humane(said), told, "{said}");
        }
    }
}
