//! Everybody who is told of alerts.
//!
//! Promises: each hears of each beginning and each end; one who could not be reached is told again without the others
//! being told twice, as long as this process lives.

use std::collections::VecDeque;

use parking_lot::Mutex;
use slipway_domain::alert::Notice;
use slipway_domain::ids::AlertId;
use slipway_domain::ports::{BoxFuture, Notifier};

/// So much is remembered of who has heard what.
const REMEMBERED_MAX: usize = 1_024;

/// A beginning or an end, and what was said of it.
type Heard = (AlertId, bool, String, usize);

/// All of them.
pub(crate) struct Tellers {
    all: Vec<Box<dyn Notifier>>,
    heard: Mutex<VecDeque<Heard>>,
}

impl Tellers {
    /// These; `None` if there is nobody.
    pub(crate) fn new(all: Vec<Box<dyn Notifier>>) -> Option<Self> {
        (!all.is_empty()).then(|| Self {
            all,
            heard: Mutex::default(),
        })
    }
}

impl Notifier for Tellers {
    fn tell<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
        Box::pin(async move {
            let mut failures = Vec::new();
            for (at, teller) in self.all.iter().enumerate() {
                let this = (notice.id, notice.ended_at.is_some(), notice.message.clone(), at);
                if self.heard.lock().contains(&this) {
                    continue;
                }
                match teller.tell(notice).await {
                    Ok(()) => {
                        let mut heard = self.heard.lock();
                        heard.push_back(this);
                        if heard.len() > REMEMBERED_MAX {
                            heard.pop_front();
                        }
                    }
                    Err(error) => failures.push(error),
                }
            }
            if failures.is_empty() {
                Ok(())
            } else {
                Err(failures.join("; "))
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use slipway_domain::alert::AlertKind;
    use slipway_domain::clock::testing::{FixedEntropy, at};

    struct Counts {
        told: Arc<AtomicU32>,
        fails_first: bool,
    }

    impl Notifier for Counts {
        fn tell<'a>(&'a self, _: &'a Notice) -> BoxFuture<'a, Result<(), String>> {
            let before = self.told.fetch_add(1, Ordering::SeqCst);
            let failed = self.fails_first && before == 0;
            Box::pin(std::future::ready(if failed { Err("away".into()) } else { Ok(()) }))
        }
    }

    #[tokio::test]
    async fn who_was_away_is_told_again_and_the_others_are_not() {
        let counts = [Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0))];
        let teller = |at: usize, fails_first| -> Box<dyn Notifier> {
            Box::new(Counts {
                told: Arc::clone(&counts[at]),
                fails_first,
            })
        };
        let all = Tellers::new(vec![teller(0, false), teller(1, true)]).expect("two");
        let mut notice = Notice {
            id: AlertId::mint(at(1), &FixedEntropy(1)),
            kind: AlertKind::CertificateExpiring,
            place: None,
            message: "m".into(),
            started_at: at(1),
            ended_at: None,
        };
        assert_eq!(all.tell(&notice).await, Err("away".into()));
        assert_eq!(all.tell(&notice).await, Ok(()));
        let told = || counts.each_ref().map(|count| count.load(Ordering::SeqCst));
        assert_eq!(told(), [1, 2]);
        // More to say, and the end, are news.
        notice.message = "n".into();
        assert_eq!(all.tell(&notice).await, Ok(()));
        notice.ended_at = Some(at(2));
        assert_eq!(all.tell(&notice).await, Ok(()));
        assert_eq!(told(), [3, 4]);
        assert!(Tellers::new(vec![]).is_none());
    }
}
