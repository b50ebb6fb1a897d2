//! What somebody may have meant.

/// The candidate nearest to a word, if it is so near that the word may be a slip: at most every second letter differs.
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    candidates
        .into_iter()
        .map(|known| (strsim::damerau_levenshtein(word, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len().max(word.len()) / 2)
        .map(|(_, known)| known)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn a_slip_finds_what_was_meant_and_another_word_finds_nothing() {
        let known = ["web", "hello", "billing"];
        for (word, found) in [
            ("helo", Some("hello")),
            ("wbe", Some("web")),
            ("bilings", Some("billing")),
            ("api", None),
            ("x", None),
        ] {
            assert_eq!(nearest(word, known), found, "{word}");
        }
        assert_eq!(nearest("web", []), None);
    }
}
