//! What became of a copy: RECEIVE COPY RESULTS and COPY OPERATION ABORT (SPC-4 sections 6.3, 6.18
//! to 6.25), RECEIVE ROD TOKEN INFORMATION (SPC-4 section 6.26).

use super::token::RodToken;
use super::{IDENTIFICATION_DESCRIPTOR, SEGMENT_TYPES};
use crate::base::limits::{
    COPIES_CONCURRENT_MAX, COPY_DESCRIPTOR_BYTES_MAX, COPY_SEGMENT_BYTES_MAX, COPY_SEGMENTS_MAX,
    COPY_TARGETS_MAX,
};
use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::{CopyReport, CopyResults, Plan, Reply};
use crate::scsi::sense::{Failure, Sense};
use crate::scsi::status::Status;

/// One copy operation, as its reports tell it. `target` keeps one per list identifier and nexus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOperation {
    /// The service action that started it (00h, 01h, 10h, 11h).
    pub service_action: u8,
    /// Where it stands.
    pub state: CopyState,
    /// Segments (or ranges) done.
    pub segments_done: u16,
    /// Bytes moved.
    pub bytes_done: u64,
    /// Bytes of a logical block, the unit of the reports.
    pub block_bytes: u32,
    /// The token that POPULATE TOKEN made.
    pub token: Option<RodToken>,
}

/// Where a copy stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyState {
    /// It runs.
    InProgress,
    /// Done without errors.
    Completed,
    /// It ended with this.
    Failed(Sense),
    /// COPY OPERATION ABORT or task management ended it.
    Aborted,
}

/// TRANSFER COUNT UNITS: bytes; logical blocks.
const UNITS_BYTES: u8 = 0x00;
const UNITS_BLOCKS: u8 = 0xF1;
/// SNLID: the list identifier may be left out (LIST ID USAGE 11b).
const SNLID: u8 = 0x01;
/// How soon to ask again, in milliseconds.
const STATUS_DELAY_MS: u32 = 100;

pub(in crate::scsi) fn receive(request: &Request<'_>) -> Planned {
    let short = u32::from(request.cdb.byte(2));
    let long = request.cdb.be32(2);
    let (report, list_identifier) = match request.cdb.service_action() {
        0x00 => (CopyReport::StatusLid1, short),
        0x04 => (CopyReport::FailedSegmentDetails, short),
        0x05 => (CopyReport::StatusLid4, long),
        0x07 => (CopyReport::TokenInformation, long),
        _ => return Err(Failure::cdb_bit(1, 4)),
    };
    Ok(Plan::CopyResults(CopyResults {
        report,
        list_identifier,
        allocation_length: request.cdb.be32(10),
    }))
}

pub(in crate::scsi) fn abort(request: &Request<'_>) -> Planned {
    Ok(Plan::CopyAbort {
        list_identifier: request.cdb.be32(2),
    })
}

/// SPC-4 section 6.21.
pub(in crate::scsi) fn operating_parameters(request: &Request<'_>) -> Planned {
    let granularity = request
        .view
        .unit
        .geometry
        .block_bytes
        .checked_ilog2()
        .unwrap_or(0);
    let mut data = vec![0, 0, 0, 0, SNLID, 0, 0, 0];
    data.extend_from_slice(&COPY_TARGETS_MAX.to_be_bytes());
    data.extend_from_slice(&COPY_SEGMENTS_MAX.to_be_bytes());
    data.extend_from_slice(&COPY_DESCRIPTOR_BYTES_MAX.to_be_bytes());
    data.extend_from_slice(&COPY_SEGMENT_BYTES_MAX.to_be_bytes());
    // No inline data, no held data, no stream devices.
    data.resize(34, 0);
    data.extend_from_slice(&u16::from(COPIES_CONCURRENT_MAX).to_be_bytes());
    data.push(COPIES_CONCURRENT_MAX);
    data.push(u8::try_from(granularity).unwrap_or(0));
    data.resize(43, 0);
    data.push(u8::try_from(SEGMENT_TYPES.len().saturating_add(1)).unwrap_or(u8::MAX));
    data.extend_from_slice(&SEGMENT_TYPES);
    data.push(IDENTIFICATION_DESCRIPTOR);
    Ok(Plan::Reply(Reply::truncated(
        with_length(data),
        request.cdb.be32(10),
    )))
}

