//! Bytes that all requests of the process may hold at once, whoever they are for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What is left of a number of bytes. Clones share it.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    left: Arc<AtomicUsize>,
}

/// Bytes taken from a budget, given back on drop.
#[derive(Debug)]
pub(crate) struct ByteShare {
    left: Arc<AtomicUsize>,
    bytes: usize,
}

impl ByteBudget {
    /// A budget of `bytes`.
    pub(crate) fn new(bytes: usize) -> Self {
        Self { left: Arc::new(AtomicUsize::new(bytes)) }
    }

    /// Takes `bytes`; `None` if fewer are left.
    pub(crate) fn take(&self, bytes: usize) -> Option<ByteShare> {
        let mut share = self.nothing();
        share.grow(bytes).then_some(share)
    }

    /// A share that may grow.
    pub(crate) fn nothing(&self) -> ByteShare {
        ByteShare { left: Arc::clone(&self.left), bytes: 0 }
    }
}

impl ByteShare {
    /// Takes so many that the share has `bytes`; `false` if fewer are left, and it stays as it is. A share
    /// that has them already is not changed.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let more = bytes.saturating_sub(self.bytes);
        let less = |left: usize| left.checked_sub(more);
        let is_taken =
            more == 0 || self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok();
        if is_taken {
            self.bytes += more;
        }
        is_taken
    }
}

impl Drop for ByteShare {
    fn drop(&mut self) {
        self.left.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_taken_than_there_is() {
        let budget = ByteBudget::new(10);
        assert!(budget.take(11).is_none());
        let mut first = budget.take(4).unwrap();
        assert!(budget.clone().take(7).is_none());
        assert!(!first.grow(11) && first.grow(3) && first.grow(10) && first.grow(10));
        assert!(budget.take(1).is_none());
        drop(first);
        assert!(budget.take(10).is_some());
        assert!(budget.take(10).is_some());
    }
}
