//! Lines out of a pipe that a stranger writes to: cut at line feeds, each within a bound.

use bytes::{Buf as _, BytesMut};
use ploinky_contract::limits::STREAM_LINE_MAX_BYTES;

/// A line that is longer than allowed; what follows has no meaning any more.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct TooLong;

/// Bytes that have come and are no whole line yet.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: BytesMut,
    /// So many of them are known to hold no line feed.
    seen: usize,
}

impl Lines {
    /// Adds what has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its line feed.
    pub(super) fn next(&mut self) -> Result<Option<BytesMut>, TooLong> {
        let unseen = self.bytes.get(self.seen..).unwrap_or_default();
        let end = unseen.iter().position(|byte| *byte == b'\n').map(|found| self.seen + found);
        let length = end.unwrap_or(self.bytes.len());
        if STREAM_LINE_MAX_BYTES < length {
            return Err(TooLong);
        }
        let Some(end) = end else {
            self.seen = length;
            return Ok(None);
        };
        let line = self.bytes.split_to(end);
        self.bytes.advance(1);
        self.seen = 0;
        Ok(Some(line))
    }

    /// What came after the last line feed, if anything did.
    pub(super) fn rest(&mut self) -> Option<BytesMut> {
        self.seen = 0;
        let rest = self.bytes.split();
        (!rest.is_empty()).then_some(rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(lines: &mut Lines) -> Result<Vec<String>, TooLong> {
        let mut found = Vec::new();
        while let Some(line) = lines.next()? {
            found.push(String::from_utf8(line.to_vec()).unwrap());
        }
        Ok(found)
    }

    #[test]
    fn a_line_over_the_limit_is_refused_even_before_it_ends() {
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; STREAM_LINE_MAX_BYTES]);
        assert_eq!(all(&mut lines), Ok(Vec::new()));
        lines.push(b"x");
        assert_eq!(all(&mut lines), Err(TooLong));
        assert_eq!(all(&mut lines), Err(TooLong));
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; STREAM_LINE_MAX_BYTES + 1]);
        lines.push(b"\n");
        assert_eq!(all(&mut lines), Err(TooLong));
        let mut lines = Lines::default();
        lines.push(&vec![b'x'; STREAM_LINE_MAX_BYTES]);
        lines.push(b"\ny");
        assert_eq!(all(&mut lines).unwrap().len(), 1);
    }

    #[test]
    fn lines_are_whole_however_they_come() {
        let mut lines = Lines::default();
        let mut found = Vec::new();
        for byte in b"a\n\nbc\nd" {
            lines.push(&[*byte]);
            found.extend(all(&mut lines).unwrap());
        }
        assert_eq!(found, ["a", "", "bc"]);
        assert_eq!(lines.rest().as_deref(), Some(&b"d"[..]));
        assert_eq!(lines.rest(), None);
        lines.push(b"a\n\nbc\nd");
        assert_eq!(all(&mut lines).unwrap(), ["a", "", "bc"]);
    }
}
