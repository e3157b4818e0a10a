//! What has to hold of a path, whatever it is. Called by a fuzz target, and with its corpus by tests.

use super::url_path;

/// A path names files below the root, and nothing hidden, relative or with a second meaning.
pub(crate) fn path(bytes: &[u8]) {
    let Ok(raw) = std::str::from_utf8(bytes) else { return };
    let Some(found) = url_path::parse(raw) else { return };
    assert!(raw.starts_with('/'), "a path without a root");
    for name in &found.names {
        assert!(!name.is_empty() && name.len() <= 255, "a name of no or too many bytes");
        assert!(name == ".well-known" || !name.starts_with('.'), "a hidden or relative name");
        let is_plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
        assert!(name.chars().all(is_plain), "a name that is more than one, or none");
    }
}
