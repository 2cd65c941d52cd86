//! Threads for calls that may block: where there is no ring, and for what a ring is no good at.

use super::disk::Disk;
use super::request::{Completion, Request};
use super::store::Waker;
use crate::base::limits::WORKER_JOBS_MAX;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use crossbeam_queue::ArrayQueue;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Where a channel's jobs end up, and how its reactor learns of it.
pub(super) struct Inbox {
    /// Room for every job that the channel may have with the workers.
    pub(super) completions: ArrayQueue<Completion>,
    pub(super) waker: Waker,
}

/// One request, on its way to a thread that may block for it.
pub(super) struct Job {
    pub(super) disk: Arc<Disk>,
    pub(super) request: Request,
    pub(super) inbox: Arc<Inbox>,
}

impl Job {
    fn run(self) {
        let Self {
            disk,
            request,
            inbox,
        } = self;
        // The disk is let go before its completion is seen: a store whose last request has
        // completed can be opened again.
        let completion = disk.perform(request);
        drop(disk);
        let pushed = inbox.completions.push(completion);
        assert!(
            pushed.is_ok(),
            "the inbox has room for every job of its channel"
        );
        (inbox.waker)();
    }
}

/// A few threads that block, shared by all volumes. Dropping the last handle ends them, after what
/// they have been given.
#[derive(Debug)]
pub struct Workers {
    jobs: Option<Sender<Job>>,
    threads: Vec<JoinHandle<()>>,
}

impl Workers {
    /// Starts `threads` threads.
    ///
    /// # Errors
    /// When the system grants no thread.
    pub fn start(threads: usize) -> io::Result<Arc<Self>> {
        let (sender, receiver) = bounded(WORKER_JOBS_MAX);
        let threads = (0..threads.max(1))
            .map(|index| {
                let receiver: Receiver<Job> = receiver.clone();
                std::thread::Builder::new()
                    .name(format!("holdfast-disk-{index}"))
                    .spawn(move || receiver.iter().for_each(Job::run))
            })
            .collect::<io::Result<_>>()?;
        Ok(Arc::new(Self {
            jobs: Some(sender),
            threads,
        }))
    }

    /// Queues a job, or hands it back when the queue is full.
    pub(super) fn submit(&self, job: Job) -> Result<(), Job> {
        let Some(jobs) = &self.jobs else {
            return Err(job);
        };
        jobs.try_send(job).map_err(|error| match error {
            TrySendError::Full(job) | TrySendError::Disconnected(job) => job,
        })
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.jobs = None;
        let this = std::thread::current().id();
        for thread in self
            .threads
            .drain(..)
            .filter(|thread| thread.thread().id() != this)
        {
            if thread.join().is_err() {
                tracing::error!("a disk worker panicked");
            }
        }
    }
}
