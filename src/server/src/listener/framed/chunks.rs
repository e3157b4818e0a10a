//! A chunked body (RFC 9112, 7.1), whose sizes and line ends must be what the grammar says.

/// Hexadecimal digits of a size: what 64 bits hold.
const DIGITS_MAX: u8 = 16;
/// Bytes of all extensions of one chunk; nobody needs any.
const EXTENSION_MAX_BYTES: u16 = 256;

/// Why a chunked body cannot be told from what follows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ChunkError(&'static str);

/// Where in a chunked body the next byte is.
#[derive(Debug)]
pub(super) enum Chunks {
    /// Among the digits of a size.
    Size {
        size: u64,
        digits: u8,
    },
    /// Behind a size, before the end of its line.
    Extension {
        size: u64,
        bytes: u16,
    },
    /// Before the line feed of a line with a size.
    SizeEnd {
        size: u64,
    },
    /// Bytes of the body that are left in this chunk.
    Data {
        left: u64,
    },
    /// Behind the data of a chunk; the second one before its line feed.
    DataEnd,
    DataFeed,
    /// Behind the last chunk; the second one before its line feed.
    LastEnd,
    LastFeed,
}

impl Default for Chunks {
    fn default() -> Self {
        Self::Size { size: 0, digits: 0 }
    }
}

impl Chunks {
    /// Reads `bytes`: how many of them are good, and whether the body ends with them, or what is wrong behind
    /// them.
    pub(super) fn read(&mut self, bytes: &[u8]) -> (usize, Result<bool, ChunkError>) {
        let mut good = 0;
        while let Some(byte) = bytes.get(good) {
            if let Self::Data { left } = self {
                let rest = bytes.len() - good;
                let here = usize::try_from(*left).unwrap_or(usize::MAX).min(rest);
                *left -= here as u64;
                good += here;
                if *left == 0 {
                    *self = Self::DataEnd;
                }
                continue;
            }
            match self.next(*byte) {
                Ok(Some(next)) => *self = next,
                Ok(None) => return (good + 1, Ok(true)),
                Err(fault) => return (good, Err(fault)),
            }
            good += 1;
        }
        (good, Ok(false))
    }

    /// What comes behind `byte`, which is none of data; nothing, if the body ends with it.
    fn next(&self, byte: u8) -> Result<Option<Self>, ChunkError> {
        let next = match (self, byte) {
            (Self::Size { digits: 0, .. }, b'\r' | b';' | b' ' | b'\t') => {
                return Err(ChunkError("a chunk has no size"));
            }
            (Self::Size { size, .. } | Self::Extension { size, .. }, b'\r') => {
                Self::SizeEnd { size: *size }
            }
            (Self::Size { size, .. }, b';') => Self::Extension { size: *size, bytes: 0 },
            (Self::Size { size, digits }, _) => {
                let digit = char::from(byte).to_digit(16);
                let digit = digit.ok_or(ChunkError("the size of a chunk is not hexadecimal"))?;
                if *digits == DIGITS_MAX {
                    return Err(ChunkError("the size of a chunk has more than 16 digits"));
                }
                Self::Size { size: *size << 4 | u64::from(digit), digits: digits + 1 }
            }
            (Self::Extension { size, bytes }, b'\t' | b' '..=b'~' | 0x80..) => {
                if *bytes == EXTENSION_MAX_BYTES {
                    return Err(ChunkError("the extensions of a chunk are longer than 256 bytes"));
                }
                Self::Extension { size: *size, bytes: bytes + 1 }
            }
            (Self::Extension { .. }, _) => {
                return Err(ChunkError("the extensions of a chunk have a control character"));
            }
            (Self::SizeEnd { size: 0 }, b'\n') => Self::LastEnd,
            (Self::SizeEnd { size }, b'\n') => Self::Data { left: *size },
            (Self::DataEnd, b'\r') => Self::DataFeed,
            (Self::DataFeed, b'\n') => Self::default(),
            (Self::DataEnd | Self::DataFeed, _) => {
                return Err(ChunkError("a chunk is longer than its size"));
            }
            (Self::LastEnd, b'\r') => Self::LastFeed,
            (Self::LastFeed, b'\n') => return Ok(None),
            (Self::LastEnd, _) => return Err(ChunkError("trailer fields are not taken")),
            (Self::SizeEnd { .. } | Self::LastFeed | Self::Data { .. }, _) => {
                return Err(ChunkError("a line of the chunked body does not end with CR LF"));
            }
        };
        Ok(Some(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// All at once and byte by byte must be the same.
    fn read(body: &[u8]) -> (usize, Result<bool, ChunkError>) {
        let whole = Chunks::default().read(body);
        let (mut chunks, mut good, mut ended) = (Chunks::default(), 0, Ok(false));
        for byte in body.chunks(1) {
            let (count, end) = chunks.read(byte);
            good += count;
            ended = end;
            if ended != Ok(false) {
                break;
            }
        }
        assert_eq!((good, ended), whole, "{}", body.escape_ascii());
        whole
    }

    #[test]
    fn what_the_grammar_does_not_allow_is_refused_where_it_stands() {
        for (body, good, said) in [
            (&b"\r\n"[..], 0, "a chunk has no size"),
            (b";x\r\n", 0, "a chunk has no size"),
            (b" 1\r\n", 0, "a chunk has no size"),
            (b"+1\r\n", 0, "the size of a chunk is not hexadecimal"),
            (b"0x1\r\n", 1, "the size of a chunk is not hexadecimal"),
            (b"1 \r\n", 1, "the size of a chunk is not hexadecimal"),
            (b"1_0\r\n", 1, "the size of a chunk is not hexadecimal"),
            (b"1\nx\r\n", 1, "the size of a chunk is not hexadecimal"),
            (b"00000000000000001\r\n", 16, "the size of a chunk has more than 16 digits"),
            (b"1;\0\r\n", 2, "the extensions of a chunk have a control character"),
            (b"1;a\nx\r\n", 3, "the extensions of a chunk have a control character"),
            (b"1\rx\r\n", 2, "a line of the chunked body does not end with CR LF"),
            (b"1\r\nxy\r\n", 4, "a chunk is longer than its size"),
            (b"1\r\nx\n0\r\n\r\n", 4, "a chunk is longer than its size"),
            (b"1\r\nx\rA", 5, "a chunk is longer than its size"),
            (b"0\r\nA: b\r\n\r\n", 3, "trailer fields are not taken"),
            (b"0\r\n\n", 3, "trailer fields are not taken"),
            (b"0\r\n\rX", 4, "a line of the chunked body does not end with CR LF"),
        ] {
            assert_eq!(read(body), (good, Err(ChunkError(said))), "{}", body.escape_ascii());
        }
        let long = [b"1;", &[b'a'; 257][..], b"\r\n"].concat();
        assert_eq!(
            read(&long).1,
            Err(ChunkError("the extensions of a chunk are longer than 256 bytes"))
        );
    }

    #[test]
    fn a_body_ends_with_its_last_chunk() {
        for body in [
            &b"0\r\n\r\n"[..],
            b"2\r\n{}\r\n0\r\n\r\n",
            b"1\r\n{\r\n01\r\n}\r\n000\r\n\r\n",
            b"A;a=b;c=\"d e\"\r\n0123\r\n4567\r\n0;x\r\n\r\n",
        ] {
            assert_eq!(read(body), (body.len(), Ok(true)));
            let followed = [body, b"GET "].concat();
            assert_eq!(read(&followed), (body.len(), Ok(true)));
        }
        assert_eq!(read(b"ffffffffffffffff\r\nx"), (19, Ok(false)));
    }
}
