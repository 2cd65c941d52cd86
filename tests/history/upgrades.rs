//! New processes in the server's place, while everybody writes and fences.

use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::lots::Lots;
use super::support::server::Server;

/// The longest that a process serves before the next one is asked for.
const SERVES_MAX: Duration = Duration::from_millis(700);
/// A dawdler keeps its data back until somebody is fenced, and while everybody is held nobody is.
const PATIENCE: &str = "1s";

/// How often another process took over, and how often the server had to go on.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Upgrades {
    pub(crate) done: u32,
    pub(crate) given_up: u32,
}

/// Has the server replaced again and again until `end` says so, or is gone.
pub(crate) fn upgrade_on(server: &mut Server, mut lots: Lots, end: &Receiver<()>) -> Upgrades {
    let mut upgrades = Upgrades::default();
    server.take_in_orphans();
    loop {
        let most = u64::try_from(SERVES_MAX.as_millis()).expect("below a second");
        let pause = Duration::from_millis(lots.below(most));
        if end.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return upgrades;
        }
        let output = server.command(&["upgrade", "--json", "--patience", PATIENCE]);
        if output.status.success() {
            let told = serde_json::from_slice(&output.stdout).expect("it answers in JSON");
            server.succeed(&told);
            upgrades.done += 1;
        } else {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(errors.contains("could not be brought to rest"), "{errors}");
            upgrades.given_up += 1;
        }
    }
}
