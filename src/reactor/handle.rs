//! Starting reactors and waiting for their end.

use super::App;
use super::config::Config;
use super::counters::Counters;
use super::driver::Driver;
use super::mesh::{Address, Ends, ExternalSender, mesh};
use super::run::Loop;
use crate::base::buffer::{Arena, Pool};
use crate::base::limits::REACTORS_MAX;
use crossbeam_channel::{Receiver, Sender, bounded};
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Where an app is made: on the thread that will run it.
#[derive(Debug)]
pub struct Seat<'a> {
    /// Which reactor.
    pub reactor: usize,
    /// How many there are.
    pub reactors: usize,
    /// What it will be lent each tick.
    pub driver: &'a mut Driver,
}

/// Reactors that run. Dropping this leaves them running.
#[derive(Debug)]
pub struct Reactors<M> {
    threads: Vec<JoinHandle<io::Result<()>>>,
    senders: Vec<ExternalSender<M>>,
    counters: Vec<Arc<Counters>>,
}

/// What a reactor's thread needs from its parent.
struct Start<M> {
    reactor: usize,
    config: Arc<Config>,
    pool: Pool,
    arenas: Arc<[Arc<Arena>]>,
    ends: Ends<M>,
    counters: Arc<Counters>,
    /// Whether the app could be made.
    ready: Sender<io::Result<()>>,
    /// Hangs up if the app of another reactor could not be made.
    go: Receiver<()>,
}

impl<M: Send + 'static> Reactors<M> {
    /// Starts a thread for each reactor and makes its app there. Returns when all apps are made.
    ///
    /// # Errors
    /// When a thread, a ring, an epoll instance, an arena or an app cannot be made, or a core cannot
    /// be had; then no reactor runs.
    pub fn start<A, F>(config: Config, make: F) -> io::Result<Self>
    where
        A: App<Message = M>,
        F: Fn(Seat<'_>) -> io::Result<A> + Send + Sync + 'static,
    {
        let (pools, arenas, mesh) = parts(&config)?;
        let count = pools.len();
        let senders = mesh.iter().map(|ends| ends.external.clone()).collect();
        let counters: Vec<_> = (0..count).map(|_| Arc::new(Counters::default())).collect();
        let (config, make) = (Arc::new(config), Arc::new(make));
        let (ready, readiness) = bounded(count);
        let mut threads = Vec::with_capacity(count);
        let mut starters = Vec::with_capacity(count);
        for (reactor, (pool, ends)) in pools.into_iter().zip(mesh).enumerate() {
            let (starter, go) = bounded(1);
            starters.push(starter);
            let start = Start {
                reactor,
                config: Arc::clone(&config),
                pool,
                arenas: Arc::clone(&arenas),
                ends,
                counters: Arc::clone(&counters[reactor]),
                ready: ready.clone(),
                go,
            };
            let make = Arc::clone(&make);
            let name = format!("reactor-{reactor}");
            let thread = std::thread::Builder::new().name(name);
            threads.push(thread.spawn(move || start.run(make.as_ref()))?);
        }
        drop(ready);
        for _ in 0..count {
            // Threads that panicked hang up without a word.
            readiness.recv().unwrap_or_else(|_| Err(panicked()))?;
        }
        for starter in starters {
            let _ = starter.send(());
        }
        Ok(Self {
            threads,
            senders,
            counters,
        })
    }

    /// How many reactors there are.
    #[must_use]
    pub fn count(&self) -> usize {
        self.senders.len()
    }

    /// A way to send to a reactor from any thread.
    ///
    /// # Panics
    /// If there is no such reactor.
    #[must_use]
    pub fn sender(&self, reactor: usize) -> ExternalSender<M> {
        self.senders[reactor].clone()
    }

    /// How busy a reactor is.
    ///
    /// # Panics
    /// If there is no such reactor.
    #[must_use]
    pub fn counters(&self, reactor: usize) -> Arc<Counters> {
        Arc::clone(&self.counters[reactor])
    }

    /// Whether a reactor has ended, by itself or by a failure.
    #[must_use]
    pub fn any_ended(&self) -> bool {
        self.threads.iter().any(JoinHandle::is_finished)
    }

    /// Waits until every reactor has ended.
    ///
    /// # Errors
    /// The first failure of a reactor.
    pub fn join(self) -> io::Result<()> {
        let ends: Vec<_> = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|_| Err(panicked())))
            .collect();
        ends.into_iter().collect()
    }
}

