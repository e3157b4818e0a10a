//! The rules for single values of a manifest.

use std::collections::BTreeMap;
use std::path::{Component, Path};

use super::{Handler, ManifestError};
use crate::CommandName;
use crate::limits::{
    HANDLER_WORDS_MAX, MANIFEST_COMMANDS_MAX, MANIFEST_ENV_MAX, MANIFEST_TEXT_MAX_BYTES,
};

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

pub(super) fn handlers(
    commands: BTreeMap<CommandName, String>,
    has_worker: bool,
) -> Result<BTreeMap<CommandName, Handler>, ManifestError> {
    if MANIFEST_COMMANDS_MAX < commands.len() {
        return Err(value(
            "commands",
            format!("has {} entries; {MANIFEST_COMMANDS_MAX} are allowed", commands.len()),
        ));
    }
    commands
        .into_iter()
        .map(|(name, text)| {
            let at = format!("commands.{name}");
            let handler = match text.as_str() {
                "worker" if has_worker => Handler::Worker,
                "worker" => {
                    return Err(value(
                        &at,
                        "is `worker`, but the manifest has no key `worker`".to_owned(),
                    ));
                }
                text => Handler::Spawn(words(&at, text)?),
            };
            Ok((name, handler))
        })
        .collect()
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
        if ["TASK_ID", "TASK_COMMAND", "RUN_FOR_USER_ID", "AGENT_DIR"].contains(&name.as_str()) {
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
