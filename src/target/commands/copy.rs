//! EXTENDED COPY, and the reports on copies of every kind (SPC-4 sections 5.17, 6.4 to 6.6).
//!
//! A copy moves data between volumes of this target under the rights of the nexus that asked for
//! it: the access rules of each volume decide whether it can be reached at all, and the reservation
//! of each is checked for every chunk, as if the initiator had read and written there itself.

use crate::base::limits::BUFFER_BYTES_MAX;
use crate::base::rcu;
use crate::reservation::Access;
use crate::scsi::copy::program::{CopyProgram, CopyTarget, Segment};
use crate::scsi::copy::results::{self, CopyOperation, CopyState};
use crate::scsi::plan::CopyResults;
use crate::scsi::sense::{Code, Sense, SenseKey, Specific};
use crate::scsi::{Failure, LogicalUnit, Status};
use crate::target::hold::NexusHold;
use crate::target::local::Answer;
use crate::target::medium::Medium;
use crate::target::procedure::Procedure;
use crate::target::volume::Volume;
use crate::volume::IscsiName;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// A volume that takes part in a copy.
struct Party {
    volume: Arc<Volume>,
    hold: NexusHold,
}

impl Procedure {
    pub(crate) async fn extended_copy(&self, program: CopyProgram) -> Result<Answer, Failure> {
        let mut parties = Vec::with_capacity(program.targets.len());
        for target in &program.targets {
            parties.push(self.party(target).await?);
        }
        {
            let guard = rcu::pin();
            let unit =
                |party: &Option<Party>| party.as_ref().map(|party| party.volume.unit.load(&guard));
            let units: Vec<Option<&LogicalUnit>> = parties.iter().map(unit).collect();
            program.check(&units)?;
        }
        let first = *self.cdb.get(1).unwrap_or(&0) & 0x1f;
        let copy = self.begin_copy(program.list_identifier, first).await?;
        if program.immediate {
            let detached = self.detached(&copy.cancel).await?;
            self.local.spawn(async move {
                let _ = detached.run_copy(program, parties, copy).await;
            });
            return Ok(Answer::Good { asked: 0 });
        }
        self.run_copy(program, parties, copy)
            .await
            .map(|()| Answer::Good { asked: 0 })
    }

    async fn run_copy(
        &self,
        program: CopyProgram,
        parties: Vec<Option<Party>>,
        mut copy: Copy,
    ) -> Result<(), Failure> {
        let mut result = Ok(());
        for (number, segment) in program.segments.iter().enumerate() {
            result = self.copy_segment(segment, &parties, &mut copy).await;
            if let Err(failure) = &mut result {
                *failure = at_segment(*failure, number);
                break;
            }
            copy.operation.segments_done = u16::try_from(number + 1).unwrap_or(u16::MAX);
        }
        self.end_copy(copy, result).await
    }

    async fn copy_segment(
        &self,
        segment: &Segment,
        parties: &[Option<Party>],
        copy: &mut Copy,
    ) -> Result<(), Failure> {
        let side = |index: usize, access| {
            let party = parties.get(index)?.as_ref()?;
            let medium =
                Medium::new(&self.local, &party.volume).checked(party.hold.index(), access);
            Some(medium.abortable(&self.aborted).paced())
        };
        let unreachable = Failure::check(SenseKey::CopyAborted, Code::COPY_TARGET_NOT_REACHABLE);
        let source = side(segment.source, Access::Read).ok_or(unreachable)?;
        let destination = side(segment.destination, Access::Write).ok_or(unreachable)?;
        let mut done = 0;
        while done < segment.length {
            copy.check()?;
            let length = (segment.length - done).min(BUFFER_BYTES_MAX as u64);
            let buffer = source.read(segment.source_offset + done, length).await?;
            destination
                .write(segment.destination_offset + done, buffer, false)
                .await?;
            done += length;
            copy.operation.bytes_done += length;
        }
        destination.settle_cache().await
    }

    /// The volume that a copy target names, if there is one and this initiator may reach it. Where
    /// that volume asks for CHAP, the account that opened this session has to be of its policy: else a
    /// copy would read what a login could not.
    async fn party(&self, target: &CopyTarget) -> Result<Option<Party>, Failure> {
        let nexus = &self.nexus.nexus;
        let Ok(initiator) = IscsiName::new(nexus.initiator.name()) else {
            return Ok(None);
        };
        let proved = self.proof.policies();
        let found = {
            let guard = rcu::pin();
            let mut volumes = self.shared.directory.load(&guard).targets.values();
            let named = volumes.find(|volume| {
                let access = volume.access.load(&guard);
                let may_log_in = || {
                    access.is_open_to(self.peer.ip(), &initiator) && access.is_satisfied_by(proved)
                };
                // To its own it has logged in, and stays logged in whatever the rules have become.
                volume.unit.load(&guard).answers_to(&target.designator)
                    && (Arc::ptr_eq(volume, &self.volume) || may_log_in())
            });
            named.map(Arc::clone)
        };
        let Some(volume) = found else { return Ok(None) };
        let hold = NexusHold::take(&self.local, &volume, nexus).await?;
        Ok(Some(Party { volume, hold }))
    }

