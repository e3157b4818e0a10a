//! Random bytes of the kernel.

use std::io;

use rustix::rand::{GetRandomFlags, getrandom};

/// So many bytes that nobody can foresee. At most 256, which come whole; before the kernel has enough randomness it
/// waits.
///
/// # Errors
/// When the kernel gives none, or too few.
pub(crate) fn bytes<const LENGTH: usize>() -> io::Result<[u8; LENGTH]> {
    let mut bytes = [0; LENGTH];
    if getrandom(&mut bytes, GetRandomFlags::empty())? != LENGTH {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(bytes)
}
