//! What a command is about to touch, guessed from its CDB before anything of it is checked.

use super::read::{blocks10, blocks16};
use crate::scsi::fields::Fields;
use crate::scsi::plan::ByteRange;
use crate::scsi::unit::Geometry;

const READ_10: u8 = 0x28;
const WRITE_10: u8 = 0x2A;
const READ_16: u8 = 0x88;
const WRITE_16: u8 = 0x8A;

/// What a command will do to some bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ahead {
    /// Read them.
    Read(ByteRange),
    /// Write them.
    Write(ByteRange),
}

impl Ahead {
    /// Which.
    #[must_use]
    pub const fn range(self) -> ByteRange {
        match self {
            Self::Read(range) | Self::Write(range) => range,
        }
    }
}

/// The bytes of a READ or WRITE with 10 or 16 bytes of CDB, which are what initiators keep in flight;
/// nothing for others. The range lies in the volume; that is all that is known of it.
#[must_use]
pub fn ahead(cdb: &[u8; 16], geometry: &Geometry) -> Option<Ahead> {
    let fields = Fields(cdb);
    let (blocks, whose): (_, fn(_) -> _) = match cdb[0] {
        READ_10 => (blocks10(fields), Ahead::Read),
        READ_16 => (blocks16(fields), Ahead::Read),
        WRITE_10 => (blocks10(fields), Ahead::Write),
        WRITE_16 => (blocks16(fields), Ahead::Write),
        _ => return None,
    };
    blocks.range(geometry).ok().map(whose)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing::unit;

    fn guess(bytes: &[u8]) -> Option<Ahead> {
        let mut cdb = [0; 16];
        cdb[..bytes.len()].copy_from_slice(bytes);
        ahead(&cdb, &unit().geometry)
    }

    #[test]
    fn reads_and_writes_tell_their_blocks() {
        let bytes = |blocks: std::ops::Range<u64>| ByteRange {
            offset: blocks.start * 512,
            length: (blocks.end - blocks.start) * 512,
        };
        let of_10 = |operation| guess(&[operation, 0, 0, 0, 0, 7, 0, 0, 8]);
        assert_eq!(of_10(READ_10), Some(Ahead::Read(bytes(7..15))));
        assert_eq!(of_10(WRITE_10), Some(Ahead::Write(bytes(7..15))));
        let of_16 = |operation| guess(&[operation, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 2]);
        assert_eq!(of_16(READ_16), Some(Ahead::Read(bytes(9..11))));
        assert_eq!(of_16(WRITE_16), Some(Ahead::Write(bytes(9..11))));
    }

    #[test]
    fn nothing_is_guessed_of_others_or_beyond_the_volume() {
        assert_eq!(guess(&[0x00]), None, "TEST UNIT READY");
        assert_eq!(guess(&[READ_10, 0, 0xff, 0xff, 0xff, 0xff, 0, 0, 8]), None);
        assert_eq!(
            guess(&[
                READ_16, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff
            ]),
            None
        );
    }
}
