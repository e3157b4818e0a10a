//! How the services log: to the journal, with fields and priorities, or to standard error outside of a service.
//!
//! What is logged, and how much of it, is each service's own matter.

mod audit;

use std::io;

use tracing_journald::{Priority, PriorityMappings};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer as _};

pub use self::audit::{Deed, audit};

/// Begins to log as `identifier` (`SYSLOG_IDENTIFIER=`), to the journal if standard error leads there.
/// `PLOINKY_LOG` filters; without it everything from `info` on is told. A second call changes nothing.
pub fn start(identifier: &str) {
    let filter = EnvFilter::builder()
        .with_default_directive(tracing::Level::INFO.into())
        .with_env_var("PLOINKY_LOG")
        .from_env_lossy();
    // systemd sets the variable for services whose standard error is the journal: systemd.exec(5).
    let in_service = std::env::var_os("JOURNAL_STREAM").is_some();
    let journal = in_service.then(tracing_journald::layer).and_then(Result::ok).map(|layer| {
        layer
            .with_field_prefix(None)
            .with_syslog_identifier(identifier.to_owned())
            .with_priority_mappings(PriorityMappings {
                error: Priority::Error,
                warn: Priority::Warning,
                // The default is notice, which syslog(3) keeps for what is significant.
                info: Priority::Informational,
                debug: Priority::Debug,
                trace: Priority::Debug,
            })
    });
    let sink = match journal {
        Some(journal) => journal.boxed(),
        None => tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr).boxed(),
    };
    // Only a test begins twice, and keeps what the first has set up.
    tracing_subscriber::registry().with(sink.with_filter(filter)).try_init().ok();
}
