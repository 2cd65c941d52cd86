//! The process that serves, until another one does.

use super::child::Successor;
use super::descriptors::{packets, seal};
use super::message::{FORMAT, Greeting, Legacy, ToPredecessor, ToSuccessor};
use super::{
    ADOPTION_TIMEOUT, READY_TIMEOUT, SERVING_TIMEOUT, SuccessionError, TAKE_OVER_FLAG, supervisor,
};
use crate::backend::Bequest;
use crate::base::clock::Instant;
use crate::control::catalogue::{Catalogue, TABLES_VERSION};
use crate::control::error::ControlError;
use crate::control::plane::HandOver;
use crate::target::Estate;
use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What a running server knows that its successor needs, beside what the data path knows.
#[derive(Debug)]
pub struct Predecessor {
    program: PathBuf,
    arguments: Vec<OsString>,
    data: PathBuf,
    /// The lock of the data directory, which belongs to the open file description.
    lock: OwnedFd,
    /// The portals as they were configured.
    portals: Vec<SocketAddr>,
    /// Where metrics are served, as configured, and the listening socket.
    metrics: Option<(SocketAddr, OwnedFd)>,
}

/// A new process that is ready to take over.
#[derive(Debug)]
pub struct Introduced<'a> {
    predecessor: &'a Predecessor,
    successor: Successor,
    version: String,
}

/// Another process serves.
#[derive(Debug)]
pub struct Succession {
    /// The process.
    pub pid: u32,
    /// The version of its program.
    pub version: String,
    /// Sessions that it took over.
    pub sessions: usize,
    /// Volumes that it serves.
    pub volumes: usize,
    /// From the first command that had to wait to the word that it serves, as this process saw it.
    pub pause: Duration,
    /// Whether it said so; if not, why.
    pub confirmed: Result<(), String>,
}

impl Predecessor {
    /// Takes note of how this process was started, while its program is still in its place. `lock` is that
    /// of the data directory; `metrics` is where metrics are served, and the socket.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn new(
        data: &Path,
        lock: OwnedFd,
        portals: Vec<SocketAddr>,
        metrics: Option<(SocketAddr, OwnedFd)>,
    ) -> io::Result<Self> {
        let own = |argument: &OsString| argument != TAKE_OVER_FLAG;
        Ok(Self {
            program: std::env::current_exe()?,
            arguments: std::env::args_os().skip(1).filter(own).collect(),
            data: std::fs::canonicalize(data)?,
            lock,
            portals,
            metrics,
        })
    }

    /// Passes if whoever looks after this process lets another one take its place.
    ///
    /// # Errors
    /// Why not, and what to do.
    pub fn check(&self) -> Result<(), ControlError> {
        supervisor::check()
    }

    /// Starts a new process with the arguments of this one, and waits until it is ready. Nobody is
    /// disturbed by it.
    ///
    /// # Errors
    /// It can't be started, or refuses; it has ended then.
    pub fn introduce(&self, program: Option<&Path>) -> Result<Introduced<'_>, SuccessionError> {
        let mut arguments = self.arguments.clone();
        arguments.push(TAKE_OVER_FLAG.into());
        let mut successor = Successor::start(program.unwrap_or(&self.program), &arguments)?;
        let what = "did not become ready";
        let greeting = Greeting {
            format: FORMAT,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            clock_zero_nanos: Instant::zero_nanos(),
            catalogue: TABLES_VERSION,
            data: self.data.clone(),
            metrics: self.metrics.as_ref().map(|(address, _)| *address),
        };
        successor.tell(&ToSuccessor::Greeting(greeting), &[], what)?;
        match successor.hear(READY_TIMEOUT, what)? {
            ToPredecessor::Ready { version } => Ok(Introduced {
                predecessor: self,
                successor,
                version,
            }),
            other => Err(unexpected(&other)),
        }
    }
}

fn unexpected(message: &ToPredecessor) -> SuccessionError {
    SuccessionError::Refused(format!("it said {message:?} out of turn"))
}

impl Introduced<'_> {
    /// The version of its program.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Its process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.successor.pid()
    }

    /// Has it take over. When this returns a succession, this process must not touch a socket or a
    /// medium again.
    ///
    /// # Errors
    /// Nothing came of it: the new process has ended, and this one serves as before.
    pub fn hand_over(
        mut self,
        plane: &dyn HandOver,
        catalogue: &Catalogue,
        patience: Duration,
    ) -> Result<Succession, SuccessionError> {
        let began = Instant::now();
        let estate = plane.hand_over(patience)?;
        let at_rest = Instant::now();
        let (sessions, volumes) = (estate.streams.len(), estate.stores.len());
        catalogue.seal();
        if let Err(error) = self.give(estate) {
            // First nobody else, then this one again.
            drop(self.successor);
            catalogue.unseal();
            if let Err(error) = plane.go_on() {
                tracing::error!(%error, "the data path does not go on");
            }
            return Err(error);
        }
        self.successor.release();
        let (rest, taking) = (at_rest.since(began), Instant::now().since(at_rest));
        tracing::info!(?rest, ?taking, "brought to rest, and taken over");
        let pid = self.successor.pid();
        supervisor::announce_successor(pid);
        let what = "was told to serve and does not say that it does";
        let confirmed = match self.successor.hear(SERVING_TIMEOUT, what) {
            Ok(ToPredecessor::Serving) => Ok(()),
            Ok(other) => Err(unexpected(&other).to_string()),
            Err(error) => Err(error.to_string()),
        };
        Ok(Succession {
            pid,
            version: self.version,
            sessions,
            volumes,
            pause: Instant::now().since(began),
            confirmed,
        })
    }

    /// Gives everything away, up to the word that commits.
    fn give(&mut self, estate: Estate) -> Result<(), SuccessionError> {
        let Estate {
            record,
            streams,
            listeners,
            stores,
        } = estate;
        let mut files = Vec::new();
        let stores = stores.into_iter().map(|(volume, bequest)| match bequest {
            Bequest::File(file) => {
                files.push(file);
                (volume, true)
            }
            Bequest::Nothing | Bequest::Memory => (volume, false),
        });
        let legacy = Legacy {
            stores: stores.collect(),
            portals: self.predecessor.portals.clone(),
            metrics: self.predecessor.metrics.is_some(),
            sessions: u32::try_from(streams.len()).unwrap_or(u32::MAX),
            record,
        };
        let sealed = seal(&legacy).map_err(SuccessionError::Estate)?;
        let metrics = self.predecessor.metrics.iter();
        let descriptors: Vec<BorrowedFd<'_>> = std::iter::once(self.predecessor.lock.as_fd())
            .chain(metrics.map(|(_, socket)| socket.as_fd()))
            .chain(listeners.iter().map(AsFd::as_fd))
            .chain(files.iter().map(AsFd::as_fd))
            .chain(streams.iter().map(AsFd::as_fd))
            .collect();
        let what = "did not take over";
        let estate = ToSuccessor::Estate {
            bytes: sealed.bytes,
            checksum: sealed.checksum,
            descriptors: u32::try_from(descriptors.len()).unwrap_or(u32::MAX),
        };
        self.successor.tell(&estate, &[sealed.file.as_fd()], what)?;
        for packet in packets(&descriptors) {
            self.successor
                .tell(&ToSuccessor::Descriptors, packet, what)?;
        }
        match self.successor.hear(ADOPTION_TIMEOUT, what)? {
            ToPredecessor::Adopted => {}
            other => return Err(unexpected(&other)),
        }
        self.successor.tell(&ToSuccessor::Serve, &[], what)
    }
}
