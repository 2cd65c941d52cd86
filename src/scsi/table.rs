//! The command table: one row for each command, and the one source of what is known about it.
//!
//! A row says how a CDB is checked, what right and what state of the logical unit it needs, how it
//! is planned, and what REPORT SUPPORTED OPERATION CODES tells of it.

#![allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "the table is built at compile time, from constants"
)]

use super::dispatch::{Planned, Request};
use super::unit::{LogicalUnit, Medium};
use super::{
    block, capacity, copy, data_buffer, diagnostics, format, identifying, inquiry, log, mode,
    operation_codes, ports, report_luns, request_sense, reservations, sanitize, start_stop,
};
use crate::reservation::Access::{self, Exempt, Manage, Never, Read, Register, Take, Write};

/// What is known about one command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// OPERATION CODE.
    pub opcode: u8,
    /// SERVICE ACTION, where the operation code has some.
    pub service_action: Option<u8>,
    /// The standard's name.
    pub name: &'static str,
    /// CDB USAGE DATA: one bit for each bit that is looked at, the operation code and the service
    /// action in their places. As long as the CDB.
    pub usage: &'static [u8],
    /// The class of the reservation matrix.
    pub class: Class,
    /// What state of the logical unit the command needs.
    pub needs: Needs,
    /// The medium changes: a write-protected unit refuses it.
    pub changes_medium: bool,
    /// Without that feature the unit does not know the command.
    pub feature: Option<Feature>,
    /// RECOMMENDED COMMAND TIMEOUT, in seconds.
    pub timeout_s: u16,
    /// Bits that must be zero, the CDB's first byte highest.
    pub(super) reserved: u128,
    pub(super) plan: fn(&Request<'_>) -> Planned,
    pub(super) parameters: Option<fn(&Request<'_>, &[u8]) -> Planned>,
}

/// How a command is placed in the reservation matrix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// The same whatever the CDB says.
    Always(Access),
    /// START STOP UNIT: harmless with START=1 and POWER CONDITION=0, else as a write.
    StartStop,
    /// PREVENT ALLOW MEDIUM REMOVAL: harmless with PREVENT=0, else as a write.
    Prevent,
}

/// What state of the logical unit a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// None: it works whatever happens to the medium, on every target port.
    Nothing,
    /// A port that takes I/O, and no format or sanitize under way.
    Idle,
    /// As `Idle`; also after a sanitize that failed.
    IdleOrFailed,
    /// As `Idle`, and the medium there.
    Medium,
}

/// What a unit may or may not be able to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Thin provisioning.
    Thin,
    /// Atomic writes.
    AtomicWrites,
    /// Cryptographic erase.
    CryptoErase,
}

impl Command {
    /// Whether `unit` knows the command.
    #[must_use]
    pub const fn is_supported_by(&self, unit: &LogicalUnit) -> bool {
        match self.feature {
            None => true,
            Some(Feature::Thin) => unit.properties.thin,
            Some(Feature::AtomicWrites) => unit.properties.atomic_write_bytes > 0,
            Some(Feature::CryptoErase) => unit.properties.crypto_erase,
        }
    }

    /// The class of the reservation matrix for this CDB.
    #[must_use]
    pub fn access(&self, cdb: &[u8]) -> Access {
        let byte4 = cdb.get(4).copied().unwrap_or(0);
        match self.class {
            Class::Always(access) => access,
            Class::StartStop if byte4 & 0xF1 == 0x01 => Access::Exempt,
            Class::Prevent if byte4 & 0x03 == 0 => Access::Exempt,
            Class::StartStop | Class::Prevent => Access::Write,
        }
    }

    /// Whether the command may run while the medium is in that state.
    #[must_use]
    pub const fn runs_in(&self, medium: Medium) -> bool {
        match self.needs {
            Needs::Nothing => true,
            Needs::Medium => matches!(medium, Medium::Ready),
            Needs::Idle => matches!(medium, Medium::Ready | Medium::Ejected),
            Needs::IdleOrFailed => matches!(medium, Medium::Ready | Medium::SanitizeFailed { .. }),
        }
    }

    const fn action(mut self, service_action: u8) -> Self {
        self.service_action = Some(service_action);
        self
    }

    const fn writes(mut self) -> Self {
        self.changes_medium = true;
        self
    }

    const fn needs(mut self, needs: Needs) -> Self {
        self.needs = needs;
        self
    }

