//! READ and WRITE that are longer than a buffer, cross shards, or move fewer bytes than the CDB says.

use crate::base::limits::BUFFER_BYTES_MAX;
use crate::reservation::Access;
use crate::scsi::{ByteRange, Failure};
use crate::target::local::Answer;
use crate::target::procedure::Procedure;

impl Procedure {
    pub(crate) async fn read(&self, range: ByteRange) -> Result<Answer, Failure> {
        let medium = self.medium(Access::Read);
        let asked = range.length;
        // Whole blocks are read, as many as the initiator has room for.
        let wanted = u64::from(self.read_length)
            .min(asked)
            .next_multiple_of(self.block_bytes());
        if wanted == 0 {
            return Ok(Answer::Good { asked });
        }
        let mut done = 0;
        loop {
            let length = (wanted - done).min(BUFFER_BYTES_MAX as u64);
            let mut buffer = medium.read(range.offset + done, length).await?;
            let offset = u32::try_from(done).unwrap_or(u32::MAX);
            done += length;
            if done == wanted {
                let room = u64::from(self.read_length) - u64::from(offset);
                let send = usize::try_from(room)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                buffer.set_len(send);
                return Ok(Answer::Buffer {
                    buffer,
                    offset,
                    asked,
                });
            }
            self.data_in(u64::from(offset), buffer);
        }
    }

    pub(crate) async fn write(
        &self,
        range: ByteRange,
        fua: bool,
        atomic: bool,
    ) -> Result<Answer, Failure> {
        let medium = self.medium(Access::Write);
        let durable = self.durable(fua);
        let asked = range.length;
        // Whole blocks are written, as many as the initiator sends.
        let sent = u64::from(self.write_length).min(asked);
        let wanted = sent - sent % self.block_bytes();
        if atomic && wanted < asked {
            return Ok(Answer::Good { asked });
        }
        let mut done = 0;
        let mut lock = None;
        let mut passage = None;
        while done < wanted {
            let length = (wanted - done).min(BUFFER_BYTES_MAX as u64);
            let bytes = usize::try_from(length).unwrap_or(BUFFER_BYTES_MAX);
            let buffer = self.data_out(done, bytes).await?;
            // Only now: a write whose data does not come holds no snapshot up.
            if passage.is_none() {
                passage = Some(self.pass().await);
            }
            if atomic {
                let end = range.offset + range.length;
                lock = Some(medium.lock(range.offset..end).await?);
            }
            let medium = lock.as_ref().map_or(&medium, |lock| lock.medium());
            medium.write(range.offset + done, buffer, durable).await?;
            done += length;
        }
        Ok(Answer::Good { asked })
    }
}
