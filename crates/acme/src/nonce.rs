//! Calls to a CA: bounded in time, and repeated while it refuses our nonces.
//!
//! A call that was refused for its nonce (RFC 8555 section 6.5) had no effect: it may be repeated as often as one likes.

use std::time::Duration;

use instant_acme::{Error, Problem};

/// To one call with the repetitions that the library does itself.
pub(crate) const CALL_MAX: Duration = Duration::from_secs(30);
/// So often a call is repeated for its nonce, each time with three attempts of the library's own.
const REFUSALS_MAX: u32 = 60;

/// Why a call to a CA did not do what it was to do.
#[derive(Debug)]
pub(crate) enum CallError {
    /// The CA said so.
    Refused(Problem),
    /// It answered what cannot be read.
    Unreadable(String),
    /// It could not be asked, or did not answer in time: nothing is known.
    Away(String),
    /// By the clock of this machine its own certificate is not valid.
    Untimely(String),
}

impl std::fmt::Display for CallError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Refused(problem) => write!(f, "{problem}"),
            Self::Away(reason) | Self::Unreadable(reason) | Self::Untimely(reason) => f.write_str(reason),
        }
    }
}

fn is_bad_nonce(problem: &Problem) -> bool {
    problem.r#type.as_deref() == Some("urn:ietf:params:acme:error:badNonce")
}

/// An error with what is behind it: alone it often says only that there was one.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(inner) = source {
        let inner_text = inner.to_string();
        if !text.contains(&inner_text) {
            text = format!("{text}: {inner_text}");
        }
        source = inner.source();
    }
    text
}

/// Whether the CA's own certificate has ended, or is not valid yet, as this machine's clock has it.
fn is_untimely(error: &(dyn std::error::Error + 'static)) -> bool {
    use rustls::CertificateError::{Expired, ExpiredContext, NotValidYet, NotValidYetContext};
    let by_time = |error: &rustls::Error| {
        matches!(
            error,
            rustls::Error::InvalidCertificate(
                Expired | ExpiredContext { .. } | NotValidYet | NotValidYetContext { .. }
            )
        )
    };
    let wrapped = error.downcast_ref::<std::io::Error>().and_then(std::io::Error::get_ref);
    error.downcast_ref().is_some_and(by_time)
        || wrapped.is_some_and(|inner| is_untimely(inner))
        || error.source().is_some_and(is_untimely)
}

/// Awaits an attempt, and makes another one as long as the CA refuses the nonce.
macro_rules! call {
    ($attempt:expr) => {{
        let mut refusals = 0_u32;
        loop {
            let ended = tokio::time::timeout($crate::nonce::CALL_MAX, $attempt).await;
            if let Some(result) = $crate::nonce::judge(ended, &mut refusals) {
                break result;
            }
        }
    }};
}

pub(crate) use call;

/// What came of an attempt; `None` if it is to be made again.
pub(crate) fn judge<T>(
    ended: Result<Result<T, Error>, tokio::time::error::Elapsed>,
    refusals: &mut u32,
) -> Option<Result<T, CallError>> {
    Some(match ended {
        Err(_) => Err(CallError::Away("it did not answer within 30 seconds".into())),
        Ok(Ok(done)) => Ok(done),
        Ok(Err(Error::Api(problem))) if is_bad_nonce(&problem) && *refusals < REFUSALS_MAX => {
            *refusals += 1;
            return None;
        }
        Ok(Err(Error::Api(problem))) => Err(CallError::Refused(problem)),
        Ok(Err(error @ Error::Json(_))) => Err(CallError::Unreadable(format!(
            "its answer cannot be read: {}",
            chain(&error)
        ))),
        Ok(Err(error)) if is_untimely(&error) => Err(CallError::Untimely(chain(&error))),
        Ok(Err(error)) => Err(CallError::Away(chain(&error))),
    })
}
