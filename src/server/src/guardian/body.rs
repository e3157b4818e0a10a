//! The body of a request, read within bounds.

use std::error::Error as _;
use std::io;
use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue};
use http_body_util::BodyExt as _;
use ploinky_contract::limits::{BODY_IDLE, FREE_BYTES};
use tokio::time::{Instant, timeout_at};

use crate::byte_budget::{ByteBudget, ByteShare};
use crate::listener::ChunkError;

/// Media types of a body. The last is what `curl -d` says of any body; that pages of other sites may not post
/// is decided by [`super::origin`], as they can post `text/plain`, too.
const MEDIA_TYPES: [&str; 3] =
    ["application/json", "text/plain", "application/x-www-form-urlencoded"];

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// More bytes than allowed.
    #[error("the body is longer than {limit} bytes")]
    TooLarge {
        /// Bytes allowed.
        limit: usize,
    },
    /// The client stopped sending.
    #[error("nothing of the body arrived for {} s", .0.as_secs())]
    Stalled(Duration),
    /// The client took too long.
    #[error("the body did not arrive within {} s", .limit.as_secs())]
    TooSlow {
        /// Time allowed.
        limit: Duration,
    },
    /// All requests together hold as much as they may.
    #[error("there is no memory left for a body of this length; try again later")]
    NoMemory,
    /// The chunks are none.
    #[error("the body is broken: {0}")]
    Chunks(ChunkError),
    /// The connection broke.
    #[error("the body is broken")]
    Broken(#[source] axum::Error),
}

/// Whether the media type of the body is one that may hold a request; its absence is.
pub(super) fn has_media_type(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => {
            let is_known = |known: &&str| essence(value).eq_ignore_ascii_case(known.as_bytes());
            value.to_str().is_ok() && MEDIA_TYPES.iter().any(is_known)
        }
        (Some(_), Some(_)) => false,
    }
}

/// The media type that a `Content-Type` names, without its parameters.
pub(crate) fn essence(value: &HeaderValue) -> &[u8] {
    value.as_bytes().split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
}

/// Reads the body whole, within `limit` bytes and `time`, and as long as some of it comes. What is longer than a small body takes from `budget`
/// as it comes; the share is to be kept as long as the bytes.
pub(super) async fn read(
    mut body: Body,
    limit: usize,
    time: Duration,
    budget: &ByteBudget,
) -> Result<(Bytes, Option<ByteShare>), ReadError> {
    let began = Instant::now();
    let end = began + time;
    let mut last = began;
    let mut share = None;
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    loop {
        let patience = end.min(last + BODY_IDLE);
        let Ok(frame) = timeout_at(patience, body.frame()).await else {
            return Err(if patience < end {
                ReadError::Stalled(BODY_IDLE)
            } else {
                ReadError::TooSlow { limit: time }
            });
        };
        let Some(frame) = frame else { break };
        last = Instant::now();
        let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
        let length = first.len() + rest.len() + data.len();
        if limit < length {
            return Err(ReadError::TooLarge { limit });
        }
        if FREE_BYTES < length
            && !share.get_or_insert_with(|| budget.nothing()).grow(length - FREE_BYTES)
        {
            return Err(ReadError::NoMemory);
        }
        // Nearly every body comes in one piece, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok((first, share));
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok((whole.freeze(), share))
}

fn broken(error: axum::Error) -> ReadError {
    let mut causes = std::iter::successors(error.source(), |cause| (*cause).source());
    let fault = causes.find_map(|cause| {
        let inner = cause.downcast_ref::<io::Error>()?.get_ref()?;
        inner.downcast_ref::<ChunkError>().copied()
    });
    fault.map_or(ReadError::Broken(error), ReadError::Chunks)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    #[test]
    fn other_media_types_are_no_requests() {
        let of = |values: &[&str]| {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(CONTENT_TYPE, HeaderValue::from_str(value).unwrap());
            }
            has_media_type(&headers)
        };
        for values in [
            &["multipart/form-data; boundary=application/json"][..],
            &["application/jsonx"],
            &["application/json, text/html"],
            &[""],
            &["application/json", "application/json"],
        ] {
            assert!(!of(values), "{values:?}");
        }
        for values in [
            &[][..],
            &["application/json"],
            &["Application/JSON; charset=utf-8"],
            &["text/plain;charset=UTF-8"],
            &["application/x-www-form-urlencoded"],
        ] {
            assert!(of(values), "{values:?}");
        }
    }

    /// A body of which nothing ever comes.
    struct Silent;

    impl hyper::body::Body for Silent {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::Poll::Pending
        }
    }

    /// A body that brings a byte each five seconds.
    struct Trickle(std::pin::Pin<Box<tokio::time::Sleep>>);

    impl hyper::body::Body for Trickle {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            context: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
            std::task::ready!(self.0.as_mut().poll(context));
            self.0 = Box::pin(tokio::time::sleep(BODY_IDLE / 2));
            let byte = hyper::body::Frame::data(Bytes::from_static(b" "));
            std::task::Poll::Ready(Some(Ok(byte)))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let limit = 6 * BODY_IDLE;
        let budget = ByteBudget::new(0);
        let start = Instant::now();
        let stalled = read(Body::new(Silent), 1, limit, &budget).await;
        assert!(matches!(stalled, Err(ReadError::Stalled(BODY_IDLE))));
        assert_eq!(start.elapsed().as_secs(), BODY_IDLE.as_secs());
        let start = Instant::now();
        let trickle = Trickle(Box::pin(tokio::time::sleep(BODY_IDLE / 2)));
        let slow = read(Body::new(trickle), 1000, limit, &budget).await;
        assert!(matches!(slow, Err(ReadError::TooSlow { .. })));
        assert_eq!(start.elapsed().as_secs(), limit.as_secs());
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_kept() {
        let full = || Body::from("12345");
        let second = Duration::from_secs(1);
        let budget = ByteBudget::new(0);
        let read = |limit| read(full(), limit, second, &budget);
        assert!(matches!(read(4).await, Err(ReadError::TooLarge { limit: 4 })));
        assert_eq!(read(5).await.unwrap().0, "12345");
    }

    #[tokio::test]
    async fn bodies_that_are_not_small_share_what_there_is() {
        let budget = ByteBudget::new(10);
        let of = async |length: usize| {
            let body = Body::from(vec![b' '; length]);
            read(body, 2 * FREE_BYTES, Duration::from_secs(1), &budget).await
        };
        assert!(matches!(of(FREE_BYTES + 11).await, Err(ReadError::NoMemory)));
        let (bytes, share) = of(FREE_BYTES + 10).await.unwrap();
        assert_eq!(bytes.len(), FREE_BYTES + 10);
        assert!(matches!(of(FREE_BYTES + 1).await, Err(ReadError::NoMemory)));
        // A small one needs nothing.
        assert!(of(FREE_BYTES).await.unwrap().1.is_none());
        drop(share);
        assert!(of(FREE_BYTES + 1).await.is_ok());
    }
}
