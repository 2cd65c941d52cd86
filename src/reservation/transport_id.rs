//! The iSCSI TransportID on the wire (SPC-4 section 7.6.4.6).
//!
//! ```text
//! byte 0     FORMAT (bits 7–6): 00b name, 01b name and ISID; PROTOCOL IDENTIFIER (bits 3–0): 5h
//! byte 1     reserved
//! bytes 2–3  ADDITIONAL LENGTH: of what follows, at least 20, a multiple of 4
//! bytes 4–n  `name` or `name,i,0xISID`, UTF-8, NUL-terminated and NUL-padded
//! ```
//!
//! Parsing reads through checked views alone: it cannot panic, whatever the bytes.
#![deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::identity::{InitiatorPort, normal_name};
use crate::base::limits::ISCSI_NAME_BYTES_MAX;

const PROTOCOL_ISCSI: u8 = 5;
const FORMAT_NODE: u8 = 0;
const FORMAT_PORT: u8 = 1;
const HEADER_BYTES: usize = 4;
const ADDITIONAL_LENGTH_MIN: usize = 20;
/// Between the name and the ISID's hexadecimal digits.
const SEPARATOR: &str = ",i,0x";

/// Names an iSCSI initiator in a parameter list.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum TransportId {
    /// Format 00b: the node, whatever its ports. The name is in lower case.
    Node(String),
    /// Format 01b: one port.
    Port(InitiatorPort),
}

/// How bytes fail to be an iSCSI TransportID.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TransportIdError {
    /// The bytes end before the identifier does.
    #[error("the identifier is longer than the list that holds it")]
    Truncated,
    /// Another transport's identifier.
    #[error("protocol identifier {0:#x}, expected 0x5 (iSCSI)")]
    Protocol(u8),
    /// A reserved format.
    #[error("format {0}, expected 0 or 1")]
    Format(u8),
    /// A length that the standard forbids.
    #[error("additional length {0}, expected a multiple of 4 from 20 on")]
    Length(u16),
    /// The text is not NUL-terminated UTF-8.
    #[error("the text is not NUL-terminated UTF-8")]
    Text,
    /// The text does not start with an iSCSI name.
    #[error("the text is not an iSCSI name (iqn., eui. or naa., at most 223 bytes)")]
    Name,
    /// The text lacks `,i,0x` and twelve hexadecimal digits behind the name.
    #[error("the text lacks \",i,0x\" and twelve hexadecimal digits")]
    Isid,
}

impl TransportId {
    /// Parses the identifier at the front of `bytes`; gives it and the bytes behind it.
    pub fn parse(bytes: &[u8]) -> Result<(Self, &[u8]), TransportIdError> {
        let (&[first, _, high, low], rest) = bytes
            .split_first_chunk::<HEADER_BYTES>()
            .ok_or(TransportIdError::Truncated)?;
        let protocol = first & 0x0f;
        if protocol != PROTOCOL_ISCSI {
            return Err(TransportIdError::Protocol(protocol));
        }
        let length = u16::from_be_bytes([high, low]);
        if usize::from(length) < ADDITIONAL_LENGTH_MIN || !length.is_multiple_of(4) {
            return Err(TransportIdError::Length(length));
        }
        let (text, rest) = rest
            .split_at_checked(length.into())
            .ok_or(TransportIdError::Truncated)?;
        let text = text_of(text).ok_or(TransportIdError::Text)?;
        let id = match first >> 6 {
            FORMAT_NODE => Self::Node(name_of(text)?),
            FORMAT_PORT => Self::Port(port_of(text)?),
            format => return Err(TransportIdError::Format(format)),
        };
        Ok((id, rest))
    }

    /// Appends the identifier to `out`.
    pub fn emit(&self, out: &mut Vec<u8>) {
        let (format, text) = match self {
            Self::Node(name) => (FORMAT_NODE, name.clone()),
            Self::Port(port) => (FORMAT_PORT, port.to_string()),
        };
        let length = text
            .len()
            .saturating_add(1)
            .next_multiple_of(HEADER_BYTES)
            .max(ADDITIONAL_LENGTH_MIN);
        let padding = length.saturating_sub(text.len());
        out.extend([(format << 6) | PROTOCOL_ISCSI, 0]);
        out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(text.bytes());
        out.extend(std::iter::repeat_n(0, padding));
    }

    /// The name of the node, in lower case.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Node(name) => name,
            Self::Port(port) => port.name(),
        }
    }
}

fn text_of(padded: &[u8]) -> Option<&str> {
    let text = padded.split(|byte| *byte == 0).next()?;
    if text.len() == padded.len() {
        return None;
    }
    std::str::from_utf8(text).ok()
}

