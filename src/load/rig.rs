//! A load that is connected once and then runs in bursts.

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hdrhistogram::Histogram;

use super::address::Address;
use super::connect::Opening;
use super::crew::{Crew, Interval};
use super::engine::{Engine, Phase, Place, Span};
use super::initiator::command::Capacity;
use super::initiator::fault::Fault;
use super::job::{Duty, JobSession};
use super::plan::{Plan, PlanError};
use super::tally::{Tally, Work};
use super::workload::{Generator, Misfit, Pace, Quota, Stamps, Strictness, mix, region};
use crate::iscsi::event::Parameters;
use crate::iscsi::settings::system_entropy;

/// Why there is no load, or an early end of it.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The plan can't be carried out.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The plan does not fit a volume.
    #[error("{address}: {misfit}")]
    Misfit {
        /// The volume.
        address: Box<Address>,
        /// In what way.
        misfit: Misfit,
    },
    /// A session could not be opened, or failed.
    #[error("{address}")]
    Session {
        /// The volume.
        address: Box<Address>,
        /// Why.
        #[source]
        fault: Fault,
    },
    /// This machine does not give what is needed.
    #[error("the load generator can't run here")]
    System(#[from] io::Error),
}

/// A volume as its sessions found it.
#[derive(Debug, Clone)]
pub struct VolumeInfo {
    /// Where it is.
    pub address: Address,
    /// How large it is.
    pub capacity: Capacity,
    /// What its sessions negotiated.
    pub parameters: Parameters,
}

/// What a burst measured. It begins and ends with nothing outstanding, so every I/O that was
/// started counts, and the time runs until the last answer.
#[derive(Debug, Clone)]
pub struct Burst {
    /// From the start to the last answer.
    pub elapsed: Duration,
    /// By job, in the order of the plan's volumes.
    pub jobs: Vec<Tally>,
    /// By job: the I/Os of each of its sessions that ended with GOOD.
    pub sessions: Vec<Vec<u64>>,
    /// What the client did for it.
    pub work: Work,
}

impl Burst {
    /// I/Os of all jobs that ended with GOOD.
    #[must_use]
    pub fn ios(&self) -> u64 {
        self.jobs.iter().map(Tally::ios).sum()
    }

    /// I/Os that failed.
    #[must_use]
    pub fn failures(&self) -> u64 {
        self.jobs.iter().map(|job| job.failures.total()).sum()
    }

    /// I/Os per second.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
    pub fn iops(&self) -> f64 {
        self.ios() as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// I/Os of the slowest session as a share of the mean of all sessions of its job, of the job
    /// where that is least: 1 where all get the same. `None` where no job has two sessions.
    #[must_use]
    #[allow(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
    pub fn slowest_share(&self) -> Option<f64> {
        let shares = self.sessions.iter().filter_map(|job| {
            let sum: u64 = job.iter().sum();
            let slowest = job.iter().min().filter(|_| job.len() > 1 && sum > 0)?;
            Some(*slowest as f64 * job.len() as f64 / sum as f64)
        });
        shares.reduce(f64::min)
    }

    /// Latencies of all jobs, in nanoseconds.
    #[must_use]
    pub fn histogram(&self) -> Histogram<u64> {
        self.total().latency()
    }

    /// All jobs in one.
    #[must_use]
    pub fn total(&self) -> Tally {
        let mut total = Tally::default();
        self.jobs.iter().for_each(|job| total.merge(job));
        total
    }
}

impl From<Interval> for Burst {
    fn from(interval: Interval) -> Self {
        Self {
            elapsed: interval.length,
            jobs: interval.jobs,
            sessions: interval.sessions,
            work: interval.work,
        }
    }
}

/// Sessions that are open and wait for bursts.
#[derive(Debug)]
pub struct Rig {
    plan: Plan,
    crew: Crew,
    volumes: Vec<VolumeInfo>,
}

impl Rig {
    /// Opens all sessions of the plan.
    ///
    /// # Errors
    /// When the plan can't be carried out, does not fit a volume, or a session can't be opened.
    pub fn connect(plan: Plan) -> Result<Self, LoadError> {
        plan.check()?;
        let mut entropy = [0; 16];
        system_entropy(&mut entropy).map_err(io::Error::other)?;
        let run = u128::from_le_bytes(entropy);
        let maker = Maker {
            opening: Opening {
                login: plan.login.clone(),
                content: content(&plan),
                depth: plan.depth,
                timeout: plan.timeout,
            },
            plan: plan.clone(),
            run,
        };
        let (crew, found) = Crew::start(&plan.threads, move |thread| maker.make(thread))?;
        let mut found: Vec<_> = found.into_iter().flatten().collect();
        found.sort_by_key(|(job, _)| *job);
        found.dedup_by_key(|(job, _)| *job);
        let volumes = found.into_iter().map(|(_, volume)| volume).collect();
        Ok(Self {
            plan,
            crew,
            volumes,
        })
    }

    /// The volumes, in the order of the plan.
    #[must_use]
    pub fn volumes(&self) -> &[VolumeInfo] {
        &self.volumes
    }

    /// Runs the workload for `duration`.
    ///
    /// # Errors
    /// When a connection failed.
    pub fn burst(&mut self, duration: Duration) -> Result<Burst, LoadError> {
        let span = Span::of(duration, self.plan.timeout);
        let never = Arc::new(AtomicBool::new(false));
        let outcome = self.crew.burst(span, &never, |_| {})?;
        match outcome.fault {
            None => Ok(outcome.total.into()),
            Some((job, fault)) => Err(self.session_error(job, fault)),
        }
    }

