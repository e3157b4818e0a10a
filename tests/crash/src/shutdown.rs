//! The ioctl that ends a file system as a power cut does.
#![expect(unsafe_code, reason = "rustix has no safe call for this ioctl, and none for a namespace")]

use std::ffi::c_void;
use std::fs::File;
use std::path::Path;

use rustix::ioctl::{Ioctl, IoctlOutput, Opcode, ioctl, opcode};
use rustix::mount::{MountPropagationFlags, mount_change};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// What of the journal reaches the disk at the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Cut {
    /// The journal as it is in memory, but no data: `EXT4_GOING_FLAGS_LOGFLUSH`.
    Journal = 1,
    /// Nothing: `EXT4_GOING_FLAGS_NOLOGFLUSH`.
    Nothing = 2,
}

struct Shutdown(u32);

// SAFETY: `FS_IOC_SHUTDOWN`, the same number for ext4 and XFS, reads one u32 and writes nothing.
unsafe impl Ioctl for Shutdown {
    type Output = ();
    const IS_MUTATING: bool = false;

    fn opcode(&self) -> Opcode {
        opcode::read::<u32>(b'X', 125)
    }

    fn as_ptr(&mut self) -> *mut c_void {
        (&raw mut self.0).cast()
    }

    unsafe fn output_from_ptr(_: IoctlOutput, _: *mut c_void) -> rustix::io::Result<()> {
        Ok(())
    }
}

/// Ends the file system mounted at `mount`: nothing that was not written reaches the disk any more.
pub(crate) fn shut_down(mount: &Path, cut: Cut) {
    let directory = File::open(mount).unwrap();
    // SAFETY: see the implementation of the trait.
    unsafe { ioctl(&directory, Shutdown(cut as u32)) }
        .unwrap_or_else(|e| panic!("cannot shut {} down: {e}", mount.display()));
}

/// Gives this thread, and everything it starts, mounts of its own.
pub(crate) fn own_mounts() {
    // SAFETY: no file descriptor table is unshared.
    unsafe { unshare_unsafe(UnshareFlags::NEWNS) }.expect("root may have mounts of its own");
    mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC).unwrap();
}
