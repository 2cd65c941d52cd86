//! The target from outside: how it starts, and what the control plane may ask of it.
//!
//! Every method may be called from any thread but a reactor's, and blocks until the reactors have
//! done what was asked or a time limit has passed.

use super::chronicle::Restored;
use super::core::{Core, Turn};
use super::directory::{Directory, PortalRecord, Redirect};
use super::drains::Drain;
use super::failure::Failure;
use super::home::Home;
use super::in_flight::InFlight;
use super::journal::Journal;
use super::local::Local;
use super::medium::Medium;
use super::message::{Announce, Call, Message, UnitChange};
use super::meters::Tally;
use super::shards::{ShardMap, ShardPlacement};
use super::shared::{ConnectionPlacement, Shared, SharedConfig};
use super::store::ReservationStore;
use super::takeovers::Takeover;
use super::unit;
use super::volume::{Access, Volume, VolumeIndex};
use crate::backend::Store;
use crate::base::clock::Instant;
use crate::base::limits;
use crate::base::rcu::{self, RcuCell};
use crate::iscsi;
use crate::net::{Net, NetConfig};
use crate::reactor::{self, NotSent, Reactors, Seat};
use crate::reservation::history::Status;
use crate::volume::{ReservationScope, VolumeId};
use crossbeam_channel::{Receiver, Sender, bounded};
use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

/// How long the control plane waits for the reactors.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// How long the end of a volume waits for those who still have it in hand.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// What a target is started with.
pub struct TargetConfig {
    /// Reactors: where they run, how they idle, their memory.
    pub reactors: reactor::Config,
    /// Sockets.
    pub net: NetConfig,
    /// iSCSI.
    pub settings: iscsi::Settings,
    /// How long a reservation command may take, from its arrival at the volume's home; it fails when
    /// writes of nexuses that it fences are not over by then.
    pub fence_timeout: Duration,
    /// Where a volume's shards live.
    pub shard_placement: ShardPlacement,
    /// Bytes of a shard, where they are spread.
    pub shard_bytes: u64,
    /// Where a volume's connections live.
    pub connection_placement: ConnectionPlacement,
    /// Where durable reservations go.
    pub reservations: Arc<dyn ReservationStore>,
    /// Who hears what happens.
    pub journal: Journal,
    /// From how long on an I/O is told as slow; `None`: never.
    pub slow_io: Option<Duration>,
}

/// A volume to be served.
pub struct VolumeConfig {
    /// Never changes; serial number and NAA identifier come from it.
    pub id: VolumeId,
    /// The target's iSCSI name.
    pub iqn: String,
    /// The volume's name.
    pub name: String,
    /// VENDOR IDENTIFICATION, at most 8 characters of ASCII.
    pub vendor: String,
    /// PRODUCT IDENTIFICATION, at most 16 characters of ASCII.
    pub product: String,
    /// Bytes of a logical block, 512 or 4096.
    pub block_bytes: u32,
    /// Every write is refused.
    pub read_only: bool,
    /// The medium can be ejected.
    pub removable: bool,
    /// Sessions at once.
    pub sessions_max: u32,
    /// Registrations.
    pub registrations_max: u32,
    /// Whose a registration is.
    pub reservation_scope: ReservationScope,
    /// The bytes.
    pub store: Arc<dyn Store>,
    /// Who may log in.
    pub access: Access,
    /// What outlived the last stop.
    pub reservation: Restored,
    /// Another process serves the volume at this moment, and what it knows follows
    /// ([`Target::adopt`]): for the initiators nothing begins.
    pub handed_over: bool,
}

