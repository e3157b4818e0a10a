//! The head of a request, line by line, and how its body is framed (RFC 9112, 2 to 6).

use ploinky_contract::limits::{HEAD_MAX_BYTES, HEADER_TIMEOUT, HEADERS_MAX};

/// Bytes of the longest body that all read in the same way.
const LENGTH_MAX: u64 = i64::MAX as u64;

/// Why a request cannot be told from what follows it, or could be read in two ways. Lines are counted from 1.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum FramingError {
    /// A line feed alone.
    #[error("line {0} of the request does not end with CR LF")]
    LineEnd(usize),
    /// More bytes than allowed.
    #[error("the head of the request is longer than {HEAD_MAX_BYTES} bytes")]
    TooLong,
    /// Half a head, and nothing more for long.
    #[error("the head of the request did not come within {} s", HEADER_TIMEOUT.as_secs())]
    TooSlow,
    /// More lines than allowed.
    #[error("the request has more than {HEADERS_MAX} header lines")]
    TooMany,
    /// Something else than three words.
    #[error(
        "the first line of the request is not a method, a target and HTTP/1.1 with one space between"
    )]
    RequestLine,
    /// A byte that no target has.
    #[error("the target of the request has a byte that must be percent-encoded")]
    Target,
    /// None of the forms of RFC 9112, 3.2, for this method.
    #[error(
        "the target of the request is no path that begins with `/`, no http URL, and not the `*` of OPTIONS"
    )]
    Form,
    /// HTTP/2 or something that never was.
    #[error("the version of the request is not HTTP/1.1 or HTTP/1.0")]
    Version,
    /// A line that belongs to the one before.
    #[error("line {0} of the request begins with a space; folded header lines are not taken")]
    Folded(usize),
    /// No name with a colon.
    #[error(
        "line {0} of the request is not a header: a name, a colon and a value, no space before the colon"
    )]
    Name(usize),
    /// A name that many programs cannot tell from one with `-`.
    #[error("line {0} of the request has `_` in the name of a header")]
    Underscore(usize),
    /// A byte that no value has.
    #[error("line {0} of the request has a control character in the value of a header")]
    Value(usize),
    /// No length that all would read in the same way.
    #[error("Content-Length must be there once, as one number")]
    Length,
    /// No coding that all would read in the same way.
    #[error("Transfer-Encoding must be there once, as `chunked` and nothing else")]
    Coding,
    /// A coding before there were any.
    #[error("HTTP/1.0 has no Transfer-Encoding")]
    OldCoding,
    /// Two ends.
    #[error("Content-Length and Transfer-Encoding exclude each other")]
    Both,
}

/// Where the body of a request ends.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Framing {
    /// After so many bytes.
    Length(u64),
    /// With its last chunk.
    Chunked,
}

/// What is known of a head whose end has not come.
#[derive(Debug, Default)]
pub(super) struct HeadLines {
    /// Where the line begins that has not ended.
    line: usize,
    /// Bytes in which there is no end of that line.
    looked: usize,
    lines: usize,
    is_old: bool,
    length: Option<u64>,
    is_chunked: bool,
}

impl HeadLines {
    /// Goes on with `bytes`, which begin where the head begins: its bytes with the empty line, if it is whole.
    pub(super) fn read(&mut self, bytes: &[u8]) -> Result<Option<(usize, Framing)>, FramingError> {
        loop {
            let unseen = bytes.get(self.looked..).unwrap_or_default();
            let Some(feed) = unseen.iter().position(|byte| *byte == b'\n') else {
                self.looked = bytes.len();
                let is_long = HEAD_MAX_BYTES <= bytes.len();
                return if is_long { Err(FramingError::TooLong) } else { Ok(None) };
            };
            let end = self.looked + feed + 1;
            if HEAD_MAX_BYTES < end {
                return Err(FramingError::TooLong);
            }
            let line = bytes.get(self.line..end).unwrap_or_default();
            let Some(line) = line.strip_suffix(b"\r\n") else {
                return Err(FramingError::LineEnd(self.lines + 1));
            };
            (self.line, self.looked) = (end, end);
            if !line.is_empty() {
                self.take(line)?;
            } else if 0 < self.lines {
                return Ok(Some((end, self.framing()?)));
            } else if 2 < end {
                // One empty line before a request is a habit of old clients (RFC 9112, 2.2).
                return Err(FramingError::RequestLine);
            }
        }
    }

