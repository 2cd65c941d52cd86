//! Third-party copy (8Fh): what the copy manager can do (SPC-4 section 7.8.17).

use crate::base::limits::{
    COPIES_CONCURRENT_MAX, COPY_DESCRIPTOR_BYTES_MAX, COPY_SEGMENT_BYTES_MAX, COPY_SEGMENTS_MAX,
    COPY_TARGETS_MAX, TOKEN_BYTES_MAX, TOKEN_RANGES_MAX, TOKEN_TIMEOUT_DEFAULT_S,
    TOKEN_TIMEOUT_MAX_S,
};
use crate::scsi::copy::{IDENTIFICATION_DESCRIPTOR, SEGMENT_TYPES, TOKEN_TYPE};
use crate::scsi::table;
use crate::scsi::unit::LogicalUnit;

const TOKEN_LIMITS: u16 = 0x0000;
const SUPPORTED_COMMANDS: u16 = 0x0001;
const PARAMETER_DATA: u16 = 0x0004;
const SUPPORTED_DESCRIPTORS: u16 = 0x0008;
const ROD_TYPES: u16 = 0x0108;
const GENERAL_OPERATIONS: u16 = 0x8001;

/// TOKEN_IN and TOKEN_OUT: tokens of this type may be used and are made.
const TOKEN_IN_OUT: u8 = 0x03;

pub(super) fn body(unit: &LogicalUnit) -> Vec<u8> {
    let mut body = Vec::new();
    push(&mut body, TOKEN_LIMITS, &token_limits(unit));
    push(&mut body, SUPPORTED_COMMANDS, &supported_commands());
    push(&mut body, PARAMETER_DATA, &parameter_data());
    push(&mut body, SUPPORTED_DESCRIPTORS, &supported_descriptors());
    push(&mut body, ROD_TYPES, &rod_types());
    push(&mut body, GENERAL_OPERATIONS, &general_operations(unit));
    body
}

/// A descriptor: type, length, content padded to four bytes.
fn push(body: &mut Vec<u8>, kind: u16, content: &[u8]) {
    let padded = content.len().next_multiple_of(4);
    let length = u16::try_from(padded).unwrap_or(u16::MAX);
    body.extend_from_slice(&kind.to_be_bytes());
    body.extend_from_slice(&length.to_be_bytes());
    body.extend_from_slice(content);
    body.resize(
        body.len()
            .saturating_add(padded.saturating_sub(content.len())),
        0,
    );
}

/// SBC-3 section 6.6.6.3.
fn token_limits(unit: &LogicalUnit) -> Vec<u8> {
    let most = TOKEN_BYTES_MAX
        .checked_div(u64::from(unit.geometry.block_bytes))
        .unwrap_or(0);
    let mut content = vec![0; 6];
    content.extend_from_slice(&TOKEN_RANGES_MAX.to_be_bytes());
    content.extend_from_slice(&TOKEN_TIMEOUT_MAX_S.to_be_bytes());
    content.extend_from_slice(&TOKEN_TIMEOUT_DEFAULT_S.to_be_bytes());
    content.extend_from_slice(&most.to_be_bytes());
    content.extend_from_slice(&most.to_be_bytes());
    content
}

/// The service actions of the two operation codes, from the command table.
fn supported_commands() -> Vec<u8> {
    let mut list = Vec::new();
    for opcode in [0x83, 0x84] {
        let actions: Vec<u8> = table::rows(opcode)
            .iter()
            .filter_map(|row| row.service_action)
            .collect();
        list.extend_from_slice(&[opcode, u8::try_from(actions.len()).unwrap_or(u8::MAX)]);
        list.extend_from_slice(&actions);
    }
    list.insert(0, u8::try_from(list.len()).unwrap_or(u8::MAX));
    list
}

fn parameter_data() -> Vec<u8> {
    let mut content = vec![0; 4];
    content.extend_from_slice(&COPY_TARGETS_MAX.to_be_bytes());
    content.extend_from_slice(&COPY_SEGMENTS_MAX.to_be_bytes());
    content.extend_from_slice(&COPY_DESCRIPTOR_BYTES_MAX.to_be_bytes());
    content.resize(28, 0);
    content
}

fn supported_descriptors() -> Vec<u8> {
    let mut list = SEGMENT_TYPES.to_vec();
    list.push(IDENTIFICATION_DESCRIPTOR);
    list.insert(0, u8::try_from(list.len()).unwrap_or(u8::MAX));
    list
}

fn rod_types() -> Vec<u8> {
    let mut descriptor = TOKEN_TYPE.to_be_bytes().to_vec();
    descriptor.push(TOKEN_IN_OUT);
    descriptor.resize(64, 0);
    let mut content = vec![0, 0, 0, 64];
    content.extend_from_slice(&descriptor);
    content
}

fn general_operations(unit: &LogicalUnit) -> Vec<u8> {
    let granularity = unit.geometry.block_bytes.checked_ilog2().unwrap_or(0);
    let mut content = Vec::new();
    content.extend_from_slice(&u32::from(COPIES_CONCURRENT_MAX).to_be_bytes());
    content.extend_from_slice(&u32::from(COPIES_CONCURRENT_MAX).to_be_bytes());
    content.extend_from_slice(&COPY_SEGMENT_BYTES_MAX.to_be_bytes());
    content.push(u8::try_from(granularity).unwrap_or(0));
    content.resize(32, 0);
    content
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing;

    #[test]
    fn descriptors_follow_each_other_to_the_end() {
        let body = body(&testing::unit());
        let mut rest = &body[..];
        let mut kinds = Vec::new();
        while let [a, b, c, d, tail @ ..] = rest {
            kinds.push(u16::from_be_bytes([*a, *b]));
            rest = &tail[usize::from(u16::from_be_bytes([*c, *d]))..];
        }
        assert!(rest.is_empty());
        assert_eq!(kinds, [0, 1, 4, 8, 0x0108, 0x8001]);
    }
}