    /// Runs the workload for `duration`, or until `stop` is set, and tells each interval. A
    /// connection that failed ends the burst; what was measured before is returned with the reason.
    ///
    /// # Errors
    /// When the threads are gone.
    pub fn observed_burst(
        &mut self,
        duration: Duration,
        stop: &Arc<AtomicBool>,
        observe: impl FnMut(&Interval),
    ) -> Result<(Burst, Option<LoadError>), LoadError> {
        let span = Span {
            interval: self.plan.interval,
            ..Span::of(duration, self.plan.timeout)
        };
        self.told(span, stop, observe)
    }

    /// Reads back everything that bursts have written, and judges it. Only under verification.
    ///
    /// # Errors
    /// When the threads are gone.
    pub fn read_back(
        &mut self,
        stop: &Arc<AtomicBool>,
    ) -> Result<(Burst, Option<LoadError>), LoadError> {
        let span = Span {
            phase: Phase::ReadBack,
            duration: None,
            interval: Duration::MAX,
            timeout: self.plan.timeout,
        };
        self.told(span, stop, |_| {})
    }

    fn told(
        &mut self,
        span: Span,
        stop: &Arc<AtomicBool>,
        observe: impl FnMut(&Interval),
    ) -> Result<(Burst, Option<LoadError>), LoadError> {
        let outcome = self.crew.burst(span, stop, observe)?;
        let failed = outcome
            .fault
            .map(|(job, fault)| self.session_error(job, fault));
        Ok((outcome.total.into(), failed))
    }

    fn session_error(&self, job: usize, fault: Fault) -> LoadError {
        LoadError::Session {
            address: Box::new(self.plan.volumes[job].clone()),
            fault,
        }
    }
}

/// Opens the sessions of each thread.
struct Maker {
    plan: Plan,
    opening: Opening,
    /// Random: tells this run from others.
    run: u128,
}

impl Maker {
    /// Opens every session of thread `thread`, and tells the volumes that they found.
    #[allow(
        clippy::type_complexity,
        reason = "an engine and what is told of it, used once"
    )]
    fn make(
        &self,
        thread: usize,
    ) -> Result<(Engine<JobSession>, Vec<(usize, VolumeInfo)>), LoadError> {
        let plan = &self.plan;
        let mut engine = Engine::new(plan.volumes.len(), plan.threads.yielding);
        let mut found = Vec::new();
        for number in (thread..plan.session_count()).step_by(plan.threads.count) {
            // Volumes take turns, so that each thread has sessions of all of them.
            let (index, job) = (number / plan.volumes.len(), number % plan.volumes.len());
            let address = &plan.volumes[job];
            let failed = |fault| LoadError::Session {
                address: Box::new(address.clone()),
                fault,
            };
            let opened = self
                .opening
                .open(address, self.isid(number))
                .map_err(failed)?;
            found.push((
                job,
                VolumeInfo {
                    address: address.clone(),
                    capacity: opened.capacity,
                    parameters: *opened.session.parameters(),
                },
            ));
            let duty = self.duty(opened.capacity, index).map_err(|misfit| {
                let address = Box::new(address.clone());
                LoadError::Misfit { address, misfit }
            })?;
            let place = Place {
                job,
                session: index,
            };
            let client = JobSession::new(opened.session, duty);
            engine
                .add(opened.socket, opened.outbox, client, place)
                .map_err(|error| failed(Fault::Io(error)))?;
        }
        Ok((engine, found))
    }

    /// What the `index`th session of a volume does.
    fn duty(&self, capacity: Capacity, index: usize) -> Result<Duty, Misfit> {
        let (workload, sessions) = (&self.plan.workload, self.plan.sessions);
        let region = region(workload, capacity, index, sessions)?;
        let strictness = if workload.read_percent == 100 {
            Strictness::Strict
        } else {
            Strictness::Lenient
        };
        let [run, _] = halves(self.run);
        let block_bytes = capacity.block_bytes;
        let place = (index, sessions);
        Ok(Duty {
            generator: Generator::new(workload, region, block_bytes, place),
            pace: workload.rate.map(|rate| Pace::new(rate, index, sessions)),
            quota: Quota::new(self.plan.io_count, index, sessions),
            fua: workload.fua,
            stamps: workload
                .verify
                .then(|| Stamps::new(run, strictness, region, block_bytes)),
            depth: self.plan.depth,
            transfer_bytes_max: workload.transfer_bytes_max(),
        })
    }

    /// An ISID in the random format, of this run and session (RFC 7143 section 11.12.5). Another
    /// run with the same name then does not reinstate this one's sessions.
    fn isid(&self, number: usize) -> [u8; 6] {
        let [_, random] = halves(self.run);
        let [a, b, c, ..] = random.to_be_bytes();
        let [.., high, low] = number.to_be_bytes();
        [0x80, a, b, c, high, low]
    }
}

fn halves(value: u128) -> [u64; 2] {
    let bytes = value.to_le_bytes();
    let half = |at: usize| u64::from_le_bytes(bytes[at..].first_chunk().copied().unwrap_or([0; 8]));
    [half(0), half(8)]
}

/// What unverified writes are made of: bytes that do not compress, the same in every run of a seed.
fn content(plan: &Plan) -> Arc<[u8]> {
    let words = plan.workload.transfer_bytes_max().div_ceil(8);
    (0..u64::from(words))
        .flat_map(|index| mix(plan.workload.seed ^ index.rotate_left(32)).to_le_bytes())
        .collect()
}
