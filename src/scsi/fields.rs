//! Big-endian fields of bytes that a peer sent: CDBs and parameter lists.
//!
//! Every accessor is total. A byte beyond the end reads as zero; who cares whether a field is
//! there checks the length first.

/// A view of a peer's bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    /// How many bytes there are.
    pub(super) const fn length(self) -> usize {
        self.0.len()
    }

    /// The byte at `at`.
    pub(super) fn byte(self, at: usize) -> u8 {
        self.0.get(at).copied().unwrap_or(0)
    }

    /// Bit `bit` of the byte at `at`.
    pub(super) fn bit(self, at: usize, bit: u8) -> bool {
        self.byte(at) & 1_u8.wrapping_shl(u32::from(bit)) != 0
    }

    /// `N` bytes from `at`, as they stand.
    #[inline]
    pub(super) fn array<const N: usize>(self, at: usize) -> [u8; N] {
        let rest = self.0.get(at..).unwrap_or_default();
        if let Some(whole) = rest.first_chunk() {
            return *whole;
        }
        let mut bytes = [0; N];
        for (into, from) in bytes.iter_mut().zip(rest) {
            *into = *from;
        }
        bytes
    }

    /// 16 bits from `at`.
    pub(super) fn be16(self, at: usize) -> u16 {
        u16::from_be_bytes(self.array(at))
    }

    /// 24 bits from `at`.
    pub(super) fn be24(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at)) >> 8
    }

    /// 32 bits from `at`.
    pub(super) fn be32(self, at: usize) -> u32 {
        u32::from_be_bytes(self.array(at))
    }

    /// 64 bits from `at`.
    pub(super) fn be64(self, at: usize) -> u64 {
        u64::from_be_bytes(self.array(at))
    }

    /// The bytes from `at`, at most `length`; fewer if the peer sent fewer.
    pub(super) fn slice(self, at: usize, length: usize) -> Fields<'a> {
        let rest = self.0.get(at..).unwrap_or_default();
        Fields(rest.get(..length).unwrap_or(rest))
    }

    /// SERVICE ACTION in the five low bits of byte 1 (SPC-4 section 4.3.4).
    pub(super) fn service_action(self) -> u8 {
        self.byte(1) & 0x1F
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_reads_as_zero() {
        let fields = Fields(&[0x12, 0x34, 0x56]);
        assert_eq!(fields.be16(0), 0x1234);
        assert_eq!(fields.be24(0), 0x0012_3456);
        assert_eq!(fields.be32(0), 0x1234_5600);
        assert_eq!(fields.be64(2), 0x5600_0000_0000_0000);
        assert_eq!(fields.byte(9), 0);
        assert_eq!(fields.slice(1, 10).0, &[0x34, 0x56]);
        assert_eq!(fields.slice(usize::MAX, usize::MAX).length(), 0);
        assert!(fields.bit(0, 1) && !fields.bit(0, 0));
    }
}
