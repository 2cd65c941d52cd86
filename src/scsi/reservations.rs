//! PERSISTENT RESERVE IN and OUT, RESERVE and RELEASE: what they ask for. The rules are the
//! `reservation` room's.

use super::dispatch::{Planned, Request};
use super::plan::Plan;
use super::sense::{Code, Failure};
use crate::base::limits::RESERVE_OUT_BYTES_MAX;
use crate::reservation;

pub(super) fn report(request: &Request<'_>) -> Planned {
    Ok(Plan::ReserveIn {
        service_action: request.cdb.service_action(),
        allocation_length: request.cdb.be16(7).into(),
    })
}

pub(super) fn change(request: &Request<'_>) -> Planned {
    let length = reservation::parameter_length(request.cdb.0)?;
    if length == 0 || length > RESERVE_OUT_BYTES_MAX {
        return Err(Failure::illegal(Code::PARAMETER_LIST_LENGTH));
    }
    Ok(Plan::Parameters { length })
}

pub(super) fn parse(request: &Request<'_>, data: &[u8]) -> Planned {
    let command = reservation::parse_out(request.cdb.0, data)?;
    Ok(Plan::ReserveOut(Box::new(command)))
}

pub(super) fn reserve(_: &Request<'_>) -> Planned {
    Ok(Plan::LegacyReserve)
}

pub(super) fn release(_: &Request<'_>) -> Planned {
    Ok(Plan::LegacyRelease)
}
