//! Additional header segments (RFC 7143 section 11.2.2).
//!
//! ```text
//! 0  | AHSLength (2 bytes, without these 3) | AHSType | type-specific … padding to a word |
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

const EXTENDED_CDB: u8 = 1;
const BIDIRECTIONAL_READ_LENGTH: u8 = 2;

/// What the additional header segments of a SCSI Command say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AdditionalHeaders<'a> {
    /// CDB bytes behind the 16 of the header; empty if there are none.
    pub extended_cdb: &'a [u8],
    /// Expected Bidirectional Read Data Length, in bytes.
    pub bidirectional_read_length: Option<u32>,
}

/// A segment that is cut short or has the wrong length for its type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed additional header segment")]
pub struct MalformedAhs;

impl<'a> AdditionalHeaders<'a> {
    /// Reads all segments; those of unknown type are passed over.
    ///
    /// # Errors
    /// When a segment does not fit what is there.
    pub fn parse(mut bytes: &'a [u8]) -> Result<Self, MalformedAhs> {
        let mut headers = Self::default();
        while let Some((head, rest)) = bytes.split_first_chunk::<3>() {
            let [high, low, kind] = *head;
            let length = usize::from(u16::from_be_bytes([high, low]));
            let content = rest.get(..length).ok_or(MalformedAhs)?;
            match (kind, content) {
                (EXTENDED_CDB, [_reserved, cdb @ ..]) => headers.extended_cdb = cdb,
                (BIDIRECTIONAL_READ_LENGTH, &[_reserved, a, b, c, d]) => {
                    headers.bidirectional_read_length = Some(u32::from_be_bytes([a, b, c, d]));
                }
                (EXTENDED_CDB | BIDIRECTIONAL_READ_LENGTH, _) => return Err(MalformedAhs),
                _ => {}
            }
            let padded = length.saturating_add(3).next_multiple_of(4);
            bytes = bytes.get(padded..).unwrap_or_default();
        }
        if bytes.is_empty() {
            Ok(headers)
        } else {
            Err(MalformedAhs)
        }
    }

    /// Appends the segments, for an initiator.
    pub fn emit(&self, out: &mut Vec<u8>) {
        if !self.extended_cdb.is_empty() {
            segment(out, EXTENDED_CDB, self.extended_cdb);
        }
        if let Some(length) = self.bidirectional_read_length {
            segment(out, BIDIRECTIONAL_READ_LENGTH, &length.to_be_bytes());
        }
    }
}

/// A segment of a reserved byte and `content`.
fn segment(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    let length = u16::try_from(content.len().saturating_add(1)).unwrap_or(u16::MAX);
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(&[kind, 0]);
    out.extend_from_slice(content);
    out.resize(out.len().next_multiple_of(4), 0);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn both_kinds_come_back_as_emitted() {
        let headers = AdditionalHeaders {
            extended_cdb: &[7; 17],
            bidirectional_read_length: Some(0x0102_0304),
        };
        let mut bytes = Vec::new();
        headers.emit(&mut bytes);
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(AdditionalHeaders::parse(&bytes), Ok(headers));
    }

    #[test]
    fn a_length_beyond_the_end_is_refused() {
        assert_eq!(
            AdditionalHeaders::parse(&[0xff, 0xff, 1, 0]),
            Err(MalformedAhs)
        );
        assert_eq!(AdditionalHeaders::parse(&[0, 0, 1, 0]), Err(MalformedAhs));
        assert_eq!(
            AdditionalHeaders::parse(&[0, 2, 2, 0, 0, 0, 0, 0]),
            Err(MalformedAhs)
        );
    }

    proptest! {
        #[test]
        fn any_bytes_parse_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..1100)) {
            let _ = AdditionalHeaders::parse(&bytes);
        }
    }
}