    fn take(&mut self, line: &[u8]) -> Result<(), FramingError> {
        self.lines += 1;
        if self.lines == 1 {
            return self.take_request(line);
        }
        if HEADERS_MAX < self.lines - 1 {
            return Err(FramingError::TooMany);
        }
        if matches!(line, [b' ' | b'\t', ..]) {
            return Err(FramingError::Folded(self.lines));
        }
        let colon = line.iter().position(|byte| *byte == b':');
        let Some((name, value)) = colon.and_then(|colon| line.split_at_checked(colon)) else {
            return Err(FramingError::Name(self.lines));
        };
        if name.contains(&b'_') {
            return Err(FramingError::Underscore(self.lines));
        }
        if name.is_empty() || !name.iter().all(|byte| is_token(*byte)) {
            return Err(FramingError::Name(self.lines));
        }
        let value = value.get(1..).unwrap_or_default();
        if !value.iter().all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..)) {
            return Err(FramingError::Value(self.lines));
        }
        if name.eq_ignore_ascii_case(b"content-length") {
            self.take_length(value.trim_ascii())
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.take_coding(value.trim_ascii())
        } else {
            Ok(())
        }
    }

    fn take_request(&mut self, line: &[u8]) -> Result<(), FramingError> {
        let mut words = line.split(|byte| *byte == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(FramingError::RequestLine);
        };
        if method.is_empty() || !method.iter().all(|byte| is_token(*byte)) || target.is_empty() {
            return Err(FramingError::RequestLine);
        }
        if !target.iter().all(|byte| byte.is_ascii_graphic() && *byte != b'#') {
            return Err(FramingError::Target);
        }
        self.is_old = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(FramingError::Version),
        };
        let is_url = [&b"http://"[..], b"https://"].iter().any(|scheme| {
            target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme))
        });
        let is_all = target == b"*" && method == b"OPTIONS";
        // What CONNECT names is refused with the method.
        if !target.starts_with(b"/") && !is_url && !is_all && method != b"CONNECT" {
            return Err(FramingError::Form);
        }
        Ok(())
    }

    fn take_length(&mut self, value: &[u8]) -> Result<(), FramingError> {
        let is_number = !value.is_empty() && value.iter().all(u8::is_ascii_digit);
        let text = std::str::from_utf8(value).ok().filter(|_| is_number);
        // Some servers hold a length in 63 bits, and read another one then.
        let length = text.and_then(|text| text.parse().ok()).filter(|length| *length <= LENGTH_MAX);
        let length = length.ok_or(FramingError::Length)?;
        match self.length.replace(length) {
            None => Ok(()),
            Some(_) => Err(FramingError::Length),
        }
    }

    fn take_coding(&mut self, value: &[u8]) -> Result<(), FramingError> {
        let is_first = !std::mem::replace(&mut self.is_chunked, true);
        let is_plain = is_first && value.eq_ignore_ascii_case(b"chunked");
        if is_plain { Ok(()) } else { Err(FramingError::Coding) }
    }

    fn framing(&self) -> Result<Framing, FramingError> {
        match (self.length, self.is_chunked) {
            (length, false) => Ok(Framing::Length(length.unwrap_or(0))),
            (Some(_), true) => Err(FramingError::Both),
            (None, true) if self.is_old => Err(FramingError::OldCoding),
            (None, true) => Ok(Framing::Chunked),
        }
    }
}

