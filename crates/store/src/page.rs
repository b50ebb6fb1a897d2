//! Keyset pages.

/// One page of a list.
#[derive(Debug, Clone)]
pub struct Page<K> {
    /// At most so many.
    pub limit: u32,
    /// Only what comes after this key in the list's order.
    pub after: Option<K>,
}

impl<K> Page<K> {
    pub(crate) fn limit(&self) -> i64 {
        i64::from(self.limit)
    }
}
