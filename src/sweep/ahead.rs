//! How many claimed sessions still wait for their answer: where few do, more are claimed.
//!
//! What waits to be recorded is none of them, so that claiming, sending and recording go on side by side.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

use crate::throttle::Pass;

/// The count of one process.
#[derive(Debug, Default)]
pub(super) struct Ahead {
    unanswered: AtomicUsize,
    few: AtomicUsize,
    fell: Notify,
}

/// A session counted until this is dropped.
#[derive(Debug)]
pub(super) struct Unanswered(Arc<Ahead>);

/// The pass of a session that is counted: both end when its answer is there.
#[derive(Debug)]
pub(super) struct Admitted<'gate> {
    pass: Pass<'gate>,
    _unanswered: Unanswered,
}

impl Unanswered {
    /// Ends the count with the pass.
    pub(super) fn with(self, pass: Pass<'_>) -> Admitted<'_> {
        Admitted { pass, _unanswered: self }
    }
}

impl<'gate> Deref for Admitted<'gate> {
    type Target = Pass<'gate>;

    fn deref(&self) -> &Self::Target {
        &self.pass
    }
}

impl Ahead {
    /// Counts one more.
    pub(super) fn count(self: &Arc<Self>) -> Unanswered {
        self.unanswered.fetch_add(1, Ordering::Relaxed);
        Unanswered(Arc::clone(self))
    }

    /// How many there are. From here on [`fallen`](Self::fallen) is told when they come down to `few`.
    pub(super) fn number(&self, few: usize) -> usize {
        // Set before it is counted: who leaves in between is seen in either.
        self.few.store(few, Ordering::SeqCst);
        self.unanswered.load(Ordering::SeqCst)
    }

    /// Whether an answer is awaited at all.
    pub(super) fn is_awaited(&self) -> bool {
        self.unanswered.load(Ordering::SeqCst) > 0
    }

    /// Waits until so few are left; comes at once where that has happened since the last time.
    pub(super) async fn fallen(&self) {
        self.fell.notified().await;
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        let left = self.0.unanswered.fetch_sub(1, Ordering::SeqCst) - 1;
        if left == self.0.few.load(Ordering::SeqCst) {
            self.0.fell.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;
    use crate::throttle::{Entry, Gate};

    #[test]
    fn it_is_told_once_when_few_are_left() {
        let ahead = Arc::new(Ahead::default());
        let mut counted: Vec<_> = (0..4).map(|_| ahead.count()).collect();
        assert_eq!((ahead.number(2), ahead.is_awaited()), (4, true));
        let told = |counted: &mut Vec<Unanswered>| {
            counted.pop();
            ahead.fallen().now_or_never().is_some()
        };
        assert_eq!([(); 4].map(|()| told(&mut counted)), [false, true, false, false]);
        assert_eq!((ahead.number(2), ahead.is_awaited()), (0, false));
    }

    #[test]
    fn a_session_counts_until_its_pass_ends() {
        let (ahead, gate) = (Arc::new(Ahead::default()), Gate::new(1, Duration::from_secs(1)));
        let Some(Entry::Passed(pass)) = gate.enter().now_or_never() else { panic!("no pass") };
        let admitted = ahead.count().with(pass);
        assert!(admitted.is_good());
        assert_eq!(ahead.number(0), 1);
        drop(admitted);
        assert_eq!(ahead.number(0), 0);
        assert!(gate.enter().now_or_never().is_some_and(|entry| matches!(entry, Entry::Passed(_))));
    }
}
