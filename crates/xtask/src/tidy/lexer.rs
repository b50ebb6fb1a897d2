//! As much of Rust's lexical grammar as counting braces needs: comments, strings and characters are blanked out.
//!
//! Lines stay where they are, so that a finding names the right one.

/// A function with a body: its name, its first line (from 1) and how many lines it takes.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Function {
    pub(crate) name: String,
    pub(crate) line: usize,
    pub(crate) lines: usize,
}

/// The text with comments, strings and characters replaced by spaces.
pub(crate) fn code_only(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut code = String::with_capacity(text.len());
    let mut at = 0;
    while at < chars.len() {
        let end = token_end(&chars, at);
        if end == at {
            code.push(chars[at]);
            at += 1;
            continue;
        }
        for c in &chars[at..end] {
            code.push(if *c == '\n' { '\n' } else { ' ' });
        }
        at = end;
    }
    code
}

/// Where the comment, string or character that begins here ends; `at` if none does.
fn token_end(chars: &[char], at: usize) -> usize {
    let next = chars.get(at + 1).copied();
    let after_word = at > 0 && is_word(chars[at - 1]);
    match chars[at] {
        '/' if next == Some('/') => (at..chars.len()).find(|i| chars[*i] == '\n').unwrap_or(chars.len()),
        '/' if next == Some('*') => block_comment_end(chars, at),
        '"' => quoted_end(chars, at, '"'),
        'r' if !after_word => raw_end(chars, at + 1).unwrap_or(at),
        'b' | 'c' if !after_word && next == Some('r') => raw_end(chars, at + 2).unwrap_or(at),
        '\'' if next == Some('\\') || chars.get(at + 2) == Some(&'\'') => quoted_end(chars, at, '\''),
        _ => at,
    }
}

/// Block comments nest.
fn block_comment_end(chars: &[char], at: usize) -> usize {
    let (mut depth, mut i) = (0_usize, at);
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => (depth, i) = (depth + 1, i + 2),
            ('*', '/') if depth == 1 => return i + 2,
            ('*', '/') => (depth, i) = (depth - 1, i + 2),
            _ => i += 1,
        }
    }
    chars.len()
}

fn quoted_end(chars: &[char], at: usize, quote: char) -> usize {
    let mut i = at + 1;
    while i < chars.len() {
        match chars[i] {
            '\\' => i += 2,
            c if c == quote => return i + 1,
            _ => i += 1,
        }
    }
    chars.len()
}

/// The end of a raw string whose hashes or quote begin at `at`; nothing if this is no raw string.
fn raw_end(chars: &[char], at: usize) -> Option<usize> {
    let hashes = chars[at.min(chars.len())..].iter().take_while(|c| **c == '#').count();
    let open = at + hashes;
    if chars.get(open) != Some(&'"') {
        return None;
    }
    let mut i = open + 1;
    while i < chars.len() {
        let closing = chars[i + 1..].iter().take_while(|c| **c == '#').count();
        if chars[i] == '"' && closing >= hashes {
            return Some(i + 1 + hashes);
        }
        i += 1;
    }
    Some(chars.len())
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Every function with a body, in blanked-out code. Nested functions count by themselves and in the outer one.
pub(crate) fn functions(code: &str) -> Vec<Function> {
    let chars: Vec<char> = code.chars().collect();
    let line_of = |at: usize| chars[..at].iter().filter(|c| **c == '\n').count() + 1;
    let mut found = Vec::new();
    for at in 0..chars.len() {
        let Some(name) = name_at(&chars, at) else { continue };
        let Some(open) = body_start(&chars, at) else { continue };
        let (first, last) = (line_of(at), line_of(body_end(&chars, open)));
        found.push(Function {
            name,
            line: first,
            lines: last - first + 1,
        });
    }
    found
}

/// The name, if the keyword `fn` stands here with one after it (a function pointer's type has none).
fn name_at(chars: &[char], at: usize) -> Option<String> {
    let before = at == 0 || !is_word(chars[at - 1]);
    if !before || chars.get(at..at + 2)? != ['f', 'n'] || !chars.get(at + 2)?.is_whitespace() {
        return None;
    }
    let rest = chars[at + 2..].iter().skip_while(|c| c.is_whitespace());
    let name: String = rest.take_while(|c| is_word(**c)).collect();
    (!name.is_empty()).then_some(name)
}

/// The opening brace of the body; nothing for a declaration that ends in a semicolon.
fn body_start(chars: &[char], at: usize) -> Option<usize> {
    let mut depth = 0_i32;
    for (i, c) in chars.iter().enumerate().skip(at) {
        match c {
            '(' | '[' => depth += 1,
            ')' | ']' => depth -= 1,
            '{' if depth == 0 => return Some(i),
            ';' if depth == 0 => return None,
            _ => {}
        }
    }
    None
}

fn body_end(chars: &[char], open: usize) -> usize {
    let mut depth = 0_i32;
    for (i, c) in chars.iter().enumerate().skip(open) {
        match c {
            '{' => depth += 1,
            '}' if depth == 1 => return i,
            '}' => depth -= 1,
            _ => {}
        }
    }
    chars.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(text: &str) -> Vec<(String, usize, usize)> {
        functions(&code_only(text))
            .into_iter()
            .map(|f| (f.name, f.line, f.lines))
            .collect()
    }

    #[test]
    fn braces_in_strings_characters_and_comments_do_not_count() {
        let text = "fn a() {\n // }\n /* } /* } */ } */\n let _ = (\"}\\\"}\", '}', '\\'', r#\"}\"}\"#, b\"}\", br\"}\");\n}\n";
        assert_eq!(found(text), [("a".to_owned(), 1, 5)]);
    }

    #[test]
    fn a_lifetime_is_not_a_character() {
        assert_eq!(
            found("fn a<'x>(b: &'x str) -> &'x str {\n b\n}\n"),
            [("a".to_owned(), 1, 3)]
        );
    }

    #[test]
    fn declarations_and_pointers_have_no_body_and_arrays_do_not_end_a_signature() {
        assert_eq!(
            found("trait T { fn a(&self) -> [u8; 4]; }\ntype F = fn(u8) -> u8;\n"),
            []
        );
        assert_eq!(found("fn b() -> [u8; 4] {\n [0; 4]\n}\n"), [("b".to_owned(), 1, 3)]);
    }

    #[test]
    fn nested_functions_are_both_counted() {
        assert_eq!(
            found("fn outer() {\n fn inner() {\n }\n}\n"),
            [("outer".to_owned(), 1, 4), ("inner".to_owned(), 2, 2)]
        );
    }

    #[test]
    fn lines_stay_where_they_are() {
        let text = "a\n\"b\n\nc\"\n/* d\n */ e\n";
        assert_eq!(code_only(text).lines().count(), text.lines().count());
    }
}
