//! Third-party copies from the initiator's side: EXTENDED COPY with both sizes of list identifier (SPC-4
//! sections 6.4 and 6.5), and copies by token (SBC-3 section 4.25).

use super::initiator::{Command, Initiator};
use super::scsi::BLOCK;

/// Bytes of a ROD token (SPC-4 section 6.4.6).
pub const TOKEN_BYTES: usize = 512;
/// Room for what RECEIVE ROD TOKEN INFORMATION says of one token.
const TOKEN_REPORT_BYTES: usize = 1024;

/// Blocks to be copied from the first copy target to the one of index `to`.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    pub to: u8,
    pub from_lba: u64,
    pub to_lba: u64,
    pub blocks: u16,
}

impl Segment {
    /// As a block-to-block segment descriptor (02h).
    fn descriptor(&self) -> Vec<u8> {
        let mut segment = vec![0x02, 0, 0, 0x18, 0, 0, 0, self.to, 0, 0];
        segment.extend_from_slice(&self.blocks.to_be_bytes());
        segment.extend_from_slice(&self.from_lba.to_be_bytes());
        segment.extend_from_slice(&self.to_lba.to_be_bytes());
        segment
    }
}

/// The identification descriptor (E4h) by which a session's logical unit is a copy target.
pub fn copy_target(session: &mut Initiator) -> Vec<u8> {
    let page = session.inquire(Some(0x83));
    let mut rest = &page[4..];
    while rest[1] & 0x3f != 0x03 {
        rest = &rest[4 + usize::from(rest[3])..];
    }
    let designator = &rest[..4 + usize::from(rest[3])];
    let mut target = vec![0xe4, 0, 0, 0];
    target.extend_from_slice(designator);
    target.resize(28, 0);
    let block_bytes = u32::try_from(BLOCK).expect("fits");
    target.extend_from_slice(&block_bytes.to_be_bytes());
    target
}

/// EXTENDED COPY (LID1) within one logical unit.
pub fn extended_copy_lid1(identifier: u8, target: &[u8], segment: &Segment) -> Command {
    let segment = segment.descriptor();
    let mut list = [0; 16];
    list[0] = identifier;
    list[3] = u8::try_from(target.len()).expect("one target");
    list[11] = u8::try_from(segment.len()).expect("one segment");
    let list = [&list[..], target, &segment].concat();
    third_party_copy(0x00, None, &list)
}

/// EXTENDED COPY (LID4).
pub fn extended_copy(
    identifier: u32,
    targets: &[Vec<u8>],
    segment: &Segment,
    immediate: bool,
) -> Command {
    let segment = segment.descriptor();
    let mut list = vec![0; 48];
    list[0] = 1;
    list[3] = 0x20;
    list[15] = u8::from(immediate);
    list[16] = 0xff;
    list[20..24].copy_from_slice(&identifier.to_be_bytes());
    let target_bytes = u16::try_from(targets.concat().len()).expect("few targets");
    list[42..44].copy_from_slice(&target_bytes.to_be_bytes());
    list[45] = u8::try_from(segment.len()).expect("one segment");
    let list = [list, targets.concat(), segment].concat();
    third_party_copy(0x01, None, &list)
}

/// POPULATE TOKEN: makes a token that stands for ranges of blocks.
pub fn populate_token(identifier: u32, ranges: &[(u64, u32)]) -> Command {
    third_party_copy(0x10, Some(identifier), &token_list(16, ranges))
}

/// RECEIVE ROD TOKEN INFORMATION: asks for the token that was made.
pub fn receive_token(identifier: u32) -> Command {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x84, 0x07]);
    cdb[2..6].copy_from_slice(&identifier.to_be_bytes());
    let room = u32::try_from(TOKEN_REPORT_BYTES).expect("fits");
    cdb[10..14].copy_from_slice(&room.to_be_bytes());
    Command::read(&cdb, TOKEN_REPORT_BYTES)
}

/// The token in the answer; `None`: the copy is not complete.
pub fn token_in(report: &[u8]) -> Option<&[u8]> {
    const COMPLETE: u8 = 0x01;
    let is_complete = report.get(5) == Some(&COMPLETE);
    report
        .len()
        .checked_sub(TOKEN_BYTES)
        .filter(|_| is_complete)
        .map(|at| &report[at..])
}

/// WRITE USING TOKEN: writes what the token stands for, from its block `offset` on.
pub fn write_using_token(
    identifier: u32,
    token: &[u8],
    offset: u64,
    ranges: &[(u64, u32)],
) -> Command {
    let mut list = token_list(536, ranges);
    list[8..16].copy_from_slice(&offset.to_be_bytes());
    list[16..16 + token.len()].copy_from_slice(token);
    third_party_copy(0x11, Some(identifier), &list)
}

/// A parameter list: a header of `header` bytes, and the ranges behind it.
fn token_list(header: usize, ranges: &[(u64, u32)]) -> Vec<u8> {
    let length = u16::try_from(ranges.len() * 16).expect("few ranges");
    let mut list = vec![0; header];
    list[header - 2..].copy_from_slice(&length.to_be_bytes());
    for (lba, blocks) in ranges {
        list.extend_from_slice(&lba.to_be_bytes());
        list.extend_from_slice(&blocks.to_be_bytes());
        list.extend_from_slice(&[0; 4]);
    }
    let rest = u16::try_from(list.len() - 2).expect("a short list");
    list[..2].copy_from_slice(&rest.to_be_bytes());
    list
}

/// The copies by token have their list identifier in the CDB.
fn third_party_copy(action: u8, identifier: Option<u32>, list: &[u8]) -> Command {
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x83, action]);
    cdb[6..10].copy_from_slice(&identifier.unwrap_or(0).to_be_bytes());
    let length = u32::try_from(list.len()).expect("a short list");
    cdb[10..14].copy_from_slice(&length.to_be_bytes());
    Command::write(&cdb, list)
}
