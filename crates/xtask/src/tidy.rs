//! Rules of the house that the compiler does not know: the size of files and functions, headers, nothing left undone.
//!
//! They hold for the Rust files under `crates/` and `examples/`.

use std::path::{Path, PathBuf};

use anyhow::Context;

use crate::verdict;

mod lexer;

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
/// Where Rust files of ours are.
const FOLDERS: &[&str] = &["crates", "examples"];
/// What a build leaves there is not ours.
const BUILT: &str = "target";

/// Looks at the whole tree.
pub(crate) fn run(root: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    for folder in FOLDERS {
        collect(&root.join(folder), &mut files)?;
    }
    files.sort();
    let mut findings = Vec::new();
    for path in &files {
        let text = std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))?;
        findings.extend(rust(&shown(root, path), &text));
    }
    verdict(&findings, format!("tidy: {} Rust files keep the rules", files.len()))
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder).with_context(|| format!("{} cannot be read", folder.display()))? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if entry.file_name() != BUILT {
                collect(&path, files)?;
            }
        } else if kind.is_file() && path.extension().is_some_and(|e| e == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

/// A path as seen from the root.
fn shown(root: &Path, path: &Path) -> String {
    path.strip_prefix(root).unwrap_or(path).display().to_string()
}

/// All rules for one Rust file.
fn rust(name: &str, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let lines = text.lines().count();
    if lines > FILE_LINES_MAX {
        found.push(format!(
            "{name}: {lines} lines, {FILE_LINES_MAX} are allowed: split it by concern"
        ));
    }
    if !text.starts_with("//!") {
        found.push(format!("{name}:1: no `//!` header that says what the file promises"));
    }
    let code = lexer::code_only(text);
    for function in lexer::functions(&code) {
        if function.lines > FUNCTION_LINES_MAX {
            let lexer::Function {
                name: what,
                line,
                lines,
            } = function;
            found.push(format!(
                "{name}:{line}: fn {what} has {lines} lines, {FUNCTION_LINES_MAX} are allowed"
            ));
        }
    }
    found.extend(unfinished(name, text, &code));
    if name.starts_with("crates/") {
        found.extend(shells(name, text));
    }
    found
}

/// Notes to oneself, which are wanted in the code even less than in comments.
fn unfinished(name: &str, text: &str, code: &str) -> Vec<String> {
    let words = [["TO", "DO"].concat(), ["FIX", "ME"].concat()];
    let mut found = Vec::new();
    for (number, (line, code)) in text.lines().zip(code.lines()).enumerate() {
        let is_word = |w: &String| {
            line.split(|c: char| !c.is_alphanumeric() && c != '_')
                .any(|part| part == w)
        };
        let macros = ["todo!", "unimplemented!"];
        if words.iter().any(is_word) || macros.iter().any(|m| code.contains(m)) {
            found.push(format!("{name}:{}: something is left undone", number + 1));
        }
    }
    found
}

/// A shell takes text apart again that was whole: programs are started with their arguments as a list.
fn shells(name: &str, text: &str) -> Vec<String> {
    let starts = |line: &str| {
        let rest = line.split_once("Command::new(").map(|(_, rest)| rest.trim_start());
        rest.is_some_and(|r| {
            let program = r.trim_start_matches('"').split('"').next().unwrap_or_default();
            r.starts_with('"') && ["sh", "bash", "dash"].contains(&program.rsplit('/').next().unwrap_or_default())
        })
    };
    let lines = text.lines().enumerate().filter(|(_, line)| starts(line));
    lines
        .map(|(number, _)| format!("{name}:{}: a shell is started", number + 1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: &str) -> Vec<String> {
        rust("crates/x/src/lib.rs", &format!("//! Promises nothing.\n{body}"))
    }

    #[test]
    fn a_good_file_has_no_findings() {
        assert_eq!(check("fn main() {}\n"), Vec::<String>::new());
    }

    #[test]
    fn a_missing_header_and_a_long_file_are_found() {
        let found = rust("crates/x/src/lib.rs", &"const A: u8 = 1;\n".repeat(801));
        assert!(found[0].contains("801 lines"), "{found:?}");
        assert!(found[1].contains("header"), "{found:?}");
    }

    #[test]
    fn a_function_may_have_seventy_lines_and_no_more() {
        let function = |lines: usize| format!("fn long() {{\n{}}}\n", "    call();\n".repeat(lines - 2));
        assert_eq!(check(&function(70)), Vec::<String>::new());
        assert!(check(&function(71))[0].contains("fn long has 71 lines"));
    }

    #[test]
    fn notes_to_oneself_are_found_in_comments_and_code() {
        assert_eq!(check(&format!("// {}: later\n", ["TO", "DO"].concat())).len(), 1);
        assert_eq!(check(&format!("fn a() {{ {}() }}\n", ["todo", "!"].concat())).len(), 1);
        assert_eq!(check("const S: &str = \"todo!\";\n"), Vec::<String>::new());
    }

    #[test]
    fn a_shell_is_found_however_it_is_spelled() {
        let call = |program: &str| format!("fn a() {{ {}(\"{program}\"); }}\n", ["Command", "::new"].concat());
        for program in ["sh", "bash", "/bin/sh"] {
            assert_eq!(check(&call(program)).len(), 1, "{program}");
        }
        assert_eq!(check(&call("ssh")), Vec::<String>::new());
    }
}
