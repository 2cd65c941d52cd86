//! Ctrl-C and SIGTERM: the first one drains, the second one ends at once. SIGHUP: files that may have
//! been moved away are opened anew, and the configuration is read again.

use std::io;

use crossbeam_channel::Sender;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::{Handle, Signals};

use crate::control::service::StopReason;

/// Watches for signals until it is dropped.
pub(super) struct Watch {
    handle: Handle,
}

impl Watch {
    /// Sends the first signal to `stop`, and each SIGHUP to `hang_up`.
    pub(super) fn start(stop: Sender<StopReason>, hang_up: Sender<()>) -> io::Result<Self> {
        let mut signals = Signals::new([SIGHUP, SIGINT, SIGTERM])?;
        let handle = signals.handle();
        std::thread::Builder::new()
            .name("signals".to_owned())
            .spawn(move || {
                let mut asked = false;
                for signal in signals.forever() {
                    if signal == SIGHUP {
                        // Full: one that has not been looked at will do for both.
                        let _ = hang_up.try_send(());
                        continue;
                    }
                    if asked {
                        // As a shell reports a process that the signal killed.
                        signal_hook::low_level::exit(128 + signal);
                    }
                    asked = true;
                    // Full: a request over the control socket came first.
                    let _ = stop.try_send(StopReason::Signal(signal));
                }
            })?;
        Ok(Self { handle })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.handle.close();
    }
}