    // ---- what every kind of copy reports ------------------------------------------------------

    /// Enters a copy into the list that RECEIVE COPY RESULTS asks.
    pub(super) async fn begin_copy(
        &self,
        list_identifier: Option<u32>,
        service_action: u8,
    ) -> Result<Copy, Failure> {
        let operation = CopyOperation {
            service_action,
            state: CopyState::InProgress,
            segments_done: 0,
            bytes_done: 0,
            block_bytes: u32::try_from(self.block_bytes()).unwrap_or(512),
            token: None,
        };
        let cancel = Rc::new(Cell::new(false));
        let copy = Copy {
            list_identifier,
            operation,
            cancel,
        };
        if let Some(identifier) = list_identifier {
            let (operation, cancel) = (copy.operation.clone(), Rc::clone(&copy.cancel));
            let entered =
                self.with_connection(move |conn| conn.copies.begin(identifier, operation, cancel));
            if !entered.await? {
                // SPC-4 section 6.4.3.2: the list identifier is in use.
                let code = Code::OPERATION_IN_PROGRESS;
                return Err(Failure::check(SenseKey::IllegalRequest, code));
            }
        }
        Ok(copy)
    }

    /// Notes how a copy ended, and passes that on.
    pub(super) async fn end_copy(
        &self,
        mut copy: Copy,
        result: Result<(), Failure>,
    ) -> Result<(), Failure> {
        copy.operation.state = match &result {
            Ok(()) => CopyState::Completed,
            Err(_) if copy.cancel.get() => CopyState::Aborted,
            Err(Failure {
                sense: Some(sense), ..
            }) => CopyState::Failed(*sense),
            Err(_) => CopyState::Failed(plain(SenseKey::CopyAborted, Code::NONE)),
        };
        if let Some(identifier) = copy.list_identifier {
            let operation = copy.operation;
            let _ = self
                .with_connection(move |conn| conn.copies.update(identifier, operation))
                .await;
        }
        result
    }

    /// RECEIVE COPY RESULTS.
    pub(crate) async fn copy_results(&self, request: CopyResults) -> Result<Answer, Failure> {
        let list_identifier = request.list_identifier;
        let found = self.with_connection(move |conn| conn.copies.find(list_identifier).cloned());
        Ok(Answer::of_reply(results::answer(
            &request,
            found.await?.as_ref(),
        )?))
    }

    pub(crate) async fn copy_abort(&self, list_identifier: u32) -> Result<Answer, Failure> {
        let found = self.with_connection(move |conn| conn.copies.cancel(list_identifier));
        if found.await? {
            return Ok(Answer::Good { asked: 0 });
        }
        Err(Failure::check(
            SenseKey::IllegalRequest,
            Code::INVALID_FIELD_IN_CDB,
        ))
    }
}

/// A copy under way.
pub(super) struct Copy {
    list_identifier: Option<u32>,
    pub(super) operation: CopyOperation,
    cancel: Rc<Cell<bool>>,
}

impl Copy {
    /// Fails once COPY OPERATION ABORT has come.
    pub(super) fn check(&self) -> Result<(), Failure> {
        if self.cancel.get() {
            return Err(Failure::check(SenseKey::CopyAborted, Code::NONE));
        }
        Ok(())
    }

    pub(super) fn cancel(&self) -> &Rc<Cell<bool>> {
        &self.cancel
    }
}

fn plain(key: SenseKey, code: Code) -> Sense {
    Sense {
        key,
        code,
        information: None,
        command_specific: None,
        specific: None,
    }
}

/// The failure of segment `number` (SPC-4 section 6.4.3.3: COPY ABORTED with the segment in COMMAND
/// SPECIFIC INFORMATION). A reservation conflict stays what it is.
fn at_segment(failure: Failure, number: usize) -> Failure {
    let Some(mut sense) = failure.sense else {
        return failure;
    };
    sense.key = SenseKey::CopyAborted;
    sense.command_specific = u64::try_from(number).ok();
    sense.specific = Some(Specific::Segment { byte: 0 });
    Failure {
        status: Status::CheckCondition,
        sense: Some(sense),
    }
}
