//! Sense data: why a command failed, in fixed and in descriptor format (SPC-4 section 4.5).
//!
//! A [`Sense`] is what happened; [`Sense::encode`] writes it in the format that D_SENSE of the
//! control mode page chose. A [`Failure`] is the status with the sense that goes with it.

pub use super::sense_code::Code;
use super::status::Status;
use crate::reservation::{FieldPointer, Refusal};

/// The sense key: the class of what happened (SPC-4 table 48).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SenseKey {
    /// Nothing to report.
    NoSense = 0x0,
    /// Done, with some recovery by the device.
    RecoveredError = 0x1,
    /// The logical unit cannot be accessed.
    NotReady = 0x2,
    /// A flaw of the medium.
    MediumError = 0x3,
    /// A failure of the device.
    HardwareError = 0x4,
    /// A field of the CDB or of the parameter list is wrong.
    IllegalRequest = 0x5,
    /// Something changed that the initiator has to know.
    UnitAttention = 0x6,
    /// The medium is write protected.
    DataProtect = 0x7,
    /// Blank or non-blank medium where the other was expected.
    BlankCheck = 0x8,
    /// EXTENDED COPY or a token operation failed (SPC-4 section 6.4).
    CopyAborted = 0xA,
    /// The device server aborted the command.
    AbortedCommand = 0xB,
    /// The source data did not match the medium.
    Miscompare = 0xE,
}

/// What the sense-key specific bytes carry (SPC-4 section 4.5.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Specific {
    /// The field of the CDB at fault: byte, and bit if one is to blame.
    CdbField {
        /// The byte at fault.
        byte: u16,
        /// The bit at fault.
        bit: Option<u8>,
    },
    /// The field of the parameter list at fault.
    ParameterField {
        /// The byte at fault.
        byte: u16,
        /// The bit at fault.
        bit: Option<u8>,
    },
    /// How far a running operation has come, in 65536ths.
    Progress(u16),
    /// The segment of a copy that failed, and where in its descriptor (SPC-4 section 4.5.2.4.4).
    Segment {
        /// Byte of the descriptor at fault, from the start of the parameter list.
        byte: u16,
    },
}

/// Why a command did not end with GOOD.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sense {
    /// The sense key.
    pub key: SenseKey,
    /// Additional sense code and qualifier.
    pub code: Code,
    /// INFORMATION: an LBA, an offset or a count, as the code defines.
    pub information: Option<u64>,
    /// COMMAND-SPECIFIC INFORMATION.
    pub command_specific: Option<u64>,
    /// Sense-key specific bytes.
    pub specific: Option<Specific>,
}

/// The most bytes that [`Sense::encode`] writes.
pub const SENSE_BYTES_MAX: usize = 48;

/// A status other than GOOD, with its sense data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    /// The status.
    pub status: Status,
    /// Sense data; with CHECK CONDITION only.
    pub sense: Option<Sense>,
}

impl Failure {
    /// Status RESERVATION CONFLICT.
    pub const RESERVATION_CONFLICT: Self = Self {
        status: Status::ReservationConflict,
        sense: None,
    };
    /// Status BUSY.
    pub const BUSY: Self = Self {
        status: Status::Busy,
        sense: None,
    };

    /// CHECK CONDITION with a key and a code.
    #[must_use]
    pub const fn check(key: SenseKey, code: Code) -> Self {
        Sense::new(key, code).failure()
    }

    /// CHECK CONDITION, ILLEGAL REQUEST with that code.
    #[must_use]
    pub const fn illegal(code: Code) -> Self {
        Self::check(SenseKey::IllegalRequest, code)
    }

    /// INVALID FIELD IN CDB at that byte.
    #[must_use]
    pub const fn cdb_field(byte: u16) -> Self {
        Self::field(
            Code::INVALID_FIELD_IN_CDB,
            Specific::CdbField { byte, bit: None },
        )
    }

    /// INVALID FIELD IN CDB at that bit.
    #[must_use]
    pub const fn cdb_bit(byte: u16, bit: u8) -> Self {
        let bit = Some(bit);
        Self::field(Code::INVALID_FIELD_IN_CDB, Specific::CdbField { byte, bit })
    }

