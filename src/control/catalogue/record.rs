//! What binds a reservation record to its volume.
//!
//! ```text
//! 0   magic "HFVR"                 4   version 1 (u16)         6   zero (u16)
//! 8   the volume's UUID (16 bytes)
//! 24  the record of crate::reservation::encode
//!     CRC32C of all before it (u32)
//! ```
//!
//! Numbers are little-endian. Every volume has a record from the moment it has a row, and it says so
//! where nobody has registered: a record that is missing is damage, not the absence of a reservation.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use uuid::Uuid;

use crate::base::crc32c::crc32c;
use crate::reservation::{self, State};

const MAGIC: [u8; 4] = *b"HFVR";
const VERSION: u16 = 1;

/// Why a record is not believed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// There is none.
    #[error("there is none, although every volume has one")]
    Missing,
    /// It ends too early.
    #[error("it ends after {0} bytes, too early")]
    Truncated(usize),
    /// The bytes are something else.
    #[error("the bytes are no reservation record")]
    Magic,
    /// Another version of the program wrote it.
    #[error("it has version {0}, this program knows {VERSION}")]
    Version(u16),
    /// The checksum does not match the bytes.
    #[error("its checksum is {found:#010x}, the bytes give {computed:#010x}")]
    Checksum {
        /// The checksum in the record.
        found: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// It belongs to another volume.
    #[error("it is the record of volume {0}")]
    OtherVolume(Uuid),
    /// It is whole, but what it says is not believed.
    #[error("{0}")]
    Content(#[from] reservation::DecodeError),
}

/// The row of a volume's record.
pub(super) fn seal(volume: u128, record: &[u8]) -> Vec<u8> {
    let mut row = Vec::with_capacity(record.len().saturating_add(28));
    row.extend(MAGIC);
    row.extend(VERSION.to_le_bytes());
    row.extend([0; 2]);
    row.extend(Uuid::from_u128(volume).into_bytes());
    row.extend(record);
    row.extend(crc32c(&row).to_le_bytes());
    row
}

/// The row of a volume that nobody has registered with.
pub(super) fn seal_empty(volume: u128) -> Vec<u8> {
    seal(volume, &reservation::encode(&State::new()))
}

/// The record in a volume's row, as it was handed to [`seal`].
pub(super) fn open(volume: u128, row: &[u8]) -> Result<&[u8], RecordError> {
    let truncated = || RecordError::Truncated(row.len());
    let (body, checksum) = row.split_last_chunk::<4>().ok_or_else(truncated)?;
    let (head, record) = body.split_first_chunk::<24>().ok_or_else(truncated)?;
    let (magic, head) = head.split_first_chunk::<4>().ok_or_else(truncated)?;
    let (version, head) = head.split_first_chunk::<2>().ok_or_else(truncated)?;
    let owner = head.last_chunk::<16>().ok_or_else(truncated)?;
    if *magic != MAGIC {
        return Err(RecordError::Magic);
    }
    let (found, computed) = (u32::from_le_bytes(*checksum), crc32c(body));
    if found != computed {
        return Err(RecordError::Checksum { found, computed });
    }
    // Only a version whose checksum matches is one: anything else is damage.
    let version = u16::from_le_bytes(*version);
    if version != VERSION {
        return Err(RecordError::Version(version));
    }
    let owner = Uuid::from_bytes(*owner);
    if owner.as_u128() != volume {
        return Err(RecordError::OtherVolume(owner));
    }
    Ok(record)
}

/// What a volume's row says, if all of it is believed.
pub(super) fn state(volume: u128, row: Option<&[u8]>) -> Result<State, RecordError> {
    let record = open(volume, row.ok_or(RecordError::Missing)?)?;
    Ok(reservation::decode(record)?)
}

#[cfg(test)]
#[allow(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests write what the rest may only read"
)]
mod tests {
    use super::*;

    const VOLUME: u128 = 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef;

    #[test]
    fn a_row_is_believed_for_its_volume_alone() {
        let row = seal(VOLUME, b"record");
        assert_eq!(open(VOLUME, &row), Ok(&b"record"[..]));
        let owner = Uuid::from_u128(VOLUME);
        assert_eq!(open(7, &row), Err(RecordError::OtherVolume(owner)));
        assert_eq!(state(VOLUME, None), Err(RecordError::Missing));
        assert_eq!(state(VOLUME, Some(&seal_empty(VOLUME))), Ok(State::new()));
    }

    #[test]
    fn no_flipped_bit_and_no_other_length_is_believed() {
        let row = seal_empty(VOLUME);
        for bit in 0..row.len() * 8 {
            let mut flipped = row.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(open(VOLUME, &flipped).is_err(), "bit {bit}");
        }
        for length in 0..row.len() {
            assert!(open(VOLUME, &row[..length]).is_err(), "{length} bytes");
        }
        let longer = [row.as_slice(), &[0]].concat();
        assert!(open(VOLUME, &longer).is_err());
    }

    #[test]
    fn a_newer_version_is_told_as_such() {
        let mut row = seal_empty(VOLUME);
        row.truncate(row.len() - 4);
        row[4] = 9;
        row.extend(crc32c(&row).to_le_bytes());
        assert_eq!(open(VOLUME, &row), Err(RecordError::Version(9)));
    }
}
