//! A thread that accepts connections, and one for each connection: of the control socket, and of the
//! metrics endpoint.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const PAUSE: Duration = Duration::from_millis(200);

/// Whom it serves, and how.
pub(super) struct Conversation<S> {
    /// Of the thread that accepts, and of those of connections.
    pub(super) names: [&'static str; 2],
    pub(super) connections_max: usize,
    /// What a connection beyond them is told before it is closed.
    pub(super) refuse: fn(&S),
    pub(super) converse: Arc<dyn Fn(&S) + Send + Sync>,
}

/// Accepts until it is dropped. Connections that are open then come to their own end.
pub(super) struct Acceptor {
    stopping: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    wake: Box<dyn Fn() -> bool + Send + Sync>,
}

impl Acceptor {
    /// Starts the thread. `accept` waits for a connection; `wake` makes one, and tells whether it could.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(super) fn start<S: Send + 'static>(
        conversation: Conversation<S>,
        accept: impl FnMut() -> io::Result<S> + Send + 'static,
        wake: impl Fn() -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let until = stopping.clone();
        let thread = std::thread::Builder::new()
            .name(conversation.names[0].to_owned())
            .spawn(move || run(&conversation, accept, &until))?;
        Ok(Self {
            stopping,
            thread: Some(thread),
            wake: Box::new(wake),
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // It waits for a connection; this one wakes it. Where it fails, nobody can connect, and the
        // thread ends with the process.
        if (self.wake)()
            && let Some(thread) = self.thread.take()
        {
            // A panic there has been reported by its own thread.
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Acceptor {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Acceptor").finish_non_exhaustive()
    }
}

/// Counts a connection as long as it lives.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(seats: &Arc<AtomicUsize>, most: usize) -> Option<Self> {
        let seat = Self(seats.clone());
        (seats.fetch_add(1, Ordering::AcqRel) < most).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn run<S: Send + 'static>(
    conversation: &Conversation<S>,
    mut accept: impl FnMut() -> io::Result<S>,
    stopping: &AtomicBool,
) {
    let seats = Arc::new(AtomicUsize::new(0));
    loop {
        let stream = accept();
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let [name, connection] = conversation.names;
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "{name}: no connection was taken");
                // Out of descriptors, most likely: asking again at once would not help.
                std::thread::park_timeout(PAUSE);
                continue;
            }
        };
        let Some(seat) = Seat::take(&seats, conversation.connections_max) else {
            (conversation.refuse)(&stream);
            continue;
        };
        let converse = conversation.converse.clone();
        let spawned = std::thread::Builder::new()
            .name(connection.to_owned())
            .spawn(move || {
                converse(&stream);
                drop(seat);
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "{name}: no thread for a connection");
        }
    }
}
