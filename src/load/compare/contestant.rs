//! One place in the round: a connected candidate and what its bursts measured.

use std::sync::Arc;
use std::time::Duration;

use super::{Candidate, CompareError, Line, Role, Sample, ScratchFile, Server, Subject};
use crate::load::cpu;
use crate::load::floor::EchoRig;
use crate::load::floor::disk::{self, DiskFloor};
use crate::load::plan::{Cores, Plan};
use crate::load::rig::{Burst, LoadError, Rig};
use crate::load::tally::{Direction, Tally};

/// A burst of idle sessions, which lets them answer the target's NOP-Ins.
const KEEPALIVE: Duration = Duration::from_millis(2);

/// What is connected.
enum Driver {
    /// The load, and the sessions that are only there.
    Target {
        rig: Box<Rig>,
        idle: Option<Box<Rig>>,
    },
    Floor(EchoRig),
    DiskFloor(Box<DiskFloorRig>),
}

/// An echo, and a file for the disk.
struct DiskFloorRig {
    echo: EchoRig,
    file: Arc<ScratchFile>,
    cores: Cores,
}

pub(super) struct Contestant<'a> {
    candidate: &'a Candidate,
    driver: Driver,
    line: Line,
}

impl<'a> Contestant<'a> {
    /// Opens the candidate's sessions.
    pub(super) fn connect(candidate: &'a Candidate, role: Role) -> Result<Self, CompareError> {
        let driver = candidate.awake(|| Driver::connect(&candidate.subject))?;
        Ok(Self {
            candidate,
            driver,
            line: Line {
                name: candidate.name.clone(),
                role,
                samples: Vec::new(),
                tally: Tally::default(),
            },
        })
    }

    /// The first burst meets cold caches and small windows, and does not count.
    pub(super) fn warm_up(&mut self, burst: Duration) -> Result<(), CompareError> {
        let driver = &mut self.driver;
        self.candidate.awake(|| driver.burst(burst).map(drop))
    }

    /// One burst that counts.
    pub(super) fn measure(&mut self, burst: Duration) -> Result<(), CompareError> {
        let (driver, server) = (&mut self.driver, self.candidate.server.as_ref());
        let (burst, server_cpu) = self.candidate.awake(|| {
            driver.keep_alive()?;
            driver.burst(burst / 10)?;
            let before = driver.server_time(server);
            let burst = driver.burst(burst)?;
            let after = driver.server_time(server);
            let spent = before.zip(after).map(|(before, after)| {
                let spent = after.saturating_sub(before);
                match driver {
                    // The echo's server is a thread of this process, as the client's are.
                    Driver::Floor(_) => spent.saturating_sub(burst.work.cpu),
                    Driver::Target { .. } | Driver::DiskFloor(_) => spent,
                }
            });
            Ok((burst, spent))
        })?;
        let total = burst.total();
        if total.ios() == 0 {
            return Err(CompareError::NoIo(self.candidate.name.clone()));
        }
        #[allow(clippy::cast_precision_loss, reason = "a ratio needs no 53 bits")]
        let per_io = |time: Duration| time.as_secs_f64() * 1e9 / total.ios() as f64;
        #[allow(
            clippy::cast_precision_loss,
            reason = "no latency is as long as 2^53 ns"
        )]
        let p50_ns = total.latency().value_at_quantile(0.5) as f64;
        self.line.samples.push(Sample {
            iops: burst.iops(),
            p50_ns,
            client_cpu_ns: per_io(burst.work.cpu),
            server_cpu_ns: server_cpu.map(per_io),
            slowest_share: burst.slowest_share(),
        });
        self.line.tally.merge(&total);
        Ok(())
    }

    /// What was measured; the sessions end while their server is awake.
    pub(super) fn end(self) -> Line {
        let Self {
            candidate,
            driver,
            line,
        } = self;
        // A server that can't be continued any more is told by its next use; the figures stand.
        let _ = candidate.awake(|| {
            drop(driver);
            Ok(())
        });
        line
    }
}

