//! REQUEST SENSE and TEST UNIT READY (SPC-4 sections 6.39, 6.47).

use super::dispatch::{Planned, Request};
use super::plan::{Plan, Reply};
use super::sense::{Code, Sense, SenseKey};
use super::unit::LunKind;

/// What is pending, as parameter data with GOOD: a unit attention, else why the medium cannot be
/// reached, else nothing.
pub(super) fn plan(request: &Request<'_>) -> Planned {
    let view = request.view;
    let sense = match view.lun {
        LunKind::Missing => Sense::new(SenseKey::IllegalRequest, Code::UNIT_NOT_SUPPORTED),
        LunKind::ReportLuns => Sense::new(SenseKey::NoSense, Code::NONE),
        LunKind::Disk => view
            .attention
            .map(|attention| attention.sense())
            .or_else(|| view.unit.medium.sense())
            .unwrap_or(Sense::new(SenseKey::NoSense, Code::NONE)),
    };
    let descriptor_format = request.cdb.bit(1, 0);
    let data = sense.to_vec(descriptor_format);
    Ok(Plan::Reply(Reply::truncated(
        data,
        request.cdb.byte(4).into(),
    )))
}

/// The shared checks have said everything that there is to say.
pub(super) fn test_unit_ready(_: &Request<'_>) -> Planned {
    Ok(Plan::Reply(Reply::default()))
}
