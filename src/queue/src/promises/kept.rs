//! What is listed, kept, ended by the janitor and removed in time.

use std::fs::{self, File};
use std::time::{Duration, SystemTime};

use ploinky_contract::{TaskId, TaskState};

use crate::disk::Step;
use crate::scratch::{Scratch, id, kept, keyed, raw};
use crate::{
    Backlog, Cursor, Filter, Janitor, Mode, Rules, Swept, TaskError, boot_id, boottime_ns, code,
};

const LONG: Duration = Duration::from_secs(3600);

fn pass(queue: &Scratch, limit: usize, kept: Duration, dead: Duration) -> Swept {
    let boot_id = boot_id().unwrap();
    let rules = Rules {
        boot_id: &boot_id,
        is_alive: &|_| false,
        limit,
        task_retention: kept,
        dead_task_retention: dead,
    };
    Janitor::default().pass(&queue.producer, &rules).unwrap()
}

fn make_old(queue: &Scratch, directory: &str, name: &str) {
    let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
    File::open(queue.path(directory, name)).unwrap().set_modified(long_ago).unwrap();
}

#[test]
fn ended_tasks_go_when_their_time_is_over_and_others_stay() {
    let queue = Scratch::new();
    let [done, dead, waiting, running] =
        [(1, 1), (2, 2), (3, 1), (4, 1)].map(|(number, runs)| queue.accept_retried(number, runs));
    queue.consumer.complete(&queue.claim(done), &raw("1")).unwrap();
    // The agent cannot make its results look old.
    make_old(&queue, "responses", done.as_str());
    let claim = queue.claim(dead);
    queue.consumer.fail(&claim, &TaskError::new("X", "y")).unwrap();
    let _claim = queue.claim(running);
    assert_eq!(pass(&queue, 99, LONG, LONG).expired, 0);
    assert_eq!(pass(&queue, 99, Duration::ZERO, LONG).expired, 1);
    assert_eq!(queue.names("responses"), [dead.as_str()]);
    assert_eq!(pass(&queue, 99, LONG, Duration::ZERO).expired, 1);
    assert_eq!(queue.names("requests"), [waiting.as_str(), running.as_str()]);
    assert_eq!(pass(&queue, 99, Duration::ZERO, Duration::ZERO).expired, 0);
}

#[test]
fn a_removal_that_is_not_on_the_disk_keeps_the_outcome() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    queue.consumer.complete(&queue.claim(task), &raw("1")).unwrap();
    queue.producer.directories.disk.faults.fail(Step::Directory);
    assert!(queue.producer.remove_all(&[task]).is_err());
    assert_eq!(queue.names("responses"), [task.as_str()]);
}

#[test]
fn tasks_of_another_boot_are_kept_and_run() {
    let queue = Scratch::new();
    let mut old = kept(1, 1);
    old.boot_id = "f".repeat(32);
    old.deadline_boot_ns = 1;
    old.terms.deadline_in_ns = Some(u64::MAX / 2);
    queue.accept(&old).unwrap();
    queue.accept_once(2);
    assert_eq!(pass(&queue, 99, LONG, LONG), Swept { looked: 2, ..Swept::default() });
    assert_eq!(queue.consumer.waiting(&|_| false).unwrap(), [id(1), id(2)]);
    queue.claim(id(1));
}

#[test]
fn a_task_that_nobody_ends_has_an_outcome_after_its_deadline() {
    let queue = Scratch::new();
    for number in [1, 2, 3] {
        let mut late = kept(number, 2);
        late.deadline_boot_ns = if number == 3 { boottime_ns() } else { 1 };
        queue.accept(&late).unwrap();
    }
    for number in [2, 3] {
        fs::create_dir(queue.path("locks", id(number).as_str())).unwrap();
    }
    let swept = pass(&queue, 99, LONG, LONG);
    assert_eq!((swept.ended, swept.asked), (2, 1), "{swept:?}");
    assert_eq!(queue.names("urgent"), [2, 3].map(|number| id(number).to_string()));
    for number in [1, 2] {
        assert!(queue.kept_outcome(id(number)).unwrap().starts_with("DEADLINE: "));
        assert_eq!(queue.state(id(number)), Some(TaskState::Dead));
    }
    assert_eq!(queue.kept_outcome(id(3)), None);
}

