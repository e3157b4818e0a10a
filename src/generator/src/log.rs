//! Where the generator says what is wrong: the kernel's buffer, which the journal reads, and stderr.
//!
//! At a boot there is no journal yet, and systemd gives a generator no stream that anybody reads
//! (systemd.generator(7)).

use std::fmt;
use std::fs::File;
use std::io::{self, Write};

use rustix::fs::{Mode, OFlags};

/// Bytes of one record; the kernel refuses longer ones (`LOG_LINE_MAX`, less its prefix).
const RECORD_MAX_BYTES: usize = 900;

/// The two places.
pub(crate) struct Log<'a> {
    kernel: Option<&'a mut dyn Write>,
    stderr: &'a mut dyn Write,
}

impl<'a> Log<'a> {
    pub(crate) fn new(kernel: Option<&'a mut dyn Write>, stderr: &'a mut dyn Write) -> Self {
        Self { kernel, stderr }
    }

    /// One line at both.
    pub(crate) fn say(&mut self, text: &dyn fmt::Display) {
        let line = format!("ploinky-generator: {text}").replace('\n', " ");
        if let Some(kernel) = &mut self.kernel {
            let mut ends = (0..=RECORD_MAX_BYTES.min(line.len())).rev();
            let beginning = ends.find_map(|end| line.get(..end)).unwrap_or_default();
            // One write is one record. `<4>` is the priority of a warning.
            let record = format!("<4>{beginning}\n");
            // Nobody is left to be told when the log itself is gone; so below.
            drop(kernel.write_all(record.as_bytes()));
        }
        drop(self.stderr.write_all(format!("{line}\n").as_bytes()));
    }
}

/// The kernel's buffer; containers have none.
pub(crate) fn kernel() -> io::Result<File> {
    let flags = OFlags::WRONLY | OFlags::NOCTTY | OFlags::CLOEXEC;
    Ok(rustix::fs::open("/dev/kmsg", flags, Mode::empty())?.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes each write as a record, as the kernel does.
    #[derive(Default)]
    struct Records(Vec<String>);

    impl Write for Records {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.push(String::from_utf8(bytes.to_vec()).unwrap());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_message_is_one_bounded_record_with_its_priority() {
        let (mut kernel, mut stderr) = (Records::default(), Vec::new());
        let mut log = Log::new(Some(&mut kernel), &mut stderr);
        log.say(&"one\ntwo");
        log.say(&"ä".repeat(1000));
        assert_eq!(kernel.0[0], "<4>ploinky-generator: one two\n");
        assert_eq!(kernel.0.len(), 2);
        assert!(kernel.0[1].len() <= RECORD_MAX_BYTES + 4);
        assert!(String::from_utf8(stderr).unwrap().starts_with("ploinky-generator: one two\n"));
    }
}
