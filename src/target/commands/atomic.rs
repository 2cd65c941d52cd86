//! COMPARE AND WRITE and ORWRITE: read, decide and write while nobody else is in the range.

use super::verify::{first_difference, miscompare};
use crate::base::limits::BUFFER_BYTES_MAX;
use crate::reservation::Access;
use crate::scsi::sense::Code;
use crate::scsi::{ByteRange, Failure};
use crate::target::local::Answer;
use crate::target::procedure::Procedure;

impl Procedure {
    pub(crate) async fn compare_and_write(
        &self,
        range: ByteRange,
        fua: bool,
    ) -> Result<Answer, Failure> {
        let asked = range.length * 2;
        if u64::from(self.write_length) != asked {
            // Half a comparison decides nothing, so nothing is compared (SBC-4 section 5.3).
            return Err(Failure::illegal(Code::INVALID_FIELD_IN_CDB));
        }
        if range.length == 0 {
            return Ok(Answer::Good { asked });
        }
        let bytes = usize::try_from(range.length).unwrap_or(BUFFER_BYTES_MAX);
        let expected = self.data_out(0, bytes).await?;
        let replacement = self.data_out(range.length, bytes).await?;
        let durable = self.durable(fua);
        let end = range.offset + range.length;
        let lock = self.medium(Access::Write).lock(range.offset..end).await?;
        let found = lock.medium().read(range.offset, range.length).await?;
        if let Some(at) = first_difference(&found, &expected) {
            return Err(miscompare(at as u64));
        }
        lock.medium()
            .write(range.offset, replacement, durable)
            .await?;
        Ok(Answer::Good { asked })
    }

    pub(crate) async fn or_write(&self, range: ByteRange, fua: bool) -> Result<Answer, Failure> {
        let asked = range.length;
        let sent = u64::from(self.write_length).min(asked);
        let wanted = sent - sent % self.block_bytes();
        let durable = self.durable(fua);
        let mut done = 0;
        while done < wanted {
            let length = (wanted - done).min(BUFFER_BYTES_MAX as u64);
            let bytes = usize::try_from(length).unwrap_or(BUFFER_BYTES_MAX);
            let sent = self.data_out(done, bytes).await?;
            let offset = range.offset + done;
            let lock = self
                .medium(Access::Write)
                .lock(offset..offset + length)
                .await?;
            let mut block = lock.medium().read(offset, length).await?;
            for (byte, or) in block.iter_mut().zip(sent.iter()) {
                *byte |= or;
            }
            lock.medium().write(offset, block, durable).await?;
            done += length;
        }
        Ok(Answer::Good { asked })
    }
}