impl Driver {
    fn connect(subject: &Subject) -> Result<Self, LoadError> {
        match subject {
            Subject::Target {
                plan,
                idle_sessions,
            } => {
                let idle = (*idle_sessions > 0).then(|| idle_plan(plan, *idle_sessions));
                Ok(Self::Target {
                    idle: idle.map(Rig::connect).transpose()?.map(Box::new),
                    rig: Box::new(Rig::connect((**plan).clone())?),
                })
            }
            Subject::Floor { shape, sides } => EchoRig::connect(*shape, sides).map(Self::Floor),
            Subject::DiskFloor { shape, sides, file } => {
                Ok(Self::DiskFloor(Box::new(DiskFloorRig {
                    echo: EchoRig::connect(*shape, sides)?,
                    file: Arc::clone(file),
                    cores: sides.cores.server.clone(),
                })))
            }
        }
    }

    fn burst(&mut self, duration: Duration) -> Result<Burst, LoadError> {
        match self {
            Self::Target { rig, .. } => rig.burst(duration),
            Self::Floor(rig) => rig.burst(duration),
            Self::DiskFloor(rig) => rig.burst(duration),
        }
    }

    fn keep_alive(&mut self) -> Result<(), LoadError> {
        match self {
            Self::Target {
                idle: Some(idle), ..
            } => idle.burst(KEEPALIVE).map(drop),
            Self::Target { idle: None, .. } | Self::Floor(_) | Self::DiskFloor(_) => Ok(()),
        }
    }

    /// CPU time of the server and, for the echo, of the client in the same process.
    fn server_time(&self, server: Option<&Server>) -> Option<Duration> {
        match self {
            Self::Target { .. } => server.and_then(Server::cpu_time),
            Self::Floor(_) => Some(cpu::process_time()),
            // Whoever polls a disk spends the time of the whole read.
            Self::DiskFloor(_) => None,
        }
    }
}

impl DiskFloorRig {
    fn burst(&mut self, duration: Duration) -> Result<Burst, LoadError> {
        let echo = self.echo.burst(duration / 2)?;
        let disk = disk::measure(self.file.path(), 1, duration / 2, &self.cores)?;
        Ok(one_after_the_other(&echo, &disk))
    }
}

/// An echo and then a read, for each I/O: as many as both did in the time that both took for them.
fn one_after_the_other(echo: &Burst, disk: &DiskFloor) -> Burst {
    let echoed = echo.histogram();
    let ios = echoed.len().min(disk.latency.len());
    let mut tally = Tally::default();
    for number in 0..ios {
        #[allow(clippy::cast_precision_loss, reason = "a quantile needs no 53 bits")]
        let quantile = (number as f64 + 0.5) / ios as f64;
        let latency = [&echoed, &disk.latency].map(|one| one.value_at_quantile(quantile));
        tally.count(Direction::Read, disk::READ_BYTES, latency.iter().sum());
    }
    let one = (1.0 / echo.iops()) + (1.0 / disk.iops);
    #[allow(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
    let elapsed = if ios > 0 { one * ios as f64 } else { 0.0 };
    Burst {
        elapsed: Duration::from_secs_f64(elapsed),
        jobs: vec![tally],
        sessions: vec![vec![ios]],
        work: echo.work,
    }
}

/// The plan of sessions that are there and do next to nothing.
fn idle_plan(plan: &Plan, sessions: usize) -> Plan {
    let mut idle = plan.clone();
    (idle.sessions, idle.depth, idle.threads.count) = (sessions, 1, 1);
    idle.workload.read_percent = 100;
    idle
}

impl Candidate {
    /// Does `work` while the candidate's own server is awake, if it has one.
    fn awake<T>(&self, work: impl FnOnce() -> Result<T, LoadError>) -> Result<T, CompareError> {
        let told = |error| CompareError::Server {
            name: self.name.clone(),
            error,
        };
        if let Some(server) = &self.server {
            server.resume().map_err(told)?;
        }
        let done = work().map_err(|error| CompareError::Load {
            name: self.name.clone(),
            error,
        });
        self.pause()?;
        done
    }

    /// Puts the candidate's own server to sleep, if it has one.
    pub(super) fn pause(&self) -> Result<(), CompareError> {
        match &self.server {
            None => Ok(()),
            Some(server) => server.pause().map_err(|error| CompareError::Server {
                name: self.name.clone(),
                error,
            }),
        }
    }
}
