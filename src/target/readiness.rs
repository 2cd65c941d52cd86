//! Whether the medium is there: ejected, kept from being ejected, being erased.
//!
//! The home decides, for a command that was planned a moment ago may have been overtaken. A volume
//! is as a rule not removable; what can be ejected is for software that asks for it.

use super::failure::Failure;
use super::home::{Home, Seat};
use crate::base::rcu;
use crate::reservation::NexusIndex;
use crate::scsi::sense::Code;
use crate::scsi::unit::Medium;

impl Home {
    /// PREVENT ALLOW MEDIUM REMOVAL. One session that prevents removal is enough; it ends with the
    /// session, a reset, or PREEMPT AND ABORT (SBC-3 section 5.10).
    pub(crate) fn prevent_removal(&self, by: impl Fn(&Seat) -> bool, prevent: bool) {
        let mut inner = self.inner.borrow_mut();
        for seat in inner.seats.iter_mut().filter(|seat| by(seat)) {
            seat.prevents_removal = prevent;
        }
        drop(inner);
        self.publish_prevention();
    }

    /// A session that has ended is off the list, should its farewell still be on the way.
    pub(crate) fn forget(&self, tsih: u16) {
        self.inner
            .borrow_mut()
            .seats
            .retain(|seat| seat.tsih != tsih);
        self.publish_prevention();
    }

    /// START STOP UNIT that loads or ejects; whether a medium came in that was not there.
    pub(crate) fn move_medium(&self, load: bool) -> Result<bool, Failure> {
        let before = match self.medium() {
            (_, true) => return Err(Failure::illegal(Code::MEDIUM_REMOVAL_PREVENTED)),
            (medium @ (Medium::Ready | Medium::Ejected), false) => medium,
            (medium, false) => return Err(not_ready(medium)),
        };
        self.publish(|unit| unit.medium = if load { Medium::Ready } else { Medium::Ejected });
        Ok(load && before == Medium::Ejected)
    }

    /// FORMAT UNIT or SANITIZE of this nexus begins. Its index stays its own until the end, even if
    /// the session ends before: the writes go on under its rights.
    pub(crate) fn begin_erasure(&self, by: NexusIndex, medium: Medium) -> Result<(), Failure> {
        match self.medium().0 {
            Medium::Ready | Medium::SanitizeFailed { .. } => {}
            busy => return Err(not_ready(busy)),
        }
        let mut inner = self.inner.borrow_mut();
        let nexus = inner
            .nexuses
            .nexus(by)
            .cloned()
            .ok_or_else(Failure::aborted)?;
        inner.nexuses.enter(&nexus);
        drop(inner);
        self.publish(|unit| unit.medium = medium);
        Ok(())
    }

    /// It has ended, well or not.
    pub(crate) fn end_erasure(&self, by: NexusIndex, medium: Medium) {
        self.inner.borrow_mut().nexuses.leave(by);
        self.publish(|unit| unit.medium = medium);
    }

    /// The medium's state, and whether its removal is prevented.
    fn medium(&self) -> (Medium, bool) {
        let guard = rcu::pin();
        let unit = self.volume.unit.load(&guard);
        (unit.medium, unit.removal_prevented)
    }

    fn publish_prevention(&self) {
        let prevented = self.inner.borrow().prevents_removal();
        if self.medium().1 != prevented {
            self.publish(|_| {});
        }
    }
}

fn not_ready(medium: Medium) -> Failure {
    medium
        .sense()
        .map_or_else(Failure::aborted, |sense| sense.failure())
}
