//! A small disk that is filled and freed again and again while tasks come and go.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ploinky_crash::{Chaos, Client, FileSystem, Host, Ledger, Load, Plan, call, pause, times};

use crate::after;

const MEGABYTES: u64 = 12;
const TIMES: usize = 20;
/// Tasks that wait or run each time the disk becomes full.
const WAITING: usize = 8;

/// Takes every block, or every inode, until dropped.
struct Full(PathBuf);

impl Full {
    fn of_blocks(disk: &Path) -> Self {
        let directory = Self::directory(disk);
        let mut size = 1 << 20;
        let mut number = 0;
        // Ever smaller files, until not even a block is left.
        while 512 < size {
            let path = directory.0.join(format!("{number}"));
            number += 1;
            let filled = File::create(&path)
                .and_then(|mut f| f.write_all(&vec![1; size]).and_then(|()| f.sync_all()));
            if filled.is_err() {
                size /= 2;
            }
        }
        directory
    }

    fn of_inodes(disk: &Path) -> Self {
        let directory = Self::directory(disk);
        let mut number = 0;
        while File::create(directory.0.join(format!("{number}"))).is_ok() {
            number += 1;
        }
        directory
    }

    fn directory(disk: &Path) -> Self {
        let directory = disk.join("fill");
        std::fs::create_dir(&directory).unwrap();
        Self(directory)
    }
}

impl Drop for Full {
    fn drop(&mut self) {
        std::fs::remove_dir_all(&self.0).unwrap();
    }
}

/// Submits a task that takes a moment, so that some wait when the disk is full.
fn submit_slow(client: &mut Client) -> Option<String> {
    let (headers, body) = ("Prefer: respond-async\r\n", r#"{"command":"slow","params":[]}"#);
    let reply = client.ask_again(0, "POST", "/a", headers, body);
    (reply.status == 202).then_some(reply.task)
}

#[test]
fn k6_a_full_disk_loses_nothing_and_still_answers() {
    let host = Host::start(FileSystem::Ext4, MEGABYTES);
    let (ledger, mut chaos) = (Ledger::default(), Chaos::new(&host));
    let plan = Plan { clients: 6, kept: 2, ..Plan::of(usize::MAX) };
    let mut client = Client::new(host.ports(), Duration::from_secs(20));
    let mut random = host.random();
    let (mut asked, mut full, mut cancels) = (0, 0, BTreeMap::<u16, usize>::new());
    Load::new(&host, plan, &ledger).run(|load| {
        for time in 0..TIMES * times() {
            let is_of_blocks = time % 2 == 0;
            let disk = host.disk().path();
            let slow: Vec<String> = (0..WAITING).filter_map(|_| submit_slow(&mut client)).collect();
            let filled = if is_of_blocks { Full::of_blocks(disk) } else { Full::of_inodes(disk) };
            let kept = ledger.kept();
            for number in 0..20 {
                // Who looks or cancels is served while nobody may submit.
                let id = kept.get(number).and_then(|call| call.split('#').next());
                let path = format!("/tasks/{}", id.unwrap_or("00000000000000000000000000000000"));
                let looked = client.ask_again(number % 4, "GET", &path, "", "");
                assert!(matches!(looked.status, 200 | 404), "{looked:?}");
                asked += 1;
                let body = r#"{"command":"once","params":[]}"#;
                let submitted =
                    client.ask_again(number % 4, "POST", "/a", "Prefer: respond-async\r\n", body);
                match submitted.status {
                    202 => ledger.accepted(&call(&submitted.task, 0), "once"),
                    503 | 507 => full += 1,
                    _ => panic!("{submitted:?}"),
                }
            }
            for id in &slow {
                let path = format!("/tasks/{id}");
                let cancelled = client.ask_again(time % 4, "DELETE", &path, "", "");
                *cancels.entry(cancelled.status).or_default() += 1;
            }
            chaos.kill();
            drop(filled);
            for id in &slow {
                load.remove(&mut client, &mut random, id);
            }
            chaos.kill();
            pause(Duration::from_secs(1));
        }
        load.stop();
    });
    println!(
        "crash: K6: filled {} times, refused {full} submits, answered {asked} questions meanwhile, \
         cancels by status {cancels:?}",
        TIMES * times()
    );
    assert!(0 < full, "the disk was never full");
    after::holds("K6", &host, &ledger, &chaos);
}
