//! A file as a response, with what caches need.

use axum::body::Body;
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};

use super::{protect_site, put};
use crate::static_files::{Content, Found, Version};

/// A file may be kept, but is asked for again each time.
const REVALIDATE: HeaderValue = HeaderValue::from_static("no-cache");

/// The response to a request for a file.
pub(crate) fn found(found: Found) -> Response {
    let mut response = sent(found);
    protect_site(response.headers_mut());
    response
}

/// The response, without what it tells browsers of the site.
pub(super) fn sent(found: Found) -> Response {
    match found {
        Found::File { version, media_type, length, part, content } => {
            let mut response = Response::new(match content {
                Content::None => Body::empty(),
                Content::Short(bytes) => Body::from(bytes),
                Content::Long(body) => Body::new(body),
            });
            let announced = part.map_or(length, |(first, last)| last - first + 1);
            let headers = response.headers_mut();
            // An answer to HEAD names the length that GET would give.
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(announced));
            put(headers, header::CONTENT_TYPE, &media_type);
            put_version(headers, &version);
            headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
            if let Some((first, last)) = part {
                put(headers, header::CONTENT_RANGE, &format!("bytes {first}-{last}/{length}"));
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            }
            response
        }
        Found::Unchanged(version) => {
            let mut response = empty(StatusCode::NOT_MODIFIED);
            put_version(response.headers_mut(), &version);
            response
        }
        Found::Unsatisfiable { length } => {
            let mut response = empty(StatusCode::RANGE_NOT_SATISFIABLE);
            put(response.headers_mut(), header::CONTENT_RANGE, &format!("bytes */{length}"));
            response
        }
        Found::Directory { location } => {
            let mut response = empty(StatusCode::PERMANENT_REDIRECT);
            put(response.headers_mut(), header::LOCATION, &location);
            response
        }
    }
}

fn empty(status: StatusCode) -> Response {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

fn put_version(headers: &mut HeaderMap, version: &Version) {
    let Version { etag, modified } = version;
    put(headers, header::ETAG, etag);
    put(headers, header::LAST_MODIFIED, &httpdate::fmt_http_date(*modified));
    headers.insert(header::CACHE_CONTROL, REVALIDATE);
}