    const fn with(mut self, feature: Feature) -> Self {
        self.feature = Some(feature);
        self
    }

    const fn takes(mut self, parameters: fn(&Request<'_>, &[u8]) -> Planned) -> Self {
        self.parameters = Some(parameters);
        self
    }

    const fn long(mut self) -> Self {
        self.timeout_s = LONG_TIMEOUT_S;
        self
    }
}

/// What most commands need at most.
const TIMEOUT_S: u16 = 30;
/// Commands that go over the whole medium.
const LONG_TIMEOUT_S: u16 = 3600;

const fn row(
    name: &'static str,
    usage: &'static [u8],
    access: Access,
    plan: fn(&Request<'_>) -> Planned,
) -> Command {
    Command {
        opcode: usage[0],
        service_action: None,
        name,
        usage,
        class: Class::Always(access),
        needs: Needs::Medium,
        changes_medium: false,
        feature: None,
        timeout_s: TIMEOUT_S,
        reserved: reserved(usage),
        plan,
        parameters: None,
    }
}

/// A row whose command works whatever happens to the medium.
const fn info(
    name: &'static str,
    usage: &'static [u8],
    access: Access,
    plan: fn(&Request<'_>) -> Planned,
) -> Command {
    row(name, usage, access, plan).needs(Needs::Nothing)
}

/// The bits that `usage` leaves out. Of CONTROL only NACA counts (SAM-5 section 5.2); what stands
/// behind the CDB is padding. The operation code and the service action were matched already.
const fn reserved(usage: &[u8]) -> u128 {
    let mut bits = 0_u128;
    let mut at = 0;
    while at < 16 {
        let byte = if at == 0 || at >= usage.len() {
            0
        } else if at + 1 == usage.len() {
            0x04
        } else {
            !usage[at]
        };
        bits = bits << 8 | byte as u128;
        at += 1;
    }
    bits
}

/// The rows of commands with a service action in byte 1: its bits are not reserved.
const fn acts(mut command: Command, service_action: u8) -> Command {
    command.reserved &= !(0x1F_u128 << 112);
    command.action(service_action)
}

/// Every command, by operation code, then by service action.
#[rustfmt::skip]
pub const COMMANDS: &[Command] = &[
    row("TEST UNIT READY", &[0x00, 0, 0, 0, 0, 4], Never, request_sense::test_unit_ready),
    info("REQUEST SENSE", &[0x03, 1, 0, 0, 0xFF, 4], Exempt, request_sense::plan),
    row("FORMAT UNIT", &[0x04, 0x3F, 0, 0, 0, 4], Write, format::plan).takes(format::parse).writes().long(),
    row("READ(6)", &[0x08, 0x1F, 0xFF, 0xFF, 0xFF, 4], Read, block::read::read6),
    row("WRITE(6)", &[0x0A, 0x1F, 0xFF, 0xFF, 0xFF, 4], Write, block::write::write6).writes(),
    info("INQUIRY", &[0x12, 1, 0xFF, 0xFF, 0xFF, 4], Exempt, inquiry::plan),
    info("MODE SELECT(6)", &[0x15, 0x11, 0, 0, 0xFF, 4], Write, mode::select::select6).takes(mode::select::parse6).needs(Needs::Idle),
    info("RESERVE(6)", &[0x16, 0, 0, 0, 0, 4], Exempt, reservations::reserve),
    info("RELEASE(6)", &[0x17, 0, 0, 0, 0, 4], Exempt, reservations::release),
    info("MODE SENSE(6)", &[0x1A, 0x08, 0xFF, 0xFF, 0xFF, 4], Never, mode::sense::sense6),
    start_stop(),
    info("RECEIVE DIAGNOSTIC RESULTS", &[0x1C, 1, 0xFF, 0xFF, 0xFF, 4], Never, diagnostics::receive),
    row("SEND DIAGNOSTIC", &[0x1D, 0xF7, 0, 0xFF, 0xFF, 4], Write, diagnostics::send),
    prevent(),
    row("READ CAPACITY(10)", &[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 4], Exempt, capacity::read10),
    row("READ(10)", &[0x28, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Read, block::read::read10),
    row("WRITE(10)", &[0x2A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Write, block::write::write10).writes(),
    row("WRITE AND VERIFY(10)", &[0x2E, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Write, block::write::write_and_verify10).writes(),
    row("VERIFY(10)", &[0x2F, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Read, block::verify::verify10),
    row("PRE-FETCH(10)", &[0x34, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Read, block::cache::prefetch10),
    row("SYNCHRONIZE CACHE(10)", &[0x35, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Write, block::cache::synchronize10),
    row("READ DEFECT DATA(10)", &[0x37, 0, 0x1F, 0, 0, 0, 0, 0xFF, 0xFF, 4], Read, block::defects::read10),
    info("WRITE BUFFER", &[0x3B, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 4], Write, data_buffer::write).takes(data_buffer::parse),
    info("READ BUFFER", &[0x3C, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 4], Read, data_buffer::read),
    row("WRITE SAME(10)", &[0x41, 0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 0xFF, 0xFF, 4], Write, block::write_same::write_same10).writes().long(),
    row("UNMAP", &[0x42, 0, 0, 0, 0, 0, 0x1F, 0xFF, 0xFF, 4], Write, block::unmap::plan).takes(block::unmap::parse).writes().with(Feature::Thin),
    acts(row("SANITIZE, OVERWRITE", &[0x48, 0xA1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4], Write, sanitize::overwrite).takes(sanitize::parse_overwrite).writes().long().needs(Needs::IdleOrFailed), 0x01),
    acts(row("SANITIZE, BLOCK ERASE", &[0x48, 0xA2, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4], Write, sanitize::block_erase).writes().long().needs(Needs::IdleOrFailed), 0x02),
    acts(row("SANITIZE, CRYPTOGRAPHIC ERASE", &[0x48, 0xA3, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4], Write, sanitize::crypto_erase).writes().long().needs(Needs::IdleOrFailed).with(Feature::CryptoErase), 0x03),
    acts(row("SANITIZE, EXIT FAILURE MODE", &[0x48, 0xBF, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4], Write, sanitize::exit_failure_mode).writes().needs(Needs::IdleOrFailed), 0x1F),
    info("LOG SENSE", &[0x4D, 0, 0xFF, 0xFF, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Exempt, log::sense),
    info("MODE SELECT(10)", &[0x55, 0x11, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4], Write, mode::select::select10).takes(mode::select::parse10).needs(Needs::Idle),
    info("RESERVE(10)", &[0x56, 0, 0, 0, 0, 0, 0, 0, 0, 4], Exempt, reservations::reserve),
    info("RELEASE(10)", &[0x57, 0, 0, 0, 0, 0, 0, 0, 0, 4], Exempt, reservations::release),
    info("MODE SENSE(10)", &[0x5A, 0x18, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0xFF, 4], Never, mode::sense::sense10),
    reserve_in("PERSISTENT RESERVE IN, READ KEYS", &[0x5E, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4]),
    reserve_in("PERSISTENT RESERVE IN, READ RESERVATION", &[0x5E, 1, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4]),
    reserve_in("PERSISTENT RESERVE IN, REPORT CAPABILITIES", &[0x5E, 2, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4]),
    reserve_in("PERSISTENT RESERVE IN, READ FULL STATUS", &[0x5E, 3, 0, 0, 0, 0, 0, 0xFF, 0xFF, 4]),
    reserve_out("PERSISTENT RESERVE OUT, REGISTER", &[0x5F, 0, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Register),
    reserve_out("PERSISTENT RESERVE OUT, RESERVE", &[0x5F, 1, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Take),
    reserve_out("PERSISTENT RESERVE OUT, RELEASE", &[0x5F, 2, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Manage),
    reserve_out("PERSISTENT RESERVE OUT, CLEAR", &[0x5F, 3, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Manage),
    reserve_out("PERSISTENT RESERVE OUT, PREEMPT", &[0x5F, 4, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Manage),
    reserve_out("PERSISTENT RESERVE OUT, PREEMPT AND ABORT", &[0x5F, 5, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Manage),
    reserve_out("PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY", &[0x5F, 6, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Register),
    reserve_out("PERSISTENT RESERVE OUT, REGISTER AND MOVE", &[0x5F, 7, 0xFF, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 4], Take),
    acts(row("EXTENDED COPY(LID1)", &[0x83, 0x00, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Write, copy::program::plan).takes(copy::program::parse_lid1).long(), 0x00),
    acts(row("EXTENDED COPY(LID4)", &[0x83, 0x01, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Write, copy::program::plan).takes(copy::program::parse_lid4).long(), 0x01),
    acts(row("POPULATE TOKEN", &[0x83, 0x10, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Read, copy::token::plan).takes(copy::token::parse_populate), 0x10),
    acts(row("WRITE USING TOKEN", &[0x83, 0x11, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, copy::token::plan).takes(copy::token::parse_write).writes().long(), 0x11),
    acts(info("COPY OPERATION ABORT", &[0x83, 0x1C, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4], Write, copy::results::abort), 0x1C),
    acts(info("RECEIVE COPY STATUS(LID1)", &[0x84, 0x00, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, copy::results::receive), 0x00),
    acts(info("RECEIVE COPY OPERATING PARAMETERS", &[0x84, 0x03, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, copy::results::operating_parameters), 0x03),
    acts(info("RECEIVE COPY FAILURE DETAILS(LID1)", &[0x84, 0x04, 0xFF, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, copy::results::receive), 0x04),
    acts(info("RECEIVE COPY STATUS(LID4)", &[0x84, 0x05, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, copy::results::receive), 0x05),
    acts(info("RECEIVE ROD TOKEN INFORMATION", &[0x84, 0x07, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, copy::results::receive), 0x07),
    row("READ(16)", &[0x88, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Read, block::read::read16),
    row("COMPARE AND WRITE", &[0x89, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0, 0xFF, 0x1F, 4], Write, block::write::compare_and_write).writes(),
    row("WRITE(16)", &[0x8A, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::write::write16).writes(),
    row("ORWRITE(16)", &[0x8B, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::write::or_write).writes(),
    row("WRITE AND VERIFY(16)", &[0x8E, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::write::write_and_verify16).writes(),
    row("VERIFY(16)", &[0x8F, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Read, block::verify::verify16),
    row("PRE-FETCH(16)", &[0x90, 0x02, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Read, block::cache::prefetch16),
    row("SYNCHRONIZE CACHE(16)", &[0x91, 0x06, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::cache::synchronize16),
    row("WRITE SAME(16)", &[0x93, 0x09, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::write_same::write_same16).writes().long(),
    row("WRITE ATOMIC(16)", &[0x9C, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0, 0xFF, 0xFF, 0x1F, 4], Write, block::write::write_atomic).writes().with(Feature::AtomicWrites),
    acts(row("READ CAPACITY(16)", &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Exempt, capacity::read16), 0x10),
    acts(row("GET LBA STATUS(16)", &[0x9E, 0x12, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 4], Read, block::lba_status::plan), 0x12),
    info("REPORT LUNS", &[0xA0, 0, 0xFF, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Exempt, report_luns::plan),
    acts(info("REPORT IDENTIFYING INFORMATION", &[0xA3, 0x05, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0xFE, 4], Exempt, identifying::information), 0x05),
    acts(info("REPORT TARGET PORT GROUPS", &[0xA3, 0xEA, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, ports::report), 0x0A),
    acts(info("REPORT SUPPORTED OPERATION CODES", &[0xA3, 0x0C, 0x87, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, operation_codes::report), 0x0C),
    acts(info("REPORT SUPPORTED TASK MANAGEMENT FUNCTIONS", &[0xA3, 0x0D, 0x80, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, operation_codes::report_task_management), 0x0D),
    acts(info("REPORT TIMESTAMP", &[0xA3, 0x0F, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Never, identifying::timestamp), 0x0F),
    acts(info("SET TARGET PORT GROUPS", &[0xA4, 0x0A, 0, 0, 0, 0, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Write, ports::set).takes(ports::parse_set), 0x0A),
    row("READ(12)", &[0xA8, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Read, block::read::read12),
    row("WRITE(12)", &[0xAA, 0x18, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::write::write12).writes(),
    row("WRITE AND VERIFY(12)", &[0xAE, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Write, block::write::write_and_verify12).writes(),
    row("VERIFY(12)", &[0xAF, 0x16, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x1F, 4], Read, block::verify::verify12),
    row("READ DEFECT DATA(12)", &[0xB7, 0x1F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0, 4], Read, block::defects::read12),
];

const fn start_stop() -> Command {
    let mut command = info(
        "START STOP UNIT",
        &[0x1B, 0x01, 0, 0x0F, 0xF7, 4],
        Write,
        start_stop::plan,
    );
    command.class = Class::StartStop;
    command.needs(Needs::Idle)
}

const fn prevent() -> Command {
    let mut command = info(
        "PREVENT ALLOW MEDIUM REMOVAL",
        &[0x1E, 0, 0, 0, 0x01, 4],
        Write,
        start_stop::prevent,
    );
    command.class = Class::Prevent;
    command
}

/// PERSISTENT RESERVE IN is refused to everyone but the holder of an SPC-2 reservation.
const fn reserve_in(name: &'static str, usage: &'static [u8]) -> Command {
    acts(info(name, usage, Never, reservations::report), usage[1])
}

/// PERSISTENT RESERVE OUT: its own room has the last word on who may do it.
const fn reserve_out(name: &'static str, usage: &'static [u8], access: Access) -> Command {
    let command = info(name, usage, access, reservations::change).takes(reservations::parse);
    acts(command, usage[1])
}

/// Where the rows of an operation code start in [`COMMANDS`], and how many there are.
const INDEX: [(u8, u8); 256] = index();

#[allow(
    clippy::cast_possible_truncation,
    reason = "the table has fewer than 256 rows"
)]
const fn index() -> [(u8, u8); 256] {
    let mut index = [(0, 0); 256];
    let mut at = 0;
    while at < COMMANDS.len() {
        let entry = &mut index[COMMANDS[at].opcode as usize];
        if entry.1 == 0 {
            entry.0 = at as u8;
        }
        entry.1 += 1;
        at += 1;
    }
    index
}

const _: () = assert!(COMMANDS.len() < 256);

/// The rows of an operation code: none if it is not known, several if it has service actions.
#[must_use]
pub fn rows(opcode: u8) -> &'static [Command] {
    let (first, count) = INDEX.get(usize::from(opcode)).copied().unwrap_or_default();
    let first = usize::from(first);
    COMMANDS
        .get(first..first.saturating_add(usize::from(count)))
        .unwrap_or_default()
}

/// Why a CDB has no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unknown {
    /// INVALID COMMAND OPERATION CODE.
    OperationCode,
    /// The operation code is known, the service action is not.
    ServiceAction,
}

/// The row of a CDB on `unit`.
///
/// # Errors
/// [`Unknown`] if the unit does not know the command.
pub fn find(cdb: &[u8], unit: &LogicalUnit) -> Result<&'static Command, Unknown> {
    let opcode = cdb.first().copied().unwrap_or(0);
    let action = cdb.get(1).copied().unwrap_or(0) & 0x1F;
    let rows = rows(opcode);
    let Some(first) = rows.first() else {
        return Err(Unknown::OperationCode);
    };
    if first.service_action.is_none() {
        return if first.is_supported_by(unit) {
            Ok(first)
        } else {
            Err(Unknown::OperationCode)
        };
    }
    rows.iter()
        .find(|row| row.service_action == Some(action) && row.is_supported_by(unit))
        .ok_or(Unknown::ServiceAction)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_without_duplicates() {
        let keys: Vec<_> = COMMANDS
            .iter()
            .map(|c| (c.opcode, c.service_action))
            .collect();
        let mut sorted = keys.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(keys, sorted);
    }

    #[test]
    fn usage_is_as_long_as_the_cdb_of_its_group() {
        for command in COMMANDS {
            let length = match command.opcode >> 5 {
                0 => 6,
                1 | 2 => 10,
                4 => 16,
                _ => 12,
            };
            assert_eq!(command.usage.len(), length, "{}", command.name);
            assert_eq!(command.usage.last(), Some(&4), "{}", command.name);
            if let (Some(action), Some(byte)) = (command.service_action, command.usage.get(1)) {
                assert_eq!(byte & 0x1F, action, "{}", command.name);
            }
        }
    }

    #[test]
    fn what_changes_the_medium_needs_the_right_to_write() {
        for command in COMMANDS.iter().filter(|c| c.changes_medium) {
            assert_eq!(command.class, Class::Always(Write), "{}", command.name);
        }
    }

    #[test]
    fn the_two_classes_that_look_at_the_cdb() {
        let class = |cdb: &[u8]| rows(cdb[0])[0].access(cdb);
        assert_eq!(class(&[0x1B, 0, 0, 0, 0x01, 0]), Exempt);
        assert_eq!(class(&[0x1B, 0, 0, 0, 0x11, 0]), Write);
        assert_eq!(class(&[0x1B, 0, 0, 0, 0x02, 0]), Write);
        assert_eq!(class(&[0x1E, 0, 0, 0, 0, 0]), Exempt);
        assert_eq!(class(&[0x1E, 0, 0, 0, 1, 0]), Write);
    }
}