    /// INVALID FIELD IN PARAMETER LIST at that byte; far bytes count as 65535.
    #[must_use]
    pub fn parameter_field(byte: usize) -> Self {
        let byte = u16::try_from(byte).unwrap_or(u16::MAX);
        Self::field(
            Code::INVALID_FIELD_IN_PARAMETERS,
            Specific::ParameterField { byte, bit: None },
        )
    }

    /// LOGICAL BLOCK ADDRESS OUT OF RANGE, with the first address that is.
    #[must_use]
    pub const fn out_of_range(lba: u64) -> Self {
        Sense {
            information: Some(lba),
            ..Sense::new(SenseKey::IllegalRequest, Code::LBA_OUT_OF_RANGE)
        }
        .failure()
    }

    const fn field(code: Code, specific: Specific) -> Self {
        Sense {
            specific: Some(specific),
            ..Sense::new(SenseKey::IllegalRequest, code)
        }
        .failure()
    }
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        let (asc, ascq, field) = match refusal {
            Refusal::Conflict => return Self::RESERVATION_CONFLICT,
            Refusal::InsufficientResources => {
                return Self::illegal(Code::INSUFFICIENT_REGISTRATIONS);
            }
            Refusal::IllegalRequest { asc, ascq, field } => (asc, ascq, field),
        };
        let specific = field.map(|field| match field {
            FieldPointer::Cdb(byte) => Specific::CdbField { byte, bit: None },
            FieldPointer::Parameters(byte) => Specific::ParameterField { byte, bit: None },
        });
        Sense {
            specific,
            ..Sense::new(SenseKey::IllegalRequest, Code { asc, ascq })
        }
        .failure()
    }
}

impl Sense {
    /// Sense data without further details.
    #[must_use]
    pub const fn new(key: SenseKey, code: Code) -> Self {
        Self {
            key,
            code,
            information: None,
            command_specific: None,
            specific: None,
        }
    }

    /// The sense data of a MISCOMPARE, with the offset of the first byte that differs
    /// (SBC-3 sections 5.2 and 5.29).
    #[must_use]
    pub const fn miscompare(offset: u64) -> Self {
        Self {
            information: Some(offset),
            ..Self::new(SenseKey::Miscompare, Code::MISCOMPARE)
        }
    }

    /// CHECK CONDITION with this sense data.
    #[must_use]
    pub const fn failure(self) -> Failure {
        Failure {
            status: Status::CheckCondition,
            sense: Some(self),
        }
    }

    /// Writes the sense data into `into`, in descriptor format if `descriptor` (D_SENSE), and
    /// tells how many bytes.
    #[must_use]
    pub fn encode(&self, descriptor: bool, into: &mut [u8; SENSE_BYTES_MAX]) -> usize {
        let mut bytes = SenseBytes { into, length: 0 };
        if descriptor {
            self.encode_descriptors(&mut bytes);
        } else {
            self.encode_fixed(&mut bytes);
        }
        bytes.length
    }

    /// The sense data as a vector, for parameter data that carries some.
    #[must_use]
    pub fn to_vec(&self, descriptor: bool) -> Vec<u8> {
        let mut bytes = [0; SENSE_BYTES_MAX];
        let length = self.encode(descriptor, &mut bytes);
        bytes.get(..length).unwrap_or_default().to_vec()
    }

    /// Fixed format, response code 70h (SPC-4 section 4.5.3). INFORMATION holds 32 bits; a value
    /// that needs more leaves VALID clear.
    fn encode_fixed(&self, bytes: &mut SenseBytes<'_>) {
        let information = self.information.and_then(|i| u32::try_from(i).ok());
        let valid = if information.is_some() { 0x80 } else { 0 };
        bytes.put(&[valid | 0x70, 0, self.key as u8]);
        bytes.put(&information.unwrap_or(0).to_be_bytes());
        bytes.put(&[10]);
        let specific = self.command_specific.and_then(|c| u32::try_from(c).ok());
        bytes.put(&specific.unwrap_or(0).to_be_bytes());
        bytes.put(&[self.code.asc, self.code.ascq, 0]);
        bytes.put(&self.specific.map_or([0; 3], Specific::encode));
    }

