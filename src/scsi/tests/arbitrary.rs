//! Arbitrary CDBs and parameter lists: nothing panics, every plan is bounded.

use proptest::prelude::*;

use crate::base::limits::{PARAMETER_LIST_BYTES_MAX, RESERVE_OUT_BYTES_MAX, TRANSFER_BYTES_MAX};
use crate::scsi::sense::Code;
use crate::scsi::table::COMMANDS;
use crate::scsi::testing::{everything, failure_code, view};
use crate::scsi::{ByteRange, LogicalUnit, LunKind, Plan, View, plan, plan_with_parameters};

fn any_view<'a>(unit: &'a LogicalUnit, lun: u8, blocked: bool) -> View<'a> {
    let mut view = view(unit);
    view.lun = match lun {
        0 => LunKind::Missing,
        1 => LunKind::ReportLuns,
        _ => LunKind::Disk,
    };
    if blocked {
        view.rights = view.rights.blocked();
    }
    view
}

/// A CDB that starts with a known operation code and service action more often than not.
fn any_cdb() -> impl Strategy<Value = Vec<u8>> {
    let known = (
        0..COMMANDS.len(),
        prop::collection::vec(any::<u8>(), 16),
        any::<bool>(),
    )
        .prop_map(|(row, mut cdb, clean)| {
            let command = &COMMANDS[row];
            if clean {
                for (byte, used) in cdb.iter_mut().zip(command.usage) {
                    *byte &= used;
                }
                if let Some(control) = cdb.get_mut(command.usage.len() - 1) {
                    *control = 0;
                }
            }
            cdb[0] = command.opcode;
            if let Some(action) = command.service_action {
                cdb[1] = cdb[1] & !0x1F | action;
            }
            cdb
        });
    prop_oneof![8 => known, 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

/// Holds of every plan, whatever the bytes were.
fn check_bounds(planned: &Plan, unit: &LogicalUnit) -> Result<(), TestCaseError> {
    let inside = |range: &ByteRange| {
        range
            .offset
            .checked_add(range.length)
            .is_some_and(|end| end <= unit.geometry.bytes())
    };
    match planned {
        Plan::Parameters { length } => {
            prop_assert!(*length > 0);
            prop_assert!(*length <= PARAMETER_LIST_BYTES_MAX.max(RESERVE_OUT_BYTES_MAX));
        }
        Plan::Read { range, .. }
        | Plan::Write { range, .. }
        | Plan::WriteAndVerify { range, .. }
        | Plan::CompareAndWrite { range, .. }
        | Plan::OrWrite { range, .. } => {
            prop_assert!(inside(range) && range.length > 0);
            prop_assert!(range.length <= TRANSFER_BYTES_MAX);
        }
        Plan::Verify { range, .. }
        | Plan::WriteSame { range, .. }
        | Plan::Prefetch { range, .. }
        | Plan::Flush { range, .. } => prop_assert!(inside(range)),
        Plan::Unmap { ranges } => prop_assert!(ranges.iter().all(inside)),
        Plan::PopulateToken(token) => prop_assert!(token.ranges.iter().all(inside)),
        Plan::Reply(reply) => prop_assert!(reply.data.len() <= 64 << 10),
        Plan::Copy(program) => {
            let _ = program.check(&vec![Some(unit); program.targets.len()]);
        }
        _ => {}
    }
    prop_assert!(planned.transfer(unit.geometry.block_bytes).data_out <= 2 * TRANSFER_BYTES_MAX);
    Ok(())
}

proptest! {
    #[test]
    fn any_cdb_and_any_list_make_a_bounded_plan(
        cdb in any_cdb(),
        data in prop::collection::vec(any::<u8>(), 0..700),
        zeros in any::<bool>(),
        lun in 0..20_u8,
        blocked in prop::bool::weighted(0.1),
        large in any::<bool>(),
    ) {
        let mut unit = everything();
        if large {
            unit.geometry.block_bytes = 4096;
            unit.geometry.blocks = (64 << 40) / 4096;
        }
        let data = if zeros { vec![0; data.len()] } else { data };
        let view = any_view(&unit, lun, blocked);
        let first = plan(&cdb, &view);
        check_bounds(&first, &unit)?;
        let second = plan_with_parameters(&cdb, &data, &view);
        check_bounds(&second, &unit)?;
        let fetched = matches!(second, Plan::Parameters { .. });
        prop_assert!(!fetched, "parameters are asked for once");
        if let Plan::Reply(reply) = &first {
            let length = plan(&cdb, &view).transfer(512).data_in;
            prop_assert_eq!(length, reply.data.len() as u64);
        }
    }

    #[test]
    fn fetched_lists_never_panic(
        cdb in any_cdb(),
        mut data in prop::collection::vec(any::<u8>(), 4200),
        head in prop::collection::vec(0..64_u8, 64),
    ) {
        let unit = everything();
        let view = view(&unit);
        data[..64].copy_from_slice(&head);
        if let Plan::Parameters { length } = plan(&cdb, &view) {
            data.resize(usize::try_from(length).unwrap(), 0);
            let planned = plan_with_parameters(&cdb, &data, &view);
            prop_assert_ne!(failure_code(&planned), Some(Code::INVALID_OPCODE));
            check_bounds(&planned, &unit)?;
        }
    }
}
