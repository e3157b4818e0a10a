//! Waits for results of one agent: hints of the kernel, and a look now and then in case one was lost.

use std::os::fd::{AsFd as _, AsRawFd, RawFd};
use std::sync::Arc;

use ploinky_contract::TaskId;
use ploinky_contract::limits::RESULT_POLL;
use ploinky_queue::ResultWatch;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::MissedTickBehavior;

use super::agent_queue::{AgentQueue, Down};

/// The watch in the form that the event loop takes.
struct Source(ResultWatch);

impl AsRawFd for Source {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Hands results over until the queue is retired and its last task has ended.
pub(crate) async fn watch(queue: Arc<AgentQueue>, results: ResultWatch) {
    #[expect(deprecated, reason = "the successor is unsafe; `Source` owns its descriptor for life")]
    let registered = AsyncFd::with_interest(Source(results), Interest::READABLE);
    let mut hints = match registered {
        Ok(hints) => Some(hints),
        Err(error) => {
            tracing::error!(AGENT = %queue.agent(), "cannot watch for results, polling: {error}");
            None
        }
    };
    let mut looks = tokio::time::interval(RESULT_POLL);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut parked = queue.park();
    let mut down = Down::default();
    let mut named = Vec::new();
    while !queue.is_over() {
        let ended = tokio::select! {
            is_complete = read_hints(hints.as_mut(), &mut named) => {
                if is_complete {
                    queue.hints().tell(&named);
                    queue.look_for(named.drain(..)).await
                } else {
                    named.clear();
                    queue.hints().tell_all();
                    queue.look_for_all().await
                }
            }
            _ = looks.tick(), if !parked => {
                let ended = queue.look_for_overdue(&mut down).await;
                parked = queue.park();
                ended
            }
            () = queue.woken() => {
                parked = false;
                looks.reset();
                Vec::new()
            }
        };
        if !ended.is_empty() {
            // The requests that were just told answer first; nobody waits for the cleaning.
            tokio::task::yield_now().await;
            for task in ended {
                queue.clean(task);
            }
        }
    }
}

/// Reads the names that the kernel has. `false`: some were lost.
async fn read_hints(hints: Option<&mut AsyncFd<Source>>, named: &mut Vec<TaskId>) -> bool {
    let Some(hints) = hints else { return std::future::pending().await };
    let Ok(mut ready) = hints.readable_mut().await else { return std::future::pending().await };
    let drained = ready.get_inner_mut().0.drain(&mut |id| named.push(id));
    match drained {
        Ok(drained) => {
            if !drained.more {
                ready.clear_ready();
            }
            !drained.overflowed
        }
        Err(error) => {
            ready.clear_ready();
            tracing::error!("cannot read hints on results: {error}");
            false
        }
    }
}
