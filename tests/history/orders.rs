//! How the fencer tells the writers what to do. A writer waits for its socket and for orders at once,
//! so an order also wakes it.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::record::{Notes, Tick};
use super::support::initiator::{Command, Initiator};
use super::support::scsi::Outcome;

/// What a writer is to do. Who answers has done it.
pub(crate) enum Order {
    /// Write until a conflict says that the right is gone.
    Run,
    /// Send that many commands whatever becomes of them, and then none.
    Probe(u32),
    /// Send nothing more, wait for all that is outstanding, take all unit attentions. `sweep`: end
    /// with ABORT TASK SET what has no status after that.
    Settle { sweep: bool, done: Sender<()> },
    /// Send a PERSISTENT RESERVE OUT, ahead of all that is outstanding.
    Reserve {
        command: Command,
        done: Sender<Reserved>,
    },
    /// Reset the logical unit.
    Reset { done: Sender<()> },
    /// Hand over what was noted so far.
    HandOver { done: Sender<Notes> },
}

/// How a PERSISTENT RESERVE OUT ended.
pub(crate) struct Reserved {
    pub(crate) sent: Tick,
    pub(crate) ended: Tick,
    pub(crate) outcome: Outcome,
}

/// The fencer's end.
pub(crate) struct Post {
    orders: Sender<Order>,
    bell: UnixStream,
}

/// The writer's end.
pub(crate) struct Inbox {
    orders: Receiver<Order>,
    bell: UnixStream,
}

/// What a writer that waits is woken by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wake {
    Order,
    Socket,
    Nothing,
}

pub(crate) fn post_and_inbox() -> (Post, Inbox) {
    let (sender, receiver) = channel();
    let (near, far) = UnixStream::pair().expect("a pair of sockets");
    far.set_nonblocking(true).expect("it can be set");
    let post = Post {
        orders: sender,
        bell: near,
    };
    let inbox = Inbox {
        orders: receiver,
        bell: far,
    };
    (post, inbox)
}

impl Post {
    /// Sends an order. A writer that is gone has said why; the answer that never comes tells.
    pub(crate) fn send(&mut self, order: Order) {
        let _ = self.orders.send(order);
        let _ = self.bell.write_all(&[0]);
    }
}

impl Inbox {
    /// The next order; `None`: there is none. The fencer being gone is an error.
    pub(crate) fn next(&mut self) -> Result<Option<Order>, TryRecvError> {
        let _ = self.bell.read(&mut [0; 64]);
        match self.orders.try_recv() {
            Ok(order) => Ok(Some(order)),
            Err(TryRecvError::Empty) => Ok(None),
            Err(gone) => Err(gone),
        }
    }

    /// Waits for an order or for bytes on the session's socket; for no longer than `at_most`.
    pub(crate) fn wait(&self, session: &Initiator, at_most: Option<Duration>) -> Wake {
        let mut waited = [
            PollFd::new(&self.bell, PollFlags::IN),
            PollFd::new(&session.stream, PollFlags::IN),
        ];
        poll_for(&mut waited, at_most);
        match waited.map(|one| one.revents().is_empty()) {
            [false, _] => Wake::Order,
            [_, false] => Wake::Socket,
            _ => Wake::Nothing,
        }
    }
}

/// Whether the session's socket has bytes, waited for.
pub(crate) fn is_readable(session: &Initiator, at_most: Duration) -> bool {
    let mut waited = [PollFd::new(&session.stream, PollFlags::IN)];
    poll_for(&mut waited, Some(at_most));
    !waited[0].revents().is_empty()
}

fn poll_for(waited: &mut [PollFd<'_>], at_most: Option<Duration>) {
    let timeout = at_most.map(|time| Timespec {
        tv_sec: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: time.subsec_nanos().into(),
    });
    match poll(waited, timeout.as_ref()) {
        Ok(_) | Err(rustix::io::Errno::INTR) => {}
        Err(error) => panic!("poll: {error}"),
    }
}
