//! The manual pages say what the code says: keys, examples, references.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use ploinky_contract::{Config, Manifest};

fn pages() -> io::Result<Vec<(String, String)>> {
    let directory: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/man");
    let mut pages = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        pages.push((name, fs::read_to_string(entry.path())?));
    }
    Ok(pages)
}

fn page(name: &str) -> io::Result<String> {
    let found = pages()?.into_iter().find(|(page, _text)| page == name);
    found.map(|(_name, text)| text).ok_or_else(|| io::Error::other(format!("no page {name}")))
}

/// JSON objects between `.nf` and `.fi` that have all of `keys`, as a reader sees them.
fn objects(page: &str, keys: &[&str]) -> Vec<String> {
    page.split(".nf\n")
        .skip(1)
        .filter_map(|rest| rest.split("\n.fi").next())
        .map(|text| text.replace("\\-", "-").replace("\\&", ""))
        .filter(|text| keys.iter().all(|key| text.contains(&format!("\"{key}\":"))))
        .collect()
}

/// Names in back quotes behind `marker`.
fn quoted_after(text: &str, marker: &str) -> Vec<String> {
    let rest = text.split_once(marker).map(|(_before, rest)| rest).unwrap_or_default();
    rest.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

#[test]
fn references_between_the_pages_lead_somewhere() -> io::Result<()> {
    let pages = pages()?;
    let mut references = 0;
    for (name, text) in &pages {
        for line in text.lines().filter(|line| line.starts_with(".BR ploinky")) {
            let words: Vec<&str> = line.trim_start_matches(".BR ").split(' ').collect();
            let [page, section, ..] = words.as_slice() else { continue };
            let Some(section) = section.strip_prefix('(').and_then(|s| s.split(')').next()) else {
                continue;
            };
            let file = format!("{}.{section}", page.replace('\\', ""));
            assert!(pages.iter().any(|(other, _text)| *other == file), "{name} refers to {file}");
            references += 1;
        }
    }
    assert!(20 < references, "only {references} references");
    Ok(())
}

#[test]
fn every_key_of_a_manifest_is_documented() -> io::Result<()> {
    let page = page("ploinky-manifest.5")?;
    let refused = Manifest::parse(br#"{"name":"a","container":"x","zzz":1}"#);
    let keys = quoted_after(&refused.err().map(|e| e.to_string()).unwrap_or_default(), "one of");
    assert!(10 < keys.len(), "{keys:?}");
    for key in keys {
        assert!(page.contains(&format!("\n.B {key}\n")), "`{key}` is not documented");
    }
    let not_yet = page.split(".SH NOT IN THIS VERSION").nth(1).unwrap_or_default();
    for key in ["install", "update", "replicas", "volumes", "secrets", "network", "idle"] {
        let refused = Manifest::parse(format!(r#"{{"{key}":1}}"#).as_bytes());
        let text = refused.err().map(|e| e.to_string()).unwrap_or_default();
        assert!(text.contains("does not support"), "`{key}` is supported now: {text}");
        assert!(not_yet.contains(key), "`{key}` is not documented");
    }
    Ok(())
}

#[test]
fn every_key_of_the_configuration_is_documented() -> io::Result<()> {
    let page = page("ploinky-config.5")?;
    let deployment = r#"{"domain":"a","path":"/","agent":"a","zzz":1}"#;
    for text in [
        r#"{"domains":[],"deployments":[],"zzz":1}"#.to_owned(),
        r#"{"domains":[{"name":"a","zzz":1}],"deployments":[]}"#.to_owned(),
        format!(r#"{{"domains":[{{"name":"a"}}],"deployments":[{deployment}]}}"#),
        r#"{"domains":[],"deployments":[],"settings":{"zzz":1}}"#.to_owned(),
    ] {
        let refused = Config::parse(text.as_bytes()).err().map(|e| e.to_string());
        let keys = quoted_after(&refused.unwrap_or_default(), "expected");
        assert!(1 < keys.len(), "{text}: {keys:?}");
        for key in keys {
            assert!(page.contains(&format!("\n.B {key}\n")), "`{key}` is not documented");
        }
    }
    Ok(())
}

#[test]
fn the_examples_are_valid() -> io::Result<()> {
    let manifests = page("ploinky-manifest.5")?;
    let examples: Vec<String> =
        [objects(&manifests, &["name", "container"]), objects(&manifests, &["static"])].concat();
    assert_eq!(examples.len(), 2);
    for example in examples {
        let found = Manifest::parse(example.as_bytes());
        assert!(found.is_ok(), "{example}: {found:?}");
    }
    let examples = objects(&page("ploinky-config.5")?, &["deployments"]);
    assert_eq!(examples.len(), 1);
    for example in examples {
        let found = Config::parse(example.as_bytes());
        assert!(found.is_ok(), "{example}: {found:?}");
    }
    Ok(())
}
