//! `ploinkyctl completion`.

use clap::{Args, ValueEnum};
use clap_complete::Shell;

use crate::failure::Stop;
use crate::output::Output;

#[derive(Args, Debug)]
#[command(after_long_help = "\
Example:
  ploinkyctl completion bash > ~/.local/share/bash-completion/completions/ploinkyctl")]
pub(crate) struct Arguments {
    /// The shell
    shell: KnownShell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KnownShell {
    Bash,
    Elvish,
    Fish,
    Zsh,
}

impl From<KnownShell> for Shell {
    fn from(shell: KnownShell) -> Self {
        match shell {
            KnownShell::Bash => Self::Bash,
            KnownShell::Elvish => Self::Elvish,
            KnownShell::Fish => Self::Fish,
            KnownShell::Zsh => Self::Zsh,
        }
    }
}

/// Prints the script.
pub(crate) fn run(arguments: &Arguments, output: &mut Output<'_>) -> Result<(), Stop> {
    let mut script = Vec::new();
    let shell = Shell::from(arguments.shell);
    clap_complete::generate(shell, &mut crate::command_line(), "ploinkyctl", &mut script);
    Ok(output.out.bytes(&script)?)
}
