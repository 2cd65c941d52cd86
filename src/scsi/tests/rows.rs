//! What holds for every row of the command table.

use crate::reservation::{Access, Rights};
use crate::scsi::sense::Code;
use crate::scsi::table::{COMMANDS, Command, Needs};
use crate::scsi::testing::{everything, failure_code, view};
use crate::scsi::unit::Medium;
use crate::scsi::{Failure, Plan, access, plan, plan_with_parameters};

/// A CDB of that command with every other bit zero.
fn bare(command: &Command) -> Vec<u8> {
    let mut cdb = vec![0; 16];
    cdb[0] = command.opcode;
    cdb[1] = command.service_action.unwrap_or(0);
    cdb
}

#[test]
fn every_row_plans() {
    let unit = everything();
    for command in COMMANDS {
        let planned = plan(&bare(command), &view(&unit));
        let code = failure_code(&planned);
        assert_ne!(code, Some(Code::INVALID_OPCODE), "{}", command.name);
        assert_eq!(access(&bare(command)), Some(command.access(&bare(command))));
    }
}

#[test]
fn every_reserved_bit_is_refused() {
    let unit = everything();
    for command in COMMANDS {
        for byte in 1..command.usage.len() {
            for bit in 0..8 {
                let control = byte == command.usage.len() - 1;
                let used = command.usage[byte] >> bit & 1 == 1;
                let action = byte == 1 && bit < 5 && command.service_action.is_some();
                let refused = if control { bit == 2 } else { !used && !action };
                if !refused {
                    continue;
                }
                let mut cdb = bare(command);
                cdb[byte] |= 1 << bit;
                let planned = plan(&cdb, &view(&unit));
                let pointer = Failure::cdb_bit(u16::try_from(byte).unwrap(), bit);
                assert_eq!(
                    planned,
                    Plan::Fail(pointer),
                    "{} {byte}.{bit}",
                    command.name
                );
            }
        }
    }
}

#[test]
fn short_cdbs_are_refused() {
    let unit = everything();
    for command in COMMANDS {
        let cdb = &bare(command)[..command.usage.len() - 1];
        let planned = plan(cdb, &view(&unit));
        assert!(matches!(planned, Plan::Fail(_)), "{}", command.name);
    }
    assert!(matches!(plan(&[], &view(&unit)), Plan::Fail(_)));
}

#[test]
fn a_fenced_nexus_is_refused_before_anything_is_fetched() {
    let unit = everything();
    let mut view = view(&unit);
    view.rights = Rights::UNRESERVED.blocked();
    for command in COMMANDS {
        let cdb = bare(command);
        let planned = plan(&cdb, &view);
        let conflict = planned == Plan::Fail(Failure::RESERVATION_CONFLICT);
        let exempt = view.rights.permits(command.access(&cdb));
        assert_eq!(conflict, !exempt, "{}", command.name);
        let again = plan_with_parameters(&cdb, &[0; 64], &view);
        assert_eq!(again == Plan::Fail(Failure::RESERVATION_CONFLICT), !exempt);
    }
}

#[test]
fn write_protection_stops_every_write_and_nothing_else() {
    let mut unit = everything();
    for (software, code) in [
        (true, Code::SOFTWARE_WRITE_PROTECTED),
        (false, Code::WRITE_PROTECTED),
    ] {
        unit.modes.current.write_protect = software;
        unit.properties.read_only = !software;
        for command in COMMANDS {
            let planned = plan(&bare(command), &view(&unit));
            let refused = failure_code(&planned) == Some(code);
            assert_eq!(refused, command.changes_medium, "{}", command.name);
        }
    }
}

#[test]
fn the_medium_must_be_there_for_what_needs_it() {
    let mut unit = everything();
    let cases = [
        (Medium::Ejected, Code::MEDIUM_NOT_PRESENT_TRAY_OPEN),
        (Medium::Formatting { progress: 9 }, Code::FORMAT_IN_PROGRESS),
        (
            Medium::Sanitizing { progress: 9 },
            Code::SANITIZE_IN_PROGRESS,
        ),
        (
            Medium::SanitizeFailed {
                unrestricted_exit: true,
            },
            Code::SANITIZE_FAILED,
        ),
    ];
    for (medium, code) in cases {
        unit.medium = medium;
        for command in COMMANDS {
            let planned = plan(&bare(command), &view(&unit));
            let refused = failure_code(&planned) == Some(code);
            assert_eq!(
                refused,
                !command.runs_in(medium),
                "{} {medium:?}",
                command.name
            );
            assert!(refused || command.needs != Needs::Medium);
        }
    }
}

/// The classes of spec/reservations.md section 6, written down apart from the table: operation
/// code and service action, `None` for all of them.
#[test]
#[rustfmt::skip]
fn the_classes_are_those_of_the_matrix() {
    let reads: &[(u8, Option<u8>)] = &[
        (0x08, None), (0x28, None), (0xA8, None), (0x88, None),
        (0x2F, None), (0xAF, None), (0x8F, None),
        (0x34, None), (0x90, None), (0x9E, Some(0x12)),
        (0x37, None), (0xB7, None), (0x3C, None), (0x83, Some(0x10)),
    ];
    let writes: &[(u8, Option<u8>)] = &[
        (0x0A, None), (0x2A, None), (0xAA, None), (0x8A, None),
        (0x2E, None), (0xAE, None), (0x8E, None),
        (0x89, None), (0x9C, None), (0x8B, None), (0x41, None), (0x93, None), (0x42, None),
        (0x35, None), (0x91, None), (0x04, None), (0x48, None),
        (0x15, None), (0x55, None), (0x3B, None), (0x1D, None), (0xA4, Some(0x0A)),
        (0x83, Some(0x00)), (0x83, Some(0x01)), (0x83, Some(0x11)), (0x83, Some(0x1C)),
        // START STOP UNIT with START=0, as a bare CDB has it.
        (0x1B, None),
    ];
    let exempt: &[(u8, Option<u8>)] = &[
        (0x12, None), (0xA0, None), (0x03, None),
        (0x16, None), (0x17, None), (0x56, None), (0x57, None),
        (0x25, None), (0x9E, Some(0x10)), (0x4D, None), (0xA3, Some(0x05)),
        // PREVENT ALLOW MEDIUM REMOVAL with PREVENT=0, as a bare CDB has it.
        (0x1E, None),
    ];
    let reserve_out: &[(u8, Access)] = &[
        (0, Access::Register), (6, Access::Register), (1, Access::Take), (7, Access::Take),
        (2, Access::Manage), (3, Access::Manage), (4, Access::Manage), (5, Access::Manage),
    ];
    for command in COMMANDS {
        let listed = |list: &[(u8, Option<u8>)]| {
            list.iter().any(|(opcode, action)| {
                *opcode == command.opcode && (action.is_none() || *action == command.service_action)
            })
        };
        let expected = if command.opcode == 0x5F {
            let action = command.service_action.unwrap();
            reserve_out.iter().find(|(own, _)| *own == action).unwrap().1
        } else if listed(reads) {
            Access::Read
        } else if listed(writes) {
            Access::Write
        } else if listed(exempt) {
            Access::Exempt
        } else {
            Access::Never
        };
        assert_eq!(command.access(&bare(command)), expected, "{}", command.name);
    }
}
