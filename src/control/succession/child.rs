//! The new process, as its parent sees it until it serves.

use super::SuccessionError;
use super::channel::{Channel, ChannelError};
use super::message::ToPredecessor;
use serde::Serialize;
use std::ffi::OsString;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bits of a mode by which others than the owner may write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// A process that is to serve. Dropping it ends it, and waits for its end: whoever goes on after that is
/// alone.
#[derive(Debug)]
pub(super) struct Successor {
    child: Child,
    channel: Channel,
    /// It has been told to serve, and is nobody's to end.
    released: bool,
}

impl Successor {
    /// Starts `program` with these arguments.
    pub(super) fn start(program: &Path, arguments: &[OsString]) -> Result<Self, SuccessionError> {
        let failed = |source| SuccessionError::Start {
            path: program.to_owned(),
            source,
        };
        check_program(program).map_err(failed)?;
        let (channel, theirs) = Channel::pair().map_err(|error| match error {
            ChannelError::System(error) => failed(error),
            error => failed(std::io::Error::other(error)),
        })?;
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(theirs))
            .spawn()
            .map_err(failed)?;
        Ok(Self {
            child,
            channel,
            released: false,
        })
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a message; `what` is what it then will not have done, for people.
    pub(super) fn tell(
        &mut self,
        message: &impl Serialize,
        descriptors: &[BorrowedFd<'_>],
        what: &'static str,
    ) -> Result<(), SuccessionError> {
        let sent = self.channel.send(message, descriptors);
        sent.map_err(|error| self.lost(what, error))
    }

    /// Waits for an answer.
    pub(super) fn hear(
        &mut self,
        patience: Duration,
        what: &'static str,
    ) -> Result<ToPredecessor, SuccessionError> {
        match self.channel.receive(Some(patience)) {
            Ok((ToPredecessor::Refused { message }, _)) => Err(SuccessionError::Refused(message)),
            Ok((message, _)) => Ok(message),
            Err(error) => Err(self.lost(what, error)),
        }
    }

    fn lost(&mut self, what: &'static str, error: ChannelError) -> SuccessionError {
        // Its end of the channel closes before the process has quite ended.
        let status = match error {
            ChannelError::Gone => self.child.wait().ok(),
            _ => self.child.try_wait().ok().flatten(),
        };
        let status = status.map(|status| status.to_string());
        SuccessionError::Lost {
            what,
            error,
            status,
        }
    }

    /// It serves, or is about to.
    pub(super) fn release(&mut self) {
        self.released = true;
    }
}

impl Drop for Successor {
    fn drop(&mut self) {
        if !self.released {
            // Either fails only where it has ended and has been waited for.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Passes a program that nobody but root and the server's own user can have written: it gets everything
/// that the server has.
fn check_program(program: &Path) -> std::io::Result<()> {
    let metadata = std::fs::metadata(program)?;
    let own = rustix::process::geteuid().as_raw();
    let refused = |why: String| {
        Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            why,
        ))
    };
    if !metadata.is_file() {
        return refused("it is not a file".to_owned());
    }
    if ![0, own].contains(&metadata.uid()) {
        let owner = metadata.uid();
        return refused(format!(
            "it belongs to user {owner}; expected root or the server's own user {own}"
        ));
    }
    if metadata.mode() & WRITABLE_BY_OTHERS != 0 {
        let mode = metadata.mode() & 0o7777;
        return refused(format!(
            "others may write to it (mode {mode:04o}); expected a file that its owner alone can write to"
        ));
    }
    Ok(())
}
