//! The rules for single values of a manifest.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Component, Path};

use super::ManifestError;
use crate::limits::{HANDLER_WORDS_MAX, MANIFEST_ENV_MAX, MANIFEST_TEXT_MAX_BYTES};

/// What agent-core sets for each task.
const RESERVED_ENV: [&str; 8] = [
    "TASK_ID",
    "TASK_COMMAND",
    "TASK_ATTEMPT",
    "TASK_OUTPUT",
    "TASK_PROGRESS",
    "RUN_FOR_USER_ID",
    "AGENT_DIR",
    "NOTIFY_SOCKET",
];

pub(super) fn value(at: &str, reason: String) -> ManifestError {
    ManifestError::Value { at: at.to_owned(), reason }
}

pub(super) fn within<N: PartialOrd + From<u8> + std::fmt::Display + Copy>(
    at: &str,
    number: N,
    most: N,
) -> Result<N, ManifestError> {
    if (N::from(1)..=most).contains(&number) {
        Ok(number)
    } else {
        Err(value(at, format!("{number} is not in the range 1 to {most}")))
    }
}

pub(super) fn words(at: &str, text: &str) -> Result<Vec<String>, ManifestError> {
    if MANIFEST_TEXT_MAX_BYTES < text.len() {
        return Err(value(
            at,
            format!("has {} bytes; {MANIFEST_TEXT_MAX_BYTES} are allowed", text.len()),
        ));
    }
    if let Some(found) = text.chars().find(|c| c.is_control() && *c != '\n' && *c != '\t') {
        return Err(value(at, format!("holds the control character {}", found.escape_unicode())));
    }
    let words = shell_words::split(text).map_err(|_unclosed| {
        value(at, format!("`{}` has a quote that does not end", text.escape_debug()))
    })?;
    match words.first() {
        None => Err(value(at, "is empty".to_owned())),
        Some(program) if program.is_empty() || program.starts_with('-') => {
            Err(value(at, format!("`{}` does not start with a program", text.escape_debug())))
        }
        Some(_) if HANDLER_WORDS_MAX < words.len() => {
            Err(value(at, format!("has {} words; {HANDLER_WORDS_MAX} are allowed", words.len())))
        }
        Some(_) => Ok(words),
    }
}

/// A number of bytes, with K, M or G for powers of 1024.
pub(super) fn size(
    at: &str,
    text: &str,
    allowed: RangeInclusive<u64>,
    range: &str,
) -> Result<u64, ManifestError> {
    let (digits, factor) = match text.as_bytes() {
        [.., b'K'] => (text.trim_end_matches('K'), 1_u64 << 10),
        [.., b'M'] => (text.trim_end_matches('M'), 1 << 20),
        [.., b'G'] => (text.trim_end_matches('G'), 1 << 30),
        _ => (text, 1),
    };
    let bytes = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(factor));
    match bytes {
        Some(bytes) if allowed.contains(&bytes) => Ok(bytes),
        Some(_) | None => Err(value(
            at,
            format!("`{}` is not a size from {range}, such as `256M` or `1G`", text.escape_debug()),
        )),
    }
}

pub(super) fn environment(
    env: BTreeMap<String, String>,
) -> Result<BTreeMap<String, String>, ManifestError> {
    if MANIFEST_ENV_MAX < env.len() {
        return Err(value(
            "env",
            format!("has {} entries; {MANIFEST_ENV_MAX} are allowed", env.len()),
        ));
    }
    for (name, text) in &env {
        let at = format!("env.{}", name.escape_debug());
        let is_name = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
            && name.len() <= 128;
        if !is_name {
            return Err(value(
                &at,
                "is not the name of a variable: use A-Z a-z 0-9 _, at most 128".to_owned(),
            ));
        }
        if RESERVED_ENV.contains(&name.as_str()) {
            return Err(value(&at, "is set by Ploinky for each task".to_owned()));
        }
        if text.contains('\0') || MANIFEST_TEXT_MAX_BYTES < text.len() {
            return Err(value(
                &at,
                format!("must have no NUL and at most {MANIFEST_TEXT_MAX_BYTES} bytes"),
            ));
        }
    }
    Ok(env)
}

pub(super) fn static_path(directory: String) -> Result<String, ManifestError> {
    let plain = Path::new(&directory).components().all(|part| match part {
        Component::CurDir => true,
        Component::Normal(name) => !name.as_encoded_bytes().starts_with(b"."),
        Component::Prefix(_) | Component::RootDir | Component::ParentDir => false,
    });
    if plain && !directory.is_empty() && directory.len() <= 255 && !directory.contains('\0') {
        Ok(directory)
    } else {
        Err(value(
            "static",
            format!(
                "`{}` is not a relative directory without `..` and hidden parts",
                directory.escape_debug()
            ),
        ))
    }
}
