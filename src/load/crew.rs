//! Threads with an engine each: they connect once, and then run bursts when told to.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use super::cpu;
use super::engine::{Client, Engine, Phase, Sample, Span};
use super::initiator::fault::Fault;
use super::plan::Threads;
use super::tally::{Tally, Work};

/// How often a thread looks after its connections between bursts.
const REST_INTERVAL: Duration = Duration::from_millis(200);

/// What was measured by all threads in a stretch of a burst.
#[derive(Debug, Clone, Default)]
pub struct Interval {
    /// From the burst's begin to the stretch's.
    pub start: Duration,
    /// How long the stretch was: that of the slowest thread.
    pub length: Duration,
    /// By job, in the order of the plan's volumes.
    pub jobs: Vec<Tally>,
    /// By job: the I/Os of each of its sessions that ended with GOOD.
    pub sessions: Vec<Vec<u64>>,
    /// What the client did for it.
    pub work: Work,
}

impl Interval {
    fn merge(&mut self, sample: &Sample) {
        if self.jobs.is_empty() {
            self.start = sample.start;
            self.jobs = vec![Tally::default(); sample.tallies.len()];
            self.sessions = vec![Vec::new(); sample.tallies.len()];
        }
        self.length = self.length.max(sample.length);
        for (job, tally) in self.jobs.iter_mut().zip(&sample.tallies) {
            job.merge(tally);
        }
        for (place, ios) in &sample.sessions {
            let sessions = &mut self.sessions[place.job];
            if sessions.len() <= place.session {
                sessions.resize(place.session + 1, 0);
            }
            sessions[place.session] += ios;
        }
        self.work.merge(&sample.work);
    }
}

/// What a burst came to.
#[derive(Debug)]
pub(super) struct Outcome {
    /// All of the burst in one.
    pub(super) total: Interval,
    /// The first connection that failed: its job, and why.
    pub(super) fault: Option<(usize, Fault)>,
}

#[derive(Debug)]
struct Order {
    span: Span,
    stop: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Answer {
    Sample(Sample),
    Ended(Result<(), (usize, Fault)>),
}

#[derive(Debug)]
struct Member {
    orders: Option<Sender<Order>>,
    thread: Option<JoinHandle<()>>,
}

/// Threads that wait for bursts. Dropped, they log out and end.
#[derive(Debug)]
pub(super) struct Crew {
    members: Vec<Member>,
    answers: Receiver<(usize, Answer)>,
}

impl Crew {
    /// Starts the threads. `make` connects what belongs to the thread of that index, on that
    /// thread; what it returns beside the engine is handed out, in the order of the threads.
    ///
    /// # Errors
    /// The first failure to start, pin or connect.
    pub(super) fn start<C, T, E, F>(threads: &Threads, make: F) -> Result<(Self, Vec<T>), E>
    where
        C: Client + 'static,
        T: Send + 'static,
        E: From<io::Error> + Send + 'static,
        F: Fn(usize) -> Result<(Engine<C>, T), E> + Send + Sync + 'static,
    {
        let make = Arc::new(make);
        let (answer, answers) = unbounded();
        let mut crew = Self {
            members: Vec::with_capacity(threads.count),
            answers,
        };
        let (ready, readiness) = unbounded();
        for index in 0..threads.count {
            let (order, orders) = bounded(1);
            let (make, ready, answer) = (Arc::clone(&make), ready.clone(), answer.clone());
            let cores = threads.cores.clone();
            let thread = std::thread::Builder::new().name(format!("load-{index}"));
            let thread = thread.spawn(move || {
                let made = cpu::pin(&cores, index)
                    .map_err(E::from)
                    .and_then(|_| make(index));
                drop(make);
                match made {
                    Ok((engine, told)) => {
                        // Nobody waits any more if another thread failed.
                        let _ = ready.send((index, Ok(told)));
                        drop(ready);
                        work(engine, &orders, index, &answer);
                    }
                    Err(error) => {
                        let _ = ready.send((index, Err(error)));
                    }
                }
            })?;
            crew.members.push(Member {
                orders: Some(order),
                thread: Some(thread),
            });
        }
        drop(ready);
        let mut told = Vec::with_capacity(threads.count);
        for _ in 0..threads.count {
            let (index, made) = readiness.recv().map_err(|_| E::from(ended_early()))?;
            told.push((index, made?));
        }
        told.sort_by_key(|(index, _)| *index);
        Ok((crew, told.into_iter().map(|(_, told)| told).collect()))
    }

