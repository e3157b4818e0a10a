//! The two queues that one runner serves.

/// Where a task comes from.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) enum Lane {
    /// Memory: somebody waits, and it runs at most once.
    Sync,
    /// Disk.
    Durable,
}
