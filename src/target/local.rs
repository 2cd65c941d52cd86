//! Procedures: commands of more than one step, written as straight lines.
//!
//! READ and WRITE run without any of this. Everything rarer — COMPARE AND WRITE, copies, PERSISTENT
//! RESERVE OUT with its grace period, a reset that must wait for quiet — is an `async` function on
//! the executor of its reactor. A procedure never touches the reactor's state: it posts a
//! [`Request`] and awaits the answer, and the reactor serves the requests with everything at hand.

use super::gate::Gate;
use super::message::{Call, Failure, Piece, Reply};
use super::volume::VolumeIndex;
use crate::base::buffer::Buffer;
use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use crate::iscsi::{DataOutError, TaskId};
use async_executor::LocalExecutor;
use futures_channel::oneshot;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::Poll;
use std::time::Duration;

/// What a procedure asks of its reactor.
pub(crate) enum Request {
    /// A payload buffer, as soon as one is free.
    Allocate {
        bytes: usize,
        /// The command whose data it is for, if its connection waits for a decision on that.
        undecided: Option<(SlotKey, TaskId)>,
        reply: oneshot::Sender<Buffer>,
    },
    /// One backend request, at whichever reactor owns the range.
    Medium {
        reactor: usize,
        piece: Piece,
        reply: oneshot::Sender<MediumDone>,
    },
    /// Bytes of a command's Data-Out, into `buffer`.
    DataOut {
        connection: SlotKey,
        task: TaskId,
        offset: u32,
        buffer: Buffer,
        reply: oneshot::Sender<Result<Buffer, DataOutError>>,
    },
    /// Data-In for the initiator; more follows.
    DataIn {
        connection: SlotKey,
        task: TaskId,
        offset: u32,
        buffer: Buffer,
    },
    /// The end of a command.
    Finish {
        connection: SlotKey,
        task: TaskId,
        answer: Answer,
    },
    /// A question to a reactor, this one included.
    Call {
        reactor: usize,
        call: Call,
        deadline: Option<Instant>,
        reply: oneshot::Sender<Reply>,
    },
    /// A word to a reactor that needs no answer.
    Tell { reactor: usize, call: Call },
    /// Nothing, until then.
    Sleep {
        delay: Duration,
        reply: oneshot::Sender<()>,
    },
    /// Work that borrows the reactor itself; for what happens once in a while.
    Run(CoreWork),
}

/// What a procedure has its reactor do.
pub(crate) type CoreWork = Box<dyn FnOnce(&mut super::core::Core, &mut super::core::Turn<'_, '_>)>;

/// Which tasks to abort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AbortSelect {
    /// One.
    Task(TaskId),
    /// Every task of the connection but the one that asks.
    AllBut(Option<TaskId>),
}

/// How a command ends.
#[derive(Debug)]
pub(crate) enum Answer {
    /// GOOD, with data for the initiator; `asked` is what the CDB asked for, in bytes.
    Data { data: Vec<u8>, asked: u64 },
    /// GOOD, with data in a buffer that starts at byte `offset` of the command's data.
    Buffer {
        buffer: Buffer,
        offset: u32,
        asked: u64,
    },
    /// GOOD after `asked` bytes of Data-Out, or with no data at all.
    Good { asked: u64 },
    /// Anything else.
    Failed(Failure),
}

impl Answer {
    /// GOOD with parameter data.
    pub(crate) fn of_reply(reply: crate::scsi::Reply) -> Self {
        let asked = reply.data.len() as u64;
        Self::Data {
            data: reply.data,
            asked,
        }
    }
}

/// The outcome of one backend request.
#[derive(Debug)]
pub(crate) struct MediumDone {
    pub(crate) buffer: Option<Buffer>,
    pub(crate) result: Result<crate::backend::Done, Failure>,
}

/// A procedure's end of its reactor. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Local {
    inner: Rc<Inner>,
}

struct Inner {
    reactor: usize,
    reactors: usize,
    requests: RefCell<VecDeque<Request>>,
    /// Nothing once the reactor has ended.
    executor: RefCell<Option<LocalExecutor<'static>>>,
    /// Procedures that have not ended: a tick without any has nothing to ask the executor.
    procedures: Cell<usize>,
    /// Those of them that only wait for the clock, with nothing at stake.
    idlers: Cell<usize>,
    /// The volumes of work that goes on after its command's status, one for each.
    outliving: RefCell<Vec<String>>,
    now: Cell<Instant>,
    serial: Cell<u64>,
    /// The gates of volumes that have needed one.
    gates: RefCell<HashMap<VolumeIndex, Rc<Gate>>>,
}

