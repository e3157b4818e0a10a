//! Sessions of users: made at a login, ended at a logout, listed, and swept when their time is over.

use std::io::{self, Write as _};
use std::os::fd::OwnedFd;
use std::path::Path;

use ploinky_contract::limits::{SESSIONS_MAX, SESSIONS_PER_USER};
use ploinky_contract::{Domain, Grant, TOKEN_BYTES, Token, TokenDigest, UserId};
use rustix::fs::{
    AtFlags, Mode, OFlags, RenameFlags, fsync, open, openat, renameat_with, statat, unlinkat,
};
use rustix::io::Errno;

use super::files::{Files, Kind};
use super::memory::Memory;

/// What the name of a file begins with that is being written.
const STAGED: &str = ".new-";
/// Age in seconds at which such a file is left over for sure.
const STAGED_AGE_S: i64 = 60;

/// The sessions of users of a host.
#[derive(Debug)]
pub(crate) struct Sessions<'a> {
    files: &'a Files,
    memory: &'a Memory,
}

/// A session as a list has it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Session {
    /// By which its token is known.
    pub(crate) digest: TokenDigest,
    /// What it says.
    pub(crate) grant: Grant,
    /// Seconds since 1970 of the last use that was written down.
    pub(crate) used_s: u64,
}

/// Why there is no new session.
#[derive(Debug, thiserror::Error)]
pub(crate) enum MintError {
    /// As many as allowed are there.
    #[error("{SESSIONS_MAX} sessions are there")]
    Full,
    /// The kernel gave no random bytes, or the file cannot be written.
    #[error("cannot write a session")]
    Io(#[source] io::Error),
}

impl<'a> Sessions<'a> {
    pub(super) fn new(files: &'a Files, memory: &'a Memory) -> Self {
        Self { files, memory }
    }

    /// Makes a session that says `grant`, and the token for it, which is in no file. The session is on the disk then.
    /// A user who has as many as allowed loses the one that was not used for longest.
    ///
    /// # Errors
    /// Nothing was made then.
    pub(crate) fn mint(&self, grant: &Grant) -> Result<Token, MintError> {
        let mut all = self.list().map_err(MintError::Io)?;
        if SESSIONS_MAX <= all.len() {
            self.sweep(grant.created_at).map_err(MintError::Io)?;
            all = self.list().map_err(MintError::Io)?;
            if SESSIONS_MAX <= all.len() {
                return Err(MintError::Full);
            }
        }
        let token = Token::of_session(random_bytes().map_err(MintError::Io)?);
        self.write(&token.digest(), grant).map_err(MintError::Io)?;
        all.retain(|session| is_of(session, &grant.user_id, grant.domain.as_ref()));
        all.sort_by_key(|session| session.used_s);
        let surplus = (all.len() + 1).saturating_sub(SESSIONS_PER_USER);
        for session in all.iter().take(surplus) {
            self.end(&session.digest).map_err(MintError::Io)?;
        }
        Ok(token)
    }

    /// Ends a session for good; whether it was there. No instance accepts its token from now on.
    ///
    /// # Errors
    /// It may be back after a power cut then.
    pub(crate) fn end(&self, digest: &TokenDigest) -> io::Result<bool> {
        let Some(directory) = self.open()? else { return Ok(false) };
        let was_there = unlink(&directory, digest.as_str())?;
        // The kernel tells, too, but not before this returns.
        self.memory.forget(digest);
        fsync(&directory)?;
        Ok(was_there)
    }

    /// All sessions that have not ended by a logout, also those whose time is over.
    ///
    /// # Errors
    /// When the directory cannot be read. If it is missing there are none.
    pub(crate) fn list(&self) -> io::Result<Vec<Session>> {
        let mut all = Vec::new();
        for digest in names(self.path())?.into_iter().filter_map(|name| name.parse().ok()) {
            if let Some(found) = self.files.read_one(Kind::Session, &digest)? {
                let (grant, used_s) = (found.grant().clone(), found.used());
                all.push(Session { digest, grant, used_s });
            }
        }
        Ok(all)
    }

