//! Whether an answer is the right one. Pure.

use serde_json::Value;

use super::answer::beginning;
use super::trouble::Trouble;

const FNV_OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// The sum of FNV-1a, 64 bits wide, over bytes in parts.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) const fn new() -> Self {
        Self(FNV_OFFSET)
    }

    pub(crate) fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(FNV_PRIME);
        }
    }

    /// As the app writes it.
    pub(crate) fn hex(self) -> String {
        format!("{:016x}", self.0)
    }
}

fn json(body: &[u8]) -> Result<Value, Trouble> {
    serde_json::from_slice(body).map_err(|error| Trouble::Wrong(format!("no JSON ({error}): {}", beginning(body))))
}

/// The echo of an id by an app; returns the release that gave it.
pub(crate) fn echo(body: &[u8], id: &str, app: &str) -> Result<String, Trouble> {
    let said = json(body)?;
    if said["id"] != id {
        return Err(Trouble::Wrong(format!("the id {} for {id}", said["id"])));
    }
    if said["app"] != app {
        return Err(Trouble::Wrong(format!("the app {} for {app}", said["app"])));
    }
    let release = said["release"].as_str();
    release
        .map(str::to_owned)
        .ok_or_else(|| Trouble::Wrong(format!("no release: {}", beginning(body))))
}

/// What the app says about an upload.
pub(crate) fn upload(body: &[u8], bytes: u64, sum: &str) -> Result<(), Trouble> {
    let said = json(body)?;
    if said["length"] == bytes && said["sum"] == sum {
        Ok(())
    } else {
        Err(Trouble::Wrong(format!(
            "{bytes} bytes with the sum {sum} became {said}"
        )))
    }
}

/// A whole stream of so many events, numbered from 0.
pub(crate) fn events(body: &[u8], count: u32) -> Result<(), Trouble> {
    let text = String::from_utf8_lossy(body);
    let data = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let expected = (0..count).map(|number| format!("event {number}"));
    if text.ends_with("\n\n") && data.eq(expected) {
        Ok(())
    } else {
        Err(Trouble::Wrong(format!("not the {count} events: {}", beginning(body))))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_those_of_fnv_1a() {
        let mut sum = Sum::new();
        assert_eq!(sum.hex(), "cbf29ce484222325");
        sum.add(b"foo");
        sum.add(b"bar");
        assert_eq!(sum.hex(), "85944171f73967e8");
    }

    #[test]
    fn an_echo_has_the_id_the_app_and_a_release() {
        let body = br#"{"app":"web","release":"3","id":"1-0-7"}"#;
        assert_eq!(echo(body, "1-0-7", "web").expect("right"), "3");
        assert!(echo(body, "1-0-8", "web").is_err());
        assert!(echo(body, "1-0-7", "blog").is_err());
        assert!(echo(br#"{"app":"web","id":"1"}"#, "1", "web").is_err());
        assert!(echo(b"<html>", "1", "web").is_err());
    }

    #[test]
    fn an_upload_has_its_length_and_its_sum() {
        let body = br#"{"length":3,"sum":"00ff"}"#;
        assert!(upload(body, 3, "00ff").is_ok());
        assert!(upload(body, 4, "00ff").is_err());
        assert!(upload(body, 3, "00fe").is_err());
    }

    #[test]
    fn events_are_all_there_in_order_and_whole() {
        let body = b"id: 0\ndata: event 0\n\nid: 1\ndata: event 1\n\n";
        assert!(events(body, 2).is_ok());
        assert!(events(body, 1).is_err());
        assert!(events(body, 3).is_err());
        assert!(events(&body[..body.len() - 1], 2).is_err());
        assert!(events(b"data: event 1\n\ndata: event 0\n\n", 2).is_err());
    }
}
