//! READ DEFECT DATA 10/12 (SBC-3 sections 5.17, 5.18): a volume has no defects, and says so in
//! whatever format it is asked.

use crate::scsi::dispatch::{Planned, Request};
use crate::scsi::plan::{Plan, Reply};

pub(in crate::scsi) fn read10(request: &Request<'_>) -> Planned {
    let lists_and_format = request.cdb.byte(2);
    let data = vec![0, lists_and_format, 0, 0];
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.be16(7).into(),
    )))
}

pub(in crate::scsi) fn read12(request: &Request<'_>) -> Planned {
    let lists_and_format = request.cdb.byte(1);
    let data = vec![0, lists_and_format, 0, 0, 0, 0, 0, 0];
    Ok(Plan::Reply(Reply::truncated(data, request.cdb.be32(6))))
}
