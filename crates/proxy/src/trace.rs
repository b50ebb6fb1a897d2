//! The W3C trace context of a request (Trace Context level 1): continued when valid, begun otherwise.
//!
//! Promises: what is sent on is always valid, whatever came in.

use http::HeaderValue;

use crate::dice::Dice;

/// The trace a request belongs to and the span the proxy opened in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TraceContext {
    /// 32 lower-case hexadecimal digits, not all zero.
    pub(crate) trace_id: String,
    /// The caller's span, if there was one.
    pub(crate) parent_id: Option<String>,
    /// The proxy's own span: 16 lower-case hexadecimal digits.
    pub(crate) span_id: String,
    /// Bit 0: sampled.
    flags: u8,
}

impl TraceContext {
    /// Continues what `traceparent` says, or begins a new sampled trace.
    pub(crate) fn continue_or_begin(traceparent: Option<&HeaderValue>, dice: &Dice) -> Self {
        let span_id = format!("{:016x}", dice.roll() | 1);
        let parsed = traceparent.and_then(|value| value.to_str().ok()).and_then(parse);
        if let Some((trace_id, parent_id, flags)) = parsed {
            return Self {
                trace_id: trace_id.to_owned(),
                parent_id: Some(parent_id.to_owned()),
                span_id,
                flags,
            };
        }
        let trace_id = format!("{:016x}{:016x}", dice.roll(), dice.roll() | 1);
        Self {
            trace_id,
            parent_id: None,
            span_id,
            flags: 1,
        }
    }

    /// What `own` says, the `traceparent` of the span that was opened for the request.
    pub(crate) fn of_span(own: &str, traceparent: Option<&HeaderValue>) -> Option<Self> {
        let (trace_id, span_id, flags) = parse(own)?;
        let caller = traceparent.and_then(|value| value.to_str().ok()).and_then(parse);
        Some(Self {
            trace_id: trace_id.to_owned(),
            parent_id: caller.map(|(_, parent_id, _)| parent_id.to_owned()),
            span_id: span_id.to_owned(),
            flags,
        })
    }

    /// Whether the caller's trace goes on here.
    pub(crate) const fn continued(&self) -> bool {
        self.parent_id.is_some()
    }

    /// What the app is told: the same trace, with the proxy's span as the parent.
    pub(crate) fn header(&self) -> HeaderValue {
        let text = format!("00-{}-{}-{:02x}", self.trace_id, self.span_id, self.flags & 1);
        HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from_static("00"))
    }
}

fn parse(text: &str) -> Option<(&str, &str, u8)> {
    let bytes = text.as_bytes();
    // Later versions may append fields after another dash; version ff is forbidden.
    if bytes.len() < 55 || (bytes.len() > 55 && (text.starts_with("00") || bytes[55] != b'-')) {
        return None;
    }
    let part = |range: std::ops::Range<usize>| {
        let text = text.get(range)?;
        text.bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
            .then_some(text)
    };
    let dashes = [2, 35, 52].iter().all(|i| bytes[*i] == b'-');
    let (version, trace, parent, flags) = (part(0..2)?, part(3..35)?, part(36..52)?, part(53..55)?);
    let zero = |text: &str| text.bytes().all(|b| b == b'0');
    if !dashes || version == "ff" || zero(trace) || zero(parent) {
        return None;
    }
    Some((trace, parent, u8::from_str_radix(flags, 16).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use slipway_domain::clock::testing::FixedEntropy;

    const GOOD: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn check(text: &str) -> TraceContext {
        let value = HeaderValue::from_str(text).expect("a header value");
        TraceContext::continue_or_begin(Some(&value), &Dice::seeded(&FixedEntropy(1)))
    }

    #[test]
    fn a_valid_parent_is_continued_under_a_new_span() {
        let context = check(GOOD);
        assert_eq!(context.trace_id, "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(context.parent_id.as_deref(), Some("b7ad6b7169203331"));
        let sent = context.header();
        let sent = sent.to_str().expect("ascii");
        assert!(sent.starts_with("00-0af7651916cd43dd8448eb211c80319c-") && !sent.contains("b7ad6b7169203331"));
    }

    #[test]
    fn an_invalid_parent_begins_a_new_trace() {
        for bad in [
            "",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-extra",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let context = check(bad);
            assert!(!context.continued(), "{bad}");
            assert!(parse(context.header().to_str().expect("ascii")).is_some(), "{bad}");
        }
        assert!(check(&format!("01{}-later", &GOOD[2..])).continued());
    }
}
