//! The order without a disk.

use super::*;
use crate::lane::Lane::{Durable, Sync};

fn entry(id: u128, owner: u64, urgency: u8, class: Class) -> Entry {
    Entry { id, owner, seq: (id & 0xffff) as u64, urgency, class }
}

/// Takes what may start, without ending anything, at most `limit`.
fn take(schedule: &mut Schedule, limit: usize) -> Vec<u128> {
    (0..limit).map_while(|_| schedule.pop()).map(|next| number(next.id)).collect()
}

#[test]
fn a_command_at_its_bound_waits_and_the_others_do_not() {
    let mut schedule = Schedule::new([1, 2]);
    for id in 0..4 {
        schedule.push(Durable, entry(id, 1, 3, 1), None);
        schedule.push(Durable, entry(10 + id, 1, 3, 2), None);
        schedule.push(Durable, entry(20 + id, 1, 4, 0), None);
    }
    assert_eq!(take(&mut schedule, 99), [0, 10, 11, 20, 21, 22, 23]);
    assert!(!schedule.has_next() && !schedule.is_empty());
    schedule.done(0);
    assert!(!schedule.has_next());
    schedule.done(1);
    assert_eq!(take(&mut schedule, 99), [1]);
    schedule.done(2);
    schedule.done(2);
    schedule.done(1);
    assert_eq!(take(&mut schedule, 99), [2, 12, 13]);
}

#[test]
fn what_is_beyond_the_bound_is_refused_and_known_tasks_are_kept_once() {
    let mut schedule = Schedule::new([]);
    for id in 0..SYNC_MAX {
        let pushed = schedule.push(Sync, entry(id as u128, 1, 3, 0), None);
        assert_eq!(pushed, Pushed::Waits);
    }
    assert_eq!(schedule.push(Sync, entry(1, 1, 3, 0), None), Pushed::Known);
    assert_eq!(schedule.push(Sync, entry(u128::MAX, 1, 3, 0), None), Pushed::Full);
    assert_eq!(schedule.push(Durable, entry(1, 1, 3, 0), None), Pushed::Waits);
    assert_eq!(schedule.push(Durable, entry(1, 1, 3, 0), Some(9)), Pushed::Known);
    assert_eq!((schedule.len(Sync), schedule.len(Durable)), (SYNC_MAX, 1));
}

#[test]
fn urgency_goes_before_owners_and_owners_before_age() {
    let mut schedule = Schedule::new([]);
    // Owner 1 has a hundred, then two others come with two each, one of them urgent.
    for id in 0..100 {
        schedule.push(Durable, entry(id, 1, 3, 0), None);
    }
    for (id, owner, urgency) in [(200, 2, 3), (201, 2, 3), (300, 3, 3), (301, 3, 0), (400, 4, 7)] {
        schedule.push(Durable, entry(id, owner, urgency, 0), None);
    }
    assert_eq!(take(&mut schedule, 9), [301, 0, 200, 300, 1, 201, 2, 3, 4]);
    let rest = take(&mut schedule, 999);
    assert_eq!(rest, (5..100).chain([400]).collect::<Vec<_>>());
}

#[test]
fn an_owner_that_always_comes_back_does_not_pass_who_waits() {
    let mut schedule = Schedule::new([]);
    for id in 0..3 {
        schedule.push(Durable, entry(id, 1, 3, 0), None);
    }
    let mut order = Vec::new();
    for id in 10..13 {
        schedule.push(Durable, entry(id, 2, 3, 0), None);
        schedule.push(Durable, entry(10 + id, 3, 3, 0), None);
        order.extend(take(&mut schedule, 3));
    }
    assert_eq!(order, [0, 10, 20, 1, 11, 21, 2, 12, 22]);
}

#[test]
fn an_owner_has_one_turn_whatever_it_calls() {
    let mut schedule = Schedule::new([9, 9]);
    for id in 0..3 {
        for class in 0..3 {
            schedule.push(Durable, entry(id + 10 * u128::from(class), 1, 3, class), None);
        }
        schedule.push(Durable, entry(100 + id, 2, 3, 0), None);
    }
    let owners: Vec<bool> = take(&mut schedule, 6).iter().map(|id| *id < 100).collect();
    assert_eq!(owners, [true, false, true, false, true, false]);
}

#[test]
fn a_backlog_in_one_lane_leaves_the_other_its_share() {
    let mut schedule = Schedule::new([]);
    for id in 0..100_000 {
        schedule.push(Durable, entry(id, 1, 0, 0), None);
    }
    for id in 0..20 {
        schedule.push(Sync, entry(id, 2, 7, 0), None);
    }
    let mut lanes = |limit| -> Vec<Lane> {
        (0..limit).map_while(|_| schedule.pop()).map(|next| next.lane).collect()
    };
    assert_eq!(lanes(8), [Sync, Sync, Sync, Durable, Sync, Sync, Sync, Durable]);
    let of_sync = lanes(20).iter().filter(|lane| **lane == Sync).count();
    assert_eq!(of_sync, 14);
    assert_eq!(lanes(200_000).len(), 100_020 - 28);
}

#[test]
fn a_task_before_its_time_waits_for_it() {
    let mut schedule = Schedule::new([]);
    for (id, time) in [(1, 50), (2, 30), (3, 70), (4, 30)] {
        schedule.push(Durable, entry(id, 1, 3, 0), Some(time));
    }
    assert_eq!(schedule.advance(29), Some(30));
    assert_eq!(take(&mut schedule, 9), []);
    assert_eq!(schedule.advance(30), Some(50));
    assert_eq!(take(&mut schedule, 9), [2, 4]);
    assert!(schedule.holds(Durable, task(3)) && !schedule.holds(Durable, task(2)));
    assert!(!schedule.hurry(task(2)) && schedule.hurry(task(3)));
    assert_eq!(take(&mut schedule, 9), [3]);
    assert_eq!(schedule.advance(u64::MAX), None);
    assert_eq!(take(&mut schedule, 9), [1]);
}

#[test]
fn a_call_that_nobody_waits_for_any_more_is_forgotten() {
    let mut schedule = Schedule::new([]);
    for id in 1..4 {
        schedule.push(Sync, entry(id, u64::try_from(id).unwrap(), 3, 0), None);
        schedule.push(Durable, entry(id, 1, 3, 0), None);
    }
    assert!(schedule.forget(task(1)) && schedule.forget(task(2)) && !schedule.forget(task(2)));
    let next = schedule.pop().unwrap();
    assert_eq!((next.lane, number(next.id)), (Sync, 3));
    assert_eq!(take(&mut schedule, 9), [1, 2, 3]);
}
