//! What has to hold of the bytes of a connection, whatever they are. Called by fuzz targets, and with their corpus by
//! tests.

use super::chunks::Chunks;
use super::head::{Framing, FramingError, HeadLines};

/// A head is understood in the same way however it is cut, and ends where it says.
pub(crate) fn head(bytes: &[u8]) {
    let whole = HeadLines::default().read(bytes);
    let mut pieces = HeadLines::default();
    let mut read = Ok(None);
    for end in 1..=bytes.len() {
        read = pieces.read(bytes.get(..end).unwrap_or_default());
        if read != Ok(None) {
            break;
        }
    }
    assert!(read == whole || is_length(&read, &whole), "cut: {read:?}, whole: {whole:?}");
    if let Ok(Some((length, _framing))) = whole {
        let head = bytes.get(..length).unwrap_or_default();
        assert!(head.ends_with(b"\r\n\r\n"), "the head ends in the middle of a line");
        assert!(!head.contains(&0), "a NUL went through");
        let is_half = |line: &[u8]| line.contains(&b'\r') || line.contains(&b'\n');
        let text = String::from_utf8_lossy(head);
        let mut lines = text.split("\r\n");
        assert!(!lines.any(|line| is_half(line.as_bytes())), "a line ends in another way");
    }
}

/// A head that is too long may be found so before its fault is.
fn is_length(
    read: &Result<Option<(usize, Framing)>, FramingError>,
    whole: &Result<Option<(usize, Framing)>, FramingError>,
) -> bool {
    let is_long = |result: &_| matches!(result, Err(FramingError::TooLong));
    is_long(read) || is_long(whole)
}

/// A chunked body is understood in the same way however it is cut, and what is good of it is never taken back.
pub(crate) fn chunks(bytes: &[u8]) {
    let (good, ended) = Chunks::default().read(bytes);
    assert!(good <= bytes.len(), "more is good than there is");
    let (mut chunks, mut count, mut end) = (Chunks::default(), 0, Ok(false));
    for byte in bytes.chunks(1) {
        let (here, now) = chunks.read(byte);
        count += here;
        end = now;
        if end != Ok(false) {
            break;
        }
    }
    assert_eq!((count, end), (good, ended), "cut and whole differ");
    if ended == Ok(true) {
        let body = bytes.get(..good).unwrap_or_default();
        assert!(body.ends_with(b"\r\n\r\n"), "the body ends without an empty line");
    }
}
