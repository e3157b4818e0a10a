//! A file system in a file.

use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};

use crate::process::{run, within};
use crate::shutdown::{Cut, shut_down};

/// Time that the kernel has to let a file system go.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which file system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FileSystem {
    /// With a journal.
    Ext4,
    /// With a log.
    Xfs,
}

/// A file system on a loop device, gone with this value.
#[derive(Debug)]
pub struct Disk {
    kind: FileSystem,
    device: PathBuf,
    mount: PathBuf,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
        }
    }
}

impl Disk {
    /// Makes one of `megabytes` in `directory` and mounts it there.
    pub fn make(kind: FileSystem, megabytes: u64, directory: &Path) -> Self {
        let image = directory.join("image");
        File::create(&image).unwrap().set_len(megabytes << 20).unwrap();
        let words: &[&str] = match kind {
            // Nothing is reserved: root fills it for everybody.
            FileSystem::Ext4 => &["-q", "-m", "0", "-E", "lazy_itable_init=0", "-F"],
            FileSystem::Xfs => &["-q", "-f"],
        };
        let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        words.push(image.as_os_str());
        run(&format!("mkfs.{}", kind.name()), &words);
        let words = ["--find", "--show"].map(OsStr::new);
        let device = run("losetup", &[words[0], words[1], image.as_os_str()]);
        let disk = Self { kind, device: device.into(), mount: directory.join("disk") };
        std::fs::create_dir(&disk.mount).unwrap();
        disk.mount();
        disk
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        &self.mount
    }

    /// The power fails. Nothing that uses it may run on; [`Disk::replay`] when nothing uses it.
    pub fn cut(&self, cut: Cut) {
        shut_down(&self.mount, cut);
    }

    /// Mounts it again as after a boot: the journal tells what was written.
    pub fn replay(&self) {
        within(PATIENCE, "nothing uses the disk", || {
            unmount(&self.mount, UnmountFlags::empty()).is_ok()
        });
        // Mounted while the kernel still has it, it would be the one that was shut down.
        let name = self.device.file_name().unwrap();
        let known = Path::new("/sys/fs").join(self.kind.name()).join(name);
        within(PATIENCE, "the kernel lets the disk go", || !known.exists());
        self.mount();
    }

    fn mount(&self) {
        mount(&self.device, &self.mount, self.kind.name(), MountFlags::empty(), None)
            .unwrap_or_else(|e| panic!("cannot mount {}: {e}", self.kind.name()));
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        unmount(&self.mount, UnmountFlags::DETACH).ok();
        run("losetup", &[OsStr::new("--detach"), self.device.as_os_str()]);
    }
}
