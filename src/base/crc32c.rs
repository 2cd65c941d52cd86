//! CRC32C (Castagnoli), the digest of RFC 7143 section 12.1, in pieces.

use crc_fast::{CrcAlgorithm, Digest};

/// A digest in progress.
#[derive(Debug, Clone)]
pub struct Crc32c(Digest);

impl Default for Crc32c {
    fn default() -> Self {
        Self(Digest::new(CrcAlgorithm::Crc32Iscsi))
    }
}

impl Crc32c {
    /// Takes in more bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// Where the computation stands, for [`Crc32c::resume`]: the register, not the digest.
    #[must_use]
    pub fn state(&self) -> u32 {
        low_half(self.0.get_state())
    }

    /// A digest in progress that another one has left.
    #[must_use]
    pub fn resume(state: u32) -> Self {
        let algorithm = CrcAlgorithm::Crc32Iscsi;
        Self(Digest::new_with_init_state(algorithm, state.into()))
    }

    /// The digest of everything taken in.
    #[must_use]
    pub fn value(&self) -> u32 {
        low_half(self.0.finalize())
    }
}

/// The digest of `bytes`. On the wire it stands in little-endian order (RFC 7143 section 11.2.3).
#[must_use]
pub fn crc32c(bytes: &[u8]) -> u32 {
    low_half(crc_fast::checksum(CrcAlgorithm::Crc32Iscsi, bytes))
}

#[allow(
    clippy::cast_possible_truncation,
    reason = "a 32-bit CRC is returned in a u64"
)]
const fn low_half(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The test vectors of RFC 3720 appendix B.4.
    #[test]
    fn the_vectors_of_the_rfc() {
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let ascending: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&ascending), 0x46dd_794e);
        let mut digest = Crc32c::default();
        digest.update(&ascending[..5]);
        digest.update(&ascending[5..]);
        assert_eq!(digest.value(), 0x46dd_794e);
    }

    #[test]
    fn a_digest_goes_on_where_another_one_stopped() {
        let bytes: Vec<u8> = (0..=255).cycle().take(1000).collect();
        for cut in [0, 1, 7, 512, 999, 1000] {
            let mut first = Crc32c::default();
            first.update(&bytes[..cut]);
            let mut second = Crc32c::resume(first.state());
            second.update(&bytes[cut..]);
            assert_eq!(second.value(), crc32c(&bytes), "{cut}");
        }
    }
}
