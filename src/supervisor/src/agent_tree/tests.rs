//! Owners, modes, and what a crash at any step leaves.

use std::os::unix::fs::PermissionsExt as _;

use super::*;

const S: u32 = 991;
const B: u32 = 1 << 30;

struct Place {
    _dir: tempfile::TempDir,
    state: StateDir,
    tree: AgentTree,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let state = StateDir::new(dir.path());
    let accounts =
        if rustix::process::geteuid().is_root() { Accounts::of(S, S) } else { Accounts::kept() };
    let path = "/a".parse().unwrap();
    let tree = AgentTree::new(&state, &Domain::localhost(), &path, accounts);
    Place { _dir: dir, state, tree }
}

fn source(text: &str) -> (tempfile::TempDir, Source) {
    source_with(text, "")
}

fn source_with(text: &str, more: &str) -> (tempfile::TempDir, Source) {
    let dir = tempfile::tempdir().unwrap();
    let manifest = format!(r#"{{"name":"a","container":"localhost/{text}:1"{more}}}"#);
    state_file::write(&dir.path().join("manifest.json"), manifest.as_bytes(), 0o600).unwrap();
    state_file::write(&dir.path().join("run"), text.as_bytes(), 0o700).unwrap();
    let path = dir.path().to_owned();
    (dir, Source::Installed(path))
}

impl Place {
    /// Everything up to the point where a crash could leave a replacement undecided.
    fn put(&self, text: &str, from: Option<&str>) -> String {
        self.put_with(text, "", from)
    }

    fn put_with(&self, text: &str, more: &str, from: Option<&str>) -> String {
        let (_dir, source) = source_with(text, more);
        self.tree.stage(source).unwrap();
        let manifest = self.tree.staged_manifest(None).unwrap();
        let release = self.tree.seal(Some(B)).unwrap();
        self.tree.place(&manifest, Some(B), from, &release).unwrap();
        release
    }

    fn code(&self) -> String {
        let code = std::fs::read_to_string(self.tree.dir.code().join("run")).unwrap();
        let manifest = self.tree.manifest().unwrap().unwrap();
        let Service::Container(container) = manifest.service else { panic!("a container") };
        assert_eq!(container.image.as_str(), format!("localhost/{code}:1"), "two releases mixed");
        code
    }

    fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.tree.dir.root())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_new_agent_gets_the_owners_and_modes_of_the_queue() {
    let place = place();
    place.put("one", None);
    let root = place.tree.dir.root();
    let expected = [
        ("../..", 0o711, 0, 0),
        ("..", 0o711, 0, 0),
        (".", 0o2711, 0, S),
        ("manifest.json", 0o644, 0, 0),
        ("code", 0o755, B, B),
        ("code/run", 0o755, B, B),
        ("code/manifest.json", 0o644, B, B),
        (".tasks", 0o2750, S, B),
        (".tasks/requests", 0o2750, S, B),
        (".tasks/urgent", 0o2750, S, B),
        (".tasks/files", 0o2750, S, B),
        (".tasks/responses", 0o3770, S, B),
        (".tasks/errors", 0o3770, S, B),
        (".tasks/locks", 0o3770, S, B),
        (".tasks/outputs", 0o3770, S, B),
    ];
    let is_root = rustix::process::geteuid().is_root();
    for (name, mode, uid, gid) in expected {
        let found = root.join(name).metadata().unwrap();
        assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
        if is_root {
            assert_eq!((found.uid(), found.gid()), (uid, gid), "{name}");
        }
    }
    assert_eq!(place.names(), [".tasks", "code", "manifest.json"]);
}

const WITH_DATA: &str = r#","data":true"#;

#[test]
fn data_is_closed_to_everybody_but_its_agent_and_outlives_every_replacement() {
    let place = place();
    let one = place.put_with("one", WITH_DATA, None);
    place.tree.settle(Some(&one)).unwrap();
    let data = place.tree.dir.data();
    let found = data.metadata().unwrap();
    assert_eq!(found.permissions().mode() & 0o7777, 0o700);
    if rustix::process::geteuid().is_root() {
        assert_eq!((found.uid(), found.gid()), (B, B));
    }
    let kept = data.join("kept");
    state_file::write(&kept, b"kept", 0o600).unwrap();
    for (text, more, commits) in
        [("two", WITH_DATA, true), ("three", WITH_DATA, false), ("four", "", true)]
    {
        let release = place.put_with(text, more, Some(&one));
        place.tree.settle(Some(if commits { &release } else { "another" })).unwrap();
        assert_eq!(std::fs::read(&kept).unwrap(), b"kept", "{text}");
    }
    place.tree.remove().unwrap();
    assert!(!data.exists());
}

#[test]
fn data_that_is_missing_or_open_is_put_right() {
    let place = place();
    let one = place.put_with("one", WITH_DATA, None);
    place.tree.settle(Some(&one)).unwrap();
    let manifest = place.tree.manifest().unwrap().unwrap();
    let data = place.tree.dir.data();
    let mode = || data.metadata().unwrap().permissions().mode() & 0o7777;
    std::fs::set_permissions(&data, std::fs::Permissions::from_mode(0o777)).unwrap();
    place.tree.repair(&manifest, B).unwrap();
    assert_eq!(mode(), 0o700);
    std::fs::remove_dir(&data).unwrap();
    place.tree.repair(&manifest, B).unwrap();
    assert_eq!(mode(), 0o700);
}

#[test]
fn code_that_has_something_where_its_data_would_be_is_refused() {
    let place = place();
    for make in [
        |at: &Path| std::fs::create_dir(at),
        |at: &Path| File::create(at).map(drop),
        |at: &Path| std::os::unix::fs::symlink("run", at),
    ] {
        let (dir, source) = source_with("one", WITH_DATA);
        make(&dir.path().join(DATA)).unwrap();
        place.tree.stage(source).unwrap();
        let refused = place.tree.staged_manifest(None).unwrap_err();
        assert!(matches!(refused, AgentTreeError::DataInCode), "{refused}");
        let (dir, source) = source_with("one", "");
        make(&dir.path().join(DATA)).unwrap();
        place.tree.stage(source).unwrap();
        place.tree.staged_manifest(None).unwrap();
    }
}

#[test]
fn a_half_made_agent_is_closed_to_everybody_else() {
    let place = place();
    let (_dir, source) = source("one");
    place.tree.stage(source).unwrap();
    let mode = place.tree.dir.root().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    assert_eq!(place.names(), ["code.new"]);
    assert_eq!(place.tree.manifest().unwrap(), None);
}

#[test]
fn the_configuration_decides_whether_a_replacement_stays() {
    for commits in [false, true] {
        let place = place();
        let one = place.put("one", None);
        place.tree.settle(Some(&one)).unwrap();
        let queued = place.tree.dir.tasks().join("requests/x");
        state_file::write(&queued, b"{}", 0o640).unwrap();
        let two = place.put("two", Some(&one));
        assert_eq!(place.code(), "two");
        place.tree.settle(Some(if commits { &two } else { &one })).unwrap();
        assert_eq!(place.code(), if commits { "two" } else { "one" });
        assert_eq!(place.names(), [".tasks", "code", "manifest.json"]);
        assert!(queued.exists(), "the queue outlives a replacement");
    }
}

#[test]
fn a_replacement_that_was_cut_off_before_the_exchange_is_undone() {
    let place = place();
    let one = place.put("one", None);
    let two = place.put("two", Some(&one));
    // As if the exchange had not taken place yet.
    let agent = directory::open(place.tree.dir.root()).unwrap();
    AgentTree::exchange(&agent).unwrap();
    assert_ne!(one, two);
    for name in [".manifest.json.tmp", ".redeploy.json.tmp"] {
        File::create(place.tree.dir.root().join(name)).unwrap();
    }
    place.tree.settle(Some(&one)).unwrap();
    assert_eq!(place.code(), "one");
    assert_eq!(place.names(), [".tasks", "code", "manifest.json"]);
}

#[test]
fn a_full_disk_is_given_room_before_the_manifest_is_written() {
    let place = place();
    let one = place.put("one", None);
    place.put("two", Some(&one));
    let blocker = place.tree.dir.root().join(".manifest.json.tmp");
    std::fs::create_dir(&blocker).unwrap();
    place.tree.settle(Some(&one)).unwrap_err();
    let left = [".manifest.json.tmp", ".tasks", "code", "manifest.json", "redeploy.json"];
    assert_eq!(place.names(), left);
    std::fs::remove_dir(&blocker).unwrap();
    assert!(place.tree.settle(Some(&one)).unwrap());
    assert_eq!(place.code(), "one");
    assert_eq!(place.names(), [".tasks", "code", "manifest.json"]);
    assert!(!place.tree.settle(Some(&one)).unwrap());
}

#[test]
fn what_was_only_staged_is_discarded() {
    let place = place();
    let one = place.put("one", None);
    let (_dir, source) = source("two");
    place.tree.stage(source).unwrap();
    place.tree.settle(Some(&one)).unwrap();
    assert_eq!(place.code(), "one");
    assert_eq!(place.names(), [".tasks", "code", "manifest.json"]);
}

#[test]
fn removal_leaves_nothing_and_may_be_repeated() {
    let place = place();
    place.put("one", None);
    assert_eq!(list(&place.state, place.tree.accounts).unwrap().agents.len(), 1);
    place.tree.remove().unwrap();
    place.tree.remove().unwrap();
    assert_eq!(std::fs::read_dir(place.state.agents()).unwrap().count(), 0);
}

#[test]
fn manifests_of_strangers_are_refused() {
    let place = place();
    let stage = |text: &str| {
        let dir = tempfile::tempdir().unwrap();
        state_file::write(&dir.path().join("manifest.json"), text.as_bytes(), 0o600).unwrap();
        place.tree.stage(Source::Installed(dir.path().to_owned())).unwrap();
        place.tree.staged_manifest(None).unwrap_err()
    };
    assert!(matches!(stage("{"), AgentTreeError::Manifest(_)));
    assert!(matches!(stage(&" ".repeat(MANIFEST_MAX_BYTES + 1)), AgentTreeError::ReadManifest(_)));
    let missing = stage(r#"{"name":"a","static":"public"}"#);
    assert_eq!(missing.to_string(), "manifest.json: `static`: there is no directory `public`");
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir(dir.path().join("manifest.json")).unwrap();
    place.tree.stage(Source::Installed(dir.path().to_owned())).unwrap();
    let refused = place.tree.staged_manifest(None).unwrap_err();
    assert!(matches!(refused, AgentTreeError::ReadManifest(_)));
    let dir = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("x", dir.path().join("manifest.json")).unwrap();
    place.tree.stage(Source::Installed(dir.path().to_owned())).unwrap();
    let refused = place.tree.staged_manifest(None).unwrap_err();
    assert!(matches!(refused, AgentTreeError::ReadManifest(_)));
    let dir = tempfile::tempdir().unwrap();
    place.tree.stage(Source::Installed(dir.path().to_owned())).unwrap();
    assert!(matches!(place.tree.staged_manifest(None), Err(AgentTreeError::Nameless)));
    let name = "site".parse().unwrap();
    let plain = place.tree.staged_manifest(Some(&name)).unwrap();
    assert_eq!(plain, Manifest::of_plain_files(name));
}
