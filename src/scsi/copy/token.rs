//! POPULATE TOKEN and WRITE USING TOKEN: copy offload by tokens (SBC-3 sections 5.8, 5.45; SPC-4
//! section 5.17.6).

use super::TOKEN_TYPE;
use super::program::Designator;
use crate::base::limits::{
    TOKEN_BYTES_MAX, TOKEN_RANGES_MAX, TOKEN_TIMEOUT_DEFAULT_S, TOKEN_TIMEOUT_MAX_S,
};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::fields::Fields;
use crate::scsi::plan::{ByteRange, Plan, Reply};
use crate::scsi::sense::{Code, Failure};
use crate::scsi::unit::Geometry;

/// Bytes of a ROD token (SPC-4 section 5.17.6.4).
pub const TOKEN_BYTES: usize = 512;

/// POPULATE TOKEN: make a token that stands for these bytes, as they are when it is used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PopulateToken {
    /// LIST IDENTIFIER.
    pub list_identifier: u32,
    /// Status before it is done.
    pub immediate: bool,
    /// The token ends when it was not used for that long.
    pub inactivity_timeout_s: u32,
    /// The bytes, in order.
    pub ranges: Vec<ByteRange>,
}

/// WRITE USING TOKEN: write what a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WriteUsingToken {
    /// LIST IDENTIFIER.
    pub list_identifier: u32,
    /// Status before it is done.
    pub immediate: bool,
    /// DEL_TKN: the token ends with this command.
    pub delete_token: bool,
    /// What to write.
    pub source: TokenSource,
    /// Where to write, in order.
    pub ranges: Vec<ByteRange>,
}

/// What WRITE USING TOKEN writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenSource {
    /// The well-known token of zeros (type FFFF0001h).
    Zeros,
    /// A token of [`RodToken::encode`], from byte `offset` of what it stands for.
    Token {
        /// The token as the initiator gave it back: compare the whole of it.
        token: RodToken,
        /// OFFSET INTO ROD, in bytes.
        offset: u64,
    },
}

/// A token as this target makes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RodToken {
    /// Which one, never reused.
    pub identifier: u64,
    /// NAA designator of the volume it was made on.
    pub naa: [u8; 8],
    /// Bytes it stands for.
    pub length: u64,
    /// Random bytes that make it impossible to guess.
    pub secret: [u8; 32],
}

/// Block device zero ROD token (SBC-3 section 4.25.5).
const ZERO_TOKEN_TYPE: u32 = 0xFFFF_0001;
/// ROD TOKEN LENGTH: the bytes behind that field.
const TOKEN_LENGTH_FIELD: u16 = 0x01F8;
const SECRET_AT: usize = 128;
const NAA_KIND: u8 = 3;
const BINARY: u8 = 1;

const POPULATE_HEADER_BYTES: usize = 16;
const WRITE_HEADER_BYTES: usize = 536;
const RANGE_BYTES: usize = 16;

/// Of both commands: the list is a header and ranges.
pub(in crate::scsi) fn plan(request: &Request<'_>) -> Planned {
    const POPULATE: u8 = 0x10;
    let length = request.cdb.be32(10);
    let header = match request.cdb.service_action() {
        POPULATE => POPULATE_HEADER_BYTES,
        _ => WRITE_HEADER_BYTES,
    };
    let most = usize::from(TOKEN_RANGES_MAX)
        .saturating_mul(RANGE_BYTES)
        .saturating_add(header);
    if length == 0 {
        return Ok(Plan::Reply(Reply::default()));
    }
    if usize::try_from(length).is_ok_and(|length| length >= header && length <= most) {
        Ok(Plan::Parameters { length })
    } else {
        Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH))
    }
}

pub(in crate::scsi) fn parse_populate(request: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    let wanted_type = list.byte(2) & 0x02 != 0;
    if wanted_type && list.be32(8) != TOKEN_TYPE {
        return Err(Failure::parameter_field(8));
    }
    let inactivity_timeout_s = match list.be32(4) {
        0 => TOKEN_TIMEOUT_DEFAULT_S,
        timeout if timeout <= TOKEN_TIMEOUT_MAX_S => timeout,
        _ => return Err(Failure::parameter_field(4)),
    };
    let ranges = ranges(list, POPULATE_HEADER_BYTES, &request.view.unit.geometry)?;
    Ok(Plan::PopulateToken(Box::new(PopulateToken {
        list_identifier: request.cdb.be32(6),
        immediate: list.bit(2, 0),
        inactivity_timeout_s,
        ranges,
    })))
}

