//! Commands that read and write logical blocks (SBC-3 section 5, SBC-4 for WRITE ATOMIC and BYTCHK).
//!
//! A room for each family. What they share is here: from an LBA and a count to a checked
//! [`ByteRange`].

mod ahead;
pub(super) mod cache;
pub(super) mod defects;
pub mod lba_status;
pub(super) mod read;
pub(super) mod unmap;
pub(super) mod verify;
pub(super) mod write;
pub(super) mod write_same;

pub use ahead::{Ahead, ahead};

use super::plan::{ByteRange, Plan, Reply};
use super::sense::Failure;
use super::unit::Geometry;
use crate::base::limits::TRANSFER_BYTES_MAX;

/// Where a command's blocks stand in its CDB, and where its count does.
#[derive(Debug, Clone, Copy)]
struct Blocks {
    lba: u64,
    count: u64,
    /// First byte of the count, for the field pointer of a length that is too long.
    count_at: u16,
}

impl Blocks {
    /// The bytes of the blocks, or LOGICAL BLOCK ADDRESS OUT OF RANGE.
    ///
    /// No blocks at all just behind the last block are in range (SBC-3 section 4.5: the sum must
    /// not exceed the capacity).
    fn range(self, geometry: &Geometry) -> Result<ByteRange, Failure> {
        let end = self.lba.checked_add(self.count);
        if end.is_none_or(|end| end > geometry.blocks) {
            return Err(Failure::out_of_range(self.lba.max(geometry.blocks)));
        }
        let bytes = u64::from(geometry.block_bytes);
        Ok(ByteRange {
            offset: self.lba.saturating_mul(bytes),
            length: self.count.saturating_mul(bytes),
        })
    }

    /// As [`Blocks::range`], for a command that moves the bytes: no more than MAXIMUM TRANSFER
    /// LENGTH of the block limits page.
    fn transfer(self, geometry: &Geometry) -> Result<ByteRange, Failure> {
        let range = self.range(geometry)?;
        if range.length > TRANSFER_BYTES_MAX {
            return Err(Failure::cdb_field(self.count_at));
        }
        Ok(range)
    }

    /// As [`Blocks::range`], where a count of zero means up to the last block.
    fn range_to_end(self, geometry: &Geometry) -> Result<ByteRange, Failure> {
        if self.count != 0 {
            return self.range(geometry);
        }
        let count = geometry.blocks.saturating_sub(self.lba);
        Self { count, ..self }.range(geometry)
    }
}

/// GOOD without data: what a transfer of no blocks comes to.
const NOTHING: Plan = Plan::Reply(Reply { data: Vec::new() });

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::sense::Code;

    const GEOMETRY: Geometry = Geometry {
        block_bytes: 4096,
        blocks: 100,
        physical_exponent: 0,
        lowest_aligned: 0,
    };

    fn blocks(lba: u64, count: u64) -> Blocks {
        Blocks {
            lba,
            count,
            count_at: 10,
        }
    }

    #[test]
    fn ranges_are_bytes_and_stay_inside() {
        let range = blocks(1, 99).range(&GEOMETRY).unwrap();
        assert_eq!(
            range,
            ByteRange {
                offset: 4096,
                length: 99 * 4096
            }
        );
        assert!(blocks(100, 0).range(&GEOMETRY).is_ok());
        for (lba, count) in [(1, 100), (100, 1), (101, 0), (u64::MAX, 1), (u64::MAX, 0)] {
            let sense = blocks(lba, count)
                .range(&GEOMETRY)
                .unwrap_err()
                .sense
                .unwrap();
            assert_eq!(sense.code, Code::LBA_OUT_OF_RANGE);
            assert_eq!(sense.information, Some(lba.max(100)));
        }
    }

    #[test]
    fn a_count_of_zero_may_mean_the_rest() {
        assert_eq!(
            blocks(40, 0).range_to_end(&GEOMETRY).unwrap().length,
            60 * 4096
        );
        assert!(blocks(101, 0).range_to_end(&GEOMETRY).is_err());
    }

    #[test]
    fn transfers_are_bounded() {
        let huge = Geometry {
            blocks: 1 << 40,
            ..GEOMETRY
        };
        let most = TRANSFER_BYTES_MAX / 4096;
        assert!(blocks(0, most).transfer(&huge).is_ok());
        let failure = blocks(0, most + 1).transfer(&huge).unwrap_err();
        assert_eq!(failure, Failure::cdb_field(10));
    }
}
