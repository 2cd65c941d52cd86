//! REPORT IDENTIFYING INFORMATION and REPORT TIMESTAMP (SPC-4 sections 6.32, 6.38).

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::Failure;

/// INFORMATION TYPE, in the seven high bits of its byte.
const IDENTIFYING: u8 = 0;
const TEXT: u8 = 2;
const SUPPORTED: u8 = 0x7F;
/// Bytes of text that may be set elsewhere: a volume's name with its NUL.
const TEXT_BYTES_MAX: u16 = 256;
/// TIMESTAMP ORIGIN: set by other means than SET TIMESTAMP.
const SET_BY_OTHER_MEANS: u8 = 0b011;

pub(super) fn information(request: &Request<'_>) -> Planned {
    let body = match request.cdb.byte(10) >> 1 {
        IDENTIFYING => Vec::new(),
        TEXT => {
            let mut text = request.view.unit.identity.label.as_bytes().to_vec();
            text.truncate(usize::from(TEXT_BYTES_MAX).saturating_sub(1));
            text.push(0);
            text
        }
        SUPPORTED => {
            let [high, low] = TEXT_BYTES_MAX.to_be_bytes();
            vec![IDENTIFYING << 1, 0, 0, 64, TEXT << 1, 0, high, low]
        }
        _ => return Err(Failure::cdb_field(10)),
    };
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut data = vec![0, 0];
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(&body);
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(6))))
}

pub(super) fn timestamp(request: &Request<'_>) -> Planned {
    let mut data = vec![0, 10, SET_BY_OTHER_MEANS, 0];
    let [_, _, milliseconds @ ..] = request.view.timestamp_ms.to_be_bytes();
    data.extend_from_slice(&milliseconds);
    data.extend_from_slice(&[0, 0]);
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(6))))
}
