//! READ BUFFER and WRITE BUFFER (SPC-4 sections 6.27, 6.49): a path test, not a path to firmware.
//!
//! Buffer 0 exists, in data mode and as the echo buffer. [`NexusBuffers`] holds both for one nexus.

use super::dispatch::{Planned, Request};
use super::plan::{BufferMode, Plan, Reply};
use super::sense::{Code, Failure, SenseKey};
use crate::base::limits::DATA_BUFFER_BYTES;
use serde::{Deserialize, Serialize};

const MODE_DATA: u8 = 0x02;
const MODE_DESCRIPTOR: u8 = 0x03;
const MODE_ECHO: u8 = 0x0A;
const MODE_ECHO_DESCRIPTOR: u8 = 0x0B;

pub(super) fn write(request: &Request<'_>) -> Planned {
    let (_, offset) = target(request)?;
    let length = request.cdb.be24(6);
    if offset.saturating_add(length) > DATA_BUFFER_BYTES {
        return Err(Failure::cdb_field(6));
    }
    if length == 0 {
        return Ok(Plan::Reply(Reply::default()));
    }
    Ok(Plan::Parameters { length })
}

pub(super) fn parse(request: &Request<'_>, data: &[u8]) -> Planned {
    let (mode, offset) = target(request)?;
    Ok(Plan::BufferWrite {
        mode,
        offset,
        data: data.to_vec(),
    })
}

pub(super) fn read(request: &Request<'_>) -> Planned {
    let allocation_length = request.cdb.be24(6);
    let [_, capacity @ ..] = DATA_BUFFER_BYTES.to_be_bytes();
    let descriptor = match request.cdb.byte(1) & 0x1F {
        // OFFSET BOUNDARY 0: any byte. An unknown buffer has no capacity.
        MODE_DESCRIPTOR if request.cdb.byte(2) != 0 => vec![0; 4],
        MODE_DESCRIPTOR => [&[0], &capacity[..]].concat(),
        MODE_ECHO_DESCRIPTOR => {
            let [.., high, low] = capacity;
            vec![0, 0, high, low]
        }
        _ => {
            let (mode, offset) = target(request)?;
            return Ok(Plan::BufferRead {
                mode,
                offset,
                allocation_length,
            });
        }
    };
    Ok(Plan::Reply(Reply::truncated(descriptor, allocation_length)))
}

/// Which buffer, from which byte.
fn target(request: &Request<'_>) -> Result<(BufferMode, u32), Failure> {
    let offset = request.cdb.be24(3);
    match request.cdb.byte(1) & 0x1F {
        MODE_DATA if request.cdb.byte(2) != 0 => Err(Failure::cdb_field(2)),
        MODE_DATA if offset > DATA_BUFFER_BYTES => Err(Failure::cdb_field(3)),
        MODE_DATA => Ok((BufferMode::Data, offset)),
        // Id and offset are ignored in echo mode (SPC-4 section 6.49.8).
        MODE_ECHO => Ok((BufferMode::Echo, 0)),
        _ => Err(Failure::cdb_bit(1, 4)),
    }
}

/// The buffers of one nexus. They take no space until written.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct NexusBuffers {
    #[serde(with = "serde_bytes")]
    data: Vec<u8>,
    #[serde(with = "serde_bytes")]
    echo: Option<Vec<u8>>,
}

impl NexusBuffers {
    /// Carries out [`Plan::BufferWrite`].
    pub fn write(&mut self, mode: BufferMode, offset: u32, bytes: &[u8]) {
        match mode {
            BufferMode::Echo => self.echo = Some(bytes.to_vec()),
            BufferMode::Data => {
                self.data.resize(capacity(), 0);
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let room = self.data.get_mut(offset..).unwrap_or_default();
                for (into, from) in room.iter_mut().zip(bytes) {
                    *into = *from;
                }
            }
        }
    }

    /// Carries out [`Plan::BufferRead`]. Data never written read as zeros.
    ///
    /// # Errors
    /// COMMAND SEQUENCE ERROR if the echo buffer was not written by this nexus.
    pub fn read(&self, mode: BufferMode, offset: u32, length: u32) -> Result<Reply, Failure> {
        let bytes = match (mode, &self.echo) {
            (BufferMode::Echo, Some(echo)) => echo.clone(),
            (BufferMode::Echo, None) => {
                return Err(Failure::check(
                    SenseKey::IllegalRequest,
                    Code::COMMAND_SEQUENCE,
                ));
            }
            (BufferMode::Data, _) => {
                let mut bytes = self.data.clone();
                bytes.resize(capacity(), 0);
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                bytes.get(offset..).unwrap_or_default().to_vec()
            }
        };
        Ok(Reply::truncated(bytes, length))
    }
}

fn capacity() -> usize {
    usize::try_from(DATA_BUFFER_BYTES).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing::{failure_code, unit, view};
    use crate::scsi::{plan, plan_with_parameters};

    #[test]
    fn odd_offsets_and_lengths() {
        let unit = unit();
        let view = view(&unit);
        let write = |mode, offset: u16, length: u16| {
            let ([a, b], [c, d]) = (offset.to_be_bytes(), length.to_be_bytes());
            plan(&[0x3B, mode, 0, 0, a, b, 0, c, d, 0], &view)
        };
        assert_eq!(write(2, 4095, 1), Plan::Parameters { length: 1 });
        assert_eq!(
            failure_code(&write(2, 4095, 2)),
            Some(Code::INVALID_FIELD_IN_CDB)
        );
        assert_eq!(
            failure_code(&write(2, 4097, 0)),
            Some(Code::INVALID_FIELD_IN_CDB)
        );
        assert_eq!(
            failure_code(&write(5, 0, 1)),
            Some(Code::INVALID_FIELD_IN_CDB)
        );
        let cdb = [0x3B, 2, 0, 0, 0x0F, 0xFF, 0, 0, 1, 0];
        let planned = plan_with_parameters(&cdb, &[7, 8], &view);
        let data = vec![7];
        assert_eq!(
            planned,
            Plan::BufferWrite {
                mode: BufferMode::Data,
                offset: 4095,
                data
            }
        );
        let read = plan(&[0x3C, 0x03, 0, 0, 0, 0, 0, 0, 9, 0], &view);
        assert_eq!(
            read,
            Plan::Reply(Reply {
                data: vec![0, 0, 0x10, 0]
            })
        );
    }

    #[test]
    fn buffers_give_back_what_they_took() {
        let mut buffers = NexusBuffers::default();
        assert!(buffers.read(BufferMode::Echo, 0, 4).is_err());
        buffers.write(BufferMode::Echo, 0, &[1, 2, 3]);
        assert_eq!(
            buffers.read(BufferMode::Echo, 0, 9).unwrap().data,
            [1, 2, 3]
        );
        buffers.write(BufferMode::Data, 4094, &[4, 5, 6]);
        assert_eq!(
            buffers.read(BufferMode::Data, 4093, 9).unwrap().data,
            [0, 4, 5]
        );
        assert_eq!(
            buffers.read(BufferMode::Data, 5000, 9),
            Ok(Reply::default())
        );
    }
}
