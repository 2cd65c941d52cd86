//! How I/Os and connections fail, told apart.

use std::collections::BTreeMap;
use std::fmt;

use crate::base::limits::LOAD_FAILURE_KINDS_MAX;
use crate::iscsi::pdu::RejectReason;

/// How one I/O failed. The connection goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FailureKind {
    /// CHECK CONDITION with sense data (SPC-4 section 4.5).
    Sense {
        /// SENSE KEY.
        key: u8,
        /// ADDITIONAL SENSE CODE.
        asc: u8,
        /// ADDITIONAL SENSE CODE QUALIFIER.
        ascq: u8,
    },
    /// Another status than GOOD, without sense data (SAM-5 section 5.3.1).
    Status(u8),
    /// iSCSI response 01h, target failure, or a vendor's (RFC 7143 section 11.4.3).
    Response(u8),
    /// The command was rejected (RFC 7143 section 11.17.1).
    Rejected(u8),
    /// GOOD, with fewer bytes moved than asked for.
    Short,
    /// What was read is not what was written.
    Mismatch(Mismatch),
    /// Kinds beyond those that a run tells apart.
    Other,
}

/// How a block that was read differs from what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Mismatch {
    /// It bears no stamp.
    NoStamp,
    /// Its CRC32C is wrong: it was torn or changed.
    Checksum,
    /// It is another block.
    WrongAddress,
    /// It is what was written before, or belongs to another run.
    WrongGeneration,
}

impl FailureKind {
    /// Reads the data segment of a SCSI Response: SenseLength, then sense data in fixed or
    /// descriptor format (RFC 7143 section 11.4.7, SPC-4 section 4.5).
    #[must_use]
    pub fn from_response(status: u8, segment: &[u8]) -> Self {
        let sense = segment
            .split_first_chunk::<2>()
            .and_then(|(length, sense)| sense.get(..usize::from(u16::from_be_bytes(*length))))
            .unwrap_or_default();
        let fields = match sense.first().map(|code| code & 0x7f) {
            Some(0x70 | 0x71) => (sense.get(2), sense.get(12), sense.get(13)),
            Some(0x72 | 0x73) => (sense.get(1), sense.get(2), sense.get(3)),
            _ => return Self::Status(status),
        };
        let value = |field: Option<&u8>| field.copied().unwrap_or(0);
        Self::Sense {
            key: value(fields.0) & 0x0f,
            asc: value(fields.1),
            ascq: value(fields.2),
        }
    }

    /// Whether the sense key is UNIT ATTENTION.
    #[must_use]
    pub const fn is_unit_attention(&self) -> bool {
        matches!(self, Self::Sense { key: 0x06, .. })
    }
}

impl fmt::Display for FailureKind {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Sense { key, asc, ascq } => {
                write!(out, "{} ({asc:02x}h/{ascq:02x}h)", sense_key_name(*key))?;
                match additional_sense_name(*asc, *ascq) {
                    Some(name) => write!(out, " {name}"),
                    None => Ok(()),
                }
            }
            Self::Status(status) => match status_name(*status) {
                Some(name) => out.write_str(name),
                None => write!(out, "status {status:02x}h"),
            },
            Self::Response(0x01) => out.write_str("target failure"),
            Self::Response(code) => write!(out, "response {code:02x}h"),
            Self::Rejected(reason) => match RejectReason::from_wire(*reason) {
                RejectReason::Unknown(code) => write!(out, "rejected: reason {code:02x}h"),
                reason => write!(out, "rejected: {reason:?}"),
            },
            Self::Short => out.write_str("short transfer"),
            Self::Mismatch(Mismatch::NoStamp) => out.write_str("verify: no stamp"),
            Self::Mismatch(Mismatch::Checksum) => out.write_str("verify: wrong checksum"),
            Self::Mismatch(Mismatch::WrongAddress) => out.write_str("verify: another block"),
            Self::Mismatch(Mismatch::WrongGeneration) => {
                out.write_str("verify: not what was written last")
            }
            Self::Other => out.write_str("further kinds of failure"),
        }
    }
}

/// SPC-4 table 48.
const fn sense_key_name(key: u8) -> &'static str {
    match key {
        0x0 => "NO SENSE",
        0x1 => "RECOVERED ERROR",
        0x2 => "NOT READY",
        0x3 => "MEDIUM ERROR",
        0x4 => "HARDWARE ERROR",
        0x5 => "ILLEGAL REQUEST",
        0x6 => "UNIT ATTENTION",
        0x7 => "DATA PROTECT",
        0x8 => "BLANK CHECK",
        0x9 => "VENDOR SPECIFIC",
        0xa => "COPY ABORTED",
        0xb => "ABORTED COMMAND",
        0xd => "VOLUME OVERFLOW",
        0xe => "MISCOMPARE",
        _ => "RESERVED SENSE KEY",
    }
}

