//! `config.json` on disk: read, kept in force, replaced whole.
//!
//! People edit the file, too. What they write counts as soon as it is valid; a file that is not leaves the last
//! good configuration in force, and nothing is written over it until it is repaired.

use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::limits::CONFIG_MAX_BYTES;
use ploinky_contract::{Config, ConfigError};

use crate::state_file;

/// Mode of the file: the workers and everybody else may read it.
const MODE: u32 = 0o644;

/// The configuration in force, and what is known of the file.
#[derive(Debug)]
pub(crate) struct ConfigStore {
    path: PathBuf,
    /// The last good configuration; `None` if there was none since this process began.
    config: Option<Config>,
    /// The bytes that were looked at last, so that a change that is none is not applied again.
    seen: Option<Vec<u8>>,
    problem: Option<String>,
    /// Somebody else changed the configuration in force, and nobody has acted on it yet.
    unapplied: bool,
}

/// What a look at the file found.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Seen {
    /// The same bytes as at the last look, or as this process wrote.
    Same,
    /// A configuration, now in force.
    Changed,
    /// A broken file; the last good configuration stays in force.
    Broken,
}

/// Why the configuration was not changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigStoreError {
    /// The file is broken, so that it is not known what it should say.
    #[error("nothing is changed until the configuration is repaired: {problem}")]
    Broken { problem: String },
    /// The new configuration would break a rule.
    #[error("the configuration would be wrong")]
    Refused { source: ConfigError },
    /// The file cannot be written.
    #[error("cannot write {}", .path.display())]
    Write { path: PathBuf, source: io::Error },
}

impl ConfigStore {
    /// Reads the file; makes one with the default configuration if there is none. `has_agents` tells whether
    /// any agent has a directory: then a missing file is a lost one, and an empty configuration in its place
    /// would remove them all.
    ///
    /// # Errors
    /// When the default cannot be written. A broken file is no error: it is the store's problem.
    pub(crate) fn open(path: PathBuf, has_agents: bool) -> Result<Self, ConfigStoreError> {
        let mut store = Self { path, config: None, seen: None, problem: None, unapplied: false };
        match state_file::read(&store.path, CONFIG_MAX_BYTES) {
            Ok(None) if has_agents => {
                let reason =
                    "is missing although agents have directories; restore it from a backup";
                store.broken(reason, None);
            }
            Ok(None) => store.write(Config::default())?,
            Ok(Some(_)) | Err(_) => drop(store.look()),
        }
        Ok(store)
    }

    /// The configuration in force.
    pub(crate) fn config(&self) -> Option<&Config> {
        self.config.as_ref()
    }

    /// Why the file is not in force: the file, the JSON path, the reason.
    pub(crate) fn problem(&self) -> Option<&str> {
        self.problem.as_deref()
    }

    /// The file.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether somebody else changed the configuration since the last call.
    pub(crate) fn take_unapplied(&mut self) -> bool {
        std::mem::take(&mut self.unapplied)
    }

    /// Looks at the file, and puts what it says in force if that is valid.
    pub(crate) fn look(&mut self) -> Seen {
        let bytes = match state_file::read(&self.path, CONFIG_MAX_BYTES) {
            Ok(Some(bytes)) => bytes,
            Ok(None) => return self.broken("is missing", None),
            Err(error) => return self.broken(&error.to_string(), None),
        };
        if self.seen.as_ref() == Some(&bytes) {
            return if self.problem.is_some() { Seen::Broken } else { Seen::Same };
        }
        match Config::parse(&bytes) {
            Ok(config) => {
                if self.problem.take().is_some() {
                    tracing::info!("{} is valid again", self.path.display());
                }
                let changed = self.config.as_ref() != Some(&config);
                self.config = Some(config);
                self.seen = Some(bytes);
                self.unapplied |= changed;
                self.let_everybody_read();
                if changed { Seen::Changed } else { Seen::Same }
            }
            Err(error) => self.broken(&error.to_string(), Some(bytes)),
        }
    }

    /// Changes the configuration as it is on disk at this moment, and puts it in force.
    ///
    /// # Errors
    /// When the file is broken, the change breaks a rule or cannot be written; then nothing is changed.
    pub(crate) fn change(
        &mut self,
        edit: impl FnOnce(&mut Config),
    ) -> Result<(), ConfigStoreError> {
        let mut config = self.fresh()?.clone();
        edit(&mut config);
        if self.config.as_ref() == Some(&config) {
            return Ok(());
        }
        self.write(config)
    }

    /// The configuration as it is on disk at this moment.
    ///
    /// # Errors
    /// When the file is broken.
    pub(crate) fn fresh(&mut self) -> Result<&Config, ConfigStoreError> {
        self.look();
        match (&self.config, &self.problem) {
            (Some(config), None) => Ok(config),
            (_, problem) => Err(ConfigStoreError::Broken {
                problem: problem.clone().unwrap_or_else(|| "it was never valid".to_owned()),
            }),
        }
    }

