//! VERIFY and WRITE AND VERIFY.

use crate::base::limits::BUFFER_BYTES_MAX;
use crate::reservation::Access;
use crate::scsi::plan::VerifyMode;
use crate::scsi::sense::{Code, Sense, SenseKey};
use crate::scsi::{ByteRange, Failure, Status};
use crate::target::local::Answer;
use crate::target::procedure::Procedure;

impl Procedure {
    pub(crate) async fn verify(
        &self,
        range: ByteRange,
        mode: VerifyMode,
    ) -> Result<Answer, Failure> {
        let medium = self.medium(Access::Read);
        let pattern = match mode {
            VerifyMode::Pattern => {
                let block = usize::try_from(self.block_bytes()).unwrap_or(BUFFER_BYTES_MAX);
                Some(self.data_out(0, block).await?)
            }
            VerifyMode::Medium | VerifyMode::Compare => None,
        };
        let mut done = 0;
        // What is to be compared is compared as far as the initiator sends whole blocks.
        let wanted = match mode {
            VerifyMode::Compare => {
                let sent = u64::from(self.write_length).min(range.length);
                sent - sent % self.block_bytes()
            }
            VerifyMode::Pattern | VerifyMode::Medium => range.length,
        };
        while done < wanted {
            let length = (wanted - done).min(BUFFER_BYTES_MAX as u64);
            let bytes = usize::try_from(length).unwrap_or(BUFFER_BYTES_MAX);
            let sent = match mode {
                VerifyMode::Compare => Some(self.data_out(done, bytes).await?),
                VerifyMode::Pattern | VerifyMode::Medium => None,
            };
            let read = medium.read(range.offset + done, length).await?;
            let differs = match (&sent, &pattern) {
                (Some(sent), _) => first_difference(&read, sent),
                (None, Some(pattern)) => first_difference_to_pattern(&read, pattern),
                (None, None) => None,
            };
            if let Some(at) = differs {
                return Err(miscompare(done + at as u64));
            }
            done += length;
        }
        let asked = match mode {
            VerifyMode::Medium => 0,
            VerifyMode::Compare => range.length,
            VerifyMode::Pattern => self.block_bytes(),
        };
        Ok(Answer::Good { asked })
    }

    pub(crate) async fn write_and_verify(
        &self,
        range: ByteRange,
        compare: bool,
    ) -> Result<Answer, Failure> {
        let medium = self.medium(Access::Write);
        // What is read back shall be what is on the medium.
        let durable = true;
        let asked = range.length;
        let sent = u64::from(self.write_length).min(asked);
        let wanted = sent - sent % self.block_bytes();
        let mut done = 0;
        while done < wanted {
            let length = (wanted - done).min(BUFFER_BYTES_MAX as u64);
            let bytes = usize::try_from(length).unwrap_or(BUFFER_BYTES_MAX);
            let buffer = self.data_out(done, bytes).await?;
            let sent = medium.write(range.offset + done, buffer, durable).await?;
            let read = medium.read(range.offset + done, length).await?;
            // BYTCHK 0 asks for a look at the medium; comparing is the look there is. A difference
            // there is the medium's fault, and otherwise a miscompare.
            if let Some(at) = first_difference(&read, &sent) {
                return Err(if compare {
                    miscompare(done + at as u64)
                } else {
                    Failure::check(SenseKey::MediumError, Code::UNRECOVERED_READ_ERROR)
                });
            }
            done += length;
        }
        Ok(Answer::Good { asked })
    }
}

/// MISCOMPARE, with the offset of the first byte that differs in INFORMATION (SBC-4 section 5.3).
pub(crate) fn miscompare(offset: u64) -> Failure {
    let sense = Sense {
        key: SenseKey::Miscompare,
        code: Code::MISCOMPARE,
        information: Some(offset),
        command_specific: None,
        specific: None,
    };
    Failure {
        status: Status::CheckCondition,
        sense: Some(sense),
    }
}

/// Position of the first byte that differs.
pub(crate) fn first_difference(a: &[u8], b: &[u8]) -> Option<usize> {
    if a == b {
        return None;
    }
    a.iter()
        .zip(b)
        .position(|(a, b)| a != b)
        .or_else(|| Some(a.len().min(b.len())))
}

fn first_difference_to_pattern(read: &[u8], pattern: &[u8]) -> Option<usize> {
    read.chunks(pattern.len().max(1))
        .enumerate()
        .find_map(|(index, chunk)| {
            let at = first_difference(chunk, pattern.get(..chunk.len())?)?;
            Some(index * pattern.len() + at)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_found() {
        assert_eq!(first_difference(b"abc", b"abc"), None);
        assert_eq!(first_difference(b"abc", b"abd"), Some(2));
        assert_eq!(first_difference_to_pattern(b"ababab", b"ab"), None);
        assert_eq!(first_difference_to_pattern(b"ababax", b"ab"), Some(5));
    }
}
