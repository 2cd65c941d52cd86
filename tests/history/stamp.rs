//! Stamps: blocks that tell who wrote them.

use std::fmt;

use super::lots::Lots;
use super::support::pdu::{u32_at, u64_at};
use super::support::scsi::BLOCK;

const MAGIC: u64 = 0x686f_6c64_6661_7374;

/// Which write of which nexus filled a block. All 512 bytes follow from it, so that a block made of
/// two writes is told from a whole one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    pub(crate) nexus: u32,
    pub(crate) sequence: u32,
    pub(crate) lba: u64,
}

/// What was found in a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Content {
    Zeros,
    Stamp(Stamp),
    /// Neither, in words.
    Broken(String),
}

impl Stamp {
    /// The block with this stamp.
    pub(crate) fn block(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(BLOCK);
        bytes.extend_from_slice(&MAGIC.to_be_bytes());
        bytes.extend_from_slice(&self.nexus.to_be_bytes());
        bytes.extend_from_slice(&self.sequence.to_be_bytes());
        bytes.extend_from_slice(&self.lba.to_be_bytes());
        let own = self.lba ^ u64::from(self.nexus) << 56 ^ u64::from(self.sequence) << 24;
        let mut lots = Lots::new(own);
        while bytes.len() < BLOCK {
            bytes.extend_from_slice(&lots.draw().to_be_bytes());
        }
        bytes
    }

    fn of_head(block: &[u8]) -> Option<Self> {
        (u64_at(block, 0) == MAGIC).then(|| Self {
            nexus: u32_at(block, 8),
            sequence: u32_at(block, 12),
            lba: u64_at(block, 16),
        })
    }
}

impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            nexus,
            sequence,
            lba,
        } = self;
        write!(f, "write {sequence} of nexus {nexus} (stamped {lba})")
    }
}

impl Content {
    /// What a block holds.
    pub(crate) fn of(block: &[u8]) -> Self {
        if block.iter().all(|byte| *byte == 0) {
            return Self::Zeros;
        }
        let Some(stamp) = Stamp::of_head(block) else {
            return Self::Broken(format!("no stamp: {:02x?}…", &block[..32]));
        };
        let whole = stamp.block();
        match block
            .iter()
            .zip(&whole)
            .position(|(is, should)| is != should)
        {
            None => Self::Stamp(stamp),
            Some(at) => Self::Broken(format!("torn at byte {at}: begins as {stamp}")),
        }
    }
}

impl fmt::Display for Content {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zeros => f.write_str("zeros"),
            Self::Stamp(stamp) => stamp.fmt(f),
            Self::Broken(how) => f.write_str(how),
        }
    }
}

#[test]
fn a_block_tells_who_wrote_it_and_whether_it_is_whole() {
    let stamp = |sequence| Stamp {
        nexus: 3,
        sequence,
        lba: 2047,
    };
    let (old, new) = (stamp(6).block(), stamp(7).block());
    assert_eq!(Content::of(&new), Content::Stamp(stamp(7)));
    assert_eq!(Content::of(&[0; BLOCK]), Content::Zeros);
    for at in [16, 24, 256, BLOCK - 1] {
        let torn = [&new[..at], &old[at..]].concat();
        assert!(
            matches!(Content::of(&torn), Content::Broken(_)),
            "torn at {at}"
        );
        let torn = [&new[..at], &vec![0; BLOCK - at]].concat();
        assert!(
            matches!(Content::of(&torn), Content::Broken(_)),
            "torn at {at}"
        );
    }
}