    /// Removes the sessions whose time is over, notes of uses of grants that are gone, and what was not written to
    /// its end; how many sessions that were.
    ///
    /// # Errors
    /// When the directory cannot be read or written.
    pub(crate) fn sweep(&self, now_s: u64) -> io::Result<usize> {
        let Some(directory) = self.open()? else { return Ok(0) };
        let mut over = 0;
        for Session { digest, grant, used_s } in self.list()? {
            if !grant.counts_at(now_s, used_s) && unlink(&directory, digest.as_str())? {
                over += 1;
            }
        }
        let is_old = |name: &str| {
            statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW).is_ok_and(|about| {
                let now = i64::try_from(now_s).unwrap_or(i64::MAX);
                about.st_mtime.saturating_add(STAGED_AGE_S) <= now
            })
        };
        for name in names(self.path())? {
            if name.starts_with(STAGED) && is_old(&name) {
                unlink(&directory, &name)?;
            }
        }
        self.sweep_uses()?;
        Ok(over)
    }

    fn sweep_uses(&self) -> io::Result<()> {
        let uses = self.files.uses();
        let is_there = |name: &str| {
            [Kind::AdminSession, Kind::Token].iter().any(|kind| {
                let path = self.files.directory(*kind).join(name);
                statat(rustix::fs::CWD, path, AtFlags::SYMLINK_NOFOLLOW).is_ok()
            })
        };
        for name in names(uses)? {
            if name.parse::<TokenDigest>().is_ok() && !is_there(&name) {
                match rustix::fs::unlink(uses.join(name)) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno.into()),
                }
            }
        }
        Ok(())
    }

    fn write(&self, digest: &TokenDigest, grant: &Grant) -> io::Result<()> {
        let directory = self.open()?.ok_or(io::ErrorKind::NotFound)?;
        let staged = format!("{STAGED}{digest}");
        let flags =
            OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mut file =
            std::fs::File::from(openat(&directory, &staged, flags, Mode::RUSR | Mode::WUSR)?);
        let written = file
            .write_all(grant.to_json().as_bytes())
            .and_then(|()| file.sync_all())
            .and_then(|()| {
                let (from, to) = (staged.as_str(), digest.as_str());
                Ok(renameat_with(&directory, from, &directory, to, RenameFlags::NOREPLACE)?)
            });
        if let Err(error) = written {
            unlink(&directory, &staged).ok();
            return Err(error);
        }
        Ok(fsync(&directory)?)
    }

    fn path(&self) -> &Path {
        self.files.directory(Kind::Session)
    }

    /// `None`: the directory is not there.
    fn open(&self) -> io::Result<Option<OwnedFd>> {
        let flags = OFlags::DIRECTORY | OFlags::RDONLY | OFlags::CLOEXEC;
        match open(self.path(), flags, Mode::empty()) {
            Ok(directory) => Ok(Some(directory)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno.into()),
        }
    }
}

/// Whether it is one of this user of this domain.
pub(crate) fn is_of(session: &Session, user: &UserId, domain: Option<&Domain>) -> bool {
    session.grant.user_id == *user && session.grant.domain.as_ref() == domain
}

/// The bytes of a new token.
fn random_bytes() -> io::Result<[u8; TOKEN_BYTES]> {
    let mut bytes = [0; TOKEN_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

/// Whether the file was there.
fn unlink(directory: &OwnedFd, name: &str) -> io::Result<bool> {
    match unlinkat(directory, name, AtFlags::empty()) {
        Ok(()) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno.into()),
    }
}

/// The names in a directory; in one that is missing there are none.
fn names(directory: &Path) -> io::Result<Vec<String>> {
    match std::fs::read_dir(directory) {
        Ok(entries) => entries
            .filter_map(|entry| entry.map(|entry| entry.file_name().into_string().ok()).transpose())
            .collect(),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(e) => Err(e),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const TOKENS: u32 = 1_000_000;

    #[test]
    fn s5_a_million_tokens_are_different_and_their_bits_are_even() {
        let mut seen = HashSet::with_capacity(TOKENS as usize);
        let mut ones = [0_u32; TOKEN_BYTES * 8];
        for _ in 0..TOKENS {
            let bytes = random_bytes().unwrap();
            for (index, count) in ones.iter_mut().enumerate() {
                *count += u32::from(bytes[index / 8] >> (index % 8) & 1);
            }
            assert!(seen.insert(bytes));
        }
        // Each bit is one of a fair coin: the sum of the squares of 256 normal numbers. Between its quantiles of
        // 0.001 and 0.999 it lies with a probability of 0.998; a tenth of that is left out on both sides.
        let expected = f64::from(TOKENS) / 2.0;
        let chi2: f64 =
            ones.iter().map(|n| (f64::from(*n) - expected).powi(2) / (expected / 2.0)).sum();
        assert!((180.0..=340.0).contains(&chi2), "{chi2}");
    }
}
