//! `server.upgrade`: another process takes this one's place.

use std::path::Path;
use std::sync::{MutexGuard, PoisonError};
use std::time::Duration;

use super::{Service, StopReason};
use crate::base::clock::Instant;
use crate::control::api::{ProcessView, ServerUpgrade, ServerUpgradeView};
use crate::control::error::{ControlError, ErrorKind, with_sources};
use crate::control::plane::HandOver;
use crate::control::succession::{Predecessor, SuccessionError};
use crate::reservation::history::Process;
use crate::target::Obstacle;

/// How long initiators may have to wait until nothing runs any more, unless it is said otherwise.
const PATIENCE_DEFAULT: Duration = Duration::from_secs(5);
/// Beyond that initiators begin to give up.
const PATIENCE_MAX: Duration = Duration::from_secs(15);
/// How long work that goes on by itself is waited for before anybody is disturbed.
const LONG_WORK_PATIENCE: Duration = Duration::from_secs(5);
const LONG_WORK_CHECK_INTERVAL: Duration = Duration::from_millis(20);

impl Service {
    /// Says how a successor is to be started, once all is served.
    pub fn set_predecessor(&self, predecessor: Predecessor) {
        // Set once, by the server's start; a second time would change nothing.
        let _ = self.predecessor.set(predecessor);
    }

