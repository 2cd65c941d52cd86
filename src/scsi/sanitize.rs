//! SANITIZE (SBC-3 section 5.22).
//!
//! Parameter list of OVERWRITE: INVERT (bit 7), TEST (6-5) and OVERWRITE COUNT (4-0), reserved,
//! INITIALIZATION PATTERN LENGTH (2), then the pattern.

use super::dispatch::{Planned, Request};
use super::fields::Fields;
use super::plan::{Plan, SanitizeKind, SanitizePlan};
use super::sense::Failure;
use super::unit::Medium;

const IMMEDIATE_BIT: u8 = 7;
const UNRESTRICTED_EXIT_BIT: u8 = 5;
const LENGTH_AT: u16 = 7;
const HEADER_BYTES: usize = 4;

pub(super) fn overwrite(request: &Request<'_>) -> Planned {
    let length = u32::from(request.cdb.be16(7));
    // A header, and a pattern of one byte to one block.
    let most = request.view.unit.geometry.block_bytes.saturating_add(4);
    if length < 5 || length > most {
        return Err(Failure::cdb_field(LENGTH_AT));
    }
    Ok(Plan::Parameters { length })
}

pub(super) fn parse_overwrite(request: &Request<'_>, data: &[u8]) -> Planned {
    let list = Fields(data);
    let [flags, ..] = list.array::<1>(0);
    let count = flags & 0x1F;
    if count == 0 || flags & 0x60 != 0 {
        return Err(Failure::parameter_field(0));
    }
    let pattern = list.slice(HEADER_BYTES, usize::MAX);
    if pattern.length() == 0 || pattern.length() != usize::from(list.be16(2)) {
        return Err(Failure::parameter_field(2));
    }
    Ok(sanitize(
        request,
        SanitizeKind::Overwrite {
            pattern: pattern.0.to_vec(),
            count,
            invert: flags & 0x80 != 0,
        },
    ))
}

pub(super) fn block_erase(request: &Request<'_>) -> Planned {
    without_parameters(request, SanitizeKind::BlockErase)
}

pub(super) fn crypto_erase(request: &Request<'_>) -> Planned {
    without_parameters(request, SanitizeKind::CryptoErase)
}

/// Only a SANITIZE with AUSE may be left behind after it failed (SBC-3 section 4.11.3).
pub(super) fn exit_failure_mode(request: &Request<'_>) -> Planned {
    if let Medium::SanitizeFailed {
        unrestricted_exit: false,
    } = request.view.unit.medium
    {
        return Err(Failure::cdb_bit(1, 4));
    }
    without_parameters(request, SanitizeKind::ExitFailureMode)
}

fn without_parameters(request: &Request<'_>, kind: SanitizeKind) -> Planned {
    if request.cdb.be16(7) != 0 {
        return Err(Failure::cdb_field(LENGTH_AT));
    }
    Ok(sanitize(request, kind))
}

fn sanitize(request: &Request<'_>, kind: SanitizeKind) -> Plan {
    Plan::Sanitize(SanitizePlan {
        kind,
        immediate: request.cdb.bit(1, IMMEDIATE_BIT),
        unrestricted_exit: request.cdb.bit(1, UNRESTRICTED_EXIT_BIT),
    })
}