/// Why the target did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// No volume of that id is served.
    #[error("the target does not serve that volume")]
    UnknownVolume,
    /// The id or the target name is served already.
    #[error("the target serves that volume already")]
    Exists,
    /// Sessions are logged in to the volume.
    #[error("{sessions} sessions are logged in")]
    InUse {
        /// How many.
        sessions: usize,
    },
    /// The backend refused.
    #[error("the backend failed")]
    Backend(#[source] crate::backend::BackendError),
    /// Somebody has registered with the volume, or holds its reservation.
    #[error("{registrations} registrations stand")]
    Registered {
        /// How many.
        registrations: usize,
    },
    /// The block size does not fit the backend.
    #[error("blocks of {block_bytes} bytes don't fit a backend of {backend_bytes}-byte blocks")]
    BlockSize {
        /// As configured.
        block_bytes: u32,
        /// Of the backend.
        backend_bytes: u32,
    },
    /// Registrations and sessions together are more than a volume remembers.
    #[error(
        "{nexuses} registrations and sessions are asked for, {} at most",
        limits::NEXUSES_MAX
    )]
    TooManyNexuses {
        /// Both together.
        nexuses: u32,
    },
    /// A portal could not be opened.
    #[error("the portal can't be opened")]
    Portal(#[source] io::Error),
    /// A volume is being formatted or sanitized.
    #[error("volume {volume} is being formatted or sanitized")]
    BeingErased {
        /// The volume's name.
        volume: String,
    },
    /// A volume could not be held.
    #[error(
        "writes of volume {volume} that were under way did not end in time: an initiator has not sent \
         their data, or the disk hangs"
    )]
    NotHeld {
        /// The volume's name.
        volume: String,
    },
    /// What was to be done at one instant took too long.
    #[error("it took longer than the {} seconds for which I/O may wait", limit.as_secs())]
    HoldExpired {
        /// The longest that I/O waits.
        limit: Duration,
    },
    /// The reactors did not answer in time.
    #[error("the reactors did not answer within {} seconds", ANSWER_TIMEOUT.as_secs())]
    TimedOut,
    /// The target has stopped.
    #[error("the target has stopped")]
    Stopped,
    /// A change of reservations came to nothing.
    #[error(
        "it ended with {0}: writes of those who would lose rights did not end in time, or it could \
         not be made durable; nothing has changed"
    )]
    Reservations(Status),
    /// A command of the target's own failed.
    #[error("the logical unit answered {0:?}")]
    Failed(Failure),
}

/// A session that is logged in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionInfo {
    /// The volume; nothing for a discovery session.
    pub volume: Option<VolumeId>,
    /// The initiator's iSCSI name.
    pub initiator: String,
    /// The initiator's part of the session id.
    pub isid: [u8; 6],
    /// Relative target port identifier of the portal group that it came in by.
    pub port: u16,
    /// The target's part.
    pub tsih: u16,
    /// The initiator's address.
    pub address: SocketAddr,
    /// The address of this target that it reached.
    pub portal: SocketAddr,
    /// The reactor that owns the connection.
    pub reactor: usize,
    /// Whether headers carry CRC32C.
    pub header_digest: bool,
    /// Whether data carries CRC32C.
    pub data_digest: bool,
    /// All that its login has agreed on.
    pub parameters: iscsi::Parameters,
    /// When it logged in.
    pub since: Instant,
    /// SCSI commands taken.
    pub commands: u64,
    /// All that it has done.
    pub tally: Tally,
    /// Commands taken and not answered.
    pub in_flight: u64,
    /// Bytes sent as Data-In.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
}

/// Whom a volume knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityInfo {
    /// The volume.
    pub volume: VolumeId,
    /// Registrants that are logged in or registered, and work that outlived its session.
    pub nexuses: usize,
    /// Registrants that are to be told something when they log in again.
    pub owed_attentions: usize,
    /// Sessions that were ended by logins of the same name and ISID from elsewhere.
    pub takeovers: Vec<Takeover>,
}

/// A running target.
pub struct Target {
    pub(super) shared: Arc<Shared>,
    /// Nothing once stopped.
    #[allow(
        clippy::disallowed_types,
        reason = "the control plane's own, off the I/O path"
    )]
    control: std::sync::Mutex<Control>,
}

pub(super) struct Control {
    /// None of a target that is stepped, or has stopped.
    reactors: Option<Reactors<Message>>,
    volumes: Vec<Option<Arc<Volume>>>,
    portals: Vec<PortalRecord>,
    pub(super) drains: Vec<Arc<Drain>>,
    draining: bool,
}

impl Control {
    /// The volumes that are served.
    pub(super) fn volumes(&self) -> impl Iterator<Item = &Arc<Volume>> {
        self.volumes.iter().flatten()
    }
}

impl Target {
    /// Starts the reactors; no volume and no portal yet.
    ///
    /// # Errors
    /// When the machine can't give what the configuration asks for.
    pub fn start(config: TargetConfig) -> io::Result<Self> {
        let (shared, reactors, make) = prepare(config)?;
        let count = shared.reactors;
        let reactors = Reactors::start(reactors, make)?;
        shared.set_senders((0..count).map(|reactor| reactors.sender(reactor)).collect());
        Ok(Self::assemble(shared, Some(reactors)))
    }

