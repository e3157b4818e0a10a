//! What the documents promise exists.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// Targets of relative Markdown links in `text`.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .map(|target| target.split('#').next().unwrap_or_default().to_owned())
        .filter(|target| !target.is_empty() && !target.contains("://"))
        .collect()
}

fn markdown_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "target" && !name.starts_with('.') {
            markdown_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
}

#[test]
fn every_link_between_documents_leads_somewhere() {
    let mut documents = Vec::new();
    markdown_below(&root(), &mut documents);
    assert!(5 < documents.len(), "only {documents:?}");
    for document in documents {
        let text = std::fs::read_to_string(&document).unwrap();
        for link in links(&text) {
            let target = document.parent().unwrap().join(&link);
            assert!(target.exists(), "{} links to {link}", document.display());
        }
    }
}

#[test]
fn the_changelog_starts_with_this_version() {
    let text = std::fs::read_to_string(root().join("packaging/CHANGELOG.md")).unwrap();
    // Above it may stand what is not released yet.
    let mut headings = text.lines().filter_map(|line| line.strip_prefix("## "));
    let first = headings.find(|heading| *heading != "Next").unwrap_or_default();
    assert!(first.starts_with(env!("CARGO_PKG_VERSION")), "the changelog starts with `{first}`");
}
