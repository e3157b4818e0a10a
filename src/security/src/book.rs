//! The users on the disk: one file each, which appears whole or not at all, and is durable before anybody is told.
//!
//! Several processes share it: whoever changes a user holds a lock while they read and write.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};

use ploinky_password::Failures;

use crate::user::User;
use crate::user_name::UserName;

/// Users of one agent.
pub(crate) const USERS_MAX: usize = 10_000;
/// Bytes of the file of a user: 256 patterns of 130 bytes, and some more.
const USER_FILE_MAX_BYTES: u64 = 64 * 1024;
/// Stands for everybody who is not there, so that a wrong name leaves as much behind as a wrong password.
const NOBODY: &str = ".nobody";

/// The directory.
#[derive(Debug)]
pub(crate) struct Book {
    root: PathBuf,
    users: PathBuf,
    failures: PathBuf,
}

/// Why the users cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BookError {
    /// The disk refused.
    #[error("cannot use {}", .path.display())]
    Io { path: PathBuf, source: io::Error },
    /// The file is none of ours.
    #[error("{} is not the file of a user", .path.display())]
    Damaged { path: PathBuf, source: serde_json::Error },
}

/// Whoever has it is the only one who changes users.
#[derive(Debug)]
pub(crate) struct Pen<'a> {
    book: &'a Book,
    _lock: File,
}

impl Book {
    /// The users in `root`, which has to be there.
    ///
    /// # Errors
    /// When it is not, or nothing can be made in it.
    pub(crate) fn open(root: &Path) -> Result<Self, BookError> {
        let book = Self {
            root: root.to_owned(),
            users: root.join("users"),
            failures: root.join("failures"),
        };
        for path in [&book.users, &book.failures] {
            match fs::create_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                    return Err(io_error(path, error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        sync(root)?;
        Ok(book)
    }

    /// The user of this name.
    ///
    /// # Errors
    /// When the file is there and cannot be read.
    pub(crate) fn user(&self, name: &UserName) -> Result<Option<User>, BookError> {
        read_user(self.user_path(name))
    }

    /// All users by name.
    ///
    /// # Errors
    /// When one cannot be read.
    pub(crate) fn users(&self) -> Result<Vec<User>, BookError> {
        let mut users = Vec::new();
        for path in self.files()? {
            users.extend(read_user(path)?);
        }
        users.sort_by(|a, b| a.user_id.cmp(&b.user_id));
        Ok(users)
    }

    /// Wrong passwords of `name`; of everybody who is not there together if it is `None`. What cannot be read
    /// counts as none: a power cut may leave such a file, and must lock nobody out.
    pub(crate) fn failures(&self, name: Option<&UserName>) -> Failures {
        let bytes = read(&self.failures_path(name), USER_FILE_MAX_BYTES).ok().flatten();
        bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
    }

    /// Keeps wrong passwords, through the death of any process, but not through a power cut.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn set_failures(
        &self,
        name: Option<&UserName>,
        failures: Failures,
    ) -> Result<(), BookError> {
        let path = self.failures_path(name);
        // Numbers cannot fail to serialise.
        let bytes = serde_json::to_vec(&failures).unwrap_or_default();
        replace(&path, &bytes, false)
    }

    /// Forgets wrong passwords.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn forget_failures(&self, name: &UserName) -> Result<(), BookError> {
        remove(&self.failures_path(Some(name)))
    }

    /// Waits until nobody else changes users.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn pen(&self) -> Result<Pen<'_>, BookError> {
        let path = self.root.join(".pen");
        let lock = File::create(&path).and_then(|file| file.lock().map(|()| file));
        Ok(Pen { book: self, _lock: lock.map_err(|source| io_error(&path, source))? })
    }

    fn files(&self) -> Result<Vec<PathBuf>, BookError> {
        let listed = fs::read_dir(&self.users).and_then(|entries| {
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<io::Result<Vec<_>>>()
        });
        let mut files = listed.map_err(|source| io_error(&self.users, source))?;
        files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
        Ok(files)
    }

    fn user_path(&self, name: &UserName) -> PathBuf {
        self.users.join(format!("{}.json", name.file_name()))
    }

    fn failures_path(&self, name: Option<&UserName>) -> PathBuf {
        self.failures.join(name.map_or_else(|| NOBODY.to_owned(), UserName::file_name))
    }
}

impl Pen<'_> {
    /// How many users there are.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn count(&self) -> Result<usize, BookError> {
        self.book.files().map(|files| files.len())
    }

    /// Writes a user; durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses; then the user is as before.
    pub(crate) fn put(&self, user: &User) -> Result<(), BookError> {
        let path = self.book.user_path(&user.user_id);
        let bytes = serde_json::to_vec(user)
            .map_err(|source| BookError::Damaged { path: path.clone(), source })?;
        replace(&path, &bytes, true)
    }

    /// Removes a user; durable when it returns.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn remove(&self, name: &UserName) -> Result<(), BookError> {
        remove(&self.book.user_path(name))?;
        sync(&self.book.users)?;
        self.book.forget_failures(name)
    }
}

/// The user in a file; `None`: there is no such file.
fn read_user(path: PathBuf) -> Result<Option<User>, BookError> {
    let Some(bytes) = read(&path, USER_FILE_MAX_BYTES)? else { return Ok(None) };
    serde_json::from_slice(&bytes).map(Some).map_err(|source| BookError::Damaged { path, source })
}

fn read(path: &Path, limit: u64) -> Result<Option<Vec<u8>>, BookError> {
    let mut bytes = Vec::new();
    let opened = File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes));
    match opened {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error(path, source)),
    }
}

/// Writes a file beside `path` and puts it there. Two that write the same one hold a lock.
#[expect(clippy::disallowed_methods, reason = "this module owns the directory")]
fn replace(path: &Path, bytes: &[u8], durable: bool) -> Result<(), BookError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let staged = path.with_file_name(format!(".{name}.tmp"));
    let written = File::create(&staged).and_then(|mut file| {
        file.write_all(bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    });
    written.and_then(|()| fs::rename(&staged, path)).map_err(|source| io_error(path, source))?;
    match path.parent() {
        Some(directory) if durable => sync(directory),
        Some(_) | None => Ok(()),
    }
}

fn remove(path: &Path) -> Result<(), BookError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(path, error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync(directory: &Path) -> Result<(), BookError> {
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| io_error(directory, source))
}

fn io_error(path: &Path, source: io::Error) -> BookError {
    BookError::Io { path: path.to_owned(), source }
}
