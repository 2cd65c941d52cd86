//! `holdfast session`.

use std::io::Write;

use clap::Subcommand;

use super::client::Connection;
use super::{Failure, show};
use crate::control::api::{SessionList, method};
use crate::volume::VolumeName;

#[derive(Debug, Subcommand)]
pub(super) enum SessionCommand {
    /// List sessions that are logged in
    List {
        /// Only those of this volume
        #[arg(long, value_name = "NAME")]
        volume: Option<VolumeName>,
        #[command(flatten)]
        connection: Connection,
    },
}

pub(super) fn run(command: SessionCommand, out: &mut dyn Write) -> Result<(), Failure> {
    let SessionCommand::List { volume, connection } = command;
    connection.ask(
        out,
        method::SESSION_LIST,
        &SessionList { volume },
        show::sessions,
    )
}
