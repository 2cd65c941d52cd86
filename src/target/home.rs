//! The home of a volume: the one place that admits its sessions and changes its logical unit.
//!
//! Everything here is rare. The state machine of the reservations is pure; the home is its one
//! writer, makes the next state durable, publishes the snapshot that every I/O reads, and waits for
//! the fence before it lets the command end.
//!
//! | room | what it is |
//! |---|---|
//! | `serial` | one change at a time |
//! | `enact` | a change of reservations, step by step |
//! | `put_right` | what the store may hold against the state in force |
//! | `chronicle` | what is written down of it |
//! | `attend`, `owed` | unit attentions, for those who are there and those who are not |

use super::attend::Notices;
use super::chronicle::{Chronicle, Restored};
use super::failure::Failure;
use super::journal::Journal;
use super::message::Task;
use super::nexuses::NexusTable;
use super::owed::Owed;
use super::serial::Serial;
use super::takeovers::Takeovers;
use super::volume::Volume;
use crate::base::rcu;
use crate::reservation::{Access, Nexus, NexusIndex, Snapshot, State};
use crate::scsi::LogicalUnit;
use std::cell::{Cell, RefCell};
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;

/// One volume's home, on its reactor.
pub(crate) struct Home {
    pub(crate) volume: Arc<Volume>,
    pub(crate) inner: RefCell<Inner>,
    pub(super) serial: Serial,
    pub(crate) chronicle: Chronicle,
    /// The nexuses whose commands PREEMPT AND ABORT is ending at this moment; sorted.
    pub(super) aborting: RefCell<Arc<Vec<NexusIndex>>>,
    /// What is durable may differ from the state: a save hung, or one that should have undone another
    /// failed. See `put_right`.
    pub(super) unsaved: Cell<bool>,
    /// A change of reservations is under way.
    pub(super) changing: Cell<bool>,
}

/// Who changes the reservation; nobody where the target does so by itself.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct By {
    pub(crate) nexus: Option<NexusIndex>,
    /// The command, which goes on when the commands of its nexus are aborted.
    pub(crate) task: Option<Task>,
}

/// What changes.
pub(crate) struct Inner {
    pub(crate) state: State,
    pub(crate) nexuses: NexusTable,
    pub(crate) seats: Vec<Seat>,
    /// Unit attentions for registrants that have no session.
    pub(super) owed: Owed,
    /// Unit attentions that some session has yet to hear.
    pub(super) notices: Notices,
    pub(crate) takeovers: Takeovers,
    /// It has been said that places run short.
    pub(super) shortage_told: bool,
}

/// A session of the volume.
#[derive(Debug, Clone)]
pub(crate) struct Seat {
    pub(crate) tsih: u16,
    pub(crate) nexus: Nexus,
    /// Of its registrant.
    pub(crate) index: NexusIndex,
    /// Where its initiator is.
    pub(crate) address: IpAddr,
    pub(crate) reactor: usize,
    /// PREVENT ALLOW MEDIUM REMOVAL.
    pub(crate) prevents_removal: bool,
}

impl Home {
    /// The home of a freshly attached volume with what outlived its last stop.
    pub(crate) fn new(volume: Arc<Volume>, restored: Restored, journal: Journal) -> Rc<Self> {
        let inner = Inner {
            state: restored.state,
            nexuses: NexusTable::default(),
            seats: Vec::new(),
            owed: Owed::default(),
            notices: Notices::default(),
            takeovers: Takeovers::default(),
            shortage_told: false,
        };
        let told = (volume.id, journal);
        let home = Rc::new(Self {
            volume,
            inner: RefCell::new(inner),
            serial: Serial::default(),
            chronicle: Chronicle::new(restored.ages, restored.history, told),
            aborting: RefCell::default(),
            unsaved: Cell::new(false),
            changing: Cell::new(false),
        });
        home.publish(|_| {});
        home
    }

    /// Publishes the logical unit with the present sessions and reservations, after `change`.
    pub(crate) fn publish(&self, change: impl FnOnce(&mut LogicalUnit)) {
        let mut inner = self.inner.borrow_mut();
        let removal_prevented = inner.prevents_removal();
        let Inner { state, nexuses, .. } = &mut *inner;
        let registered: Vec<&Nexus> = state
            .registrations()
            .map(|(nexus, _)| nexus)
            .chain(state.legacy_holder())
            .collect();
        nexuses.set_registered(&registered);
        let guard = rcu::pin();
        let mut unit = self.volume.unit.load(&guard).clone();
        unit.reservation = Snapshot::build(state, |nexus| nexuses.index_of(nexus));
        unit.removal_prevented = removal_prevented;
        change(&mut unit);
        self.volume.unit.store(unit, &guard);
    }

    /// Passes if `nexus` may do this now. A command that was allowed when it was planned may have
    /// been overtaken on its way here.
    pub(crate) fn authorise(&self, nexus: NexusIndex, access: Access) -> Result<(), Failure> {
        let guard = rcu::pin();
        let rights = self.volume.unit.load(&guard).reservation.rights(nexus);
        if rights.permits(access) {
            Ok(())
        } else {
            Err(Failure::RESERVATION_CONFLICT)
        }
    }

    /// Whether a change is under way, or somebody has yet to be told of one.
    pub(super) fn is_changing(&self) -> bool {
        self.serial.is_taken() || self.changing.get() || self.inner.borrow().notices.is_pending()
    }

    /// NUAR of the control mode page.
    pub(crate) fn releases_quietly(&self) -> bool {
        let guard = rcu::pin();
        self.volume
            .unit
            .load(&guard)
            .modes
            .current
            .no_attention_on_release
    }

    /// TAS of the control mode page.
    pub(crate) fn task_aborted_status(&self) -> bool {
        let guard = rcu::pin();
        self.volume
            .unit
            .load(&guard)
            .modes
            .current
            .task_aborted_status
    }
}

impl Inner {
    /// Whether some session keeps the medium from being ejected.
    pub(crate) fn prevents_removal(&self) -> bool {
        self.seats.iter().any(|seat| seat.prevents_removal)
    }

    /// The registrant of every session.
    pub(crate) fn seated(&self) -> impl Iterator<Item = &Nexus> {
        let seats = self.seats.iter();
        seats.filter_map(|seat| self.nexuses.nexus(seat.index))
    }
}
