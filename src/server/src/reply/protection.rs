//! What every answer tells browsers, so that a page of another site gets nothing out of it.
//!
//! Answers of our own show nothing in a frame, load nothing and belong to this origin alone. Files of a static agent
//! are a site that somebody else made: they may be framed, embedded and opened by others as on any web server, since
//! a session is in a cookie that browsers do not send with requests of other sites (`SameSite=Strict`); they get only
//! what no site needs to be without.

use http::{HeaderMap, HeaderName, HeaderValue, header};

const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const NO_SNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");
/// What browsers do by themselves; an older one would tell other sites the whole address.
const ORIGIN_ABROAD: HeaderValue = HeaderValue::from_static("strict-origin-when-cross-origin");
const SAME_ORIGIN: HeaderValue = HeaderValue::from_static("same-origin");
const NOTHING: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");
/// Header lines of nearly every answer, so that their table is made once.
const LINES: usize = 12;

/// For an answer of our own, whoever wrote the data in it.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.reserve(LINES);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(header::REFERRER_POLICY, NO_REFERRER);
    headers.insert(header::CONTENT_SECURITY_POLICY, NOTHING);
    headers.insert(OPENER_POLICY, SAME_ORIGIN);
    headers.insert(RESOURCE_POLICY, SAME_ORIGIN);
}

/// For a file of a static agent.
pub(super) fn protect_site(headers: &mut HeaderMap) {
    headers.reserve(LINES);
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, NO_SNIFF);
    headers.insert(header::REFERRER_POLICY, ORIGIN_ABROAD);
}