    /// The handle of reactors that run, or of one that is stepped by its owner.
    #[allow(
        clippy::disallowed_types,
        reason = "the control plane's own, off the I/O path"
    )]
    pub(super) fn assemble(shared: Arc<Shared>, reactors: Option<Reactors<Message>>) -> Self {
        let control = Control {
            reactors,
            volumes: Vec::new(),
            portals: Vec::new(),
            drains: Vec::new(),
            draining: false,
        };
        Self {
            shared,
            control: std::sync::Mutex::new(control),
        }
    }

    /// Begins to serve a volume.
    ///
    /// # Errors
    /// When the id or name is served already, or the block size does not fit the backend.
    pub fn attach_volume(&self, config: VolumeConfig) -> Result<(), TargetError> {
        let mut control = self.control();
        let name = config.iqn.to_ascii_lowercase();
        let taken = |volume: &Arc<Volume>| volume.id == config.id || volume.name == name;
        check_nexuses(config.registrations_max, config.sessions_max)?;
        if control.volumes.iter().flatten().any(taken) {
            return Err(TargetError::Exists);
        }
        // An index is never used again: a stray message of a volume that went can't reach another.
        let position = control.volumes.len();
        let index = VolumeIndex(u16::try_from(position).map_err(|_| TargetError::Exists)?);
        let home = position % self.shared.reactors;
        let volume = Arc::new(Volume {
            index,
            id: config.id,
            unit: RcuCell::new(unit::build(&config, &control.portals)?),
            name: name.clone(),
            alias: config.name,
            home,
            shards: ShardMap::new(
                home,
                self.shared.reactors,
                self.shared.shard_placement,
                self.shared.shard_bytes,
            ),
            always_zero: config.store.properties().always_zero,
            store: config.store,
            sessions_max: AtomicU32::new(config.sessions_max),
            registrations_max: config.registrations_max,
            reservation_scope: config.reservation_scope,
            access: config.access,
            closing: AtomicBool::new(false),
            tokens: RcuCell::new(Vec::new()),
        });
        let (restored, handed_over) = (config.reservation, config.handed_over);
        let attached = Arc::clone(&volume);
        self.ask(home, move |local, shared| async move {
            let call = || Call::Attach(Arc::clone(&attached));
            local.call_all(call, None).await?;
            let home = Home::new(Arc::clone(&attached), restored, shared.journal.clone());
            if !handed_over {
                home.note_start(&local, &shared);
            }
            local
                .with_core(move |core, _| core.homes.insert(attached.index, home))
                .await?;
            Ok::<(), Failure>(())
        })??;
        control.volumes.push(Some(volume));
        self.publish(&control);
        Ok(())
    }

    /// Ceases to serve a volume; with `force` its sessions are dropped first.
    ///
    /// # Errors
    /// When sessions exist and `force` is not given, or the volume is unknown.
    pub fn detach_volume(&self, id: VolumeId, force: bool) -> Result<(), TargetError> {
        let mut control = self.control();
        let volume = find(&control, id)?;
        volume.closing.store(true, Ordering::Relaxed);
        let index = volume.index;
        let sessions = self.ask(volume.home, move |local, _| async move {
            local.with_core(move |core, _| core.seats(index)).await
        })??;
        if sessions > 0 && !force {
            volume.closing.store(false, Ordering::Relaxed);
            return Err(TargetError::InUse { sessions });
        }
        self.take_down(&mut control, &volume)
    }

    /// Ceases to serve a volume that refuses logins by now. Sessions that are left are dropped. Its store
    /// is let go of when the caller's handle is, so that it can be opened again.
    pub(super) fn take_down(
        &self,
        control: &mut Control,
        volume: &Arc<Volume>,
    ) -> Result<(), TargetError> {
        let index = volume.index;
        self.ask(volume.home, move |local, shared| async move {
            let announce = Announce::Dropped;
            local
                .call_all(
                    || Call::EndSessions {
                        volume: index,
                        announce,
                    },
                    None,
                )
                .await?;
            local.call_all(|| Call::Retire(index), None).await?;
            if let Ok(home) = home_of(index, &local).await {
                home.save_history(&local, &shared).await;
            }
            local.call_all(|| Call::Detach(index), None).await.map(drop)
        })??;
        control.volumes[usize::from(index.0)] = None;
        self.publish(control);
        let deadline = Instant::now() + RELEASE_TIMEOUT;
        while Arc::strong_count(volume) > 1 && Instant::now() < deadline {
            // What was published before has the volume too, and goes when no reactor reads it any more:
            // somebody has to look.
            rcu::pin().flush();
            std::thread::park_timeout(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Grows a volume online; every session is told CAPACITY DATA HAS CHANGED.
    ///
    /// # Errors
    /// When the backend can't grow; the size is then as before.
    pub fn grow_volume(&self, id: VolumeId, size_bytes: u64) -> Result<(), TargetError> {
        let control = self.control();
        let volume = find(&control, id)?;
        volume
            .store
            .grow(size_bytes)
            .map_err(TargetError::Backend)?;
        let block_bytes = u64::from(volume.unit.load(&rcu::pin()).geometry.block_bytes);
        let change = UnitChange::Blocks(size_bytes / block_bytes);
        self.change_unit(&volume, change)
    }

    /// Changes a logical unit, at its home.
    fn change_unit(&self, volume: &Volume, change: UnitChange) -> Result<(), TargetError> {
        let (home, index) = (volume.home, volume.index);
        let call = Call::Change {
            volume: index,
            change,
        };
        self.ask(home, move |local, _| async move {
            local.call(home, call, None).await.map(drop)
        })??;
        Ok(())
    }

    /// Accepts connections on a portal from now on; with `redirect`, only to send logins elsewhere.
    ///
    /// # Errors
    /// When the reactor can't take the listener.
    pub fn open_portal(
        &self,
        listener: TcpListener,
        tag: u16,
        advertise: Option<String>,
        redirect: Option<Redirect>,
    ) -> Result<(), TargetError> {
        let mut control = self.control();
        let address = listener.local_addr().map_err(TargetError::Portal)?;
        control.portals.push(PortalRecord {
            address,
            tag,
            advertise,
            redirect: redirect.map(Arc::new),
        });
        self.publish(&control);
        let ports = unit::ports(&control.portals);
        for volume in control.volumes.iter().flatten() {
            self.change_unit(volume, UnitChange::PortSet(ports.clone()))?;
        }
        let portal = u32::try_from(control.portals.len() - 1).unwrap_or(u32::MAX);
        let listening = self.ask(0, move |local, _| async move {
            local
                .with_core(move |core, turn| core.listen(listener, portal, turn))
                .await
        })??;
        listening.map_err(TargetError::Portal)
    }

    /// Every session that is logged in.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn sessions(&self) -> Result<Vec<SessionInfo>, TargetError> {
        let mut all = Vec::new();
        for reactor in 0..self.shared.reactors {
            all.extend(self.ask(reactor, |local, _| async move {
                local.with_core(|core, _| core.session_infos()).await
            })??);
        }
        all.sort_by_key(|session| session.since);
        Ok(all)
    }

    /// Whom each volume knows.
    ///
    /// # Errors
    /// When the reactors don't answer.
    pub fn identities(&self) -> Result<Vec<IdentityInfo>, TargetError> {
        let mut all = Vec::new();
        for reactor in 0..self.shared.reactors {
            all.extend(self.ask(reactor, |local, _| async move {
                local
                    .with_core(|core, turn| core.identity_infos(turn.now()))
                    .await
            })??);
        }
        Ok(all)
    }

    /// What every nexus of a volume has under way at this moment; a nexus with nothing is left out.
    ///
    /// # Errors
    /// When the volume is unknown, or the reactors don't answer.
    pub fn in_flight(&self, id: VolumeId) -> Result<Vec<InFlight>, TargetError> {
        let volume = find(&self.control(), id)?;
        let index = volume.index;
        let list = self.ask(volume.home, move |local, _| async move {
            let replies = local.call_all(|| Call::InFlight(index), None).await?;
            local
                .with_core(move |core, _| core.name_in_flight(index, replies))
                .await
        })??;
        list.ok_or(TargetError::UnknownVolume)
    }

    /// Refuses logins, asks every session to log out (RFC 7143 section 11.9), drops those that are
    /// left after `timeout`, and flushes every volume. Returns how many had to be dropped.
    ///
    /// # Errors
    /// When the reactors don't answer, or a flush fails.
    pub fn drain(&self, timeout: Duration) -> Result<usize, TargetError> {
        let mut control = self.control();
        control.draining = true;
        self.publish(&control);
        let seconds = u16::try_from(timeout.as_secs()).unwrap_or(u16::MAX);
        for reactor in 0..self.shared.reactors {
            self.ask(reactor, move |local, _| async move {
                local
                    .with_core(move |core, _| core.ask_for_logout(seconds, None))
                    .await
            })??;
        }
        let deadline = Instant::now() + timeout;
        let mut left = self.sessions()?.len();
        while left > 0 && Instant::now() < deadline {
            self.ask(0, |local, _| async move {
                local.sleep(Duration::from_millis(20)).await
            })?;
            left = self.sessions()?.len();
        }
        for volume in control.volumes.iter().flatten() {
            let volume = Arc::clone(volume);
            let index = volume.index;
            self.ask(volume.home, move |local, shared| async move {
                let announce = Announce::Dropped;
                // A session that does not end, or a write that hangs, is no reason not to flush.
                let soon = Some(local.now() + Duration::from_secs(5));
                let _ = local
                    .call_all(
                        || Call::EndSessions {
                            volume: index,
                            announce,
                        },
                        soon,
                    )
                    .await;
                let _ = local.call_all(|| Call::Quiesce(index), soon).await;
                if let Ok(home) = home_of(index, &local).await {
                    home.save_history(&local, &shared).await;
                }
                Medium::new(&local, &volume).flush().await
            })??;
        }
        Ok(left)
    }

    /// Stops the reactors and waits for their threads. Whatever is still connected is dropped.
    pub fn stop(&self) {
        let reactors = self.control().reactors.take();
        let Some(reactors) = reactors else { return };
        for reactor in 0..self.shared.reactors {
            if let Some(sender) = self.shared.sender(reactor) {
                let stop = || Message::Control(Box::new(|core, _| core.stopping = true));
                while let Err(NotSent::Full(_)) = sender.send(stop()) {
                    std::thread::yield_now();
                }
            }
        }
        if let Err(error) = reactors.join() {
            tracing::error!(%error, "a reactor ended badly");
        }
    }

    // ---- helpers ------------------------------------------------------------------------------

    /// How many reactors there are.
    pub(super) fn reactors(&self) -> usize {
        self.shared.reactors
    }

    /// Wakes a reactor.
    pub(super) fn nudge(&self, reactor: usize) {
        self.shared.nudge(reactor);
    }

    #[allow(
        clippy::disallowed_types,
        reason = "the control plane's own, off the I/O path"
    )]
    pub(super) fn control(&self) -> std::sync::MutexGuard<'_, Control> {
        self.control
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// What the reactors share.
    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// How busy a reactor is; nothing of one that is stepped, or has stopped.
    pub(super) fn counters(&self, reactor: usize) -> Option<Arc<reactor::Counters>> {
        let control = self.control();
        control
            .reactors
            .as_ref()
            .map(|reactors| reactors.counters(reactor))
    }

    pub(super) fn publish(&self, control: &Control) {
        let volumes = control.volumes.iter().flatten();
        let directory = Directory {
            targets: volumes
                .map(|volume| (volume.name.clone(), Arc::clone(volume)))
                .collect(),
            portals: control.portals.clone(),
            drains: control.drains.clone(),
            draining: control.draining,
        };
        self.shared.directory.store(directory, &rcu::pin());
    }

    /// Runs a procedure on a reactor and waits for what it returns.
    pub(super) fn ask<R, F, W>(&self, reactor: usize, work: W) -> Result<R, TargetError>
    where
        R: Send + 'static,
        F: Future<Output = R> + 'static,
        W: FnOnce(Local, Arc<Shared>) -> F + Send + 'static,
    {
        let (sender, receiver): (Sender<R>, _) = bounded(1);
        let request: ControlRequest = Box::new(move |core: &mut Core, _: &mut Turn<'_, '_>| {
            let work = work(core.local.clone(), Arc::clone(&core.shared));
            core.local.spawn(async move {
                let _ = sender.send(work.await);
            });
        });
        let reactor = self.shared.sender(reactor).ok_or(TargetError::Stopped)?;
        reactor
            .send(Message::Control(request))
            .map_err(|_| TargetError::Stopped)?;
        self.answer(&receiver)
    }

    /// Waits for what a reactor sends, as long as control waits for one.
    pub(super) fn answer<R>(&self, receiver: &Receiver<R>) -> Result<R, TargetError> {
        receiver
            .recv_timeout(ANSWER_TIMEOUT)
            .map_err(|error| match error {
                crossbeam_channel::RecvTimeoutError::Timeout => TargetError::TimedOut,
                crossbeam_channel::RecvTimeoutError::Disconnected => TargetError::Stopped,
            })
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.stop();
    }
}

