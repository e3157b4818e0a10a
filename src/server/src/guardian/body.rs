//! The body of a request, read within bounds.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_TYPE;
use http_body_util::BodyExt as _;

/// Media types of a body. The last is what `curl -d` says of any body; that pages of other sites may not post
/// is decided by [`super::is_cross_site`], as they can post `text/plain`, too.
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
    /// The client took too long.
    #[error("the body did not arrive within {} s", .limit.as_secs())]
    TooSlow {
        /// Time allowed.
        limit: Duration,
    },
    /// The connection or the framing broke.
    #[error("the body is broken")]
    Broken(#[source] axum::Error),
}

/// Whether the media type of the body is one that may hold a request; its absence is.
pub(super) fn has_media_type(headers: &HeaderMap) -> bool {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    match (values.next(), values.next()) {
        (None, _) => true,
        (Some(value), None) => {
            value.to_str().ok().and_then(|value| value.split(';').next()).is_some_and(|essence| {
                MEDIA_TYPES.iter().any(|known| essence.trim().eq_ignore_ascii_case(known))
            })
        }
        (Some(_), Some(_)) => false,
    }
}

/// Reads the body whole, within `limit` bytes and `time`.
pub(super) async fn read(body: Body, limit: usize, time: Duration) -> Result<Bytes, ReadError> {
    match tokio::time::timeout(time, collect(body, limit)).await {
        Ok(read) => read,
        Err(_elapsed) => Err(ReadError::TooSlow { limit: time }),
    }
}

async fn collect(mut body: Body, limit: usize) -> Result<Bytes, ReadError> {
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(ReadError::Broken)?.into_data() else { continue };
        if limit < first.len() + rest.len() + data.len() {
            return Err(ReadError::TooLarge { limit });
        }
        // Nearly every body comes in one piece, which needs no copy.
        if first.is_empty() {
            first = data;
        } else {
            rest.extend_from_slice(&data);
        }
    }
    if rest.is_empty() {
        return Ok(first);
    }
    let mut whole = BytesMut::with_capacity(first.len() + rest.len());
    whole.extend_from_slice(&first);
    whole.extend_from_slice(&rest);
    Ok(whole.freeze())
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

    #[tokio::test]
    async fn a_body_that_does_not_come_is_not_waited_for() {
        let limit = Duration::from_millis(10);
        let read = read(Body::new(Silent), 1, limit).await;
        assert!(matches!(read, Err(ReadError::TooSlow { .. })));
    }

    #[tokio::test]
    async fn a_body_over_the_limit_is_not_kept() {
        let full = || Body::from("12345");
        let second = Duration::from_secs(1);
        assert!(matches!(read(full(), 4, second).await, Err(ReadError::TooLarge { limit: 4 })));
        assert_eq!(read(full(), 5, second).await.unwrap(), "12345");
    }
}