/// The pool of each reactor, the arenas of all, and each one's ends of the mesh.
#[allow(clippy::type_complexity, reason = "taken apart at once")]
pub(super) fn parts<M>(
    config: &Config,
) -> io::Result<(Vec<Pool>, Arc<[Arc<Arena>]>, Vec<Ends<M>>)> {
    let count = config.placement.count();
    if !(1..=REACTORS_MAX).contains(&count) {
        let text = format!("{count} reactors asked for, where 1 to {REACTORS_MAX} are possible");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let pools = (0..count)
        .map(|index| Pool::new(config.pool_bytes, u16::try_from(index).unwrap_or(u16::MAX)))
        .collect::<io::Result<Vec<_>>>()?;
    let arenas = pools.iter().map(|pool| Arc::clone(pool.arena())).collect();
    let mesh = mesh(count, config.mailbox_messages, config.external_messages)?;
    Ok((pools, arenas, mesh))
}

fn panicked() -> io::Error {
    io::Error::other("a reactor panicked")
}

/// Tells the others that a reactor has ended, however it ends.
pub(super) struct EndMark(pub(super) Arc<Address>);

impl Drop for EndMark {
    fn drop(&mut self) {
        self.0.end();
    }
}

impl<M: Send + 'static> Start<M> {
    fn run<A, F>(self, make: &F) -> io::Result<()>
    where
        A: App<Message = M>,
        F: Fn(Seat<'_>) -> io::Result<A>,
    {
        let Self {
            reactor,
            config,
            pool,
            arenas,
            mut ends,
            counters,
            ready,
            go,
        } = self;
        let _mark = EndMark(Arc::clone(&ends.address));
        let made = pin_to_core(&config, reactor)
            .and_then(|()| Driver::new(&config, pool, &arenas, &ends.address.doorbell))
            .and_then(|mut driver| {
                let seat = Seat {
                    reactor,
                    reactors: arenas.len(),
                    driver: &mut driver,
                };
                make(seat).map(|app| (driver, app))
            });
        let (mut driver, mut app) = match made {
            Ok(made) => made,
            Err(error) => {
                // The parent hands it to its caller.
                let _ = ready.send(Err(error));
                return Ok(());
            }
        };
        let _ = ready.send(Ok(()));
        // The parent waits for the last of these; this one must not be it.
        drop(ready);
        if go.recv().is_err() {
            return Ok(());
        }
        let (driver, ends, counters) = (&mut driver, &mut ends, counters.as_ref());
        let ended = Loop {
            reactor,
            idle: config.idle,
            driver,
            ends,
            counters,
        }
        .run(&mut app);
        if let Err(error) = &ended {
            tracing::error!(reactor, %error, "a reactor failed");
        }
        ended
    }
}

fn pin_to_core(config: &Config, reactor: usize) -> io::Result<()> {
    let Some(core) = config.placement.core(reactor) else {
        return Ok(());
    };
    // `set_for_current` panics on numbers beyond its table, so it is asked only for what there is.
    let allowed = core_affinity::get_core_ids().unwrap_or_default();
    let found = allowed.into_iter().find(|allowed| allowed.id == core);
    if found.is_some_and(core_affinity::set_for_current) {
        return Ok(());
    }
    let text = format!("reactor {reactor} cannot run on core {core}: no such core, or not allowed");
    Err(io::Error::new(io::ErrorKind::InvalidInput, text))
}