    /// Runs a burst on all threads. `stop` ends it early; each interval goes to `observe` as soon as
    /// all threads have it.
    pub(super) fn burst(
        &mut self,
        span: Span,
        stop: &Arc<AtomicBool>,
        mut observe: impl FnMut(&Interval),
    ) -> io::Result<Outcome> {
        let mut total = Interval::default();
        let mut fault = None;
        let mut intervals: VecDeque<(usize, Interval)> = VecDeque::new();
        let mut handed_out = 0;
        let mut delivered = vec![0_usize; self.members.len()];
        // A connection that fails ends the burst on the other threads too.
        let over = Arc::new(AtomicBool::new(false));
        for member in &self.members {
            let order = Order {
                span,
                stop: Arc::clone(&over),
            };
            let orders = member.orders.as_ref().ok_or_else(ended_early)?;
            orders.send(order).map_err(|_| ended_early())?;
        }
        let mut working = self.members.len();
        while working > 0 {
            let answer = match self.answers.recv_timeout(STOP_LATENCY) {
                Ok(answer) => Some(answer),
                Err(RecvTimeoutError::Timeout) => None,
                Err(RecvTimeoutError::Disconnected) => return Err(ended_early()),
            };
            if stop.load(Ordering::Relaxed) {
                over.store(true, Ordering::Relaxed);
            }
            match answer {
                None => self.check_threads()?,
                Some((index, Answer::Sample(sample))) => {
                    merge_total(&mut total, &sample);
                    let at = delivered[index] - handed_out;
                    delivered[index] += 1;
                    if at == intervals.len() {
                        intervals.push_back((0, Interval::default()));
                    }
                    intervals[at].0 += 1;
                    intervals[at].1.merge(&sample);
                }
                Some((_, Answer::Ended(ended))) => {
                    working -= 1;
                    if let Err(failed) = ended {
                        fault.get_or_insert(failed);
                        over.store(true, Ordering::Relaxed);
                    }
                }
            }
            while let Some((count, interval)) = intervals.front()
                && *count == self.members.len()
            {
                observe(interval);
                intervals.pop_front();
                handed_out += 1;
            }
        }
        intervals.iter().for_each(|(_, interval)| observe(interval));
        Ok(Outcome { total, fault })
    }

    /// A thread that is gone will never answer.
    fn check_threads(&self) -> io::Result<()> {
        let is_gone = |member: &Member| member.thread.as_ref().is_none_or(JoinHandle::is_finished);
        if self.members.iter().any(is_gone) {
            return Err(ended_early());
        }
        Ok(())
    }
}

/// How soon a burst notices that it is to stop.
const STOP_LATENCY: Duration = Duration::from_millis(20);

impl Drop for Crew {
    fn drop(&mut self) {
        // First all of them are told, then all are waited for.
        self.members.iter_mut().for_each(|m| drop(m.orders.take()));
        for thread in self.members.iter_mut().filter_map(|m| m.thread.take()) {
            // A panic has been reported on its own thread.
            let _ = thread.join();
        }
    }
}

/// The total ends where the last thread ends.
fn merge_total(total: &mut Interval, sample: &Sample) {
    let length = total.length.max(sample.start + sample.length);
    total.merge(sample);
    total.length = length;
    total.start = Duration::ZERO;
}

fn ended_early() -> io::Error {
    io::Error::other("a thread of the load generator ended early")
}

/// A thread's life: bursts when ordered, and pings answered in between.
fn work<C: Client>(
    mut engine: Engine<C>,
    orders: &Receiver<Order>,
    index: usize,
    answers: &Sender<(usize, Answer)>,
) {
    let mut fault = None;
    loop {
        match orders.recv_timeout(REST_INTERVAL) {
            Ok(Order { span, stop }) => {
                let sink = |sample| {
                    // The crew is gone only when it no longer wants to know.
                    let _ = answers.send((index, Answer::Sample(sample)));
                };
                let stopped = || stop.load(Ordering::Relaxed);
                let ended = match fault.take() {
                    Some(failed) => Err(failed),
                    None => engine.burst(&span, stopped, sink),
                };
                let ended = ended.map_err(|(port, fault)| (engine.job(port), fault));
                let _ = answers.send((index, Answer::Ended(ended)));
            }
            Err(RecvTimeoutError::Timeout) if fault.is_none() => fault = engine.rest().err(),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => break,
        }
    }
    engine.close();
}

impl Span {
    /// A burst of load that lasts `duration` and is told as a whole.
    pub(super) const fn of(duration: Duration, timeout: Duration) -> Self {
        Self {
            phase: Phase::Load,
            duration: Some(duration),
            interval: Duration::MAX,
            timeout,
        }
    }
}
