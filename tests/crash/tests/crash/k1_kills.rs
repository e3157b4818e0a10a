//! SIGKILL of a worker or of the runner every 10 to 70 ms.

use ploinky_crash::{Chaos, FileSystem, Host, Ledger, Load, Plan, times};

use crate::after;

#[test]
fn k1_ten_thousand_tasks_survive_sigkill_of_everything() {
    let host = Host::start(FileSystem::Ext4, 256);
    let (ledger, mut chaos) = (Ledger::default(), Chaos::new(&host));
    Load::new(&host, Plan::of(10_000 * times()), &ledger).run(|load| {
        while load.goes_on() {
            chaos.kill();
        }
    });
    after::holds("K1", &host, &ledger, &chaos);
    after::nothing_grows(&host);
}