#[test]
fn what_belongs_to_no_task_goes_when_it_is_old() {
    let queue = Scratch::new();
    let task = queue.accept_once(1);
    let gone = id(2);
    for (directory, name) in [
        ("responses", gone.to_string()),
        ("responses", format!("{gone}.bad")),
        ("locks", format!("{gone}.note")),
        ("locks", format!("{gone}.progress")),
        ("locks", format!(".tmp-{gone}.note")),
        ("locks", format!("{task}.note")),
        ("outputs", gone.to_string()),
        ("outputs", task.to_string()),
        ("outputs", "junk".to_owned()),
    ] {
        queue.put(directory, &name, b"x");
    }
    for (directory, name) in
        [("locks", gone.to_string()), ("files", gone.to_string()), ("files", task.to_string())]
    {
        fs::create_dir(queue.path(directory, &name)).unwrap();
    }
    let upload = queue.producer.stage_upload(id(3)).unwrap();
    let _file = upload.create(0).unwrap();
    assert_eq!(pass(&queue, 99, LONG, LONG).strays, 0);
    for directory in ["responses", "locks", "outputs", "files"] {
        for name in queue.names(directory) {
            make_old(&queue, directory, &name);
        }
    }
    assert_eq!(pass(&queue, 99, LONG, LONG).strays, 8);
    assert_eq!(queue.names("responses"), Vec::<String>::new());
    assert_eq!(queue.names("locks"), [format!("{task}.note")]);
    assert_eq!(queue.names("outputs"), [task.as_str(), "junk"]);
    // The file of the upload is young.
    assert_eq!(queue.names("files"), [format!(".tmp-{}", id(3)).as_str(), task.as_str()]);
}

#[test]
fn passes_with_a_limit_look_at_everything_in_the_end() {
    let queue = Scratch::new();
    let all: Vec<TaskId> = (0..60).map(|number| queue.accept_once(number)).collect();
    let boot_id = boot_id().unwrap();
    let rules = Rules {
        boot_id: &boot_id,
        is_alive: &|_| false,
        limit: 7,
        task_retention: Duration::ZERO,
        dead_task_retention: LONG,
    };
    let mut janitor = Janitor::default();
    // The first ones stay for ever; the others have to be reached behind them.
    let first = janitor.pass(&queue.producer, &rules).unwrap();
    assert!(first.more && first.expired == 0, "{first:?}");
    for task in &all {
        queue.producer.give_up_durable(*task, &TaskError::new("X", "y")).unwrap();
    }
    let passes = std::iter::repeat_with(|| janitor.pass(&queue.producer, &rules).unwrap());
    let (mut expired, mut count) = (0, 0);
    for swept in passes.take(20) {
        assert!(swept.expired <= 7, "{swept:?}");
        expired += swept.expired;
        count += 1;
        if expired == all.len() {
            break;
        }
    }
    assert_eq!(expired, all.len(), "after {count} passes");
    queue.assert_empty();
}

#[test]
fn a_place_in_a_large_directory_is_found_again_while_names_come_and_go() {
    let queue = Scratch::new();
    for number in 0..5000 {
        queue.put("errors", &format!("{number:032x}"), b"");
        make_old(&queue, "errors", &format!("{number:032x}"));
    }
    let boot_id = boot_id().unwrap();
    let rules = Rules {
        boot_id: &boot_id,
        is_alive: &|_| true,
        limit: 500,
        task_retention: LONG,
        dead_task_retention: LONG,
    };
    let mut janitor = Janitor::default();
    let mut left = usize::MAX;
    for number in 0..11 {
        janitor.pass(&queue.producer, &rules).unwrap();
        queue.put("errors", &format!("{:032x}", 100_000 + number), b"");
        let now = queue.names("errors").len();
        assert!(now < left || now <= 11, "{now}");
        left = now;
    }
    assert_eq!(queue.names("errors").len(), 11);
}