/// Fills the four bytes of AVAILABLE DATA at the front.
fn with_length(mut data: Vec<u8>) -> Vec<u8> {
    let length = u32::try_from(data.len().saturating_sub(4)).unwrap_or(u32::MAX);
    if let Some(field) = data.first_chunk_mut() {
        *field = length.to_be_bytes();
    }
    data
}

/// Answers `results` from the operation that its list identifier names, if there is one.
///
/// # Errors
/// INVALID FIELD IN CDB: no such operation for this nexus (SPC-4 section 6.20).
pub fn answer(results: &CopyResults, copy: Option<&CopyOperation>) -> Result<Reply, Failure> {
    let copy = copy.ok_or(Failure::cdb_field(2))?;
    let data = match results.report {
        CopyReport::StatusLid1 => copy.status_lid1(),
        CopyReport::FailedSegmentDetails => copy.failed_segment(),
        CopyReport::StatusLid4 => with_length(copy.status_lid4()),
        CopyReport::TokenInformation => copy.token_information(),
    };
    Ok(Reply::truncated(data, results.allocation_length))
}

impl CopyOperation {
    /// Whether it runs no more.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !matches!(self.state, CopyState::InProgress)
    }

    fn sense(&self) -> Vec<u8> {
        match self.state {
            CopyState::Failed(sense) => sense.to_vec(false),
            CopyState::InProgress | CopyState::Completed | CopyState::Aborted => Vec::new(),
        }
    }

    /// COPY MANAGER STATUS in the low bits: 0 runs, 1 done, 2 done with errors.
    fn status_lid1(&self) -> Vec<u8> {
        let status = match self.state {
            CopyState::InProgress => 0x00,
            CopyState::Completed => 0x01,
            CopyState::Failed(_) | CopyState::Aborted => 0x02,
        };
        let [segments_high, segments_low] = self.segments_done.to_be_bytes();
        let (unit, count) = scaled(self.bytes_done);
        let mut data = vec![0, 0, 0, 0, status, segments_high, segments_low, unit];
        data.extend_from_slice(&count.to_be_bytes());
        with_length(data)
    }

    /// Nothing is available but after a failure.
    fn failed_segment(&self) -> Vec<u8> {
        let CopyState::Failed(_) = self.state else {
            return vec![0; 4];
        };
        let sense = self.sense();
        let mut data = vec![0; 56];
        data.extend_from_slice(&[Status::CheckCondition.code(), 0]);
        data.extend_from_slice(&u16::try_from(sense.len()).unwrap_or(0).to_be_bytes());
        data.extend_from_slice(&sense);
        with_length(data)
    }

    fn status_lid4(&self) -> Vec<u8> {
        let sense = self.sense();
        let (status, completion) = match self.state {
            CopyState::InProgress => (0x11, 0),
            CopyState::Completed => (0x01, 0),
            CopyState::Failed(_) => (0x02, Status::CheckCondition.code()),
            CopyState::Aborted => (0x60, 0),
        };
        let delay = if self.is_over() {
            u32::MAX
        } else {
            STATUS_DELAY_MS
        };
        let sense_bytes = u8::try_from(sense.len()).unwrap_or(0);
        let blocks = self
            .bytes_done
            .checked_div(u64::from(self.block_bytes))
            .unwrap_or(0);
        let mut data = vec![0, 0, 0, 0, self.service_action, status, 0, 0];
        data.extend_from_slice(&delay.to_be_bytes());
        data.extend_from_slice(&[completion, sense_bytes, sense_bytes, UNITS_BLOCKS]);
        data.extend_from_slice(&blocks.to_be_bytes());
        data.extend_from_slice(&self.segments_done.to_be_bytes());
        data.resize(32, 0);
        data.extend_from_slice(&sense);
        data
    }

    /// As the status, with the token behind it (SPC-4 table 265).
    fn token_information(&self) -> Vec<u8> {
        let mut data = self.status_lid4();
        match self.token {
            Some(token) if self.state == CopyState::Completed => {
                let token = token.encode(self.block_bytes);
                // The length of what follows, then the ID of the creating descriptor (none).
                data.extend_from_slice(&[0, 0, 0x02, 0x02, 0, 0]);
                data.extend_from_slice(&token);
            }
            _ => data.extend_from_slice(&[0; 4]),
        }
        with_length(data)
    }
}