impl Local {
    pub(crate) fn new(reactor: usize, reactors: usize) -> Self {
        Self {
            inner: Rc::new(Inner {
                reactor,
                reactors,
                requests: RefCell::default(),
                executor: RefCell::new(Some(LocalExecutor::new())),
                procedures: Cell::new(0),
                idlers: Cell::new(0),
                outliving: RefCell::default(),
                now: Cell::default(),
                serial: Cell::new(0),
                gates: RefCell::default(),
            }),
        }
    }

    /// This reactor.
    pub(crate) fn reactor(&self) -> usize {
        self.inner.reactor
    }

    /// How many reactors there are.
    pub(crate) fn reactors(&self) -> usize {
        self.inner.reactors
    }

    /// The time of the tick.
    pub(crate) fn now(&self) -> Instant {
        self.inner.now.get()
    }

    pub(crate) fn set_now(&self, now: Instant) {
        self.inner.now.set(now);
    }

    /// A number that this reactor has not given out before.
    pub(crate) fn next_serial(&self) -> u64 {
        self.inner.serial.replace(self.inner.serial.get() + 1)
    }

    /// The gate that the volume's writes of several pieces pass on this reactor.
    pub(crate) fn gate(&self, volume: VolumeIndex) -> Rc<Gate> {
        Rc::clone(self.inner.gates.borrow_mut().entry(volume).or_default())
    }

    /// The volume is gone from this reactor.
    pub(crate) fn forget_gate(&self, volume: VolumeIndex) {
        self.inner.gates.borrow_mut().remove(&volume);
    }

    /// Starts a procedure.
    pub(crate) fn spawn(&self, procedure: impl Future<Output = ()> + 'static) {
        if let Some(executor) = self.inner.executor.borrow().as_ref() {
            let counted = Counted::new(&self.inner);
            let procedure = async move {
                procedure.await;
                drop(counted);
            };
            executor.spawn(procedure).detach();
        }
    }

    /// Runs `work` after `delay`. Until then nothing is under way.
    pub(crate) fn spawn_later(&self, delay: Duration, work: impl Future<Output = ()> + 'static) {
        self.inner.idlers.set(self.inner.idlers.get() + 1);
        let local = self.clone();
        self.spawn(async move {
            local.sleep(delay).await;
            local.inner.idlers.set(local.inner.idlers.get() - 1);
            work.await;
        });
    }

    /// Work that may outlive its command begins on the volume of that name.
    pub(crate) fn begin_outliving(&self, volume: &str) {
        self.inner.outliving.borrow_mut().push(volume.to_owned());
    }

    /// It has ended.
    pub(crate) fn end_outliving(&self, volume: &str) {
        let mut outliving = self.inner.outliving.borrow_mut();
        if let Some(position) = outliving.iter().position(|name| name == volume) {
            outliving.swap_remove(position);
        }
    }

    /// The volumes of such work.
    pub(crate) fn outliving(&self) -> Vec<String> {
        self.inner.outliving.borrow().clone()
    }

    /// Procedures that do something, or wait for an answer.
    pub(crate) fn under_way(&self) -> usize {
        self.inner.procedures.get() - self.inner.idlers.get()
    }

    /// Runs procedures for as long as any can go on; whether one did.
    pub(crate) fn run(&self) -> bool {
        if self.inner.procedures.get() == 0 {
            return false;
        }
        let executor = self.inner.executor.borrow();
        let mut ran = false;
        while executor.as_ref().is_some_and(LocalExecutor::try_tick) {
            ran = true;
        }
        ran
    }

    /// Drops every procedure: they hold this, and would keep it and all they hold for ever.
    pub(crate) fn shut(&self) {
        let executor = self.inner.executor.borrow_mut().take();
        drop(executor);
        self.inner.requests.borrow_mut().clear();
    }

    /// Whether no procedure runs and none has left a request.
    #[inline]
    pub(crate) fn is_at_rest(&self) -> bool {
        self.inner.procedures.get() == 0 && self.inner.requests.borrow().is_empty()
    }

    pub(crate) fn next_request(&self) -> Option<Request> {
        self.inner.requests.borrow_mut().pop_front()
    }

    pub(crate) fn post(&self, request: Request) {
        self.inner.requests.borrow_mut().push_back(request);
    }

    /// Runs `work` on the reactor itself, at its next convenience.
    pub(crate) fn run_on_core(
        &self,
        work: impl FnOnce(&mut super::core::Core, &mut super::core::Turn<'_, '_>) + 'static,
    ) {
        self.post(Request::Run(Box::new(work)));
    }

