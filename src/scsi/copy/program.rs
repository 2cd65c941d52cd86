//! The parameter list of EXTENDED COPY, LID1 and LID4 (SPC-4 sections 6.4 to 6.6).

use super::{BLOCK_TO_BLOCK, BLOCK_TO_BLOCK_WITH_OFFSETS, IDENTIFICATION_DESCRIPTOR};
use crate::base::limits::{
    COPY_DESCRIPTOR_BYTES_MAX, COPY_SEGMENT_BYTES_MAX, COPY_SEGMENTS_MAX, COPY_TARGETS_MAX,
};
use crate::scsi::LogicalUnit;
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::fields::Fields;
use crate::scsi::plan::{Plan, Reply};
use crate::scsi::sense::{Code, Failure, Sense, SenseKey};

/// A checked EXTENDED COPY: no segment names a target that is not listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyProgram {
    /// LIST IDENTIFIER under which RECEIVE COPY RESULTS asks; `None` when the initiator gave it up
    /// (LIST ID USAGE 11b).
    pub list_identifier: Option<u32>,
    /// Status before it is done (LID4 IMMED).
    pub immediate: bool,
    /// The copy targets, as segments index them.
    pub targets: Vec<CopyTarget>,
    /// What to copy, in order.
    pub segments: Vec<Segment>,
}

/// A unit that takes part in a copy, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyTarget {
    /// Its name; see [`LogicalUnit::answers_to`].
    pub designator: Designator,
    /// DISK BLOCK LENGTH that the initiator believes in.
    pub block_bytes: u32,
}

/// A designation descriptor of at most 20 bytes (SPC-4 section 7.8.6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Designator {
    /// CODE SET.
    pub code_set: u8,
    /// ASSOCIATION.
    pub association: u8,
    /// DESIGNATOR TYPE.
    pub kind: u8,
    length: u8,
    bytes: [u8; DESIGNATOR_BYTES_MAX],
}

const DESIGNATOR_BYTES_MAX: usize = 20;

impl Designator {
    /// A designator of these bytes; what is behind the twentieth is left out.
    #[must_use]
    pub fn new(code_set: u8, association: u8, kind: u8, bytes: &[u8]) -> Self {
        let length = bytes.len().min(DESIGNATOR_BYTES_MAX);
        Self {
            code_set,
            association,
            kind,
            length: u8::try_from(length).unwrap_or(0),
            bytes: Fields(bytes).array(0),
        }
    }

    /// The bytes of the designator.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or(&self.bytes)
    }

    /// Bytes 4 to 27 of an identification descriptor.
    fn parse(fields: Fields<'_>) -> Option<Self> {
        let length = usize::from(fields.byte(3));
        if length > DESIGNATOR_BYTES_MAX {
            return None;
        }
        let bytes = fields.slice(4, length);
        let association = fields.byte(1) >> 4 & 0b11;
        Some(Self::new(
            fields.byte(0) & 0x0F,
            association,
            fields.byte(1) & 0x0F,
            bytes.0,
        ))
    }

    /// As a whole identification descriptor for a disk of such blocks.
    pub(super) fn descriptor(&self, block_bytes: u32) -> [u8; 32] {
        let [_, high, middle, low] = block_bytes.to_be_bytes();
        let head = [IDENTIFICATION_DESCRIPTOR, 0, 0, 0];
        let designator = [
            self.code_set,
            self.association << 4 | self.kind,
            0,
            self.length,
        ];
        let tail = [0, high, middle, low];
        Fields(&[&head[..], &designator, &self.bytes, &tail].concat()).array(0)
    }
}

/// Block device to block device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment {
    /// Index of the source in [`CopyProgram::targets`].
    pub source: usize,
    /// Index of the destination.
    pub destination: usize,
    /// First byte of the source.
    pub source_offset: u64,
    /// First byte of the destination.
    pub destination_offset: u64,
    /// Bytes to copy.
    pub length: u64,
}

const LID1_HEADER_BYTES: usize = 16;
const LID4_HEADER_BYTES: usize = 48;
const TARGET_BYTES: usize = 32;
/// PARAMETER LIST FORMAT and HEADER CSCD LIST LENGTH of LID4 (SPC-4 table 115).
const LID4_FORMAT: u8 = 0x01;
const LID4_HEADER_LENGTH: u16 = 0x20;
const LID4_HEADER_TYPE: u8 = 0xFF;