pub(in crate::scsi) fn parse_write(request: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    let geometry = &request.view.unit.geometry;
    let token = list.array(16);
    let source = if Fields(&token).be32(0) == ZERO_TOKEN_TYPE {
        TokenSource::Zeros
    } else {
        let offset = list.be64(8).checked_mul(geometry.block_bytes.into());
        TokenSource::Token {
            token: RodToken::decode(&token)?,
            offset: offset.ok_or(Failure::parameter_field(8))?,
        }
    };
    let ranges = ranges(list, WRITE_HEADER_BYTES, geometry)?;
    Ok(Plan::WriteUsingToken(Box::new(WriteUsingToken {
        list_identifier: request.cdb.be32(6),
        immediate: list.bit(2, 0),
        delete_token: list.bit(2, 1),
        source,
        ranges,
    })))
}

/// The block device range descriptors behind a header whose last two bytes tell their length.
fn ranges(list: Fields<'_>, header: usize, geometry: &Geometry) -> Result<Vec<ByteRange>, Failure> {
    let length_at = header.saturating_sub(2);
    let length = usize::from(list.be16(length_at));
    let descriptors = list.slice(header, length);
    if descriptors.length() != length || length < RANGE_BYTES {
        return Err(Failure::parameter_field(length_at));
    }
    let data_length = usize::from(list.be16(0));
    if data_length.saturating_add(2) < header.saturating_add(length) {
        return Err(Failure::parameter_field(0));
    }
    let block = u64::from(geometry.block_bytes);
    let mut ranges = Vec::with_capacity(length / RANGE_BYTES);
    let mut total = 0_u64;
    for (index, bytes) in descriptors.0.chunks_exact(RANGE_BYTES).enumerate() {
        let descriptor = Fields(bytes);
        let (lba, count) = (descriptor.be64(0), u64::from(descriptor.be32(8)));
        if lba
            .checked_add(count)
            .is_none_or(|end| end > geometry.blocks)
        {
            return Err(Failure::out_of_range(lba));
        }
        let length = count.saturating_mul(block);
        total = total.saturating_add(length);
        if total > TOKEN_BYTES_MAX {
            let at = index.saturating_mul(RANGE_BYTES).saturating_add(header);
            return Err(Failure::parameter_field(at.saturating_add(8)));
        }
        if length != 0 {
            ranges.push(ByteRange {
                offset: lba.saturating_mul(block),
                length,
            });
        }
    }
    Ok(ranges)
}

impl RodToken {
    /// The 512 bytes that the initiator carries around (SPC-4 section 5.17.6.4).
    #[must_use]
    pub fn encode(&self, block_bytes: u32) -> [u8; TOKEN_BYTES] {
        let mut bytes = Vec::with_capacity(TOKEN_BYTES);
        bytes.extend_from_slice(&TOKEN_TYPE.to_be_bytes());
        bytes.extend_from_slice(&[0, 0]);
        bytes.extend_from_slice(&TOKEN_LENGTH_FIELD.to_be_bytes());
        bytes.extend_from_slice(&self.identifier.to_be_bytes());
        let creator = Designator::new(BINARY, 0, NAA_KIND, &self.naa);
        bytes.extend_from_slice(&creator.descriptor(block_bytes));
        bytes.extend_from_slice(&u128::from(self.length).to_be_bytes());
        bytes.resize(SECRET_AT, 0);
        bytes.extend_from_slice(&self.secret);
        Fields(&bytes).array(0)
    }

