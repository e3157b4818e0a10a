//! What systemd is told: ready, alive, stopping. Without systemd it is told to nobody.

use std::time::Duration;

use sd_notify::NotifyState;

/// Everything is set up; requests are answered.
pub(crate) fn ready() {
    notify(NotifyState::Ready);
}

/// The process will end.
pub(crate) fn stopping() {
    notify(NotifyState::Stopping);
}

/// Says "alive" as often as the unit wants (`WatchdogSec=`), from the event loop: only while that turns.
pub(crate) async fn watchdog() {
    let Some(limit) = sd_notify::watchdog_enabled() else { return std::future::pending().await };
    let mut pings = tokio::time::interval((limit / 3).max(Duration::from_millis(1)));
    loop {
        pings.tick().await;
        notify(NotifyState::Watchdog);
    }
}

fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::warn!("cannot notify systemd: {error}");
    }
}
