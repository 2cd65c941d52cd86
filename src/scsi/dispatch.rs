//! From a CDB to its row, through the checks that every command shares.
//!
//! The order follows spec and standard: the logical unit, the operation code, the reservation, the
//! CDB, the port's access state, the medium, write protection; then the command's own plan. A
//! command that the checks refuse fetches nothing and changes nothing.

use super::fields::Fields;
use super::plan::Plan;
use super::ports::AccessState;
use super::sense::{Code, Failure, Sense, SenseKey, Specific};
use super::table::{self, Command, Needs, Unknown};
use super::unit::{LogicalUnit, LunKind, Medium, View};
use crate::reservation::Access;

/// What a room makes of a command.
pub(super) type Planned = Result<Plan, Failure>;

/// A command that passed the shared checks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request<'a> {
    pub(super) cdb: Fields<'a>,
    pub(super) view: &'a View<'a>,
}

/// Tells how to carry out `cdb`. Never panics, whatever the bytes.
#[must_use]
pub fn plan(cdb: &[u8], view: &View<'_>) -> Plan {
    try_plan(cdb, view).unwrap_or_else(Plan::Fail)
}

/// As [`plan`], apart from what fails.
///
/// # Errors
/// How it fails, where [`plan`] says [`Plan::Fail`].
#[inline]
pub fn try_plan(cdb: &[u8], view: &View<'_>) -> Result<Plan, Failure> {
    let row = check(cdb, view)?;
    let cdb = Fields(cdb);
    (row.plan)(&Request { cdb, view })
}

/// Goes on after [`Plan::Parameters`] with the parameter list that it asked for.
///
/// Everything is checked again, for the world may have changed while the data came. Fewer bytes
/// than asked for are a PARAMETER LIST LENGTH ERROR; more are left aside.
#[must_use]
pub fn plan_with_parameters(cdb: &[u8], data: &[u8], view: &View<'_>) -> Plan {
    let parse = || {
        let row = check(cdb, view)?;
        let request = Request {
            cdb: Fields(cdb),
            view,
        };
        let planned = (row.plan)(&request)?;
        match (planned, row.parameters) {
            (Plan::Parameters { length }, Some(parse)) => {
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                let data = data
                    .get(..length)
                    .ok_or(Failure::illegal(Code::PARAMETER_LIST_LENGTH))?;
                parse(&request, data)
            }
            (planned, _) => Ok(planned),
        }
    };
    parse().unwrap_or_else(Plan::Fail)
}

/// The class of the reservation matrix of a CDB; `None` if no unit knows the command.
#[must_use]
pub fn access(cdb: &[u8]) -> Option<Access> {
    let action = cdb.get(1).copied().unwrap_or(0) & 0x1F;
    table::rows(cdb.first().copied().unwrap_or(0))
        .iter()
        .find(|row| row.service_action.is_none_or(|own| own == action))
        .map(|row| row.access(cdb))
}

