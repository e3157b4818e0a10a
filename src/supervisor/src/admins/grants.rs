//! A directory of grants that the supervisor writes and the workers read: one file each, named by the digest of
//! its token. To remove a file is to revoke it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use ploinky_contract::limits::GRANT_MAX_BYTES;
use ploinky_contract::paths::StateDir;
use ploinky_contract::{Grant, TokenDigest};

use crate::accounts::Accounts;
use crate::{directory, state_file};

/// The workers list and watch it, and nobody else.
const DIRECTORY_MODE: u32 = 0o750;
/// The workers read it as their group.
const FILE_MODE: u32 = 0o640;

/// One directory.
#[derive(Clone, Debug)]
pub(super) struct Grants {
    directory: PathBuf,
    /// Empty files of the same names, which the workers touch when they see a token.
    used: PathBuf,
    accounts: Accounts,
}

/// A grant with its name.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Found {
    pub(crate) digest: TokenDigest,
    pub(crate) grant: Grant,
    /// Seconds since 1970; 0 if it was not seen yet.
    pub(crate) used_at: u64,
}

/// The disk did not let it be done.
#[derive(Debug, thiserror::Error)]
#[error("cannot {verb} {}", .path.display())]
pub(crate) struct GrantsError {
    verb: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl Grants {
    /// The directory `directory` of `state`, made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn open(
        state: &StateDir,
        directory: PathBuf,
        accounts: Accounts,
    ) -> Result<Self, GrantsError> {
        let made = || {
            let name = directory.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            let parent = directory::open(state.root())?;
            let owner = accounts.root_and_workers();
            directory::make(&parent, name, DIRECTORY_MODE, owner, accounts).map(drop)
        };
        match made() {
            Ok(()) => Ok(Self { directory, used: state.last_uses(), accounts }),
            Err(source) => Err(GrantsError { verb: "make", path: directory, source }),
        }
    }

    /// All that are there, by their digests. What cannot be read counts as not there, for the workers, too.
    ///
    /// # Errors
    /// When the directory cannot be listed.
    pub(super) fn list(&self) -> Result<Vec<Found>, GrantsError> {
        let failed = |source| self.error("list", &self.directory, source);
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&self.directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(digest) = name.to_str().and_then(|name| name.parse().ok()) else { continue };
            match self.find(&digest) {
                Ok(Some(one)) => found.push(one),
                Ok(None) => {}
                Err(error) => tracing::warn!("{}", ploinky_contract::chain(&error)),
            }
        }
        found.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(found)
    }

    /// The grant of a token.
    ///
    /// # Errors
    /// When its file cannot be read, or is no grant.
    pub(super) fn find(&self, digest: &TokenDigest) -> Result<Option<Found>, GrantsError> {
        let path = self.path(digest);
        let text = state_file::read(&path, GRANT_MAX_BYTES)
            .map_err(|source| self.error("read", &path, source))?;
        let Some(text) = text else { return Ok(None) };
        let grant = Grant::parse(&text)
            .map_err(|refused| self.error("understand", &path, io::Error::other(refused)))?;
        let used_at = modified(&self.used.join(digest.as_str()));
        Ok(Some(Found { digest: digest.clone(), grant, used_at }))
    }

    /// Makes a grant count.
    ///
    /// # Errors
    /// When its file cannot be written.
    pub(super) fn put(&self, digest: &TokenDigest, grant: &Grant) -> Result<(), GrantsError> {
        let path = self.path(digest);
        let owner = self.accounts.root_and_workers();
        state_file::write_for(&path, grant.to_json().as_bytes(), FILE_MODE, |file| {
            self.accounts.give(file, owner)
        })
        .map_err(|source| self.error("write", &path, source))
    }

    /// Makes it count no more.
    ///
    /// # Errors
    /// When its file cannot be removed.
    pub(super) fn remove(&self, digest: &TokenDigest) -> Result<(), GrantsError> {
        let path = self.path(digest);
        state_file::delete(&path).map_err(|source| self.error("remove", &path, source))?;
        // Of no use without the grant; whoever counts last uses passes over what is left.
        drop(std::fs::remove_file(self.used.join(digest.as_str())));
        Ok(())
    }

    fn path(&self, digest: &TokenDigest) -> PathBuf {
        self.directory.join(digest.as_str())
    }

    #[expect(clippy::unused_self, reason = "reads as a sentence where it is called")]
    fn error(&self, verb: &'static str, path: &Path, source: io::Error) -> GrantsError {
        GrantsError { verb, path: path.to_owned(), source }
    }
}

