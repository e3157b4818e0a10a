//! The body of a form as its parser may read it: one piece per turn, and a bounded number of bytes before it
//! makes something of them.
//!
//! The parser (`multer`, as in axum) reads as long as there is something to read, and keeps what it cannot
//! use yet: without a bound, a part whose head never ends would be kept whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use hyper::body::Body as _;
use ploinky_contract::limits::{BODY_FLOOR_BYTES, BODY_IDLE, UPLOAD_PART_HEAD_MAX_BYTES};

/// Bytes of one turn, however many the connection reads at once.
const PIECE_BYTES: usize = 32 * 1024;
/// Bytes that the parser may hold without a result: a piece may be the end of one part and the beginning of
/// the next.
const ALLOWED_BYTES: usize = UPLOAD_PART_HEAD_MAX_BYTES + PIECE_BYTES;

/// Why the body gives nothing more.
#[derive(Debug, thiserror::Error)]
pub(super) enum GateError {
    /// The parser got its share and made nothing of it.
    #[error("the head of a part is longer than {UPLOAD_PART_HEAD_MAX_BYTES} bytes")]
    NoProgress,
    /// The connection or the framing broke.
    #[error("the body is broken")]
    Broken(#[source] axum::Error),
}

/// What the parser and the client may still take: bytes of the one, time of the other.
#[derive(Clone, Debug)]
pub(super) struct Allowance(Arc<Taken>);

#[derive(Debug)]
struct Taken {
    /// Bytes left of the parser's share.
    left: AtomicUsize,
    /// Bytes that came.
    came: AtomicU64,
    /// Milliseconds that they were waited for; the time of our own disks does not count.
    waited_ms: AtomicU64,
}

/// The body behind its gate.
#[derive(Debug)]
pub(super) struct Gate {
    body: Body,
    /// What came and had no turn yet.
    rest: Bytes,
    left: Allowance,
    /// The turn is over: the parser shall look at what it has.
    is_closed: bool,
}

impl Allowance {
    /// Gives the parser its whole share again: it made something of what it had.
    pub(super) fn renew(&self) {
        self.0.left.store(ALLOWED_BYTES, Ordering::Relaxed);
    }

    /// Adds `waited` to the time that the client took, and tells whether it sends fast enough.
    pub(super) fn keeps_pace(&self, waited: Duration) -> bool {
        let Taken { left: _, came, waited_ms } = &*self.0;
        let waited = u64::try_from(waited.as_millis()).unwrap_or(u64::MAX);
        let waited = waited_ms.fetch_add(waited, Ordering::Relaxed).saturating_add(waited);
        let counted = Duration::from_millis(waited).saturating_sub(BODY_IDLE);
        counted.as_secs().saturating_mul(BODY_FLOOR_BYTES) <= came.load(Ordering::Relaxed)
    }

    fn take(&self, bytes: usize) -> bool {
        let left = self.0.left.load(Ordering::Relaxed);
        self.0.left.store(left.saturating_sub(bytes), Ordering::Relaxed);
        self.0.came.fetch_add(bytes as u64, Ordering::Relaxed);
        bytes <= left
    }
}

impl Gate {
    /// A gate before `body`.
    pub(super) fn new(body: Body) -> (Self, Allowance) {
        let left = Allowance(Arc::new(Taken {
            left: AtomicUsize::new(ALLOWED_BYTES),
            came: AtomicU64::new(0),
            waited_ms: AtomicU64::new(0),
        }));
        (Self { body, rest: Bytes::new(), left: left.clone(), is_closed: false }, left)
    }
}

impl Stream for Gate {
    type Item = Result<Bytes, GateError>;

    fn poll_next(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Bytes, GateError>>> {
        if self.is_closed {
            self.is_closed = false;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        while self.rest.is_empty() {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            if let Ok(bytes) = frame.map_err(GateError::Broken)?.into_data() {
                self.rest = bytes;
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        if !self.left.take(length) {
            return Poll::Ready(Some(Err(GateError::NoProgress)));
        }
        self.is_closed = true;
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[tokio::test]
    async fn a_client_must_bring_so_much_in_the_time_that_it_takes() {
        let (mut gate, allowance) = Gate::new(Body::from(vec![b'x'; 4096]));
        let second = Duration::from_secs(1);
        assert!(allowance.keeps_pace(BODY_IDLE));
        assert!(!allowance.keeps_pace(second));
        gate.next().await.unwrap().unwrap();
        assert!(allowance.keeps_pace(2 * second));
        assert!(allowance.keeps_pace(second));
        assert!(!allowance.keeps_pace(second));
    }

    #[tokio::test]
    async fn a_parser_without_progress_gets_no_more_than_its_share() {
        let (mut gate, allowance) = Gate::new(Body::from(vec![b'x'; ALLOWED_BYTES + PIECE_BYTES]));
        assert_eq!(gate.next().await.unwrap().unwrap().len(), PIECE_BYTES);
        assert!(matches!(gate.next().await, Some(Err(GateError::NoProgress))));
        allowance.renew();
        assert_eq!(gate.next().await.unwrap().unwrap().len(), PIECE_BYTES);
        allowance.renew();
        assert_eq!(gate.next().await.unwrap().unwrap().len(), ALLOWED_BYTES - PIECE_BYTES);
        assert!(gate.next().await.is_none());
    }
}
