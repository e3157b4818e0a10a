//! The files of grants, read as nobody else's: who may write in a directory decides what its files may say.

use std::collections::BTreeSet;
use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use ploinky_contract::limits::GRANT_MAX_BYTES;
use ploinky_contract::paths::StateDir;
use ploinky_contract::{Grant, GrantError, TokenDigest};
use rustix::fs::{
    AtFlags, CWD, FileType, Mode, OFlags, Stat, Timespec, Timestamps, UTIME_NOW, futimens, open,
    statat, utimensat,
};
use rustix::io::Errno;
use rustix::process::geteuid;

/// Files that are told of once; more than that are told of again.
const COMPLAINTS_MAX: usize = 256;

/// What a grant is for, which is where it lies.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Kind {
    /// Of an admin; written by the supervisor.
    AdminSession,
    /// Of a program; written by the supervisor.
    Token,
    /// Of a user of one domain; written by the instances.
    Session,
}

/// The directories.
#[derive(Debug)]
pub(super) struct Files {
    /// In the order in which they are looked through: nothing that an instance wrote stands in front of what the
    /// supervisor did.
    places: [(Kind, PathBuf); 3],
    uses: PathBuf,
    complaints: Mutex<BTreeSet<(Kind, TokenDigest)>>,
}

/// A grant as a file has it.
#[derive(Debug)]
pub(super) struct Found {
    kind: Kind,
    grant: Grant,
    bytes: usize,
    print: Print,
    used: AtomicU64,
}

/// Tells two states of a file apart: device, inode, bytes, times of modification and change.
type Print = (u64, u64, i64, (i64, u64), (i64, u64));