/// A count in 32 bits: bytes, or the smallest binary multiple of them in which it fits.
fn scaled(bytes: u64) -> (u8, u32) {
    let mut unit = UNITS_BYTES;
    let mut count = bytes;
    while u32::try_from(count).is_err() {
        count >>= 10;
        unit = unit.saturating_add(1);
    }
    (unit, u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::plan;
    use crate::scsi::sense::{Code, SenseKey};
    use crate::scsi::testing::{reply, unit, view};

    fn operation(state: CopyState) -> CopyOperation {
        CopyOperation {
            service_action: 0x10,
            state,
            segments_done: 3,
            bytes_done: 1 << 20,
            block_bytes: 512,
            token: None,
        }
    }

    fn results(report: CopyReport) -> CopyResults {
        CopyResults {
            report,
            list_identifier: 1,
            allocation_length: 4096,
        }
    }

    #[test]
    fn operating_parameters_are_what_the_parser_takes() {
        let unit = unit();
        let mut cdb = [0; 16];
        cdb[..2].copy_from_slice(&[0x84, 0x03]);
        cdb[12] = 4;
        let data = reply(plan(&cdb, &view(&unit)));
        assert_eq!(data[..4], [0, 0, 0, 43]);
        assert_eq!(data[8..12], [0, 16, 0, 64]);
        assert_eq!(data[37], 9);
        assert_eq!(data[43..], [3, 0x02, 0x0A, 0xE4]);
    }

    #[test]
    fn the_short_status() {
        let copy = operation(CopyState::Completed);
        let reply = answer(&results(CopyReport::StatusLid1), Some(&copy)).unwrap();
        assert_eq!(reply.data, [0, 0, 0, 8, 1, 0, 3, 0, 0, 0x10, 0, 0]);
        assert!(answer(&results(CopyReport::StatusLid1), None).is_err());
        assert_eq!(scaled(1 << 40), (1, 1 << 30));
    }

    #[test]
    fn failures_carry_their_sense() {
        let sense = Sense::new(SenseKey::CopyAborted, Code::NONE);
        let copy = operation(CopyState::Failed(sense));
        let data = answer(&results(CopyReport::FailedSegmentDetails), Some(&copy))
            .unwrap()
            .data;
        assert_eq!(data[..4], [0, 0, 0, 74]);
        assert_eq!(data[56..60], [2, 0, 0, 18]);
        let data = answer(&results(CopyReport::StatusLid4), Some(&copy))
            .unwrap()
            .data;
        assert_eq!(data[12..16], [2, 18, 18, UNITS_BLOCKS]);
        assert_eq!(data.len(), 50);
    }

    #[test]
    fn a_token_is_told_when_it_is_made() {
        let mut copy = operation(CopyState::Completed);
        let token = RodToken {
            identifier: 1,
            naa: [0x36; 8],
            length: 512,
            secret: [7; 32],
        };
        copy.token = Some(token);
        let data = answer(&results(CopyReport::TokenInformation), Some(&copy))
            .unwrap()
            .data;
        assert_eq!(data.len(), 32 + 4 + 514);
        assert_eq!(data[32..36], [0, 0, 2, 2]);
        assert_eq!(RodToken::decode(data[38..].try_into().unwrap()), Ok(token));
        copy.state = CopyState::InProgress;
        let data = answer(&results(CopyReport::TokenInformation), Some(&copy))
            .unwrap()
            .data;
        assert_eq!((data.len(), data[5]), (36, 0x11));
    }
}
