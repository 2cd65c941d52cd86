//! The basic header segment that every PDU starts with (RFC 7143 section 11.2.1).
//!
//! ```text
//!  0   |.|I| opcode    |F|  opcode-specific                          |
//!  4   |TotalAHSLength | DataSegmentLength                           |
//!  8   | LUN or opcode-specific (8 bytes)                            |
//! 16   | Initiator Task Tag                                          |
//! 20   | opcode-specific (28 bytes)                                  |
//! ```

use super::codes::Opcode;
use zerocopy::{FromBytes, Immutable, KnownLayout, Unaligned};

/// Bytes of a basic header segment.
pub const BHS_BYTES: usize = 48;
/// Bytes of a header or data digest.
pub const DIGEST_BYTES: usize = 4;
/// Bytes of the longest additional header segments: 255 words.
pub const AHS_BYTES_MAX: usize = 255 * 4;
/// The tag that names nothing (RFC 7143 section 11.2.1.8).
pub const NO_TAG: u32 = 0xffff_ffff;

/// The basic header segment. Fields are read and written at places known when the program is
/// compiled, so no access can fall outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, FromBytes, Immutable, KnownLayout, Unaligned)]
#[repr(transparent)]
pub struct Bhs([u8; BHS_BYTES]);

impl Bhs {
    /// As received.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; BHS_BYTES]) -> Self {
        Self(bytes)
    }

    /// The header at the front of `input`, where it lies, and what follows. Nothing if it is not all
    /// there.
    ///
    /// A copy would be made in other pieces than those that the fields are read in. The processor can't
    /// forward such a store to such a load, and waits until all stores before it are over: behind a
    /// payload just copied, longer than everything else about a command takes.
    #[must_use]
    #[inline]
    pub fn at_front(input: &[u8]) -> Option<(&Self, &[u8])> {
        Self::ref_from_prefix(input).ok()
    }

    /// A header with nothing but its opcode and the opcode-specific byte 1.
    #[must_use]
    pub const fn new(opcode: Opcode, flags: u8) -> Self {
        let mut bytes = [0; BHS_BYTES];
        bytes[0] = opcode.to_wire();
        bytes[1] = flags;
        Self(bytes)
    }

    /// As sent.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; BHS_BYTES] {
        &self.0
    }

    /// What the PDU is.
    #[must_use]
    pub const fn opcode(&self) -> Opcode {
        Opcode::from_wire(self.0[0] & 0x3f)
    }

    /// Marked for immediate delivery.
    #[must_use]
    pub const fn is_immediate(&self) -> bool {
        self.0[0] & 0x40 != 0
    }

    /// Bytes of all additional header segments.
    #[must_use]
    pub const fn ahs_bytes(&self) -> usize {
        self.0[4] as usize * 4
    }

    /// Bytes of the data segment, without padding and digest.
    #[must_use]
    pub const fn data_segment_bytes(&self) -> u32 {
        u32::from_be_bytes([0, self.0[5], self.0[6], self.0[7]])
    }

    /// Initiator Task Tag.
    #[must_use]
    pub const fn initiator_task_tag(&self) -> u32 {
        u32::from_be_bytes(self.field::<16, 4>())
    }

    /// CmdSN, in the requests that carry one.
    #[must_use]
    pub const fn cmd_sn(&self) -> u32 {
        u32::from_be_bytes(self.field::<24, 4>())
    }

    /// The same header before a data segment of `bytes` bytes; more than 24 bits are cut off.
    #[must_use]
    pub const fn with_data(mut self, bytes: u32) -> Self {
        let [_, high, middle, low] = bytes.to_be_bytes();
        self.0[5] = high;
        self.0[6] = middle;
        self.0[7] = low;
        self
    }

    /// The same header before additional header segments of `words` 4-byte words.
    #[must_use]
    pub const fn with_ahs_words(mut self, words: u8) -> Self {
        self.0[4] = words;
        self
    }

    /// Where bytes `AT..AT + N` lie.
    #[allow(
        clippy::indexing_slicing,
        clippy::expect_used,
        reason = "the bound is proven when the call is compiled"
    )]
    pub(super) fn part<const AT: usize, const N: usize>(&self) -> &[u8; N] {
        const { assert!(AT + N <= BHS_BYTES) };
        self.0[AT..].first_chunk().expect("the header is that long")
    }

    /// Bytes `AT..AT + N`.
    #[allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "the bound is proven when the call is compiled"
    )]
    pub(super) const fn field<const AT: usize, const N: usize>(&self) -> [u8; N] {
        const { assert!(AT + N <= BHS_BYTES) };
        let mut out = [0; N];
        let mut at = 0;
        while at < N {
            out[at] = self.0[AT + at];
            at += 1;
        }
        out
    }

    /// Writes bytes `AT..AT + N`.
    #[allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        reason = "the bound is proven when the call is compiled"
    )]
    pub(super) const fn set_field<const AT: usize, const N: usize>(&mut self, value: [u8; N]) {
        const { assert!(AT + N <= BHS_BYTES) };
        let mut at = 0;
        while at < N {
            self.0[AT + at] = value[at];
            at += 1;
        }
    }
}

/// Bytes of padding behind `bytes` bytes: segments end on 4-byte words (RFC 7143 section 11.1).
#[must_use]
pub const fn padding(bytes: u32) -> u32 {
    bytes.wrapping_neg() & 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_and_opcode_stand_where_the_standard_has_them() {
        let mut bytes = [0; BHS_BYTES];
        bytes[0] = 0x41;
        bytes[4] = 2;
        bytes[5..8].copy_from_slice(&[0x01, 0x02, 0x03]);
        let bhs = Bhs::from_bytes(bytes);
        assert_eq!(bhs.opcode(), Opcode::ScsiCommand);
        assert!(bhs.is_immediate());
        assert_eq!(bhs.ahs_bytes(), 8);
        assert_eq!(bhs.data_segment_bytes(), 0x01_02_03);
        assert_eq!(bhs.with_data(5).data_segment_bytes(), 5);
    }

    #[test]
    fn padding_reaches_the_next_word() {
        assert_eq!([0, 1, 2, 3, 4].map(padding), [0, 3, 2, 1, 0]);
    }
}
