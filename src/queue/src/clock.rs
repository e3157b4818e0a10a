//! The clock that deadlines are written in: time since boot, suspend included, and the boot it belongs to.

use std::fs::File;
use std::io::{self, Read};

use rustix::time::{ClockId, clock_gettime};

const BOOT_ID_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// A text is no boot id.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("not a boot id: a boot id is 32 hexadecimal digits, with or without dashes")]
pub struct InvalidBootId;

/// Nanoseconds of `CLOCK_BOOTTIME`: the same in every process and container of a host, never set back.
pub fn boottime_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    let nanoseconds = u64::try_from(now.tv_nsec).unwrap_or(0);
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// The id of this boot, as 32 lower-case digits without dashes.
///
/// # Errors
/// When `/proc/sys/kernel/random/boot_id` is hidden (`ProcSubset=pid`) or odd; give the service the `%b`
/// specifier there and use [`parse_boot_id`].
pub fn boot_id() -> io::Result<String> {
    let mut text = String::with_capacity(64);
    File::open(BOOT_ID_FILE)?.take(64).read_to_string(&mut text)?;
    parse_boot_id(text.trim_end()).map_err(io::Error::other)
}

/// The one form of a boot id that requests carry; the kernel writes dashes, systemd's `%b` does not.
///
/// # Errors
/// When the text is no boot id.
pub fn parse_boot_id(text: &str) -> Result<String, InvalidBootId> {
    let digits: String =
        text.chars().filter(|c| *c != '-').map(|c| c.to_ascii_lowercase()).take(33).collect();
    if digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        Ok(digits)
    } else {
        Err(InvalidBootId)
    }
}

/// Wall-clock seconds; only to tell how old a file is.
pub(crate) fn wall_clock_s() -> i64 {
    clock_gettime(ClockId::Realtime).tv_sec
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_uuid_is_a_boot_id() {
        for text in
            ["", "0123", "0123456789abcdef0123456789abcdef0", "g123456789abcdef0123456789abcdef"]
        {
            assert_eq!(parse_boot_id(text), Err(InvalidBootId), "{text:?}");
        }
        assert_eq!(
            parse_boot_id("01234567-89ab-CDEF-0123-456789abcdef").as_deref(),
            Ok("0123456789abcdef0123456789abcdef")
        );
    }

    #[test]
    fn the_clock_runs_forward_and_the_boot_is_known() {
        let before = boottime_ns();
        assert!(0 < before && before <= boottime_ns());
        assert_eq!(boot_id().unwrap().len(), 32);
    }
}
