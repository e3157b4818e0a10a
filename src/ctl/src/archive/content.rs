//! The content of a file while it is packed.

use std::fs::File;
use std::io::{self, Read};

/// Tells a failed read from a failed write, which look alike in the error of the archive.
pub(super) struct Counted {
    inner: io::Take<File>,
    /// Bytes that were read.
    pub(super) read: u64,
    /// Why no more could be read.
    pub(super) failed: Option<io::Error>,
}

impl Counted {
    /// At most `size` bytes of `file`.
    pub(super) fn new(file: File, size: u64) -> Self {
        Self { inner: file.take(size), read: 0, failed: None }
    }
}

impl Read for Counted {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self.inner.read(buffer) {
            Ok(length) => {
                self.read += length as u64;
                Ok(length)
            }
            Err(e) => {
                let kind = e.kind();
                self.failed = Some(e);
                Err(kind.into())
            }
        }
    }
}
