//! Which commands have to ask, and what they take.
//!
//! Whatever reads or writes the medium for an initiator is limited: an operation for each command, and
//! the bytes of its blocks. WRITE SAME, UNMAP and GET LBA STATUS move no blocks and are an operation
//! each. Everything else goes at once: TEST UNIT READY and INQUIRY, by which initiators tell whether a
//! path lives; reservation commands, which a cluster waits for; SYNCHRONIZE CACHE, for what is written
//! is not to stay at risk for longer. Copies that the target does by itself (EXTENDED COPY, WRITE USING
//! TOKEN), the pattern of WRITE SAME and the passes of SANITIZE are charged as they go, request by
//! request ([`Medium::paced`](crate::target::medium::Medium::paced)).

use crate::base::rate::Cost;
use crate::scsi::Plan;

/// UNMAP (SBC-4 section 5.35): its plan is known only with its parameters.
const UNMAP: u8 = 0x42;

/// What a command takes of its volume's limits; nothing if it does not ask.
pub(crate) fn of(plan: &Plan, opcode: u8) -> Option<Cost> {
    let bytes = match plan {
        Plan::Read { range, .. }
        | Plan::Write { range, .. }
        | Plan::Verify { range, .. }
        | Plan::WriteAndVerify { range, .. }
        | Plan::CompareAndWrite { range, .. }
        | Plan::OrWrite { range, .. } => range.length,
        Plan::WriteSame { .. } | Plan::Unmap { .. } | Plan::LbaStatus(_) => 0,
        Plan::Parameters { .. } if opcode == UNMAP => 0,
        Plan::Reply(_)
        | Plan::Fail(_)
        | Plan::Parameters { .. }
        | Plan::Prefetch { .. }
        | Plan::Flush { .. }
        | Plan::Format(_)
        | Plan::Sanitize(_)
        | Plan::ReserveIn { .. }
        | Plan::ReserveOut(_)
        | Plan::LegacyReserve
        | Plan::LegacyRelease
        | Plan::ModeSelect { .. }
        | Plan::MoveMedium { .. }
        | Plan::PreventRemoval { .. }
        | Plan::SetPortGroups(_)
        | Plan::BufferWrite { .. }
        | Plan::BufferRead { .. }
        | Plan::SelfTest
        | Plan::Copy(_)
        | Plan::CopyResults(_)
        | Plan::CopyAbort { .. }
        | Plan::PopulateToken(_)
        | Plan::WriteUsingToken(_) => return None,
    };
    Some(Cost {
        operations: 1,
        bytes,
    })
}
