//! The command line of `ploinkyd`.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Parser;
use ploinky_contract::limits::WORKERS_MAX;
use ploinky_contract::paths;

/// Answer HTTP requests with the deployed agents
///
/// Started by ploinky@N.service with a listening socket from ploinky@N.socket.
#[derive(Clone, Debug, Parser)]
#[command(name = "ploinkyd", version)]
pub struct Arguments {
    /// Number of this instance, as in ploinky@N.service
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=i64::from(WORKERS_MAX)))]
    pub instance: u16,
    /// State directory
    #[arg(long, value_name = "DIR", default_value = paths::STATE)]
    pub state: PathBuf,
    /// Runtime directory
    #[arg(long, value_name = "DIR", default_value = paths::RUNTIME)]
    pub runtime: PathBuf,
    /// Address to listen on if systemd passed no socket, for trials
    #[arg(long, value_name = "ADDR")]
    pub listen: Option<SocketAddr>,
    /// Path of a socket for the admin if systemd passed none, for trials; who connects to it is the admin
    #[arg(long, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn an_instance_out_of_range_is_refused() {
        for words in [&["--instance=0"][..], &["--instance=65"], &["--instance=a"], &[]] {
            assert!(Arguments::try_parse_from([&["ploinkyd"], words].concat()).is_err());
        }
    }
}