    /// Reads a token that an initiator gave back.
    ///
    /// # Errors
    /// ILLEGAL REQUEST with the cause, if it cannot be one of this target's.
    pub fn decode(bytes: &[u8; TOKEN_BYTES]) -> Result<Self, Failure> {
        let fields = Fields(bytes);
        if fields.be32(0) != TOKEN_TYPE {
            return Err(Failure::illegal(Code::TOKEN_TYPE_UNSUPPORTED));
        }
        if fields.be16(6) != TOKEN_LENGTH_FIELD {
            return Err(Failure::illegal(Code::TOKEN_LENGTH));
        }
        let token = Self {
            identifier: fields.be64(8),
            naa: fields.array(24),
            length: fields.be64(56),
            secret: fields.array(SECRET_AT),
        };
        let block_bytes = fields.be24(45);
        if token.encode(block_bytes) == *bytes {
            Ok(token)
        } else {
            Err(Failure::illegal(Code::TOKEN_CORRUPT))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::plan_with_parameters;
    use crate::scsi::testing::{failure_code, unit, view};

    const TOKEN: RodToken = RodToken {
        identifier: 0x0102_0304_0506_0708,
        naa: [0x3A; 8],
        length: 1 << 20,
        secret: [0x5C; 32],
    };

    fn cdb(action: u8, data: &[u8]) -> [u8; 16] {
        let mut cdb = [0; 16];
        cdb[..2].copy_from_slice(&[0x83, action]);
        cdb[9] = 0x21;
        cdb[10..14].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
        cdb
    }

    fn ranges(header: usize, data: &mut Vec<u8>, ranges: &[(u64, u32)]) {
        for (lba, count) in ranges {
            data.extend_from_slice(&lba.to_be_bytes());
            data.extend_from_slice(&count.to_be_bytes());
            data.extend_from_slice(&[0; 4]);
        }
        let length = u16::try_from(data.len()).unwrap();
        data[..2].copy_from_slice(&(length - 2).to_be_bytes());
        let list = length - u16::try_from(header).unwrap();
        data[header - 2..header].copy_from_slice(&list.to_be_bytes());
    }

    #[test]
    fn tokens_come_back_as_they_went() {
        let bytes = TOKEN.encode(4096);
        assert_eq!(RodToken::decode(&bytes), Ok(TOKEN));
        for at in [12, 30, 60, 100, 511] {
            let mut forged = bytes;
            forged[at] ^= 1;
            assert_ne!(RodToken::decode(&forged), Ok(TOKEN), "{at}");
        }
        assert!(RodToken::decode(&[0; TOKEN_BYTES]).is_err());
    }

    #[test]
    fn populate_token() {
        let unit = unit();
        let mut data = vec![0; POPULATE_HEADER_BYTES];
        ranges(POPULATE_HEADER_BYTES, &mut data, &[(8, 8), (100, 1)]);
        let planned = plan_with_parameters(&cdb(0x10, &data), &data, &view(&unit));
        let Plan::PopulateToken(populate) = planned else {
            panic!("{planned:?}")
        };
        assert_eq!(populate.list_identifier, 0x21);
        assert_eq!(
            populate.ranges[1],
            ByteRange {
                offset: 51200,
                length: 512
            }
        );
        assert_eq!(populate.inactivity_timeout_s, TOKEN_TIMEOUT_DEFAULT_S);
        let mut far = vec![0; POPULATE_HEADER_BYTES];
        ranges(POPULATE_HEADER_BYTES, &mut far, &[(8192, 1)]);
        let planned = plan_with_parameters(&cdb(0x10, &far), &far, &view(&unit));
        assert_eq!(failure_code(&planned), Some(Code::LBA_OUT_OF_RANGE));
    }

    #[test]
    fn write_using_token() {
        let unit = unit();
        let mut data = vec![0; WRITE_HEADER_BYTES];
        data[15] = 2;
        data[16..528].copy_from_slice(&TOKEN.encode(512));
        ranges(WRITE_HEADER_BYTES, &mut data, &[(0, 4)]);
        let planned = plan_with_parameters(&cdb(0x11, &data), &data, &view(&unit));
        let Plan::WriteUsingToken(write) = planned else {
            panic!("{planned:?}")
        };
        assert_eq!(
            write.source,
            TokenSource::Token {
                token: TOKEN,
                offset: 1024
            }
        );
        data[16..20].copy_from_slice(&ZERO_TOKEN_TYPE.to_be_bytes());
        let planned = plan_with_parameters(&cdb(0x11, &data), &data, &view(&unit));
        let Plan::WriteUsingToken(write) = planned else {
            panic!("{planned:?}")
        };
        assert_eq!(write.source, TokenSource::Zeros);
    }
}
