//! The CDBs that load and its preparation need (SPC-4, SBC-3).

use super::super::tally::Direction;

const TEST_UNIT_READY: u8 = 0x00;
const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8a;
const SERVICE_ACTION_IN_16: u8 = 0x9e;
const READ_CAPACITY_16: u8 = 0x10;
const FUA: u8 = 0x08;

/// Bytes that READ CAPACITY(16) returns (SBC-3 section 5.17).
pub(crate) const CAPACITY_BYTES: u32 = 32;

/// How large a logical unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capacity {
    /// Logical blocks.
    pub blocks: u64,
    /// Bytes of a logical block.
    pub block_bytes: u32,
}

impl Capacity {
    /// Bytes of the unit.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.blocks.saturating_mul(self.block_bytes as u64)
    }

    /// From the parameter data of READ CAPACITY(16). `None` if they are cut short, or the block is
    /// no power of two of at least 512 bytes.
    pub(crate) fn parse(data: &[u8]) -> Option<Self> {
        let (last, rest) = data.split_first_chunk::<8>()?;
        let block_bytes = u32::from_be_bytes(*rest.first_chunk()?);
        let blocks = u64::from_be_bytes(*last).checked_add(1)?;
        (block_bytes >= 512 && block_bytes.is_power_of_two()).then_some(Self {
            blocks,
            block_bytes,
        })
    }
}

/// TEST UNIT READY (SPC-4 section 6.47).
pub(crate) const fn test_unit_ready() -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = TEST_UNIT_READY;
    cdb
}

/// READ CAPACITY(16) (SBC-3 section 5.17).
pub(crate) const fn read_capacity() -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = SERVICE_ACTION_IN_16;
    cdb[1] = READ_CAPACITY_16;
    let [.., length] = CAPACITY_BYTES.to_be_bytes();
    cdb[13] = length;
    cdb
}

/// READ(16) or WRITE(16) (SBC-3 sections 5.11 and 5.35).
pub(crate) fn transfer(direction: Direction, lba: u64, blocks: u32, fua: bool) -> [u8; 16] {
    let mut cdb = [0; 16];
    cdb[0] = match direction {
        Direction::Read => READ_16,
        Direction::Write => WRITE_16,
    };
    cdb[1] = if fua { FUA } else { 0 };
    cdb[2..10].copy_from_slice(&lba.to_be_bytes());
    cdb[10..14].copy_from_slice(&blocks.to_be_bytes());
    cdb
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cdbs_have_the_standards_layout() {
        let cdb = transfer(Direction::Write, 0x0102_0304_0506_0708, 0x0a0b_0c0d, true);
        let expected = [
            0x8a, 8, 1, 2, 3, 4, 5, 6, 7, 8, 0x0a, 0x0b, 0x0c, 0x0d, 0, 0,
        ];
        assert_eq!(cdb, expected);
        assert_eq!(read_capacity()[..2], [0x9e, 0x10]);
        assert_eq!(read_capacity()[10..14], [0, 0, 0, 32]);
    }

    #[test]
    fn a_capacity_is_the_last_address_and_one() {
        let mut data = [0; 32];
        data[7] = 0xff;
        data[10] = 0x02;
        let capacity = Capacity::parse(&data).unwrap();
        assert_eq!((capacity.blocks, capacity.block_bytes), (256, 512));
        assert_eq!(capacity.bytes(), 128 << 10);
        assert_eq!(Capacity::parse(&data[..11]), None);
        data[10] = 0;
        assert_eq!(Capacity::parse(&data), None, "no block size");
    }
}
