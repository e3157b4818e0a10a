//! The command line of `ploinky-callback`.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use ploinky_contract::paths;

/// Post the outcomes of tasks to those who asked for them
///
/// Started by ploinky-callback.path when a task with a callback was accepted.
#[derive(Clone, Debug, Parser)]
#[command(name = "ploinky-callback", version)]
pub(crate) struct Arguments {
    /// State directory
    #[arg(long, value_name = "DIR", default_value = paths::STATE)]
    pub(crate) state: PathBuf,
    /// End when there was nothing to post for so long
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = humantime::parse_duration)]
    pub(crate) idle: Duration,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }
}
