//! Third-party copy: EXTENDED COPY, its results, and tokens (SPC-4 section 5.17, SBC-3 section 4.25).
//!
//! The rooms here read parameter lists into programs and write reports. Which units a designator
//! reaches, and whether the nexus may read or write them, is decided by who carries the program
//! out: the originator's rights on every source and destination count, not only those here.

pub mod program;
pub mod results;
pub mod token;

/// ROD type of the tokens made here: access upon reference (SPC-4 section 5.17.6.2).
pub(super) const TOKEN_TYPE: u32 = 0x0001_0000;
/// Identification descriptor, the one kind of copy target descriptor (SPC-4 section 6.4.5).
pub(super) const IDENTIFICATION_DESCRIPTOR: u8 = 0xE4;
/// Block device to block device, and the same with byte offsets (SPC-4 section 6.4.6).
pub(super) const SEGMENT_TYPES: [u8; 2] = [BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_WITH_OFFSETS];
const BLOCK_TO_BLOCK: u8 = 0x02;
const BLOCK_TO_BLOCK_WITH_OFFSETS: u8 = 0x0A;
