//! UNMAP, WRITE SAME and GET LBA STATUS.

use crate::backend::ExtentState;
use crate::base::limits::BUFFER_BYTES_MAX;
use crate::reservation::Access;
use crate::scsi::block::lba_status::{self, Extent};
use crate::scsi::plan::{LbaStatus, SameSource};
use crate::scsi::sense::Code;
use crate::scsi::{ByteRange, Failure};
use crate::target::local::Answer;
use crate::target::procedure::Procedure;

/// Long ranges go in steps of that many bytes, so that a reservation that changes meanwhile, or an
/// abort, takes effect in between.
const STEP_BYTES: u64 = 64 << 20;

impl Procedure {
    pub(crate) async fn unmap(&self, ranges: &[ByteRange]) -> Result<Answer, Failure> {
        let medium = self.medium(Access::Write);
        for range in ranges {
            for step in steps(*range) {
                medium.deallocate(step).await?;
            }
        }
        medium.settle_cache().await?;
        Ok(Answer::Good { asked: 0 })
    }

    pub(crate) async fn write_same(
        &self,
        range: ByteRange,
        source: SameSource,
        deallocate: bool,
    ) -> Result<Answer, Failure> {
        let medium = self.medium(Access::Write);
        let block_bytes = self.block_bytes();
        let block = usize::try_from(block_bytes).unwrap_or(BUFFER_BYTES_MAX);
        let (pattern, asked) = match source {
            SameSource::Zeros => (None, 0),
            SameSource::Block if u64::from(self.write_length) != block_bytes => {
                return Err(Failure::illegal(Code::INVALID_FIELD_IN_CDB));
            }
            SameSource::Block => {
                let sent = self.data_out(0, block).await?;
                let zeros = sent.iter().all(|byte| *byte == 0);
                ((!zeros).then_some(sent), block_bytes)
            }
        };
        let Some(pattern) = pattern else {
            for step in steps(range) {
                medium.write_zeros(step, deallocate).await?;
            }
            medium.settle_cache().await?;
            return Ok(Answer::Good { asked });
        };
        let bytes = usize::try_from(range.length)
            .unwrap_or(usize::MAX)
            .min(BUFFER_BYTES_MAX);
        let mut filled = self.local.allocate(bytes).await?;
        for chunk in filled.chunks_mut(block) {
            chunk.copy_from_slice(&pattern);
        }
        let end = range.offset + range.length;
        // The pattern is written out, and takes what an initiator would that wrote it itself.
        medium
            .paced()
            .fill(range.offset..end, filled, self.durable(false))
            .await?;
        Ok(Answer::Good { asked })
    }

    pub(crate) async fn lba_status(&self, request: &LbaStatus) -> Result<Answer, Failure> {
        let end = request.range.offset + request.range.length;
        let medium = self.medium(Access::Read);
        let mut extents: Vec<Extent> = Vec::new();
        let mut offset = request.range.offset;
        // Descriptors alternate at best, so that many extents always make enough of them.
        while offset < end && extents.len() <= 2 * request.descriptors_max as usize {
            let more = medium.extents(offset..end).await?;
            let Some(last) = more.last() else { break };
            offset = last.offset + last.length;
            extents.extend(more.iter().map(|extent| Extent {
                offset: extent.offset,
                length: extent.length,
                allocated: extent.state == ExtentState::Mapped,
            }));
        }
        let block_bytes = u32::try_from(self.block_bytes()).unwrap_or(512);
        Ok(Answer::of_reply(lba_status::encode(
            request,
            &extents,
            block_bytes,
        )))
    }
}

/// A range in steps.
pub(crate) fn steps(range: ByteRange) -> impl Iterator<Item = std::ops::Range<u64>> {
    let end = range.offset + range.length;
    let mut next = range.offset;
    std::iter::from_fn(move || {
        let start = next;
        next = (start + STEP_BYTES).min(end);
        (start < end).then_some(start..next)
    })
}