/// Of both formats: no list at all copies nothing, and a list that could not fit is not fetched.
pub(in crate::scsi) fn plan(request: &Request<'_>) -> Planned {
    let length = request.cdb.be32(10);
    let header = if request.cdb.service_action() == 0 {
        LID1_HEADER_BYTES
    } else {
        LID4_HEADER_BYTES
    };
    let header = u32::try_from(header).unwrap_or(u32::MAX);
    if length == 0 {
        return Ok(Plan::Reply(Reply::default()));
    }
    if length < header || length > header.saturating_add(COPY_DESCRIPTOR_BYTES_MAX) {
        return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    Ok(Plan::Parameters { length })
}

pub(in crate::scsi) fn parse_lid1(_: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    let lists = Lists {
        header: LID1_HEADER_BYTES,
        targets: list.be16(2).into(),
        segments: length_of(list.be32(8)),
        inline: length_of(list.be32(12)),
    };
    let list_identifier = list_identifier(list, u32::from(list.byte(0)))?;
    program(list, lists, list_identifier, false)
}

pub(in crate::scsi) fn parse_lid4(_: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    if list.byte(0) != LID4_FORMAT {
        return Err(Failure::parameter_field(0));
    }
    if list.be16(2) != LID4_HEADER_LENGTH {
        return Err(Failure::parameter_field(2));
    }
    if list.byte(16) != LID4_HEADER_TYPE {
        return Err(Failure::parameter_field(16));
    }
    let lists = Lists {
        header: LID4_HEADER_BYTES,
        targets: list.be16(42).into(),
        segments: list.be16(44).into(),
        inline: list.be16(46).into(),
    };
    let list_identifier = list_identifier(list, list.be32(20))?;
    program(list, lists, list_identifier, list.bit(15, 0))
}

/// How long the parts of the list are, in bytes.
#[derive(Debug, Clone, Copy)]
struct Lists {
    header: usize,
    targets: usize,
    segments: usize,
    inline: usize,
}

fn length_of(field: u32) -> usize {
    usize::try_from(field).unwrap_or(usize::MAX)
}

/// LIST ID USAGE (SPC-4 section 6.4.3.2): with 11b the identifier must be zero and names nothing.
fn list_identifier(list: Fields<'_>, identifier: u32) -> Result<Option<u32>, Failure> {
    match list.byte(1) >> 3 & 0b11 {
        0b00 | 0b10 => Ok(Some(identifier)),
        0b11 if identifier == 0 => Ok(None),
        _ => Err(Failure::parameter_field(1)),
    }
}

fn program(
    list: Fields<'_>,
    lists: Lists,
    list_identifier: Option<u32>,
    immediate: bool,
) -> Planned {
    let descriptors = lists.targets.saturating_add(lists.segments);
    let whole = lists
        .header
        .saturating_add(descriptors)
        .saturating_add(lists.inline);
    if descriptors > length_of(COPY_DESCRIPTOR_BYTES_MAX) || whole > list.length() {
        return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    if lists.inline != 0 {
        return Err(Failure::illegal(Code::INLINE_DATA_EXCEEDED));
    }
    let targets = targets(list.slice(lists.header, lists.targets), lists.header)?;
    let segments_at = lists.header.saturating_add(lists.targets);
    let segments = segments(
        list.slice(segments_at, lists.segments),
        segments_at,
        &targets,
    )?;
    if segments.is_empty() {
        return Ok(Plan::Reply(Reply::default()));
    }
    Ok(Plan::Copy(Box::new(CopyProgram {
        list_identifier,
        immediate,
        targets,
        segments,
    })))
}

fn targets(list: Fields<'_>, list_at: usize) -> Result<Vec<CopyTarget>, Failure> {
    if list.length() > usize::from(COPY_TARGETS_MAX).saturating_mul(TARGET_BYTES) {
        return Err(Failure::illegal(Code::TOO_MANY_TARGETS));
    }
    let mut targets = Vec::with_capacity(list.length() / TARGET_BYTES);
    for (index, bytes) in list.0.chunks(TARGET_BYTES).enumerate() {
        let at = index.saturating_mul(TARGET_BYTES).saturating_add(list_at);
        let descriptor = Fields(bytes);
        if descriptor.byte(0) != IDENTIFICATION_DESCRIPTOR {
            return Err(Failure::illegal(Code::TARGET_TYPE_UNSUPPORTED));
        }
        if descriptor.length() < TARGET_BYTES {
            return Err(Failure::parameter_field(at));
        }
        // PERIPHERAL DEVICE TYPE: disks only. LU ID TYPE and NUL are obsolete and ignored.
        if descriptor.byte(1) & 0x1F != 0 {
            return Err(Failure::check(
                SenseKey::CopyAborted,
                Code::INCORRECT_COPY_TARGET_TYPE,
            ));
        }
        let designator = Designator::parse(descriptor.slice(4, 24))
            .ok_or(Failure::parameter_field(at.saturating_add(7)))?;
        let block_bytes = descriptor.be24(29);
        if block_bytes == 0 {
            return Err(Failure::parameter_field(at.saturating_add(29)));
        }
        targets.push(CopyTarget {
            designator,
            block_bytes,
        });
    }
    Ok(targets)
}

fn segments(
    list: Fields<'_>,
    list_at: usize,
    targets: &[CopyTarget],
) -> Result<Vec<Segment>, Failure> {
    let mut segments = Vec::new();
    let mut at = 0;
    let mut count = 0_u16;
    while at < list.length() {
        let rest = list.slice(at, usize::MAX);
        let (kind, length) = match rest.byte(0) {
            BLOCK_TO_BLOCK => (Kind::Blocks, 28_usize),
            BLOCK_TO_BLOCK_WITH_OFFSETS => (Kind::Bytes, 32),
            _ => return Err(Failure::illegal(Code::SEGMENT_TYPE_UNSUPPORTED)),
        };
        let here = list_at.saturating_add(at);
        if usize::from(rest.be16(2)) != length.saturating_sub(4) {
            return Err(Failure::parameter_field(here.saturating_add(2)));
        }
        if rest.length() < length {
            return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
        }
        if count >= COPY_SEGMENTS_MAX {
            return Err(Failure::illegal(Code::TOO_MANY_SEGMENTS));
        }
        let segment = kind.segment(rest, here, targets, count)?;
        if segment.length != 0 {
            segments.push(segment);
        }
        count = count.saturating_add(1);
        at = at.saturating_add(length);
    }
    Ok(segments)
}

/// What the counts of a segment are in.
#[derive(Debug, Clone, Copy)]
enum Kind {
    /// 02h: blocks of the source, or with DC=1 of the destination.
    Blocks,
    /// 0Ah: bytes, from a byte offset within a block.
    Bytes,
}

impl Kind {
    fn segment(
        self,
        fields: Fields<'_>,
        at: usize,
        targets: &[CopyTarget],
        number: u16,
    ) -> Result<Segment, Failure> {
        let source = usize::from(fields.be16(4));
        let destination = usize::from(fields.be16(6));
        let (Some(from), Some(to)) = (targets.get(source), targets.get(destination)) else {
            return Err(aborted(Code::UNREACHABLE_COPY_TARGET, number));
        };
        let block = |target: &CopyTarget| u64::from(target.block_bytes);
        let counts_destination = fields.bit(1, 1);
        let (length, source_byte, destination_byte) = match self {
            Self::Blocks => {
                let unit = if counts_destination {
                    block(to)
                } else {
                    block(from)
                };
                (u64::from(fields.be16(10)).saturating_mul(unit), 0, 0)
            }
            Self::Bytes => (fields.be32(8).into(), fields.be16(28), fields.be16(30)),
        };
        if length > u64::from(COPY_SEGMENT_BYTES_MAX) {
            return Err(Failure::parameter_field(at.saturating_add(8)));
        }
        let offset = |lba: u64, target: &CopyTarget, byte: u16| {
            lba.checked_mul(block(target))
                .and_then(|start| start.checked_add(byte.into()))
                .ok_or(aborted(Code::NONE, number))
        };
        Ok(Segment {
            source,
            destination,
            source_offset: offset(fields.be64(12), from, source_byte)?,
            destination_offset: offset(fields.be64(20), to, destination_byte)?,
            length,
        })
    }
}

/// COPY ABORTED at a segment, whose number stands in the command-specific information.
const fn aborted(code: Code, segment: u16) -> Failure {
    Sense {
        command_specific: Some(segment as u64),
        ..Sense::new(SenseKey::CopyAborted, code)
    }
    .failure()
}

impl CopyProgram {
    /// Checks the program against the units that its targets turned out to be, in their order;
    /// `None` where none was found or the nexus may not reach it.
    ///
    /// # Errors
    /// COPY ABORTED: a target that is not there, that has other blocks than the program says, or
    /// a segment that is not whole blocks inside both units.
    pub fn check(&self, units: &[Option<&LogicalUnit>]) -> Result<(), Failure> {
        for (number, segment) in (0..).zip(&self.segments) {
            let unit = |index: usize| {
                let unit = units.get(index).copied().flatten();
                let unit = unit.ok_or(aborted(Code::COPY_TARGET_NOT_REACHABLE, number))?;
                let believed = self.targets.get(index).map(|target| target.block_bytes);
                if believed == Some(unit.geometry.block_bytes) {
                    Ok(unit)
                } else {
                    Err(aborted(Code::NONE, number))
                }
            };
            let inside = |unit: &LogicalUnit, offset: u64| {
                let block = u64::from(unit.geometry.block_bytes);
                let end = offset.checked_add(segment.length);
                offset.is_multiple_of(block)
                    && segment.length.is_multiple_of(block)
                    && end.is_some_and(|end| end <= unit.geometry.bytes())
            };
            let (from, to) = (unit(segment.source)?, unit(segment.destination)?);
            if !inside(from, segment.source_offset) || !inside(to, segment.destination_offset) {
                return Err(aborted(Code::NONE, number));
            }
            to.check_writable()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
