//! CDBs, sense data and the everyday commands, from the initiator's side (SPC-4, SBC-3).

use super::initiator::{Command, Initiator};
use super::pdu::{u32_at, u64_at};

/// SCSI status codes (SAM-5 section 5.3).
pub mod status {
    pub const GOOD: u8 = 0x00;
    pub const CHECK_CONDITION: u8 = 0x02;
    pub const BUSY: u8 = 0x08;
    pub const RESERVATION_CONFLICT: u8 = 0x18;
    pub const TASK_SET_FULL: u8 = 0x28;
    pub const TASK_ABORTED: u8 = 0x40;
}

/// Bytes of a logical block of the volumes under test, unless they say otherwise.
pub const BLOCK: usize = 512;

/// The residual that came with a status (RFC 7143 section 11.4.5).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Residual {
    #[default]
    None,
    Underflow(u32),
    Overflow(u32),
}

/// How a command ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// iSCSI response code; 0 is "completed at target".
    pub response: u8,
    pub status: u8,
    pub sense: Vec<u8>,
    pub data: Vec<u8>,
    pub residual: Residual,
}

impl Outcome {
    /// Sense key, ASC, ASCQ of fixed or descriptor sense data; zeros when there is none.
    pub fn sense_code(&self) -> (u8, u8, u8) {
        match self.sense.first().map(|code| code & 0x7f) {
            Some(0x70 | 0x71) => (self.sense[2] & 0xf, self.sense[12], self.sense[13]),
            Some(0x72 | 0x73) => (self.sense[1] & 0xf, self.sense[2], self.sense[3]),
            _ => (0, 0, 0),
        }
    }

    pub fn is_good(&self) -> bool {
        self.response == 0 && self.status == status::GOOD
    }

    pub fn is_conflict(&self) -> bool {
        self.status == status::RESERVATION_CONFLICT
    }

    #[track_caller]
    pub fn good(self) -> Vec<u8> {
        assert!(
            self.is_good(),
            "response {} status {:#04x} sense {:02x?}",
            self.response,
            self.status,
            self.sense_code()
        );
        self.data
    }

    #[track_caller]
    pub fn conflict(self) {
        assert!(
            self.is_conflict(),
            "expected RESERVATION CONFLICT, got status {:#04x} sense {:02x?}",
            self.status,
            self.sense_code()
        );
    }

    /// CHECK CONDITION with exactly that sense.
    #[track_caller]
    pub fn check(self, key: u8, asc: u8, ascq: u8) {
        assert_eq!(
            self.status,
            status::CHECK_CONDITION,
            "sense {:02x?}",
            self.sense_code()
        );
        assert_eq!(
            self.sense_code(),
            (key, asc, ascq),
            "sense key/ASC/ASCQ, expected {key:x}/{asc:02x}/{ascq:02x}"
        );
    }
}

/// Sense codes that tests ask for by name.
pub mod sense {
    pub const INVALID_FIELD_IN_CDB: (u8, u8, u8) = (5, 0x24, 0);
    pub const INVALID_FIELD_IN_LIST: (u8, u8, u8) = (5, 0x26, 0);
    pub const PARAMETER_LIST_LENGTH: (u8, u8, u8) = (5, 0x1a, 0);
    pub const INVALID_RELEASE: (u8, u8, u8) = (5, 0x26, 4);
    pub const LBA_OUT_OF_RANGE: (u8, u8, u8) = (5, 0x21, 0);
    pub const INVALID_OPCODE: (u8, u8, u8) = (5, 0x20, 0);
    pub const LUN_NOT_SUPPORTED: (u8, u8, u8) = (5, 0x25, 0);
    pub const MISCOMPARE: (u8, u8, u8) = (0xe, 0x1d, 0);
    pub const RESERVATIONS_PREEMPTED: (u8, u8, u8) = (6, 0x2a, 3);
    pub const RESERVATIONS_RELEASED: (u8, u8, u8) = (6, 0x2a, 4);
    pub const REGISTRATIONS_PREEMPTED: (u8, u8, u8) = (6, 0x2a, 5);
    pub const CAPACITY_CHANGED: (u8, u8, u8) = (6, 0x2a, 9);
    pub const COMMANDS_CLEARED: (u8, u8, u8) = (6, 0x2f, 0);
    pub const POWER_ON: (u8, u8, u8) = (6, 0x29, 0);
    pub const TARGET_RESET: (u8, u8, u8) = (6, 0x29, 2);
    pub const UNIT_RESET: (u8, u8, u8) = (6, 0x29, 3);
    pub const NEXUS_LOSS: (u8, u8, u8) = (6, 0x29, 7);
    pub const MODE_CHANGED: (u8, u8, u8) = (6, 0x2a, 1);
    pub const PREVIOUS_CONFLICT: (u8, u8, u8) = (6, 0x2c, 9);
    /// The unit attentions of PERSISTENT RESERVE OUT.
    pub const ABOUT_RESERVATIONS: [(u8, u8, u8); 3] = [
        RESERVATIONS_PREEMPTED,
        RESERVATIONS_RELEASED,
        REGISTRATIONS_PREEMPTED,
    ];
}

