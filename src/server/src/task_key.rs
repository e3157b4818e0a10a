//! The secret of this host from which the ids of repeatable tasks are made, so that all instances find the
//! same one and nobody else can tell it.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use hmac::{Hmac, Mac as _};
use ploinky_contract::paths::StateDir;
use ploinky_contract::{AgentId, TASK_KEY_DIGITS, TaskId, UserId, is_task_key};
use ploinky_queue::CallbackSecret;
use sha2::{Digest as _, Sha256};

/// Digits of a SHA-256.
const DIGEST_DIGITS: usize = 64;
/// Sets these ids apart from all else that is made with the secret.
const PURPOSE: &[u8] = b"task\0";

/// The secret, read when it is needed first: the supervisor may make it later than the first instance starts.
#[derive(Debug)]
pub(crate) struct TaskKey {
    path: PathBuf,
    key: OnceLock<Secret>,
}

struct Secret {
    /// As the file has it.
    text: String,
    bytes: [u8; TASK_KEY_DIGITS / 2],
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl TaskKey {
    /// The secret of the host with this state.
    pub(crate) fn new(state: &StateDir) -> Self {
        Self { path: state.task_key(), key: OnceLock::new() }
    }

    /// The id of the task that `user` asks `agent` for with `key`: the first half of an HMAC-SHA256.
    ///
    /// # Errors
    /// When the secret cannot be read, or is none.
    pub(crate) fn id(&self, user: &UserId, agent: &AgentId, key: &str) -> io::Result<TaskId> {
        let secret = &self.secret()?.bytes;
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret).map_err(|e| io::Error::other(e.to_string()))?;
        mac.update(PURPOSE);
        for part in [user.as_str(), "\0", agent.as_str(), "\0", key] {
            mac.update(part.as_bytes());
        }
        let digest: [u8; 32] = mac.finalize().into_bytes().into();
        let mut id = [0; 16];
        id.iter_mut().zip(digest).for_each(|(to, from)| *to = from);
        Ok(TaskId::from_random(id))
    }

    /// The key with which the callbacks of `agent` are signed, as receivers configure it.
    ///
    /// # Errors
    /// When the secret cannot be read, or is none.
    pub(crate) fn callback_key(&self, agent: &AgentId) -> io::Result<String> {
        let secret = CallbackSecret::of(&self.secret()?.text, agent).map_err(io::Error::other)?;
        Ok(secret.to_text())
    }

    fn secret(&self) -> io::Result<&Secret> {
        if let Some(secret) = self.key.get() {
            return Ok(secret);
        }
        let read = read(&self.path)?;
        Ok(self.key.get_or_init(|| read))
    }
}

/// Tells one call from another with the same key: the SHA-256 of command, parameters, and the digest of its
/// files if it has some, as digits.
pub(crate) fn digest<'a>(
    command: &str,
    params: impl Iterator<Item = &'a str>,
    files: Option<&[u8; 32]>,
) -> String {
    let mut hash = Sha256::new();
    hash.update(command.as_bytes());
    for param in params {
        // No text of JSON holds this byte.
        hash.update(b"\0");
        hash.update(param.as_bytes());
    }
    if let Some(files) = files {
        hash.update(b"\0\0");
        hash.update(files);
    }
    hash.finalize().iter().fold(String::with_capacity(DIGEST_DIGITS), |mut digits, byte| {
        // Writing into memory does not fail.
        write!(digits, "{byte:02x}").ok();
        digits
    })
}

fn read(path: &Path) -> io::Result<Secret> {
    let mut text = String::new();
    File::open(path)?.take(TASK_KEY_DIGITS as u64 + 2).read_to_string(&mut text)?;
    secret(text.trim_end()).ok_or_else(|| {
        io::Error::other(format!("{} is not {TASK_KEY_DIGITS} hexadecimal digits", path.display()))
    })
}

fn secret(text: &str) -> Option<Secret> {
    let digits = text.as_bytes();
    if !is_task_key(digits) {
        return None;
    }
    let mut bytes = [0; TASK_KEY_DIGITS / 2];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(Secret { text: text.to_owned(), bytes })
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn with(text: &str) -> (tempfile::TempDir, TaskKey) {
        let root = tempfile::tempdir().unwrap();
        let key = TaskKey::new(&StateDir::new(root.path()));
        File::create(&key.path).unwrap().write_all(text.as_bytes()).unwrap();
        (root, key)
    }

    fn id(key: &TaskKey, user: &str, path: &str, text: &str) -> io::Result<String> {
        let agent = AgentId::new(&"localhost".parse().unwrap(), &path.parse().unwrap()).unwrap();
        key.id(&user.parse().unwrap(), &agent, text).map(|id| id.as_str().to_owned())
    }

    #[test]
    fn what_is_no_secret_makes_no_ids_and_is_read_again() {
        for text in ["", "00", &"0".repeat(63), &"0".repeat(65), &"g".repeat(64)] {
            let (_root, key) = with(text);
            let said = id(&key, "a", "/a", "k").unwrap_err().to_string();
            assert!(said.ends_with("is not 64 hexadecimal digits"), "{said}");
            File::create(&key.path).unwrap().write_all("0".repeat(64).as_bytes()).unwrap();
            assert!(id(&key, "a", "/a", "k").is_ok());
        }
        let (_root, key) = with("");
        std::fs::remove_file(&key.path).unwrap();
        assert_eq!(id(&key, "a", "/a", "k").unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(format!("{:?}", with(&"0".repeat(64)).1.key), "OnceLock(<uninit>)");
    }

    #[test]
    fn the_id_depends_on_everything_that_makes_it() {
        let (_root, key) = with(&format!("{}\n", "0f".repeat(32)));
        let known = id(&key, "a", "/a", "k").unwrap();
        // HMAC-SHA256 of "task\0a\0localhost-a\0k", as `openssl dgst -mac HMAC` says.
        assert_eq!(known, EXPECTED);
        let (_root, other) = with(&"00".repeat(32));
        for different in [
            id(&key, "b", "/a", "k"),
            id(&key, "a", "/b", "k"),
            id(&key, "a", "/a", "K"),
            id(&other, "a", "/a", "k"),
        ] {
            assert_ne!(different.unwrap(), known);
        }
        assert_eq!(id(&key, "a", "/a", "k").unwrap(), known);
    }

    const EXPECTED: &str = "92a0da290356836ba397bcf7e5f7cc61";

    #[test]
    fn the_digest_tells_calls_apart() {
        let of = |command: &str, params: &[&str]| digest(command, params.iter().copied(), None);
        assert_eq!(of("", &[]), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        let all =
            [of("a", &[]), of("a", &["1"]), of("a", &["1", "1"]), of("a1", &[]), of("a", &["11"])];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other != one));
        }
    }
}