/// Why a file is no grant.
#[derive(Debug, thiserror::Error)]
enum BadFile {
    #[error("it is no regular file")]
    NotRegular,
    #[error("it is somebody else's, or others may write it")]
    Owner,
    #[error("it says what is not to be said there: {0}")]
    Misplaced(&'static str),
    #[error("it is no grant")]
    Grant(#[source] GrantError),
}

enum ReadError {
    Bad(BadFile),
    Io(io::Error),
}

impl From<Errno> for ReadError {
    fn from(errno: Errno) -> Self {
        match errno {
            Errno::LOOP | Errno::NXIO => Self::Bad(BadFile::NotRegular),
            other => Self::Io(other.into()),
        }
    }
}

impl Found {
    /// What it is for.
    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    /// What it says.
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }

    /// The length of its file.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// When it was used last, in seconds since 1970, as far as this instance knows.
    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Notes in memory that it was used.
    pub(super) fn set_used(&self, at_s: u64) {
        self.used.store(at_s, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub(in crate::grants) fn of_test(grant: Grant, bytes: usize) -> Self {
        let print = (0, 0, 0, (0, 0), (0, 0));
        Self { kind: Kind::Token, grant, bytes, print, used: AtomicU64::new(0) }
    }
}

impl Files {
    pub(super) fn new(state: &StateDir) -> Self {
        Self {
            places: [
                (Kind::AdminSession, state.admin_sessions()),
                (Kind::Token, state.tokens()),
                (Kind::Session, state.user_sessions()),
            ],
            uses: state.last_uses(),
            complaints: Mutex::default(),
        }
    }

    /// All directories that hold grants.
    pub(super) fn directories(&self) -> Vec<PathBuf> {
        self.places.iter().map(|(_, path)| path.clone()).collect()
    }

    /// The directory of grants of this kind.
    pub(super) fn directory(&self, kind: Kind) -> &Path {
        let [admins, tokens, sessions] = &self.places;
        match kind {
            Kind::AdminSession => &admins.1,
            Kind::Token => &tokens.1,
            Kind::Session => &sessions.1,
        }
    }

    /// The directory of the files whose times tell of uses.
    pub(super) fn uses(&self) -> &Path {
        &self.uses
    }

    /// The grant with this digest. All directories are looked at, whichever has it, so that the work for a token
    /// that nobody has is the same as for any other. A file that is no grant is none, and told of once.
    pub(super) fn read(&self, digest: &TokenDigest) -> io::Result<Option<Found>> {
        let mut first = None;
        for (kind, _) in &self.places {
            let found = self.read_one(*kind, digest)?;
            first = first.or(found);
        }
        Ok(first)
    }

    /// The grant of this kind with this digest.
    pub(super) fn read_one(&self, kind: Kind, digest: &TokenDigest) -> io::Result<Option<Found>> {
        let path = self.directory(kind).join(digest.as_str());
        match self.parse(kind, digest, &path) {
            Ok(found) => Ok(Some(found)),
            Err(ReadError::Io(error)) if is_absence(&error) => Ok(None),
            Err(ReadError::Io(error)) => Err(error),
            Err(ReadError::Bad(bad)) => {
                self.complain(kind, digest, &path, &bad);
                Ok(None)
            }
        }
    }

    /// Whether the file is still the one that was found.
    pub(super) fn is_same(&self, digest: &TokenDigest, found: &Found) -> bool {
        let path = self.directory(found.kind).join(digest.as_str());
        statat(CWD, &path, AtFlags::SYMLINK_NOFOLLOW)
            .is_ok_and(|about| print_of(&about) == found.print)
    }

    /// Writes down that the grant was used now.
    pub(super) fn note_use(&self, digest: &TokenDigest, found: &Found) -> io::Result<()> {
        let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
        let times = Timestamps { last_access: now, last_modification: now };
        match found.kind {
            Kind::Session => {
                let path = self.directory(found.kind).join(digest.as_str());
                match utimensat(CWD, &path, &times, AtFlags::SYMLINK_NOFOLLOW) {
                    // It has just ended.
                    Ok(()) | Err(Errno::NOENT) => Ok(()),
                    Err(errno) => Err(errno.into()),
                }
            }
            Kind::AdminSession | Kind::Token => {
                let flags = OFlags::CREATE
                    | OFlags::WRONLY
                    | OFlags::NOFOLLOW
                    | OFlags::NONBLOCK
                    | OFlags::CLOEXEC;
                let mode = Mode::RUSR | Mode::WUSR;
                Ok(futimens(open(self.uses.join(digest.as_str()), flags, mode)?, &times)?)
            }
        }
    }

    fn parse(&self, kind: Kind, digest: &TokenDigest, path: &Path) -> Result<Found, ReadError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = open(path, flags, Mode::empty())?;
        let about = rustix::fs::fstat(&file)?;
        if FileType::from_raw_mode(about.st_mode) != FileType::RegularFile {
            return Err(ReadError::Bad(BadFile::NotRegular));
        }
        let owner = match kind {
            Kind::AdminSession | Kind::Token => 0,
            Kind::Session => geteuid().as_raw(),
        };
        let others = Mode::WGRP | Mode::WOTH;
        if about.st_uid != owner || Mode::from_raw_mode(about.st_mode).intersects(others) {
            return Err(ReadError::Bad(BadFile::Owner));
        }
        let text = read_bounded(&file)?;
        let grant = Grant::parse(&text).map_err(|e| ReadError::Bad(BadFile::Grant(e)))?;
        check(kind, &grant).map_err(ReadError::Bad)?;
        let used = match kind {
            Kind::Session => about.st_mtime,
            Kind::AdminSession | Kind::Token => self.last_use(digest, &about),
        };
        let used = AtomicU64::new(u64::try_from(used).unwrap_or(0));
        Ok(Found { kind, grant, bytes: text.len(), print: print_of(&about), used })
    }

    /// The later one of the times of the grant and of the file that stands for its uses.
    fn last_use(&self, digest: &TokenDigest, about: &Stat) -> i64 {
        let noted = statat(CWD, self.uses.join(digest.as_str()), AtFlags::SYMLINK_NOFOLLOW);
        noted.map_or(about.st_mtime, |noted| noted.st_mtime.max(about.st_mtime))
    }

    fn complain(&self, kind: Kind, digest: &TokenDigest, path: &Path, bad: &BadFile) {
        let mut complaints = self.complaints.lock().unwrap_or_else(PoisonError::into_inner);
        if COMPLAINTS_MAX <= complaints.len() {
            complaints.clear();
        }
        if complaints.insert((kind, digest.clone())) {
            let reason = ploinky_contract::chain(bad);
            tracing::error!("{} does not count: {reason}", path.display());
        }
    }
}

/// What the holder of a directory may grant in it.
fn check(kind: Kind, grant: &Grant) -> Result<(), BadFile> {
    let fault = match kind {
        Kind::Session if grant.role.is_some() => "a role",
        Kind::Session | Kind::AdminSession if grant.name.is_some() => "the name of a token",
        Kind::Session if grant.domain.is_none() => "no domain",
        Kind::Token if grant.name.is_none() => "no name",
        Kind::AdminSession | Kind::Session | Kind::Token => return Ok(()),
    };
    Err(BadFile::Misplaced(fault))
}

fn print_of(about: &Stat) -> Print {
    (
        about.st_dev,
        about.st_ino,
        about.st_size,
        (about.st_mtime, about.st_mtime_nsec),
        (about.st_ctime, about.st_ctime_nsec),
    )
}

/// One byte more than allowed at most; whoever parses them refuses it then.
fn read_bounded(file: &OwnedFd) -> Result<Vec<u8>, Errno> {
    let mut bytes = vec![0; GRANT_MAX_BYTES + 1];
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match rustix::io::read(file, rest)? {
            0 => break,
            read => length += read,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}
