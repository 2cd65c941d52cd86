//! `holdfast completions`: what makes a shell complete commands, flags and their values.

use std::io::Write;

use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

use super::{Cli, Failure, print};

const EXAMPLES: &str = "\
Examples:
  source <(holdfast completions bash)
      in this shell, until it ends
  holdfast completions bash > /usr/share/bash-completion/completions/holdfast
      for every user of bash who has the package bash-completion
  holdfast completions zsh > /usr/local/share/zsh/site-functions/_holdfast
      for zsh; any directory of $fpath will do
  holdfast completions fish > ~/.config/fish/completions/holdfast.fish
      for one user of fish

Commands, flags and values that are known beforehand are completed: profiles, backends, kinds of
client, presets of limits. Names of volumes, groups and snapshots are not: the shell asks no server.
The Debian package brings these files along. They belong to one version; write them anew after an
upgrade.";

/// Flags of `completions`.
#[derive(Debug, Args)]
#[command(after_long_help = EXAMPLES)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

/// Prints the script that `arguments` asks for.
pub(super) fn run(arguments: &CompletionsArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(
        arguments.shell,
        &mut Cli::command(),
        "holdfast",
        &mut script,
    );
    let script = String::from_utf8(script).map_err(Failure::new)?;
    print(out, &script);
    Ok(())
}
