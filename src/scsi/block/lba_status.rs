//! GET LBA STATUS 16 (SBC-4 section 5.5).
//!
//! The plan asks for the extents of the backend; [`encode`] turns them into parameter data.

use std::num::NonZeroU64;

use super::Blocks;
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::{LbaReport, LbaStatus, Plan, Reply};
use crate::scsi::sense::Failure;

const HEADER_BYTES: u32 = 8;
const DESCRIPTOR_BYTES: u32 = 16;
/// More descriptors are never made, whatever the allocation length: the initiator asks again.
const DESCRIPTORS_MAX: u32 = 1024;
/// COMPLETION CONDITION, in its place: no room for more, or the last block was told.
const MET_ALLOCATION_LENGTH: u8 = 0b001 << 1;
const MET_CAPACITY: u8 = 0b011 << 1;

pub(in crate::scsi) fn plan(request: &Request<'_>) -> Planned {
    let geometry = &request.view.unit.geometry;
    let lba = request.cdb.be64(2);
    if lba >= geometry.blocks {
        return Err(Failure::out_of_range(lba));
    }
    let report = match request.cdb.byte(14) {
        0x00 => LbaReport::All,
        0x02 => LbaReport::Mapped,
        // Blocks whose provisioning status is not zero: those that are deallocated.
        0x01 | 0x03 => LbaReport::Deallocated,
        _ => return Err(Failure::cdb_field(14)),
    };
    let allocation_length = request.cdb.be32(10);
    let room = allocation_length.saturating_sub(HEADER_BYTES) / DESCRIPTOR_BYTES;
    let blocks = Blocks {
        lba,
        count: 0,
        count_at: 0,
    };
    Ok(Plan::LbaStatus(LbaStatus {
        range: blocks.range_to_end(geometry)?,
        allocation_length,
        descriptors_max: room.clamp(1, DESCRIPTORS_MAX),
        report,
    }))
}

/// A run of the volume as the backend knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// First byte.
    pub offset: u64,
    /// Bytes.
    pub length: u64,
    /// Whether it takes space.
    pub allocated: bool,
}

/// The parameter data of GET LBA STATUS.
///
/// `extents` start at `status.range.offset`, follow each other without gaps, and cover as much as
/// the backend cared to tell. A block that is mapped in part is mapped.
#[must_use]
pub fn encode(status: &LbaStatus, extents: &[Extent], block_bytes: u32) -> Reply {
    let block = NonZeroU64::new(block_bytes.into()).unwrap_or(NonZeroU64::MIN);
    let mut runs: Vec<Run> = Vec::new();
    let mut covered = status.range.offset / block;
    let descriptors_max = usize::try_from(status.descriptors_max).unwrap_or(usize::MAX);
    for extent in extents {
        let end = extent.offset.saturating_add(extent.length);
        let mapped = extent.allocated;
        let next = if mapped {
            end.div_ceil(block.get())
        } else {
            end / block
        };
        let count = next.saturating_sub(covered);
        if count == 0 {
            continue;
        }
        let wanted = match status.report {
            LbaReport::All => true,
            LbaReport::Mapped => mapped,
            LbaReport::Deallocated => !mapped,
        };
        let full = runs.len() >= descriptors_max;
        match runs.last_mut() {
            Some(last) if last.end() == covered && last.mapped == mapped => {
                last.count = last.count.saturating_add(count);
            }
            _ if !wanted => {}
            _ if full => return reply(status, &runs, MET_ALLOCATION_LENGTH),
            _ => runs.push(Run {
                first: covered,
                count,
                mapped,
            }),
        }
        covered = next;
    }
    let condition = if covered >= status.range.end() / block {
        MET_CAPACITY
    } else {
        0
    };
    reply(status, &runs, condition)
}

fn reply(status: &LbaStatus, runs: &[Run], condition: u8) -> Reply {
    let mut data = vec![0, 0, 0, 0, 0, 0, 0, condition];
    for run in runs {
        // Of a run longer than 32 bits of blocks its start is told; the initiator asks on.
        let count = u32::try_from(run.count).unwrap_or(u32::MAX);
        data.extend_from_slice(&run.first.to_be_bytes());
        data.extend_from_slice(&count.to_be_bytes());
        data.extend_from_slice(&[u8::from(!run.mapped), 0, 0, 0]);
        if u64::from(count) != run.count {
            break;
        }
    }
    let length = u32::try_from(data.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(field) = data.first_chunk_mut() {
        *field = length.to_be_bytes();
    }
    Reply::truncated(data, status.allocation_length)
}

/// A run of blocks that share a provisioning status.
#[derive(Debug, Clone, Copy)]
struct Run {
    first: u64,
    count: u64,
    mapped: bool,
}

impl Run {
    const fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::plan::ByteRange;

    fn status(descriptors_max: u32, report: LbaReport) -> LbaStatus {
        LbaStatus {
            range: ByteRange {
                offset: 1024,
                length: 1 << 20,
            },
            allocation_length: 4096,
            descriptors_max,
            report,
        }
    }

    fn extent(offset: u64, length: u64, allocated: bool) -> Extent {
        Extent {
            offset,
            length,
            allocated,
        }
    }

    const EXTENTS: [(u64, u64, bool); 4] = [
        (1024, 1024, true),
        (2048, 4096, false),
        (6144, 512, true),
        (6656, 512, true),
    ];

    fn extents() -> Vec<Extent> {
        EXTENTS
            .map(|(offset, length, allocated)| extent(offset, length, allocated))
            .to_vec()
    }

    #[test]
    fn runs_are_joined_and_told_in_blocks() {
        let reply = encode(&status(10, LbaReport::All), &extents(), 512);
        let mut expected = vec![0, 0, 0, 52, 0, 0, 0, 0];
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 1, 0, 0, 0]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 12, 0, 0, 0, 2, 0, 0, 0, 0]);
        assert_eq!(reply.data, expected);
    }

    #[test]
    fn no_more_descriptors_than_asked() {
        let reply = encode(&status(1, LbaReport::All), &extents(), 512);
        assert_eq!(reply.data.len(), 24);
        assert_eq!(reply.data.get(7), Some(&2));
    }

    #[test]
    fn a_block_partly_mapped_is_mapped() {
        let parts = [
            extent(0, 1024, false),
            extent(1024, 512, true),
            extent(1536, 8192, false),
        ];
        let mut status = status(9, LbaReport::Mapped);
        status.range.offset = 0;
        let reply = encode(&status, &parts, 4096);
        assert_eq!(
            reply.data.get(8..20),
            Some(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1][..])
        );
    }
}
