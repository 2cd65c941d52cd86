//! Whoever looks after the process: systemd, or a container that lives as long as its first process.

use crate::control::error::{ControlError, ErrorKind};
use sd_notify::NotifyState;

/// Says that everything is served (`Type=notify`); nobody may be listening.
pub fn announce_ready() {
    let _ = sd_notify::notify(&[NotifyState::Ready]);
}

/// Says that the server stops.
pub fn announce_stopping() {
    let _ = sd_notify::notify(&[NotifyState::Stopping]);
}

/// Says that another process is the service from now on. systemd believes that of the service's main
/// process, which this one still is.
pub(super) fn announce_successor(pid: u32) {
    let _ = sd_notify::notify(&[NotifyState::MainPid(pid)]);
}

/// Passes if a successor would outlive this process.
pub(super) fn check() -> Result<(), ControlError> {
    let own = std::process::id();
    let exec_pid = std::env::var("SYSTEMD_EXEC_PID").ok();
    let can_tell = std::env::var_os("NOTIFY_SOCKET").is_some();
    judge(own, exec_pid.as_deref(), can_tell)
}

/// What there is to say of process `own`, where systemd started `exec_pid` if it did, and may be told who
/// serves or not.
fn judge(own: u32, exec_pid: Option<&str>, can_tell: bool) -> Result<(), ControlError> {
    let refused = |message: &str| ControlError::new(ErrorKind::Busy, "server", message);
    if own == 1 {
        return Err(refused(
            "this server is the first process of its container, which ends with it",
        )
        .expected("an init process before it, such as `docker run --init`"));
    }
    // A shell in a service of its own hands the variable down as well.
    if exec_pid == Some(&own.to_string()) && !can_tell {
        return Err(refused(
            "systemd can't be told of the new process, and would end it with this one",
        )
        .expected("Type=notify in the unit")
        .hint(
            "tuning/holdfast.service has it; a changed unit takes effect with the next restart",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_successor_that_would_be_ended_is_not_started() {
        assert!(judge(700, None, false).is_ok());
        assert!(judge(700, Some("700"), true).is_ok());
        assert!(
            judge(700, Some("650"), false).is_ok(),
            "systemd started the shell"
        );
        let told = judge(700, Some("700"), false).unwrap_err().to_string();
        assert!(told.contains("expected Type=notify"), "{told}");
        let told = judge(1, None, true).unwrap_err().to_string();
        assert!(told.contains("docker run --init"), "{told}");
    }
}