#[test]
fn tasks_are_listed_newest_first_in_pages() {
    let queue = Scratch::new();
    for number in 1..=9 {
        queue.accept_once(number);
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(1000 + u64::from(number / 3));
        let path = queue.path("requests", id(number).as_str());
        File::options().write(true).open(path).unwrap().set_modified(at).unwrap();
    }
    queue.submit(10);
    queue.put("requests", id(11).as_str(), b"no request");
    let mut cursor: Option<Cursor> = None;
    let mut pages = Vec::new();
    loop {
        let page = queue.producer.list(&Filter::default(), cursor, 4).unwrap();
        pages.push(page.tasks.iter().map(|(_, task)| task.head.id).collect::<Vec<_>>());
        let Some(next) = page.next else { break };
        assert_eq!(next.to_string().parse(), Ok(next));
        cursor = Some(next);
    }
    let expected: Vec<TaskId> = [9, 8, 7, 6, 5, 4, 3, 2, 1].map(id).to_vec();
    assert_eq!(pages.concat(), expected);
    assert_eq!(pages.iter().map(Vec::len).max(), Some(4));
    for text in ["", "x", "0", &"0".repeat(47), &"0".repeat(49), &"+".repeat(48)] {
        assert!(text.parse::<Cursor>().is_err(), "{text:?}");
    }
}

#[test]
fn a_list_can_be_asked_for_by_state_command_and_owner() {
    let queue = Scratch::new();
    for number in 1..=4 {
        let mut request = kept(number, 2);
        if number % 2 == 0 {
            request.owner = "bob".parse().unwrap();
            request.command = "ns.other".parse().unwrap();
        }
        queue.accept(&request).unwrap();
    }
    queue.consumer.complete(&queue.claim(id(1)), &raw("1")).unwrap();
    queue.consumer.fail(&queue.claim(id(2)), &TaskError::new("X", "y")).unwrap();
    let listed = |filter: &Filter| {
        let page = queue.producer.list(filter, None, 9).unwrap();
        assert_eq!(page.next, None);
        let mut ids: Vec<TaskId> = page.tasks.iter().map(|(_, task)| task.head.id).collect();
        ids.sort_unstable();
        ids
    };
    let all = Filter::default();
    assert_eq!(listed(&all), [1, 2, 3, 4].map(id));
    let state = |state| Filter { state: Some(state), ..all.clone() };
    assert_eq!(listed(&state(TaskState::Done)), [id(1)]);
    assert_eq!(listed(&state(TaskState::Dead)), [id(2)]);
    assert_eq!(listed(&state(TaskState::Queued)), [3, 4].map(id));
    let bob = Filter { owner: Some("bob".parse().unwrap()), ..all.clone() };
    assert_eq!(listed(&bob), [2, 4].map(id));
    let other = Filter { command: Some("ns.other".parse().unwrap()), ..state(TaskState::Queued) };
    assert_eq!(listed(&other), [id(4)]);
    let backlog = queue.producer.backlog().unwrap();
    let open = [("alice", 1), ("bob", 1)];
    let open = open.map(|(user, count)| (user.parse().unwrap(), count)).into_iter().collect();
    assert_eq!(backlog, Backlog { kept: 4, open });
    assert_eq!(queue.producer.count().unwrap(), 4);
}

#[test]
fn a_key_tells_what_it_was_used_for() {
    let queue = Scratch::new();
    queue.accept(&keyed(1)).unwrap();
    let found = queue.producer.request(id(1)).unwrap().unwrap();
    assert_eq!(found.terms.digest.as_deref(), Some("0".repeat(64).as_str()));
    assert_eq!(found.terms.mode, Mode::Async);
    assert!(queue.producer.request(id(2)).unwrap().is_none());
    assert!(queue.producer.inspect(id(2)).unwrap().is_none());
    assert_eq!(code::CANCELLED, "CANCELLED");
}