pub fn test_unit_ready() -> [u8; 6] {
    [0; 6]
}

pub fn inquiry(page: Option<u8>, length: u16) -> [u8; 6] {
    let [high, low] = length.to_be_bytes();
    [
        0x12,
        u8::from(page.is_some()),
        page.unwrap_or(0),
        high,
        low,
        0,
    ]
}

fn range16(opcode: u8, flags: u8, lba: u64, blocks: u32) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

fn range10(opcode: u8, flags: u8, lba: u32, blocks: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = opcode;
    cdb[1] = flags;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub fn read10(lba: u32, blocks: u16) -> [u8; 10] {
    range10(0x28, 0, lba, blocks)
}

pub fn read16(lba: u64, blocks: u32) -> [u8; 16] {
    range16(0x88, 0, lba, blocks)
}

pub fn write10(lba: u32, blocks: u16) -> [u8; 10] {
    range10(0x2a, 0, lba, blocks)
}

pub fn write16(lba: u64, blocks: u32) -> [u8; 16] {
    range16(0x8a, 0, lba, blocks)
}

/// WRITE (16) with FUA.
pub fn write16_fua(lba: u64, blocks: u32) -> [u8; 16] {
    range16(0x8a, 0x08, lba, blocks)
}

pub fn write_and_verify10(lba: u32, blocks: u16) -> [u8; 10] {
    range10(0x2e, 0, lba, blocks)
}

pub fn verify10(lba: u32, blocks: u16, bytchk: u8) -> [u8; 10] {
    range10(0x2f, bytchk << 1, lba, blocks)
}

pub fn write_same16(lba: u64, blocks: u32, unmap: bool) -> [u8; 16] {
    range16(0x93, if unmap { 0x08 } else { 0 }, lba, blocks)
}

pub fn orwrite16(lba: u64, blocks: u32) -> [u8; 16] {
    range16(0x8b, 0, lba, blocks)
}

pub fn write_atomic16(lba: u64, blocks: u16) -> [u8; 16] {
    let mut cdb = range16(0x9c, 0, lba, 0);
    cdb[12..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

pub fn prefetch10(lba: u32, blocks: u16) -> [u8; 10] {
    range10(0x34, 0, lba, blocks)
}

pub fn synchronize_cache10() -> [u8; 10] {
    range10(0x35, 0, 0, 0)
}

pub fn compare_and_write(lba: u64, blocks: u8) -> [u8; 16] {
    let mut cdb = range16(0x89, 0, lba, 0);
    cdb[13] = blocks;
    cdb
}

pub fn get_lba_status(lba: u64, length: u32) -> [u8; 16] {
    let mut cdb = range16(0x9e, 0x12, lba, 0);
    cdb[10..14].copy_from_slice(&length.to_be_bytes());
    cdb
}

pub fn read_capacity16() -> [u8; 16] {
    range16(0x9e, 0x10, 0, 32)
}

pub fn unmap(length: u16) -> [u8; 10] {
    range10(0x42, 0, 0, length)
}

/// The parameter list of UNMAP for one range (SBC-3 section 5.28).
pub fn unmap_list(lba: u64, blocks: u32) -> Vec<u8> {
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend_from_slice(&lba.to_be_bytes());
    list.extend_from_slice(&blocks.to_be_bytes());
    list.extend_from_slice(&[0; 4]);
    list
}

pub fn mode_sense6(page: u8) -> [u8; 6] {
    [0x1a, 0x08, page, 0, 255, 0]
}

pub fn report_luns() -> [u8; 12] {
    [0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0]
}

pub fn request_sense() -> [u8; 6] {
    [0x03, 0, 0, 0, 252, 0]
}

/// Blocks filled with a pattern that depends on the seed and on the block's place.
pub fn pattern(seed: u64, blocks: usize) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(blocks * BLOCK);
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    while bytes.len() < blocks * BLOCK {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes
}

impl Initiator {
    /// Takes every unit attention that waits for this nexus; returns their sense codes in order.
    pub fn take_attentions(&mut self) -> Vec<(u8, u8, u8)> {
        let mut taken = Vec::new();
        for _ in 0..32 {
            let outcome = self.none(&test_unit_ready());
            if outcome.is_good() {
                return taken;
            }
            let code = outcome.sense_code();
            assert_eq!(
                code.0, 6,
                "TEST UNIT READY: only unit attentions, got {code:02x?}"
            );
            taken.push(code);
        }
        panic!("unit attentions never end: {taken:02x?}");
    }

    /// The next unit attention is this one, and it is the only one.
    #[track_caller]
    pub fn expect_attention(&mut self, code: (u8, u8, u8)) {
        assert_eq!(
            self.take_attentions(),
            [code],
            "the unit attentions of this nexus"
        );
    }

    /// No unit attention waits.
    #[track_caller]
    pub fn expect_no_attention(&mut self) {
        assert_eq!(
            self.take_attentions(),
            [],
            "the unit attentions of this nexus"
        );
    }

    /// Sets the bits of `mask` in one byte of the control mode page (SPC-4 section 7.5.8) to `value`, for
    /// every nexus.
    pub fn change_control(&mut self, byte: usize, mask: u8, value: u8) {
        let sensed = self.read(&mode_sense6(0x0a), 255).good();
        let mut list = vec![0; 4];
        list.extend_from_slice(&sensed[4..]);
        list[4] &= 0x3f; // PS is reserved in MODE SELECT
        list[4 + byte] = list[4 + byte] & !mask | value;
        let length = u8::try_from(list.len()).expect("one page");
        self.write(&[0x15, 0x10, 0, 0, length, 0], &list).good();
    }

    /// TAS: a command that another nexus ends is answered TASK ABORTED.
    pub fn tell_of_aborts(&mut self) {
        self.change_control(5, 0x40, 0x40);
    }

    pub fn read_blocks(&mut self, lba: u64, blocks: usize) -> Outcome {
        let count = u32::try_from(blocks).expect("a block count fits");
        self.read(&read16(lba, count), blocks * BLOCK)
    }

    pub fn write_blocks(&mut self, lba: u64, data: &[u8]) -> Outcome {
        let count = u32::try_from(data.len() / BLOCK).expect("a block count fits");
        self.write(&write16(lba, count), data)
    }

    pub fn write_blocks_fua(&mut self, lba: u64, data: &[u8]) -> Outcome {
        let count = u32::try_from(data.len() / BLOCK).expect("a block count fits");
        self.write(&write16_fua(lba, count), data)
    }

    pub fn flush(&mut self) -> Outcome {
        self.none(&synchronize_cache10())
    }

    /// Blocks and bytes per block (READ CAPACITY (16)).
    pub fn capacity(&mut self) -> (u64, u32) {
        let data = self.read(&read_capacity16(), 32).good();
        (u64_at(&data, 0) + 1, u32_at(&data, 8))
    }

    pub fn inquire(&mut self, page: Option<u8>) -> Vec<u8> {
        self.run(&Command::read(&inquiry(page, 255), 255)).good()
    }
}