    /// Has another process take this one's place, with `check` only up to the point where anybody would
    /// be disturbed. After an upgrade this process serves nothing any more, and ends when the answer has
    /// been sent ([`Service::answered`]).
    ///
    /// # Errors
    /// Nothing came of it, and why; this process serves as before.
    pub fn upgrade(
        &self,
        upgrade: &ServerUpgrade,
        caller: Option<Process>,
    ) -> Result<ServerUpgradeView, ControlError> {
        may_start_programs(caller)?;
        let _turn = self.take_turn();
        let _upgrading = self.upgrade_lock();
        let refused = |message: &str| ControlError::new(ErrorKind::Failed, "server", message);
        let plane = self.plane.hand_over();
        let plane = plane.ok_or_else(|| refused("this data path can't be handed over"))?;
        let predecessor = self.predecessor.get();
        let predecessor = predecessor.ok_or_else(|| refused("the server is still starting"))?;
        let patience = upgrade.patience_ms.map(Duration::from_millis);
        let patience = patience.unwrap_or(PATIENCE_DEFAULT);
        if patience > PATIENCE_MAX {
            return Err(ControlError::new(
                ErrorKind::Invalid,
                "patience_ms",
                format!("a wait of {patience:?} is longer than initiators have patience for"),
            )
            .expected(format!("at most {PATIENCE_MAX:?}")));
        }
        predecessor.check()?;
        check_volumes(plane)?;
        self.wait_for_long_work(plane)?;
        let introduced = predecessor
            .introduce(upgrade.binary.as_deref())
            .map_err(|error| failed(&error, upgrade.binary.as_deref()))?;
        let before = ProcessView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
        };
        let mut view = ServerUpgradeView {
            checked_only: upgrade.check,
            before,
            after: ProcessView {
                version: introduced.version().to_owned(),
                pid: introduced.pid(),
            },
            volumes: self.catalogue.model().volumes().len(),
            sessions: self.plane.sessions()?.len(),
            pause_us: None,
        };
        if upgrade.check {
            return Ok(view);
        }
        let (from, to) = (&view.before.version, &view.after.version);
        tracing::info!(
            from,
            to,
            pid = view.after.pid,
            "handing over to a new process"
        );
        let succession = introduced
            .hand_over(plane, &self.catalogue, patience)
            .map_err(|error| failed(&error, upgrade.binary.as_deref()))?;
        self.depart();
        view.sessions = succession.sessions;
        view.pause_us = Some(u64::try_from(succession.pause.as_micros()).unwrap_or(u64::MAX));
        match succession.confirmed {
            Ok(()) => {
                let (sessions, pause) = (succession.sessions, succession.pause);
                tracing::info!(
                    sessions,
                    ?pause,
                    pid = succession.pid,
                    "another process serves"
                );
                Ok(view)
            }
            Err(why) => {
                tracing::error!(why, "there is no way back, and this process ends");
                Err(
                    refused(&format!("everything was handed over, and then: {why}")).hint(
                        "look at the new process's log; if it is gone, start the server again",
                    ),
                )
            }
        }
    }

    /// Whether another process serves, and this one must touch nothing any more.
    #[must_use]
    pub fn has_departed(&self) -> bool {
        self.departed.get().is_some()
    }

    fn depart(&self) {
        // Nobody is there to set it twice: the turn is taken.
        let _ = self.departed.set(std::thread::current().id());
    }

    /// This thread has sent an answer. The one that tells of an upgrade is this process's last.
    pub fn answered(&self) {
        if self.departed.get() == Some(&std::thread::current().id()) {
            // A full channel means that somebody has asked already.
            let _ = self.stop.try_send(StopReason::Succeeded);
        }
    }

    /// Waits until no upgrade is under way.
    pub fn wait_for_upgrade(&self) {
        drop(self.upgrade_lock());
    }

    /// Waits a while for what would hold everybody up, or would be lost.
    fn wait_for_long_work(&self, plane: &dyn HandOver) -> Result<(), ControlError> {
        let deadline = Instant::now() + LONG_WORK_PATIENCE;
        loop {
            let mut work: Vec<_> = plane.long_work()?.iter().map(Obstacle::to_string).collect();
            work.extend(self.work.list());
            if work.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                let error = ControlError::new(ErrorKind::Busy, "server", work.join("; "));
                return Err(error.hint("try again when it has ended; nobody was disturbed"));
            }
            std::thread::park_timeout(LONG_WORK_CHECK_INTERVAL);
        }
    }

    /// Hands the right to change something on, unless another process serves: then nobody has it in this
    /// one any more, and whoever asks for it waits for the end of the process, which is near.
    pub(super) fn unless_departed<T>(&self, right: T) -> T {
        if !self.has_departed() {
            return right;
        }
        drop(right);
        loop {
            std::thread::park();
        }
    }

    pub(super) fn upgrade_lock(&self) -> MutexGuard<'_, ()> {
        // The mutex guards no data, so a panic of its holder left nothing half done.
        self.upgrading
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who may have this process start a program: it gets everything that the server has.
fn may_start_programs(caller: Option<Process>) -> Result<(), ControlError> {
    let own = rustix::process::geteuid().as_raw();
    match caller {
        Some(Process { uid, .. }) if uid == 0 || uid == own => Ok(()),
        caller => {
            let who = caller.map_or_else(|| "unknown".to_owned(), |caller| caller.uid.to_string());
            Err(ControlError::new(
                ErrorKind::Invalid,
                "user",
                format!("user {who} may not have the server replaced by another program"),
            )
            .expected(format!("root or the server's own user {own}")))
        }
    }
}

/// Passes if every volume's bytes can be passed on.
fn check_volumes(plane: &dyn HandOver) -> Result<(), ControlError> {
    let in_memory = plane.volumes_in_memory();
    if in_memory.is_empty() {
        return Ok(());
    }
    let message = format!(
        "the bytes of {} are in this process's memory, and would be lost with it",
        in_memory.join(", ")
    );
    Err(ControlError::new(ErrorKind::Busy, "volumes", message)
        .expected("volumes in files or on block devices")
        .hint("delete the volumes in memory, or stop the server and start it again"))
}

fn failed(error: &SuccessionError, program: Option<&Path>) -> ControlError {
    let kind = match error {
        SuccessionError::Rest(_) => ErrorKind::Busy,
        _ => ErrorKind::Failed,
    };
    let hint = match (error, program) {
        (SuccessionError::Start { .. }, Some(_)) => {
            "the server goes on as before; is that the program?"
        }
        _ => "the server goes on as before; its log tells more",
    };
    ControlError::new(kind, "successor", with_sources(error)).hint(hint)
}