/// The name in lower case, if it has one of the three forms of RFC 7143 section 4.2.7.
fn name_of(text: &str) -> Result<String, TransportIdError> {
    let name = normal_name(text);
    let formed = ["iqn.", "eui.", "naa."]
        .iter()
        .any(|prefix| name.starts_with(prefix));
    let odd = |c: char| c.is_control() || c.is_whitespace() || c == ',';
    if !formed || text.len() > ISCSI_NAME_BYTES_MAX || name.contains(odd) {
        return Err(TransportIdError::Name);
    }
    Ok(name)
}

fn port_of(text: &str) -> Result<InitiatorPort, TransportIdError> {
    let text = normal_name(text);
    let (name, digits) = text.rsplit_once(SEPARATOR).ok_or(TransportIdError::Isid)?;
    if digits.len() != 12 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(TransportIdError::Isid);
    }
    let value = u64::from_str_radix(digits, 16).map_err(|_| TransportIdError::Isid)?;
    let [_, _, isid @ ..] = value.to_be_bytes();
    Ok(InitiatorPort::new(&name_of(name)?, isid))
}

#[cfg(test)]
#[allow(clippy::indexing_slicing, reason = "tests build their own bytes")]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ISID: [u8; 6] = [0x40, 0, 1, 0x37, 0, 0xff];

    fn emitted(id: &TransportId) -> Vec<u8> {
        let mut bytes = Vec::new();
        id.emit(&mut bytes);
        bytes
    }

    #[test]
    fn a_port_is_written_in_format_01() {
        let bytes = emitted(&TransportId::Port(InitiatorPort::new(
            "iqn.2024-01.x:n",
            ISID,
        )));
        assert_eq!(bytes[..4], [0x45, 0, 0, 36]);
        assert_eq!(&bytes[4..36], b"iqn.2024-01.x:n,i,0x4000013700ff");
        assert_eq!(bytes[36..], [0; 4]);
    }

    #[test]
    fn a_node_is_written_in_format_00() {
        let bytes = emitted(&TransportId::Node("iqn.2024-01.x".into()));
        assert_eq!(bytes[..4], [0x05, 0, 0, 20]);
        assert_eq!(&bytes[4..17], b"iqn.2024-01.x");
        assert_eq!(bytes[17..], [0; 7]);
    }

    #[test]
    fn each_violation_has_its_error() {
        let good = emitted(&TransportId::Port(InitiatorPort::new(
            "iqn.2024-01.x:n",
            ISID,
        )));
        let with = |at: usize, byte: u8| {
            let mut bytes = good.clone();
            bytes[at] = byte;
            TransportId::parse(&bytes).unwrap_err()
        };
        assert_eq!(with(0, 0x46), TransportIdError::Protocol(6));
        assert_eq!(with(0, 0x85), TransportIdError::Format(2));
        assert_eq!(with(3, 16), TransportIdError::Length(16));
        assert_eq!(with(3, 37), TransportIdError::Length(37));
        assert_eq!(with(3, 40), TransportIdError::Truncated);
        assert_eq!(
            with(3, 32),
            TransportIdError::Text,
            "the terminating NUL is cut off"
        );
        assert_eq!(with(4, 0xff), TransportIdError::Text);
        assert_eq!(with(4, b'x'), TransportIdError::Name);
        assert_eq!(with(35, b'g'), TransportIdError::Isid);
        assert_eq!(with(35, 0), TransportIdError::Isid);
        assert_eq!(
            with(0, 0x05),
            TransportIdError::Name,
            "a name alone has no comma"
        );
        assert_eq!(
            TransportId::parse(&good[..3]),
            Err(TransportIdError::Truncated)
        );
    }

    #[test]
    fn the_rest_of_a_list_is_handed_back() {
        let mut list = emitted(&TransportId::Node("IQN.2024-01.x".into()));
        list.extend([1, 2, 3]);
        let (id, rest) = TransportId::parse(&list).unwrap();
        assert_eq!(id, TransportId::Node("iqn.2024-01.x".into()));
        assert_eq!(rest, [1, 2, 3]);
    }

    proptest! {
        #[test]
        fn what_is_emitted_parses_back(name in "iqn\\.[a-z0-9.:-]{0,219}", isid: [u8; 6], node: bool) {
            let id = if node {
                TransportId::Node(name)
            } else {
                TransportId::Port(InitiatorPort::new(&name, isid))
            };
            let bytes = emitted(&id);
            prop_assert_eq!(TransportId::parse(&bytes), Ok((id, &[][..])));
        }

        #[test]
        fn arbitrary_bytes_do_not_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = TransportId::parse(&bytes);
        }
    }
}