impl From<Failure> for TargetError {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

/// Passes if a volume can remember that many.
pub(super) fn check_nexuses(registrations_max: u32, sessions_max: u32) -> Result<(), TargetError> {
    let nexuses = registrations_max.saturating_add(sessions_max);
    if nexuses > limits::NEXUSES_MAX {
        return Err(TargetError::TooManyNexuses { nexuses });
    }
    Ok(())
}

/// What the reactors of a target share, how they are to be started, and what makes the app of each.
#[allow(clippy::type_complexity, reason = "a closure has no name")]
pub(super) fn prepare(
    config: TargetConfig,
) -> io::Result<(
    Arc<Shared>,
    reactor::Config,
    impl Fn(Seat<'_>) -> io::Result<Core> + Send + Sync + 'static,
)> {
    let shared = Shared::new(SharedConfig {
        reactors: config.reactors.placement.count(),
        settings: config.settings,
        fence_timeout: config.fence_timeout,
        shard_placement: config.shard_placement,
        shard_bytes: config.shard_bytes,
        connection_placement: config.connection_placement,
        store: config.reservations,
        journal: config.journal,
        slow_io: config.slow_io,
    })?;
    let net = config.net;
    let for_cores = Arc::clone(&shared);
    let make = move |seat: Seat<'_>| {
        let net = Net::new(net.clone(), seat.driver)?;
        Ok(Core::new(seat.reactor, Arc::clone(&for_cores), net))
    };
    Ok((shared, config.reactors, make))
}

pub(super) fn find(control: &Control, id: VolumeId) -> Result<Arc<Volume>, TargetError> {
    let mut volumes = control.volumes.iter().flatten();
    volumes
        .find(|volume| volume.id == id)
        .cloned()
        .ok_or(TargetError::UnknownVolume)
}

/// The home of a volume, for a procedure on its reactor.
pub(super) async fn home_of(volume: VolumeIndex, local: &Local) -> Result<Rc<Home>, TargetError> {
    let home = local
        .with_core(move |core, _| core.homes.get(&volume).cloned())
        .await?;
    home.ok_or(TargetError::UnknownVolume)
}

/// What another thread has a reactor do.
pub(crate) type ControlRequest = Box<dyn FnOnce(&mut Core, &mut Turn<'_, '_>) + Send>;

impl Core {
    pub(crate) fn control(&mut self, request: ControlRequest, turn: &mut Turn<'_, '_>) {
        request(self, turn);
    }