    /// Runs `work` on the reactor itself and brings back what it returns.
    pub(crate) async fn with_core<R: 'static>(
        &self,
        work: impl FnOnce(&mut super::core::Core, &mut super::core::Turn<'_, '_>) -> R + 'static,
    ) -> Result<R, Failure> {
        let (sender, receiver) = oneshot::channel();
        self.run_on_core(move |core, turn| {
            let _ = sender.send(work(core, turn));
        });
        receiver
            .await
            .map_err(|_| Failure::target("the reactor stopped"))
    }

    /// A payload buffer of `bytes` bytes; waits until one is free.
    pub(crate) async fn allocate(&self, bytes: usize) -> Result<Buffer, Failure> {
        self.allocate_for(bytes, None).await
    }

    /// As [`Local::allocate`], for the Data-Out of a command.
    pub(crate) async fn allocate_for(
        &self,
        bytes: usize,
        undecided: Option<(SlotKey, TaskId)>,
    ) -> Result<Buffer, Failure> {
        let (reply, receiver) = oneshot::channel();
        self.post(Request::Allocate {
            bytes,
            undecided,
            reply,
        });
        receiver.await.map_err(|_| Failure::BUSY)
    }

    /// Asks a reactor and waits for its answer.
    pub(crate) async fn call(
        &self,
        reactor: usize,
        call: Call,
        deadline: Option<Instant>,
    ) -> Result<Reply, Failure> {
        let (reply, receiver) = oneshot::channel();
        self.post(Request::Call {
            reactor,
            call,
            deadline,
            reply,
        });
        match receiver.await {
            Ok(Reply::Failed(failure)) => Err(failure),
            Ok(reply) => Ok(reply),
            Err(_) => Err(Failure::target("the reactor stopped")),
        }
    }

    /// Asks every reactor at once; see [`Local::call_each`].
    pub(crate) fn call_all<F: Fn() -> Call>(
        &self,
        call: F,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<Reply>, Failure>> + use<F> {
        self.call_each(0..self.reactors(), call, deadline)
    }

    /// Asks these reactors at once; the future waits for all of them, and the first failure counts.
    /// The questions are posted when this returns, ahead of whatever is posted later.
    pub(crate) fn call_each<R: IntoIterator<Item = usize>, F: Fn() -> Call>(
        &self,
        reactors: R,
        call: F,
        deadline: Option<Instant>,
    ) -> impl Future<Output = Result<Vec<Reply>, Failure>> + use<R, F> {
        let receivers: Vec<_> = reactors
            .into_iter()
            .map(|reactor| {
                let (reply, receiver) = oneshot::channel();
                self.post(Request::Call {
                    reactor,
                    call: call(),
                    deadline,
                    reply,
                });
                receiver
            })
            .collect();
        async move {
            let mut replies = Vec::with_capacity(receivers.len());
            let mut failed = None;
            for receiver in receivers {
                match receiver.await {
                    Ok(Reply::Failed(failure)) => failed = failed.or(Some(failure)),
                    Ok(reply) => replies.push(reply),
                    Err(_) => failed = failed.or(Some(Failure::target("a reactor stopped"))),
                }
            }
            failed.map_or(Ok(replies), Err)
        }
    }

    /// Waits for an answer, at the longest until `deadline`; nothing if it has not come by then, and it
    /// may still come.
    pub(crate) async fn until<T>(
        &self,
        deadline: Instant,
        answer: &mut oneshot::Receiver<T>,
    ) -> Option<Result<T, oneshot::Canceled>> {
        let (reply, mut alarm) = oneshot::channel();
        let delay = deadline.since(self.now());
        self.post(Request::Sleep { delay, reply });
        poll_fn(|context| {
            if let Poll::Ready(answer) = Pin::new(&mut *answer).poll(context) {
                return Poll::Ready(Some(answer));
            }
            match Pin::new(&mut alarm).poll(context) {
                Poll::Ready(Ok(())) => Poll::Ready(None),
                // Too many wait for the clock: this one waits for its answer alone.
                Poll::Ready(Err(oneshot::Canceled)) | Poll::Pending => Poll::Pending,
            }
        })
        .await
    }

    /// Waits for `delay`.
    pub(crate) async fn sleep(&self, delay: Duration) {
        let (reply, receiver) = oneshot::channel();
        self.post(Request::Sleep { delay, reply });
        let _ = receiver.await;
    }
}

/// Counts a procedure for as long as it lives. It must not keep alive what the procedures live in.
struct Counted(Weak<Inner>);

impl Counted {
    fn new(inner: &Rc<Inner>) -> Self {
        inner.procedures.set(inner.procedures.get() + 1);
        Self(Rc::downgrade(inner))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.procedures.set(inner.procedures.get() - 1);
        }
    }
}
