//! The lane in memory.

use ploinky_model::{SyncLane, SyncRules};

use crate::{breaks, holds};

const LANE: SyncLane = SyncLane { rules: SyncRules::ALL, kills: 3, faults: 2 };
const TWICE: &str = "no task runs twice";
const SPOILT: &str = "no task is taken for another one";

#[test]
fn a_task_of_the_lane_in_memory_runs_at_most_once() {
    holds("two tasks in memory, 3 kills, 2 faults", LANE);
}

#[test]
fn without_any_rule_of_the_lane_in_memory_a_task_runs_twice() {
    type Off = (&'static str, fn(&mut SyncRules));
    let off: [Off; 6] = [
        ("slot_before_open", |rules| rules.slot_before_open = false),
        ("result_before_request", |rules| rules.result_before_request = false),
        ("request_removed_first", |rules| rules.request_removed_first = false),
        ("slots_stay", |rules| rules.slots_stay = false),
        ("one_thread", |rules| rules.one_thread = false),
        ("record_goes_last", |rules| rules.record_goes_last = false),
    ];
    for (name, off) in off {
        let mut lane = LANE;
        off(&mut lane.rules);
        breaks(name, lane, TWICE);
    }
}

#[test]
fn a_file_that_is_named_before_it_is_written_makes_one_task_another_one() {
    let mut lane = LANE;
    lane.rules.written_before_named = false;
    breaks("written_before_named", lane, SPOILT);
}