/// The codes of SPC-4 annex F that reads and writes are likely to meet.
const fn additional_sense_name(asc: u8, ascq: u8) -> Option<&'static str> {
    Some(match (asc, ascq) {
        (0x04, 0x04) => "LOGICAL UNIT NOT READY, FORMAT IN PROGRESS",
        (0x04, 0x1b) => "LOGICAL UNIT NOT READY, SANITIZE IN PROGRESS",
        (0x0c, 0x00) => "WRITE ERROR",
        (0x0c, 0x0c) => "WRITE ERROR - UNEXPECTED UNSOLICITED DATA",
        (0x0c, 0x0d) => "WRITE ERROR - NOT ENOUGH UNSOLICITED DATA",
        (0x11, 0x00) => "UNRECOVERED READ ERROR",
        (0x20, 0x00) => "INVALID COMMAND OPERATION CODE",
        (0x21, 0x00) => "LOGICAL BLOCK ADDRESS OUT OF RANGE",
        (0x24, 0x00) => "INVALID FIELD IN CDB",
        (0x25, 0x00) => "LOGICAL UNIT NOT SUPPORTED",
        (0x27, 0x00) => "WRITE PROTECTED",
        (0x27, 0x07) => "SPACE ALLOCATION FAILED WRITE PROTECT",
        (0x29, 0x00) => "POWER ON, RESET, OR BUS DEVICE RESET OCCURRED",
        (0x2a, 0x03) => "RESERVATIONS PREEMPTED",
        (0x2a, 0x04) => "RESERVATIONS RELEASED",
        (0x2a, 0x05) => "REGISTRATIONS PREEMPTED",
        (0x2a, 0x09) => "CAPACITY DATA HAS CHANGED",
        (0x3a, 0x00) => "MEDIUM NOT PRESENT",
        (0x44, 0x00) => "INTERNAL TARGET FAILURE",
        (0x47, 0x05) => "PROTOCOL SERVICE CRC ERROR",
        (0x55, 0x03) => "INSUFFICIENT RESOURCES",
        _ => return None,
    })
}

/// SAM-5 table 33.
const fn status_name(status: u8) -> Option<&'static str> {
    Some(match status {
        0x02 => "CHECK CONDITION without sense data",
        0x04 => "CONDITION MET",
        0x08 => "BUSY",
        0x18 => "RESERVATION CONFLICT",
        0x28 => "TASK SET FULL",
        0x30 => "ACA ACTIVE",
        0x40 => "TASK ABORTED",
        _ => return None,
    })
}

/// Failed I/Os by kind. It holds a bounded number of kinds, whatever the target invents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures(BTreeMap<FailureKind, u64>);

impl Failures {
    /// Counts `count` failures of a kind.
    pub fn add(&mut self, kind: FailureKind, count: u64) {
        let is_room = self.0.len() < LOAD_FAILURE_KINDS_MAX || self.0.contains_key(&kind);
        let kind = if is_room { kind } else { FailureKind::Other };
        let counted = self.0.entry(kind).or_default();
        *counted = counted.saturating_add(count);
    }

    /// Takes in the failures of another part.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(kind, count)| self.add(kind, count));
    }

    /// Each kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (FailureKind, u64)> + '_ {
        self.0.iter().map(|(kind, count)| (*kind, *count))
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.0.values().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sense_is_read_in_both_formats() {
        let mut fixed = [0; 20];
        fixed[..3].copy_from_slice(&[0, 18, 0x70]);
        fixed[4] = 0x06;
        fixed[14] = 0x29;
        let attention = FailureKind::from_response(2, &fixed);
        assert!(attention.is_unit_attention());
        assert_eq!(
            attention.to_string(),
            "UNIT ATTENTION (29h/00h) POWER ON, RESET, OR BUS DEVICE RESET OCCURRED"
        );
        let descriptor = [0, 8, 0x72, 0x05, 0x21, 0x00, 0, 0, 0, 0];
        assert_eq!(
            FailureKind::from_response(2, &descriptor),
            FailureKind::Sense {
                key: 5,
                asc: 0x21,
                ascq: 0
            }
        );
        assert_eq!(
            FailureKind::from_response(0x18, &[]).to_string(),
            "RESERVATION CONFLICT"
        );
        assert_eq!(
            FailureKind::from_response(2, &[0, 9, 0x70]),
            FailureKind::Status(2),
            "a SenseLength beyond the segment"
        );
    }

    #[test]
    fn the_kinds_are_bounded() {
        let mut failures = Failures::default();
        for (asc, ascq) in (0..=255).flat_map(|asc| [(asc, 0), (asc, 1)]) {
            failures.add(FailureKind::Sense { key: 5, asc, ascq }, 1);
        }
        assert_eq!(failures.total(), 512);
        assert_eq!(failures.iter().count(), LOAD_FAILURE_KINDS_MAX + 1);
    }
}