fn check(cdb: &[u8], view: &View<'_>) -> Result<&'static Command, Failure> {
    let row = table::find(cdb, view.unit);
    if view.lun != LunKind::Disk {
        return check_elsewhere(cdb, view.lun, row);
    }
    let row = row.map_err(|unknown| match unknown {
        Unknown::OperationCode => Failure::illegal(Code::INVALID_OPCODE),
        Unknown::ServiceAction => Failure::cdb_bit(1, 4),
    })?;
    // A PERSISTENT RESERVE OUT is looked at as a whole before the matrix refuses it: only an SPC-2
    // reservation stops it here.
    let access = match row.access(cdb) {
        Access::Manage | Access::Take => Access::Register,
        access => access,
    };
    if !view.rights.permits(access) {
        return Err(Failure::RESERVATION_CONFLICT);
    }
    check_cdb(cdb, row)?;
    if row.needs != Needs::Nothing {
        check_port(view)?;
        check_medium(row, view.unit.medium)?;
    }
    if row.changes_medium {
        view.unit.check_writable()?;
    }
    Ok(row)
}

/// Logical units other than the disk know few commands (SPC-4 sections 6.6.1, 8.2).
fn check_elsewhere(
    cdb: &[u8],
    lun: LunKind,
    row: Result<&'static Command, Unknown>,
) -> Result<&'static Command, Failure> {
    const INQUIRY: u8 = 0x12;
    const REPORT_LUNS: u8 = 0xA0;
    const REQUEST_SENSE: u8 = 0x03;
    const TEST_UNIT_READY: u8 = 0x00;
    let opcode = cdb.first().copied().unwrap_or(0);
    let known = match lun {
        LunKind::Disk => true,
        LunKind::ReportLuns => {
            matches!(
                opcode,
                INQUIRY | REPORT_LUNS | REQUEST_SENSE | TEST_UNIT_READY
            )
        }
        LunKind::Missing => matches!(opcode, INQUIRY | REPORT_LUNS | REQUEST_SENSE),
    };
    match row {
        Ok(row) if known => {
            check_cdb(cdb, row)?;
            Ok(row)
        }
        _ if lun == LunKind::Missing => Err(Failure::illegal(Code::UNIT_NOT_SUPPORTED)),
        _ => Err(Failure::illegal(Code::INVALID_OPCODE)),
    }
}

/// The CDB is as long as its row says and has no bit set that the row does not know.
fn check_cdb(cdb: &[u8], row: &Command) -> Result<(), Failure> {
    if cdb.len() < row.usage.len() {
        return Err(Failure::cdb_field(0));
    }
    let bits = u128::from_be_bytes(Fields(cdb).array(0)) & row.reserved;
    if bits == 0 {
        return Ok(());
    }
    let first = bits.leading_zeros();
    let byte = u16::try_from(first / 8).unwrap_or(0);
    let bit = u8::try_from(!first & 7).unwrap_or(0);
    Err(Failure::cdb_bit(byte, bit))
}

fn check_port(view: &View<'_>) -> Result<(), Failure> {
    let code = match view.unit.ports.state_of(view.port) {
        AccessState::ActiveOptimized | AccessState::ActiveNonOptimized => return Ok(()),
        AccessState::Standby => Code::PORT_STANDBY,
        AccessState::Unavailable => Code::PORT_UNAVAILABLE,
    };
    Err(Failure::check(SenseKey::NotReady, code))
}

fn check_medium(row: &Command, medium: Medium) -> Result<(), Failure> {
    if row.runs_in(medium) {
        return Ok(());
    }
    medium.sense().map_or(Ok(()), |sense| Err(sense.failure()))
}

impl LogicalUnit {
    /// Refuses what would change the medium of a write-protected unit. `target` asks this of every
    /// destination of a copy.
    ///
    /// # Errors
    /// DATA PROTECT, as the initiator is told.
    pub fn check_writable(&self) -> Result<(), Failure> {
        let code = if self.properties.read_only {
            Code::WRITE_PROTECTED
        } else if self.modes.current.write_protect {
            Code::SOFTWARE_WRITE_PROTECTED
        } else {
            return Ok(());
        };
        Err(Failure::check(SenseKey::DataProtect, code))
    }
}

impl Medium {
    /// Why the medium cannot be reached; `None` if it can.
    #[must_use]
    pub fn sense(self) -> Option<Sense> {
        let not_ready = |code| Sense::new(SenseKey::NotReady, code);
        let (sense, progress) = match self {
            Self::Ready => return None,
            Self::Ejected => (not_ready(Code::MEDIUM_NOT_PRESENT_TRAY_OPEN), None),
            Self::Formatting { progress } => (not_ready(Code::FORMAT_IN_PROGRESS), Some(progress)),
            Self::Sanitizing { progress } => {
                (not_ready(Code::SANITIZE_IN_PROGRESS), Some(progress))
            }
            Self::SanitizeFailed { .. } => (
                Sense::new(SenseKey::MediumError, Code::SANITIZE_FAILED),
                None,
            ),
        };
        Some(Sense {
            specific: progress.map(Specific::Progress),
            ..sense
        })
    }
}
