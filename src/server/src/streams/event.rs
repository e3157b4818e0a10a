//! The words of server-sent events (WHATWG HTML, 9.2), as bytes.

use bytes::{BufMut as _, BytesMut};
use ploinky_contract::limits::JSON_DEPTH_MAX;
use ploinky_contract::{TaskId, check_depth};
use serde_json::value::RawValue;

use crate::guardian::has_lone_surrogate;

/// What keeps a connection open that has nothing to say.
pub(super) const KEEP_ALIVE: &[u8] = b":\n\n";
/// What ends the stream, by its kind.
const END: &[u8] = b"event: end\n";
const ERROR: &[u8] = b"event: error\n";

/// The number of the last event, for a client that asks again.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventId {
    pub(super) task: TaskId,
    pub(super) number: u64,
}

impl EventId {
    fn write(self, text: &mut BytesMut) {
        let Self { task, number } = self;
        text.put_slice(format!("id: {task}-{number}\n").as_bytes());
    }
}

/// The beginning: no event, but an id, so that a client that loses the connection before the first event says
/// that it had one.
pub(super) fn opening(id: EventId, text: &mut BytesMut) {
    id.write(text);
    text.put_u8(b'\n');
}

/// One line of the handler: JSON as it is, else its text as a JSON string.
pub(super) fn line(id: EventId, line: &[u8], text: &mut BytesMut) {
    id.write(text);
    if let Some(json) = json_of(line) {
        data(json.as_bytes(), text);
    } else {
        let shown = String::from_utf8_lossy(line);
        let shown = shown.strip_suffix('\r').unwrap_or(&shown);
        // A string cannot fail to serialise into memory.
        data(&serde_json::to_vec(shown).unwrap_or_default(), text);
    }
    text.put_u8(b'\n');
}

/// The end with a value, or with an error; `answer` is what a call would have answered.
pub(super) fn last(id: EventId, is_success: bool, answer: &[u8], text: &mut BytesMut) {
    id.write(text);
    text.put_slice(if is_success { END } else { ERROR });
    data(answer, text);
    text.put_u8(b'\n');
}

/// `json` on one line. Between the values of valid JSON stands white space; in strings no line ends.
fn data(json: &[u8], text: &mut BytesMut) {
    text.reserve(json.len() + 16);
    text.put_slice(b"data: ");
    let start = text.len();
    text.put_slice(json);
    for byte in text.get_mut(start..).unwrap_or_default() {
        if matches!(byte, b'\n' | b'\r') {
            *byte = b' ';
        }
    }
    text.put_u8(b'\n');
}

fn json_of(line: &[u8]) -> Option<&str> {
    let line = std::str::from_utf8(line).ok()?;
    let json = serde_json::from_str::<&RawValue>(line).ok()?.get();
    let is_plain = check_depth(json.as_bytes(), JSON_DEPTH_MAX).is_ok()
        && !has_lone_surrogate(json.as_bytes());
    is_plain.then_some(json)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(EventId, &mut BytesMut)) -> String {
        let mut text = BytesMut::new();
        write(EventId { task: TaskId::from_random([0x11; 16]), number: 7 }, &mut text);
        String::from_utf8(text.to_vec()).unwrap()
    }

    fn data_of(bytes: &[u8]) -> String {
        let event = written(|id, text| line(id, bytes, text));
        let id = format!("id: {}-7\ndata: ", "1".repeat(32));
        event.strip_prefix(&id).unwrap().strip_suffix("\n\n").unwrap().to_owned()
    }

    #[test]
    fn a_line_cannot_forge_an_event() {
        for (bytes, expected) in [
            (&b"{}\r"[..], "{}"),
            (b"{\"a\":\r1}", r#"{"a": 1}"#),
            (b"x\revent: end\rdata: {}", r#""x\revent: end\rdata: {}""#),
            (b"x\r", r#""x""#),
            (b"", r#""""#),
            (b"\xff", "\"\u{fffd}\""),
            (br#""\ud800""#, r#""\"\\ud800\"""#),
            (b"id: 1", r#""id: 1""#),
        ] {
            assert_eq!(data_of(bytes), expected, "{bytes:?}");
        }
        let deep = "[".repeat(65) + &"]".repeat(65);
        assert_eq!(data_of(deep.as_bytes()), format!("\"{deep}\""));
    }

    #[test]
    fn json_is_handed_on_and_text_becomes_a_string() {
        for (bytes, expected) in
            [(&b"{\"n\":1e400}"[..], "{\"n\":1e400}"), (b"5", "5"), (b"two words", "\"two words\"")]
        {
            assert_eq!(data_of(bytes), expected);
        }
    }

    #[test]
    fn the_end_is_an_event_of_its_own() {
        let id = "1".repeat(32);
        assert_eq!(written(opening), format!("id: {id}-7\n\n"));
        let end = written(|id, text| last(id, true, b"{\"success\":true,\n\"data\":1}", text));
        let expected =
            format!("id: {id}-7\nevent: end\ndata: {{\"success\":true, \"data\":1}}\n\n");
        assert_eq!(end, expected);
        let error = written(|id, text| last(id, false, b"{\"error\":true}", text));
        assert_eq!(error, format!("id: {id}-7\nevent: error\ndata: {{\"error\":true}}\n\n"));
    }
}
