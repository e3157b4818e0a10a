//! Where messages go: to the journal with fields and priorities, or to standard error where there is none.

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

/// What is told if `PLOINKY_LOG` says nothing.
const FILTER: &str = "info";

/// Begins to log. A second call changes nothing.
pub(crate) fn start() {
    let filter = EnvFilter::try_from_env("PLOINKY_LOG").unwrap_or_else(|_| EnvFilter::new(FILTER));
    let registry = tracing_subscriber::registry().with(filter);
    let begun = match tracing_journald::layer() {
        Ok(journal) => {
            let journal = journal
                .with_field_prefix(None)
                .with_syslog_identifier("ploinky-supervisor".to_owned())
                .with_priority_mappings(PriorityMappings {
                    error: Priority::Error,
                    warn: Priority::Warning,
                    // syslog(3): notice is for what is normal but significant; this is not.
                    info: Priority::Informational,
                    debug: Priority::Debug,
                    trace: Priority::Debug,
                });
            registry.with(journal).try_init()
        }
        Err(_no_journal) => {
            let plain = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
            registry.with(plain.without_time()).try_init()
        }
    };
    // Only a test begins twice.
    drop(begun);
}
