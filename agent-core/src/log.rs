//! What agent-core says: one line per event on stderr, which the journal keeps.

use std::error::Error;
use std::fmt::Write as _;
use std::io::{self, Write};

use ploinky_contract::chain;

/// Bytes of a line that a program wrote; longer ones are broken.
const LINE_MAX_BYTES: usize = 4096;
/// Bytes that are kept from the end of what a program wrote, for the details of its error.
const TAIL_BYTES: usize = 4096;

/// An event.
pub(crate) fn event(text: &str) {
    // Nobody is left to be told when stderr is gone.
    writeln!(io::stderr().lock(), "agent-core: {text}").ok();
}

/// An error with all its causes, in one line.
pub(crate) fn failure(error: &(dyn Error + 'static)) {
    event(&chain(error));
}

/// What was asked for, on stdout.
pub(crate) fn answer(text: &str) {
    writeln!(io::stdout().lock(), "{text}").ok();
}

/// Forwards what a program writes to its stderr, line by line behind a prefix, and keeps the end.
#[derive(Debug)]
pub(crate) struct Forward {
    prefix: String,
    line: Vec<u8>,
    tail: Vec<u8>,
    left_bytes: Option<usize>,
    is_cut: bool,
}

impl Forward {
    /// `limit_bytes` bounds what is forwarded in all; the end is kept in any case.
    pub(crate) fn new(prefix: String, limit_bytes: Option<usize>) -> Self {
        Self { prefix, line: Vec::new(), tail: Vec::new(), left_bytes: limit_bytes, is_cut: false }
    }

    pub(crate) fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let surplus = self.tail.len().saturating_sub(TAIL_BYTES);
        self.tail.drain(..surplus);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_MAX_BYTES) {
                if LINE_MAX_BYTES < self.line.len() + part.len() {
                    self.flush();
                }
                self.line.extend_from_slice(part);
            }
            if piece.ends_with(b"\n") {
                self.flush();
            }
        }
    }

    /// The end of what was written, after the last line was forwarded.
    pub(crate) fn finish(&mut self) -> &[u8] {
        self.flush();
        &self.tail
    }

    fn flush(&mut self) {
        if self.line.is_empty() || self.is_cut {
            self.line.clear();
            return;
        }
        let text = printable(&String::from_utf8_lossy(&self.line));
        let length = self.line.len();
        self.line.clear();
        let Self { prefix, left_bytes, .. } = self;
        let said = match left_bytes {
            Some(left) if *left < length => {
                *left_bytes = None;
                self.is_cut = true;
                writeln!(io::stderr().lock(), "{prefix} (it wrote more than is logged)")
            }
            Some(left) => {
                *left -= length;
                writeln!(io::stderr().lock(), "{prefix} {text}")
            }
            None => writeln!(io::stderr().lock(), "{prefix} {text}"),
        };
        said.ok();
    }
}

/// The text without its line end and with control characters made visible.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.trim_end_matches(['\n', '\r']).chars() {
        if c.is_control() && c != '\t' {
            write!(shown, "{}", c.escape_default()).ok();
        } else {
            shown.push(c);
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_cannot_forge_lines() {
        assert_eq!(printable("a\u{1b}[2J\rb\tc\r\n"), "a\\u{1b}[2J\\rb\tc");
    }

    #[test]
    fn only_the_end_is_kept() {
        let mut forward = Forward::new("[x]".to_owned(), Some(0));
        forward.take(&[b'a'; 10_000]);
        forward.take(b"end");
        let tail = forward.finish();
        assert_eq!((tail.len(), tail.ends_with(b"aend")), (TAIL_BYTES, true));
    }
}