    fn write(&mut self, config: Config) -> Result<(), ConfigStoreError> {
        config.check().map_err(|source| ConfigStoreError::Refused { source })?;
        let bytes = config.to_json().into_bytes();
        state_file::write(&self.path, &bytes, MODE)
            .map_err(|source| ConfigStoreError::Write { path: self.path.clone(), source })?;
        self.config = Some(config);
        self.seen = Some(bytes);
        self.problem = None;
        Ok(())
    }

    fn broken(&mut self, reason: &str, bytes: Option<Vec<u8>>) -> Seen {
        let problem = format!("{}: {reason}", self.path.display());
        if self.problem.as_ref() != Some(&problem) {
            tracing::error!("{problem}; the configuration from before stays in force");
        }
        self.problem = Some(problem);
        self.seen = bytes;
        Seen::Broken
    }

    /// An editor may have left a mode with which the workers cannot follow the change.
    fn let_everybody_read(&self) {
        let flags = rustix::fs::OFlags::RDONLY
            | rustix::fs::OFlags::NOFOLLOW
            | rustix::fs::OFlags::NONBLOCK
            | rustix::fs::OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::from_raw_mode(MODE);
        let readable =
            rustix::fs::open(&self.path, flags, rustix::fs::Mode::empty()).and_then(|fd| {
                let found = rustix::fs::fstat(&fd)?;
                if found.st_mode & 0o7777 == MODE { Ok(()) } else { rustix::fs::fchmod(&fd, mode) }
            });
        if let Err(error) = readable {
            tracing::warn!("cannot make {} readable: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn put(path: &Path, text: &str) {
        state_file::write(path, text.as_bytes(), 0o600).unwrap();
    }

    fn port(config: &mut Config) {
        config.settings.port = 81;
    }

    #[test]
    fn a_missing_file_is_made_with_the_default() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let store = ConfigStore::open(path.clone(), false).unwrap();
        assert_eq!(store.config(), Some(&Config::default()));
        assert_eq!(
            state_file::read(&path, 9999).unwrap().unwrap(),
            Config::default().to_json().as_bytes()
        );
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    }

    #[test]
    fn a_broken_file_keeps_the_last_good_configuration_and_is_not_written_over() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let mut store = ConfigStore::open(path.clone(), false).unwrap();
        let text = r#"{"domains":[],"deployments":[],"colour":"blue"}"#;
        put(&path, text);
        assert_eq!(store.look(), Seen::Broken);
        assert_eq!(store.look(), Seen::Broken);
        assert_eq!(store.config(), Some(&Config::default()));
        let problem = store.problem().unwrap();
        assert!(
            problem.starts_with(&format!("{}: `colour`: unknown field", path.display())),
            "{problem}"
        );
        let refused = store.change(port).unwrap_err();
        assert!(matches!(refused, ConfigStoreError::Broken { .. }), "{refused}");
        assert_eq!(state_file::read(&path, 9999).unwrap().unwrap(), text.as_bytes());
        std::fs::remove_file(&path).unwrap();
        assert_eq!(store.look(), Seen::Broken);
        assert!(store.problem().unwrap().ends_with("config.json: is missing"));
        put(&path, &Config::default().to_json());
        assert_eq!(store.look(), Seen::Same);
        assert_eq!(store.problem(), None);
        store.change(port).unwrap();
        assert_eq!(store.config().unwrap().settings.port, 81);
    }

    #[test]
    fn a_file_that_was_broken_from_the_start_gives_no_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        put(&path, "{");
        let mut store = ConfigStore::open(path.clone(), false).unwrap();
        assert_eq!(store.config(), None);
        assert!(matches!(store.fresh(), Err(ConfigStoreError::Broken { .. })));
        put(&path, &Config::default().to_json());
        assert_eq!(store.look(), Seen::Changed);
    }

    #[test]
    fn a_lost_file_does_not_become_an_empty_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let store = ConfigStore::open(path.clone(), true).unwrap();
        assert_eq!(store.config(), None);
        assert!(store.problem().unwrap().contains("is missing although agents have directories"));
        assert!(!path.exists());
    }

    #[test]
    fn an_edit_by_hand_is_seen_before_it_could_be_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.json");
        let mut store = ConfigStore::open(path.clone(), false).unwrap();
        let mut edited = Config::default();
        edited.settings.metrics_retention = 30;
        put(&path, &edited.to_json());
        store.change(port).unwrap();
        port(&mut edited);
        assert_eq!(store.config(), Some(&edited));
        assert!(store.take_unapplied() && !store.take_unapplied());
        assert_eq!(store.look(), Seen::Same);
        assert_eq!(path.metadata().unwrap().permissions().mode() & 0o7777, 0o644);
    }

    #[test]
    fn a_change_that_breaks_a_rule_is_not_written() {
        let dir = tempfile::tempdir().unwrap();
        let mut store = ConfigStore::open(dir.path().join("config.json"), false).unwrap();
        let refused = store.change(|config| config.settings.port = 0).unwrap_err();
        assert!(matches!(refused, ConfigStoreError::Refused { .. }), "{refused}");
        assert_eq!(store.config(), Some(&Config::default()));
    }
}