    /// Descriptor format, response code 72h (SPC-4 section 4.5.2).
    fn encode_descriptors(&self, bytes: &mut SenseBytes<'_>) {
        bytes.put(&[0x72, self.key as u8, self.code.asc, self.code.ascq, 0, 0, 0]);
        let length_at = bytes.length;
        bytes.put(&[0]);
        if let Some(information) = self.information {
            bytes.put(&[0x00, 0x0A, 0x80, 0]);
            bytes.put(&information.to_be_bytes());
        }
        if let Some(command_specific) = self.command_specific {
            bytes.put(&[0x01, 0x0A, 0, 0]);
            bytes.put(&command_specific.to_be_bytes());
        }
        if let Some(specific) = self.specific {
            bytes.put(&[0x02, 0x06, 0, 0]);
            bytes.put(&specific.encode());
            bytes.put(&[0]);
        }
        let additional = u8::try_from(bytes.length.saturating_sub(8)).unwrap_or(u8::MAX);
        if let Some(byte) = bytes.into.get_mut(length_at) {
            *byte = additional;
        }
    }
}

impl Specific {
    /// The three bytes with SKSV set.
    fn encode(self) -> [u8; 3] {
        let (head, value) = match self {
            Self::CdbField { byte, bit } => (0xC0 | bit_pointer(bit), byte),
            Self::ParameterField { byte, bit } => (0x80 | bit_pointer(bit), byte),
            Self::Progress(progress) => (0x80, progress),
            Self::Segment { byte } => (0x80, byte),
        };
        let [high, low] = value.to_be_bytes();
        [head, high, low]
    }
}

/// BPV and BIT POINTER.
const fn bit_pointer(bit: Option<u8>) -> u8 {
    match bit {
        Some(bit) => 0x08 | (bit & 0x07),
        None => 0,
    }
}

/// A cursor over the space for sense data; what does not fit is left out.
struct SenseBytes<'a> {
    into: &'a mut [u8; SENSE_BYTES_MAX],
    length: usize,
}

impl SenseBytes<'_> {
    fn put(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        if let Some(space) = self.into.get_mut(self.length..end) {
            space.copy_from_slice(bytes);
            self.length = end;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fixed_format_is_eighteen_bytes() {
        let failure = Failure::out_of_range(0x0102_0304);
        let sense = failure.sense.unwrap();
        assert_eq!(
            sense.to_vec(false),
            [0xF0, 0, 5, 1, 2, 3, 4, 10, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0]
        );
        let far = Failure::out_of_range(u64::MAX).sense.unwrap();
        assert_eq!(
            far.to_vec(false).first(),
            Some(&0x70),
            "VALID needs 32 bits"
        );
    }

    #[test]
    fn descriptor_format_carries_what_there_is() {
        let sense = Failure::cdb_bit(2, 5).sense.unwrap();
        assert_eq!(
            sense.to_vec(true),
            [0x72, 5, 0x24, 0, 0, 0, 0, 8, 2, 6, 0, 0, 0xCD, 0, 2, 0]
        );
        let sense = Sense::miscompare(0x1_0000_0001);
        assert_eq!(
            sense.to_vec(true),
            [
                0x72, 0xE, 0x1D, 0, 0, 0, 0, 12, 0, 10, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 1
            ]
        );
    }

    #[test]
    fn everything_at_once_fits() {
        let sense = Sense {
            information: Some(u64::MAX),
            command_specific: Some(u64::MAX),
            specific: Some(Specific::Progress(9)),
            ..Sense::new(SenseKey::CopyAborted, Code::NONE)
        };
        assert_eq!(sense.to_vec(true).len(), 40);
        assert_eq!(sense.to_vec(true).get(7), Some(&32));
    }

    #[test]
    fn refusals_become_failures() {
        assert_eq!(
            Failure::from(Refusal::Conflict).status,
            Status::ReservationConflict
        );
        let sense = Failure::from(Refusal::cdb_field(2)).sense.unwrap();
        assert_eq!(sense.code, Code::INVALID_FIELD_IN_CDB);
        assert_eq!(
            sense.specific,
            Some(Specific::CdbField { byte: 2, bit: None })
        );
    }
}
