//! Containers that this process is removing: an inspection would wait for the removal, and there is nothing more to know
//! of them.

use std::collections::HashSet;

use parking_lot::Mutex;

/// Their ids.
#[derive(Default)]
pub(super) struct Going(Mutex<HashSet<String>>);

impl Going {
    /// Notes one, for as long as what this gives lives.
    pub(super) fn note<'a>(&'a self, id: &'a str) -> Noted<'a> {
        self.0.lock().insert(id.to_owned());
        Noted(self, id)
    }

    /// Whether it is one of them.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().contains(id)
    }
}

/// A container is being removed.
pub(super) struct Noted<'a>(&'a Going, &'a str);

impl Drop for Noted<'_> {
    fn drop(&mut self) {
        self.0.0.lock().remove(self.1);
    }
}

#[cfg(test)]
mod tests {
    use super::Going;

    #[test]
    fn a_container_is_noted_until_its_removal_has_ended_however_it_ended() {
        let going = Going::default();
        let noted = going.note("a");
        assert!(going.has("a") && !going.has("b"));
        drop(noted);
        assert!(!going.has("a"));
    }
}