    fn seats(&self, volume: VolumeIndex) -> usize {
        self.homes
            .get(&volume)
            .map_or(0, |home| home.inner.borrow().seats.len())
    }

    fn identity_infos(&self, now: Instant) -> Vec<IdentityInfo> {
        let infos = self.homes.values().map(|home| {
            let inner = home.inner.borrow();
            IdentityInfo {
                volume: home.volume.id,
                nexuses: inner.nexuses.len(),
                owed_attentions: inner.owed_count(),
                takeovers: inner.takeovers.recent(now),
            }
        });
        infos.collect()
    }

    fn session_infos(&self) -> Vec<SessionInfo> {
        let infos = self.connections.iter().filter_map(|(_, conn)| {
            let session = conn.session.as_ref()?;
            Some(SessionInfo {
                volume: Some(session.volume.id),
                initiator: session.nexus.nexus.initiator.name().to_owned(),
                isid: session.nexus.nexus.initiator.isid(),
                port: session.nexus.nexus.target_port,
                tsih: session.nexus.tsih,
                address: conn.peer,
                portal: conn.local,
                reactor: self.id,
                header_digest: session.parameters.header_digest,
                data_digest: session.parameters.data_digest,
                parameters: session.parameters,
                since: session.since,
                commands: session.counters.commands,
                tally: session.counters,
                in_flight: conn.in_flight(),
                read_bytes: session.counters.read_bytes,
                written_bytes: session.counters.written_bytes,
            })
        });
        infos.collect()
    }
}

// A follower's wait is on its own thread, but a client has to hear before it gives the server up.
const _: () = assert!(limits::HISTORY_WAIT_MAX.as_secs() < ANSWER_TIMEOUT.as_secs());
const _: () = assert!(limits::VOLUMES_PER_GROUP_MAX < u16::MAX as usize);
