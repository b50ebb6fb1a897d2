//! The audit chain: each row carries the hash of the one before it.
//!
//! Promises: changing, removing or reordering any row but the tail breaks the chain. The hash is
//! `SHA-256(0x00 ‖ previous hash ‖ JCS(row))` with the JSON canonicalization scheme of RFC 8785.

use serde_json::Value;
use sha2::{Digest, Sha256};

/// The hash before the first row.
pub const GENESIS: [u8; 32] = [0; 32];

/// The hash of a row that follows another.
pub fn chain_hash(previous: &[u8; 32], row: &Value) -> [u8; 32] {
    let mut hasher = Sha256::new();
    hasher.update([0_u8]);
    hasher.update(previous);
    hasher.update(canonical(row).as_bytes());
    hasher.finalize().into()
}

/// RFC 8785 for values without fractions, which is all that audit rows hold: members sorted by their UTF-16 code
/// units, no white space, the shortest escapes.
pub fn canonical(value: &Value) -> String {
    match value {
        Value::Object(members) => {
            let mut sorted: Vec<_> = members.iter().collect();
            sorted.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            let inner: Vec<String> = sorted
                .into_iter()
                .map(|(k, v)| format!("{}:{}", Value::from(k.as_str()), canonical(v)))
                .collect();
            format!("{{{}}}", inner.join(","))
        }
        Value::Array(items) => {
            let inner: Vec<String> = items.iter().map(canonical).collect();
            format!("[{}]", inner.join(","))
        }
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn members_are_sorted_and_escaped_as_the_rfc_says() {
        let value = json!({"b": [1, true, null], "a": "é\n\"\u{1}", "A": {}});
        assert_eq!(
            canonical(&value),
            "{\"A\":{},\"a\":\"é\\n\\\"\\u0001\",\"b\":[1,true,null]}"
        );
    }

    #[test]
    fn any_change_changes_the_hash() {
        let row = json!({"action": "app.create", "target": "web"});
        let hash = chain_hash(&GENESIS, &row);
        assert_eq!(
            hash,
            chain_hash(&GENESIS, &json!({"target": "web", "action": "app.create"}))
        );
        assert_ne!(
            hash,
            chain_hash(&GENESIS, &json!({"action": "app.create", "target": "wep"}))
        );
        assert_ne!(hash, chain_hash(&[1; 32], &row));
    }
}
