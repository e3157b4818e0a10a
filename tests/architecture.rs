//! Which crate may use which: the table of `src/README.md`, asked of `cargo tree`.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

/// A crate, our crates that it may use, and crates that must never be in its tree.
struct Row {
    krate: &'static str,
    may_use: &'static [&'static str],
    never: &'static [&'static str],
}

const TABLE: [Row; 14] = [
    Row {
        krate: "ploinky-callback",
        may_use: &["ploinky-contract", "ploinky-journal", "ploinky-queue"],
        never: &["tokio", "zbus", "axum", "rustls"],
    },
    Row { krate: "ploinky-contract", may_use: &[], never: &["tokio", "zbus", "axum", "rustix"] },
    Row { krate: "ploinky-control", may_use: &["ploinky-contract"], never: &["axum", "hyper"] },
    Row { krate: "ploinky-journal", may_use: &[], never: &["tokio", "zbus", "axum"] },
    Row { krate: "ploinky-password", may_use: &[], never: &["tokio", "zbus", "axum", "rustix"] },
    Row {
        krate: "ploinky-queue",
        may_use: &["ploinky-contract"],
        never: &["tokio", "zbus", "axum"],
    },
    Row {
        krate: "ploinky-security",
        may_use: &["ploinky-contract", "ploinky-password"],
        never: &["tokio", "zbus", "axum"],
    },
    Row {
        krate: "ploinky-server",
        may_use: &["ploinky-contract", "ploinky-control", "ploinky-journal", "ploinky-queue"],
        never: &["podman-api"],
    },
    Row {
        krate: "ploinky-supervisor",
        may_use: &["ploinky-contract", "ploinky-control", "ploinky-journal", "ploinky-password"],
        never: &["axum", "rustls", "ploinky-queue"],
    },
    Row {
        krate: "ploinky-ctl",
        may_use: &["ploinky-contract", "ploinky-control", "ploinky-password"],
        never: &["axum", "podman-api", "ploinky-queue"],
    },
    Row { krate: "ploinky-generator", may_use: &["ploinky-contract"], never: &["tokio", "zbus"] },
    Row {
        krate: "agent-core",
        may_use: &["ploinky-contract", "ploinky-queue"],
        never: &["tokio", "zbus", "axum"],
    },
    Row { krate: "ploinky-crash", may_use: &["ploinky-contract"], never: &["tokio", "zbus"] },
    Row { krate: "ploinky-model", may_use: &[], never: &["tokio", "rustix"] },
];

fn tree(krate: &str) -> BTreeSet<String> {
    let output = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--locked",
            "--offline",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "-p",
            krate,
        ])
        .args(["--format", "{p}"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output()
        .expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout)
        .lines()
        .filter_map(|line| line.split(' ').next())
        .filter(|name| *name != krate)
        .map(str::to_owned)
        .collect()
}

#[test]
fn every_crate_uses_only_what_the_table_allows() {
    for Row { krate, may_use, never } in TABLE {
        let tree = tree(krate);
        for name in &tree {
            let is_ours = name.starts_with("ploinky") || name == "agent-core";
            assert!(!is_ours || may_use.contains(&name.as_str()), "{krate} uses {name}");
        }
        for name in never {
            assert!(!tree.contains(*name), "{krate} has {name} in its tree");
        }
    }
}

#[test]
fn every_crate_of_the_workspace_is_in_the_table() {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("Cargo.toml");
    let text = std::fs::read_to_string(manifest).unwrap();
    let members = text
        .lines()
        .skip_while(|line| !line.starts_with("members"))
        .skip(1)
        .take_while(|line| !line.starts_with(']'))
        .count();
    assert_eq!(members, TABLE.len());
}
