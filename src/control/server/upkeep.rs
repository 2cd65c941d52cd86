//! What has to be done when it is time, and not because somebody asked: deleted volumes are purged, and
//! the files of volumes are looked after.

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use crate::base::clock::wall_clock_ms;
use crate::control::service::Service;

/// How often it is looked. The wall clock may jump, so nothing is waited for longer than that.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// The thread that looks; it ends when this is dropped.
pub(super) struct Upkeep {
    thread: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Upkeep {
    /// Looks from now on.
    pub(super) fn start(service: Arc<Service>) -> io::Result<Self> {
        let (end, ended) = bounded(0);
        let thread = std::thread::Builder::new()
            .name("upkeep".to_owned())
            .spawn(move || look(&service, &ended))?;
        Ok(Self {
            thread: Some((end, thread)),
        })
    }
}

impl Drop for Upkeep {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

fn look(service: &Service, ended: &Receiver<()>) {
    loop {
        service.purge_due(wall_clock_ms());
        service.look_after_files();
        if ended.recv_timeout(LOOK_INTERVAL) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}
