//! One name in one directory.

/// What is at a name, and what a power cut may leave there. Values are small numbers, 0 is "nothing".
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(crate) struct Entry {
    /// What every process sees.
    pub(crate) now: u8,
    /// Bit `1 << value` for each value that may be on the disk.
    may: u8,
}

impl Entry {
    pub(crate) const ABSENT: Self = Self { now: 0, may: 1 };

    pub(crate) fn set(&mut self, value: u8) {
        self.now = value;
        self.may |= 1 << value;
    }

    pub(crate) fn is_there(self) -> bool {
        self.now != 0
    }

    /// What fsync of its directory does.
    pub(crate) fn sync(&mut self) {
        self.may = 1 << self.now;
    }

    /// Everything that a power cut may leave.
    pub(crate) fn after_cut(self) -> impl Iterator<Item = Self> {
        let may = self.may;
        (0..8).filter(move |value| may & 1 << value != 0).map(|now| Self { now, may: 1 << now })
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.now)?;
        for value in (0..8_u8).filter(|value| self.may & 1 << value != 0 && *value != self.now) {
            write!(f, "|{value}")?;
        }
        Ok(())
    }
}