/// Whether the byte may be in a method or in the name of a header (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All at once and byte by byte must be the same.
    fn read(head: &[u8]) -> Result<Option<(usize, Framing)>, FramingError> {
        let whole = HeadLines::default().read(head);
        let mut lines = HeadLines::default();
        let last = (1..=head.len()).map(|end| lines.read(head.get(..end).unwrap()));
        let last = last.into_iter().find(|read| !matches!(read, Ok(None))).unwrap_or(Ok(None));
        assert_eq!(last, whole, "{}", head.escape_ascii());
        whole
    }

    fn refused(head: impl AsRef<[u8]>) -> FramingError {
        let head = head.as_ref();
        read(head).expect_err(&head.escape_ascii().to_string())
    }

    fn with(headers: &str) -> String {
        format!("POST /a HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
    }

    #[test]
    fn a_first_line_is_three_words() {
        use FramingError::{Form, LineEnd, RequestLine, Target, Version};
        for (line, fault) in [
            ("", RequestLine),
            ("GET", RequestLine),
            ("GET /", RequestLine),
            ("GET  / HTTP/1.1", RequestLine),
            ("GET / HTTP/1.1 ", RequestLine),
            (" GET / HTTP/1.1", RequestLine),
            ("GET / a HTTP/1.1", RequestLine),
            ("GET\t/ HTTP/1.1", RequestLine),
            ("G(T / HTTP/1.1", RequestLine),
            ("GET / http/1.1", Version),
            ("GET / HTTP/1.2", Version),
            ("GET / HTTP/01.1", Version),
            ("PRI * HTTP/2.0", Version),
            ("GET /\u{e9} HTTP/1.1", Target),
            ("GET /\0 HTTP/1.1", Target),
            ("GET /\r HTTP/1.1", Target),
            ("GET /#a HTTP/1.1", Target),
            ("GET ! HTTP/1.1", Form),
            ("GET a HTTP/1.1", Form),
            ("GET a:80 HTTP/1.1", Form),
            ("GET ftp://a/ HTTP/1.1", Form),
            ("GET * HTTP/1.1", Form),
        ] {
            let head = format!("\r\n{line}\r\nHost: a\r\n\r\n");
            assert_eq!(refused(head), fault, "{line:?}");
        }
        assert_eq!(refused("\r\n\r\nGET / HTTP/1.1\r\n\r\n"), RequestLine);
        assert_eq!(refused("GET / HTTP/1.1\n\n"), LineEnd(1));
        assert_eq!(refused("\nGET / HTTP/1.1\r\n\r\n"), LineEnd(1));
    }

    #[test]
    fn a_header_that_may_be_read_in_two_ways_is_refused() {
        use FramingError::{Both, Coding, Folded, Length, LineEnd, Name, Underscore, Value};
        for (headers, fault) in [
            ("A: b\n", LineEnd(3)),
            ("A\n: b\r\n", LineEnd(3)),
            (" A: b\r\n", Folded(3)),
            ("A: b\r\n\tc\r\n", Folded(4)),
            ("A\r\n", Name(3)),
            (": b\r\n", Name(3)),
            ("A : b\r\n", Name(3)),
            ("A\0: b\r\n", Name(3)),
            ("\u{e9}: b\r\n", Name(3)),
            ("A(: b\r\n", Name(3)),
            ("Content_Length: 1\r\n", Underscore(3)),
            ("ploinky_fault: 1\r\n", Underscore(3)),
            ("A: b\0\r\n", Value(3)),
            ("A: b\rc\r\n", Value(3)),
            ("A: b\r\r\n", Value(3)),
            ("A: \u{7f}\r\n", Value(3)),
            ("Content-Length: 1\r\nContent-Length: 1\r\n", Length),
            ("Content-Length: 1\r\ncontent-length: 2\r\n", Length),
            ("Content-Length: 1, 1\r\n", Length),
            ("Content-Length: 1 1\r\n", Length),
            ("Content-Length: +1\r\n", Length),
            ("Content-Length: -1\r\n", Length),
            ("Content-Length: 0x1\r\n", Length),
            ("Content-Length:\r\n", Length),
            ("Content-Length: 9223372036854775808\r\n", Length),
            ("Content-Length: 18446744073709551616\r\n", Length),
            ("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", Coding),
            ("Transfer-Encoding: gzip, chunked\r\n", Coding),
            ("Transfer-Encoding: ,chunked\r\n", Coding),
            ("Transfer-Encoding: chunked, identity\r\n", Coding),
            ("Transfer-Encoding: identity\r\n", Coding),
            ("Transfer-Encoding: xchunked\r\n", Coding),
            ("Transfer-Encoding: \u{b}chunked\r\n", Value(3)),
            ("Transfer-Encoding:\r\n", Coding),
            ("Content-Length: 1\r\nTransfer-Encoding: chunked\r\n", Both),
            ("Transfer-Encoding: chunked\r\nContent-Length: 1\r\n", Both),
        ] {
            assert_eq!(refused(with(headers)), fault, "{headers:?}");
        }
        let old = "POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(refused(old), FramingError::OldCoding);
    }

    #[test]
    fn a_head_has_bounds() {
        let many = |count: usize| with(&"a: b\r\n".repeat(count - 1));
        assert!(read(many(HEADERS_MAX).as_bytes()).unwrap().is_some());
        assert_eq!(refused(many(HEADERS_MAX + 1)), FramingError::TooMany);
        let long = |bytes: usize| {
            let rest = with("a: \r\n").len();
            with(&format!("a: {}\r\n", "b".repeat(bytes - rest)))
        };
        let whole = HeadLines::default().read(long(HEAD_MAX_BYTES).as_bytes());
        assert_eq!(whole, Ok(Some((HEAD_MAX_BYTES, Framing::Length(0)))));
        let longer = HeadLines::default().read(long(HEAD_MAX_BYTES + 1).as_bytes());
        assert_eq!(longer, Err(FramingError::TooLong));
        let endless = HeadLines::default().read("a".repeat(HEAD_MAX_BYTES).as_bytes());
        assert_eq!(endless, Err(FramingError::TooLong));
    }

    #[test]
    fn a_whole_head_tells_where_its_body_ends() {
        for (headers, framing) in [
            ("", Framing::Length(0)),
            ("Content-Length: 0\r\n", Framing::Length(0)),
            ("CONTENT-LENGTH:007\t\r\n", Framing::Length(7)),
            ("Content-Length: 9223372036854775807\r\n", Framing::Length(LENGTH_MAX)),
            ("Transfer-Encoding: Chunked \r\n", Framing::Chunked),
            ("A:\r\nB: \u{e9}\t\"\r\n", Framing::Length(0)),
        ] {
            let head = with(headers);
            assert_eq!(read(head.as_bytes()), Ok(Some((head.len(), framing))), "{headers:?}");
            let followed = format!("{head}\n");
            assert_eq!(read(followed.as_bytes()).unwrap().unwrap().0, head.len());
        }
        assert_eq!(read(b"\r\nGET / HTTP/1.0\r\n\r\n"), Ok(Some((20, Framing::Length(0)))));
        assert_eq!(read(b"GET / HTTP/1.1\r\nA: b\r\n"), Ok(None));
    }
}
