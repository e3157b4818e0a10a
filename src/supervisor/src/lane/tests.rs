//! Owners, modes, and what a change of the range or a missing mount does.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt};

use super::*;
use crate::state_file;

const S: u32 = 991;
const B: u32 = 1 << 30;

struct Place {
    _dir: tempfile::TempDir,
    lanes: Lanes,
    id: AgentId,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let accounts = if is_root() { Accounts::of(S, S) } else { Accounts::kept() };
    let lanes = Lanes::new(RuntimeDir::new(dir.path()), accounts);
    Place { _dir: dir, lanes, id: "localhost-a".parse().unwrap() }
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

impl Place {
    fn path(&self, name: &str) -> PathBuf {
        self.lanes.runtime.sync_of(&self.id).join(name)
    }

    /// As if the memory were mounted.
    fn fill(&self, uid_first: u32) {
        let (sync, _is_mounted) = self.lanes.parent().unwrap();
        self.lanes.fill(&sync, &self.id, uid_first).unwrap();
    }

    fn assert_owners_and_modes(&self, uid_first: u32) {
        let expected = [
            ("..", 0o711, 0, 0),
            (".", 0o2750, S, uid_first),
            ("requests", 0o2750, S, uid_first),
            ("urgent", 0o2750, S, uid_first),
            ("streams", 0o2750, S, uid_first),
            ("responses", 0o2750, S, uid_first),
            ("locks", 0o3770, S, uid_first),
        ];
        for (name, mode, uid, gid) in expected {
            let found = self.path(name).metadata().unwrap();
            assert_eq!(found.permissions().mode() & 0o7777, mode, "{name}");
            if is_root() {
                assert_eq!((found.uid(), found.gid()), (uid, gid), "{name}");
            }
        }
    }
}

#[test]
fn without_the_mount_there_is_an_empty_directory_that_the_agent_cannot_write() {
    let place = place();
    for _ in 0..2 {
        let made = place.lanes.make(&place.id, B).unwrap();
        assert!(matches!(made, Made::Nothing(NoQueue::NotMounted)), "{made:?}");
        let lane = place.lanes.runtime.lane_of(&place.id);
        let found = lane.symlink_metadata().unwrap();
        assert!(found.is_dir());
        assert_eq!(found.permissions().mode() & 0o7777, 0o711);
        let Owner { uid, gid } = Owner::myself();
        assert_eq!((found.uid(), found.gid()), (uid, gid));
        assert_eq!(std::fs::read_dir(&lane).unwrap().count(), 0);
        assert!(!place.path(".").exists(), "the queue is in `/run` itself");
        // As if it had been mounted in between.
        place.lanes.offer(&place.id, true).unwrap();
        assert_eq!(std::fs::read_link(&lane).unwrap(), place.lanes.runtime.sync_of(&place.id));
    }
}

#[test]
fn a_lane_has_the_owners_and_modes_of_the_protocol_and_is_repaired() {
    let place = place();
    place.fill(B);
    place.assert_owners_and_modes(B);
    let left = place.path("requests/left");
    state_file::write(&left, b"{}", 0o640).unwrap();
    std::fs::set_permissions(place.path("requests"), PermissionsExt::from_mode(0o777)).unwrap();
    std::fs::remove_dir(place.path("locks")).unwrap();
    place.fill(B);
    place.assert_owners_and_modes(B);
    assert!(left.exists(), "what the last container left is to be answered");
}

#[test]
fn another_range_finds_nothing_of_the_one_before() {
    if !is_root() {
        return;
    }
    let place = place();
    place.fill(B);
    state_file::write(&place.path("locks/theirs"), b"", 0o600).unwrap();
    place.fill(B + 65_536);
    place.assert_owners_and_modes(B + 65_536);
    assert!(!place.path("locks/theirs").exists());
}

#[test]
fn a_link_in_place_of_a_directory_is_not_followed() {
    let place = place();
    place.fill(B);
    std::fs::remove_dir(place.path("streams")).unwrap();
    std::os::unix::fs::symlink("/", place.path("streams")).unwrap();
    let (sync, _is_mounted) = place.lanes.parent().unwrap();
    place.lanes.fill(&sync, &place.id, B).unwrap_err();
}

#[test]
fn removal_takes_what_workers_and_agent_made_and_may_be_repeated() {
    let place = place();
    place.lanes.remove(&place.id).unwrap();
    place.fill(B);
    std::fs::create_dir(place.path("responses/1")).unwrap();
    state_file::write(&place.path("responses/1/x"), b"{}", 0o644).unwrap();
    place.lanes.offer(&place.id, true).unwrap();
    place.lanes.remove(&place.id).unwrap();
    place.lanes.remove(&place.id).unwrap();
    assert!(!place.path(".").exists());
    assert!(place.lanes.runtime.lane_of(&place.id).symlink_metadata().is_err());
}
