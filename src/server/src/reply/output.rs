//! A result that is a file, as a response. Its bytes and its type are a stranger's: a browser may save them, and
//! shows nothing of them as a part of this site.

use axum::response::Response;
use http::{HeaderValue, header};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use ploinky_contract::TaskId;

use super::file;
use super::{NO_STORE, protect, put, put_task_id};
use crate::static_files::Found;

/// No script, no form, no origin of ours.
const SANDBOX: HeaderValue = HeaderValue::from_static("sandbox; default-src 'none'");
/// A cache of the client may keep it, a shared one may not; both ask each time.
const PRIVATE: HeaderValue = HeaderValue::from_static("private, no-cache");
/// What RFC 8187 allows as it is, `attr-char`.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'!')
    .remove(b'#')
    .remove(b'$')
    .remove(b'&')
    .remove(b'+')
    .remove(b'-')
    .remove(b'.')
    .remove(b'^')
    .remove(b'_')
    .remove(b'`')
    .remove(b'|')
    .remove(b'~');

/// The answer to a call whose result is the file `name`: nobody can ask for it again.
pub(crate) fn once(id: TaskId, sent: Found, name: &str) -> Response {
    let mut response = again(id, sent, name, true);
    let headers = response.headers_mut();
    for ours in [header::ETAG, header::LAST_MODIFIED, header::ACCEPT_RANGES] {
        headers.remove(ours);
    }
    response
}

/// The answer to a request for the file `name`, which is there until its task is removed. `is_secret`: it was shown to
/// somebody in particular, and is not to stay where somebody else may sit later.
pub(crate) fn again(id: TaskId, sent: Found, name: &str, is_secret: bool) -> Response {
    let mut response = file::sent(sent);
    let headers = response.headers_mut();
    protect(headers);
    put(headers, header::CONTENT_DISPOSITION, &disposition(name));
    headers.insert(header::CONTENT_SECURITY_POLICY, SANDBOX);
    headers.insert(header::CACHE_CONTROL, if is_secret { NO_STORE } else { PRIVATE });
    put_task_id(headers, id);
    response
}

/// RFC 6266: a name for every client, and the name as it is for those that read it.
fn disposition(name: &str) -> String {
    let is_plain = |c: char| matches!(c, ' '..='~') && !matches!(c, '"' | '\\' | '%');
    let plain: String = name.chars().map(|c| if is_plain(c) { c } else { '_' }).collect();
    if plain == name {
        return format!("attachment; filename=\"{name}\"");
    }
    let escaped = utf8_percent_encode(name, ESCAPED);
    format!("attachment; filename=\"{plain}\"; filename*=UTF-8''{escaped}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_somebody_is_stored_nowhere() {
        let kept = |is_secret| {
            let sent = Found::Unsatisfiable { length: 1 };
            again(TaskId::from_random([7; 16]), sent, "x", is_secret).headers()["cache-control"]
                .clone()
        };
        assert_eq!((kept(true), kept(false)), (NO_STORE, PRIVATE));
    }

    #[test]
    fn a_name_cannot_leave_its_header() {
        for (name, expected) in [
            ("a.txt", "attachment; filename=\"a.txt\""),
            ("a b;c.txt", "attachment; filename=\"a b;c.txt\""),
            (
                "a\"; x=\"b",
                "attachment; filename=\"a_; x=_b\"; filename*=UTF-8''a%22%3B%20x%3D%22b",
            ),
            ("50%\\", "attachment; filename=\"50__\"; filename*=UTF-8''50%25%5C"),
            (
                "Übersicht.pdf",
                "attachment; filename=\"_bersicht.pdf\"; filename*=UTF-8''%C3%9Cbersicht.pdf",
            ),
            ("a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a%0D%0AX%3A%20y"),
        ] {
            assert_eq!(disposition(name), expected);
        }
    }
}
