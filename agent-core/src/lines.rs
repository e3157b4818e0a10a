//! Bytes that come in pieces, cut into lines of bounded length.

/// The start of a line whose end has not come yet.
#[derive(Debug)]
pub(crate) struct Lines {
    begun: Vec<u8>,
    max_bytes: usize,
    /// The line that goes on is too long; what comes of it is not kept.
    is_too_long: bool,
}

/// What was cut off.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Cut<'a> {
    /// A line without its end.
    Line(&'a [u8]),
    /// A line with more bytes than allowed; told once for each.
    TooLong,
}

impl Lines {
    /// Lines have at most `max_bytes`, their end not counted.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self { begun: Vec::new(), max_bytes, is_too_long: false }
    }

    /// Tells the lines that end in `bytes`.
    pub(crate) fn take(&mut self, bytes: &[u8], on: &mut dyn FnMut(Cut<'_>)) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            let part = piece.strip_suffix(b"\n").unwrap_or(piece);
            let is_end = part.len() != piece.len();
            if self.is_too_long {
                self.is_too_long = !is_end;
                continue;
            }
            if self.max_bytes < self.begun.len() + part.len() {
                self.begun.clear();
                self.is_too_long = !is_end;
                on(Cut::TooLong);
            } else if !is_end {
                self.begun.extend_from_slice(part);
            } else if self.begun.is_empty() {
                on(Cut::Line(without_return(part)));
            } else {
                self.begun.extend_from_slice(part);
                on(Cut::Line(without_return(&self.begun)));
                self.begun.clear();
            }
        }
    }

    /// Tells the last line, if it has no end.
    pub(crate) fn finish(&mut self, on: &mut dyn FnMut(Cut<'_>)) {
        if !self.begun.is_empty() {
            on(Cut::Line(without_return(&self.begun)));
            self.begun.clear();
        }
    }
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut(pieces: &[&str]) -> Vec<String> {
        let mut lines = Lines::new(5);
        let mut found = Vec::new();
        let mut on = |cut: Cut<'_>| {
            found.push(match cut {
                Cut::Line(line) => String::from_utf8(line.to_vec()).unwrap(),
                Cut::TooLong => "TOO LONG".to_owned(),
            });
        };
        for piece in pieces {
            lines.take(piece.as_bytes(), &mut on);
        }
        lines.finish(&mut on);
        found
    }

    #[test]
    fn a_line_that_is_too_long_is_told_once_and_spoils_no_other() {
        assert_eq!(cut(&["123456", "789", "012\nok\n"]), ["TOO LONG", "ok"]);
        assert_eq!(
            cut(&["123456\n12345\n", "1234", "56\n", "x"]),
            ["TOO LONG", "12345", "TOO LONG", "x"]
        );
    }

    #[test]
    fn lines_are_the_same_however_they_come() {
        let text = "a\r\n\nbc\nd";
        for at in 0..text.len() {
            let (head, tail) = text.split_at(at);
            assert_eq!(cut(&[head, tail]), ["a", "", "bc", "d"], "{at}");
        }
    }
}
