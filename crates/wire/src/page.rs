//! Lists: one page and the opaque cursor to the next one.
//!
//! Promises: a cursor is a position in a fixed order (a keyset), so that pages neither skip nor repeat what exists
//! throughout; text that is not one of our cursors is refused.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Page<T> {
    /// What is on this page.
    pub items: Vec<T>,
    /// Give it as `?cursor=` for the next page; `null` on the last one.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Entries on a page when nothing is asked for.
pub const LIMIT_DEFAULT: u32 = 50;
/// The most entries on a page.
pub const LIMIT_MAX: u32 = 200;

/// The text is not one of our cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CursorError;

/// The cursor behind an entry with this key in the named order.
pub fn encode_cursor(order: &str, key: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("1:{order}:{key}"))
}

/// The key of the entry that a cursor stands behind; the order must be the one it was made for.
pub fn decode_cursor(order: &str, cursor: &str) -> Result<String, CursorError> {
    if cursor.len() > 512 {
        return Err(CursorError);
    }
    let bytes = URL_SAFE_NO_PAD.decode(cursor).map_err(|_| CursorError)?;
    let text = String::from_utf8(bytes).map_err(|_| CursorError)?;
    text.strip_prefix("1:")
        .and_then(|rest| rest.strip_prefix(order))
        .and_then(|rest| rest.strip_prefix(':'))
        .map(str::to_owned)
        .ok_or(CursorError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_only_for_its_own_order() {
        let cursor = encode_cursor("apps", "web:1");
        assert_eq!(decode_cursor("apps", &cursor), Ok("web:1".into()));
        for (order, bad) in [
            ("teams", cursor.as_str()),
            ("app", cursor.as_str()),
            ("apps", "%%%"),
            ("apps", ""),
            ("apps", "MQ"),
            ("apps", &"A".repeat(600)),
        ] {
            assert_eq!(decode_cursor(order, bad), Err(CursorError), "{order} {bad}");
        }
    }
}
