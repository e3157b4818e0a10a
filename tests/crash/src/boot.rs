//! The boot id that all processes of a test see.

use std::path::{Path, PathBuf};

use rustix::mount::mount_bind;

use crate::random::Random;

const KERNEL_FILE: &str = "/proc/sys/kernel/random/boot_id";

/// Stands at the place of the kernel's file.
#[derive(Debug)]
pub(crate) struct Boot {
    file: PathBuf,
    random: Random,
}

impl Boot {
    /// A first boot. This thread and its processes need mounts of their own.
    pub(crate) fn first(directory: &Path, random: Random) -> Self {
        let mut boot = Self { file: directory.join("boot_id"), random };
        boot.next();
        mount_bind(&boot.file, KERNEL_FILE).unwrap();
        boot
    }

    /// Another boot.
    pub(crate) fn next(&mut self) {
        let part = |random: &mut Random| random.below(0x1_0000);
        let random = &mut self.random;
        let parts: Vec<String> = (0..8).map(|_| format!("{:04x}", part(random))).collect();
        let id = format!(
            "{}{}-{}-{}-{}-{}{}{}\n",
            parts[0], parts[1], parts[2], parts[3], parts[4], parts[5], parts[6], parts[7]
        );
        std::fs::write(&self.file, id).unwrap();
    }
}