impl Found {
    /// Whether it counts at `now`, seconds since 1970.
    pub(crate) fn counts_at(&self, now: u64) -> bool {
        self.grant.counts_at(now, self.used_at.min(now))
    }
}

/// Seconds since 1970 when the file was changed last; 0 if it is not there.
fn modified(path: &Path) -> u64 {
    let time = path.symlink_metadata().and_then(|metadata| metadata.modified());
    let since = time.ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use ploinky_contract::{AllowedCommands, Token};

    use super::*;

    fn grant(created_at: u64) -> Grant {
        Grant {
            user_id: "ada".parse().unwrap(),
            domain: None,
            paths: None,
            allowed_commands: AllowedCommands::all(),
            role: None,
            name: None,
            created_at,
            expires_at: Some(created_at + 1000),
            idle_seconds: Some(100),
            authenticated_at: None,
        }
    }

    #[test]
    fn a_grant_counts_as_long_as_its_file_is_there() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let grants = Grants::open(&state, state.admin_sessions(), Accounts::kept()).unwrap();
        let again = Grants::open(&state, state.admin_sessions(), Accounts::kept()).unwrap();
        let token = Token::of_session([1; 32]);
        assert_eq!(grants.find(&token.digest()).unwrap(), None);
        grants.put(&token.digest(), &grant(5)).unwrap();
        let found = again.find(&token.digest()).unwrap().unwrap();
        assert_eq!((found.grant.clone(), found.used_at), (grant(5), 0));
        assert_eq!(again.list().unwrap(), [found]);
        let mode = |path: PathBuf| path.metadata().unwrap().permissions().mode() & 0o7777;
        let file = state.admin_sessions().join(token.digest().as_str());
        assert_eq!((mode(state.admin_sessions()), mode(file)), (0o750, 0o640));
        grants.remove(&token.digest()).unwrap();
        grants.remove(&token.digest()).unwrap();
        assert_eq!(again.list().unwrap(), []);
    }

    #[test]
    fn what_is_no_grant_counts_as_none() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let grants = Grants::open(&state, state.tokens(), Accounts::kept()).unwrap();
        let digest = Token::of_session([1; 32]).digest();
        state_file::write(&state.tokens().join(digest.as_str()), b"{}", 0o640).unwrap();
        state_file::write(&state.tokens().join("Admin"), b"{}", 0o640).unwrap();
        assert!(grants.find(&digest).is_err());
        assert_eq!(grants.list().unwrap(), []);
    }

    #[test]
    fn a_last_use_in_the_future_is_now() {
        let dir = tempfile::tempdir().unwrap();
        let state = StateDir::new(dir.path());
        let grants = Grants::open(&state, state.admin_sessions(), Accounts::kept()).unwrap();
        let digest = Token::of_session([1; 32]).digest();
        grants.put(&digest, &grant(5)).unwrap();
        std::fs::create_dir_all(state.user_sessions().join("used")).unwrap();
        std::fs::File::create(state.user_sessions().join("used").join(digest.as_str())).unwrap();
        let found = grants.find(&digest).unwrap().unwrap();
        assert!(1_000_000 < found.used_at);
        assert!(found.counts_at(1004) && !found.counts_at(1005));
        grants.remove(&digest).unwrap();
        assert_eq!(std::fs::read_dir(state.user_sessions().join("used")).unwrap().count(), 0);
    }
}
