//! Server-sent events, one after the other, from a stream that may be cut at any byte.

use std::io::{self, BufRead, BufReader, Read};

use ploinky_contract::limits::RESULT_MAX_BYTES;

/// Bytes of one event: the last one has the result.
const EVENT_MAX_BYTES: u64 = RESULT_MAX_BYTES as u64 + 64 * 1024;

/// One event.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Event {
    /// Its kind; empty for a line of the stream.
    pub(crate) kind: String,
    /// Its text, without the last line feed.
    pub(crate) data: String,
}

/// The events of a stream.
pub(crate) struct Events<R> {
    reader: BufReader<R>,
}

impl<R: Read> Events<R> {
    pub(crate) fn new(stream: R) -> Self {
        Self { reader: BufReader::new(stream) }
    }

    /// The next event that came whole; comments and fields of no use are left out.
    ///
    /// # Errors
    /// When the stream cannot be read, is no text, or an event has too many bytes.
    pub(crate) fn next(&mut self) -> io::Result<Option<Event>> {
        let mut event = Event::default();
        let mut has_data = false;
        let mut room = EVENT_MAX_BYTES;
        loop {
            let mut line = Vec::new();
            let read = (&mut self.reader).take(room).read_until(b'\n', &mut line)?;
            room -= read as u64;
            if line.pop() != Some(b'\n') {
                return match room {
                    0 => Err(io::Error::other("an event is too long")),
                    _ => Ok(None),
                };
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            let line = String::from_utf8(line)
                .map_err(|_bytes| io::Error::other("an event is not UTF-8"))?;
            if line.is_empty() {
                if has_data {
                    return Ok(Some(event));
                }
                (event, room) = (Event::default(), EVENT_MAX_BYTES);
            }
            let (field, value) = line.split_once(':').unwrap_or((&line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut event.kind),
                "data" => {
                    if has_data {
                        event.data.push('\n');
                    }
                    event.data.push_str(value);
                    has_data = true;
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(stream: &[u8]) -> Vec<(String, String)> {
        let mut events = Events::new(stream);
        let mut found = Vec::new();
        while let Some(Event { kind, data }) = events.next().unwrap() {
            found.push((kind, data));
        }
        found
    }

    #[test]
    fn an_event_without_its_end_is_none() {
        for cut in ["", "data: 1", "data: 1\n", "data: 1\r\n", "event: end\ndata: {}\n", ": x\n\n"]
        {
            assert_eq!(all(cut.as_bytes()), [], "{cut:?}");
        }
    }

    #[test]
    fn an_event_without_bounds_is_an_error() {
        let endless = io::repeat(b'x');
        assert!(Events::new(b"data: ".chain(endless)).next().is_err());
        assert!(Events::new(&b"data: \xff\n\n"[..]).next().is_err());
    }

    #[test]
    fn events_have_kind_and_data() {
        let text =
            ": hi\n\nid: a-1\ndata: \"x\"\n\n:\n\ndata:1\ndata: 2\r\n\r\nevent: end\ndata: {}\n\n";
        let expected = [("", "\"x\""), ("", "1\n2"), ("end", "{}")];
        assert_eq!(all(text.as_bytes()), expected.map(|(k, d)| (k.to_owned(), d.to_owned())));
    }
}
