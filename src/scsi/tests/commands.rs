//! Command by command: what an initiator sees.

use crate::scsi::attention::UnitAttention;
use crate::scsi::plan::{SameSource, SanitizeKind, Transfer, VerifyMode};
use crate::scsi::sense::{Code, SenseKey};
use crate::scsi::table::COMMANDS;
use crate::scsi::testing::{everything, failure_code, reply, unit, view};
use crate::scsi::unit::Medium;
use crate::scsi::{
    ByteRange, Failure, LogicalUnit, LunKind, Plan, Reply, View, plan, plan_with_parameters,
};

#[test]
fn a_lun_without_a_unit_knows_three_commands() {
    let unit = unit();
    let mut view = view(&unit);
    view.lun = LunKind::Missing;
    let inquiry = reply(plan(&[0x12, 0, 0, 0, 5, 0], &view));
    assert_eq!(inquiry[0], 0x7F);
    let sense = reply(plan(&[0x03, 0, 0, 0, 18, 0], &view));
    assert_eq!((sense[2], sense[12]), (5, 0x25));
    assert_eq!(
        failure_code(&plan(&[0; 6], &view)),
        Some(Code::UNIT_NOT_SUPPORTED)
    );
    assert_eq!(
        failure_code(&plan(&[0xEE; 16], &view)),
        Some(Code::UNIT_NOT_SUPPORTED)
    );
    view.lun = LunKind::ReportLuns;
    assert_eq!(reply(plan(&[0x12, 0, 0, 0, 1, 0], &view)), [0x1E]);
    assert_eq!(plan(&[0; 6], &view), Plan::Reply(Reply::default()));
    assert_eq!(LunKind::of([0x40, 0, 0, 0, 0, 0, 0, 0]), LunKind::Disk);
    assert_eq!(LunKind::of([0, 1, 0, 0, 0, 0, 0, 0]), LunKind::Missing);
}

#[test]
fn standard_inquiry_says_what_the_unit_is() {
    let unit = unit();
    let data = reply(plan(&[0x12, 0, 0, 0, 96, 0], &view(&unit)));
    assert_eq!(data[..8], [0, 0, 6, 0x12, 91, 0x38, 0x10, 0x02]);
    assert_eq!(&data[8..36], b"HOLDFASTvolume          0001");
    assert_eq!(
        data[58..66],
        [0x00, 0xA0, 0x09, 0x60, 0x04, 0x60, 0x04, 0xC0]
    );
    let evpd = plan(&[0x12, 0, 1, 0, 96, 0], &view(&unit));
    assert_eq!(failure_code(&evpd), Some(Code::INVALID_FIELD_IN_CDB));
}

#[test]
fn capacity_in_both_sizes() {
    let unit = unit();
    let small = reply(plan(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &view(&unit)));
    assert_eq!(small, [0, 0, 0x1F, 0xFF, 0, 0, 2, 0]);
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x9E, 0x10]);
    cdb[13] = 16;
    let large = reply(plan(&cdb, &view(&unit)));
    assert_eq!(
        large,
        [0, 0, 0, 0, 0, 0, 0x1F, 0xFF, 0, 0, 2, 0, 0, 3, 0xC0, 0]
    );
}

#[test]
fn a_capacity_beyond_32_bits_and_a_plain_volume() {
    let mut unit = unit();
    unit.geometry.blocks = 1 << 33;
    unit.properties.thin = false;
    let small = reply(plan(&[0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0], &view(&unit)));
    assert_eq!(small[..4], [0xFF; 4]);
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x9E, 0x10]);
    cdb[13] = 32;
    assert_eq!(reply(plan(&cdb, &view(&unit)))[14], 0);
    assert_eq!(
        reply(plan(&[0x12, 1, 0xB2, 0, 9, 0], &view(&unit))),
        [0, 0xB2, 0, 4, 0, 0, 0, 0]
    );
    let limits = reply(plan(&[0x12, 1, 0xB0, 0, 64, 0], &view(&unit)));
    assert_eq!(limits[20..36], [0; 16]);
    let unmap = plan(&[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &view(&unit));
    assert_eq!(failure_code(&unmap), Some(Code::INVALID_OPCODE));
}

#[test]
fn reads_and_writes_become_byte_ranges() {
    let unit = unit();
    let view = view(&unit);
    let range = |offset, length| ByteRange { offset, length };
    let read6 = plan(&[0x08, 0, 0, 4, 0, 0], &view);
    assert_eq!(
        read6,
        Plan::Read {
            range: range(2048, 131_072),
            dpo: false,
            fua: false
        }
    );
    let write10 = plan(&[0x2A, 0x18, 0, 0, 0, 1, 0, 0, 2, 0], &view);
    let expected = Plan::Write {
        range: range(512, 1024),
        dpo: true,
        fua: true,
        atomic: false,
    };
    assert_eq!(write10, expected);
    let protected = plan(&[0x2A, 0x20, 0, 0, 0, 1, 0, 0, 2, 0], &view);
    assert_eq!(protected, Plan::Fail(Failure::cdb_bit(1, 5)));
    let compare_and_write = [0x89, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0];
    let planned = plan(&compare_and_write, &view);
    assert_eq!(
        planned.transfer(512),
        Transfer {
            data_out: 2048,
            data_in: 0
        }
    );
    let nothing = plan(&[0x28, 0, 0, 0, 0, 1, 0, 0, 0, 0], &view);
    assert_eq!(nothing, Plan::Reply(Reply::default()));
}

#[test]
fn verify_knows_three_ways() {
    let unit = unit();
    let mode = |byte1| match plan(&[0x2F, byte1, 0, 0, 0, 0, 0, 0, 4, 0], &view(&unit)) {
        Plan::Verify { mode, .. } => Some(mode),
        _ => None,
    };
    assert_eq!(mode(0), Some(VerifyMode::Medium));
    assert_eq!(mode(2), Some(VerifyMode::Compare));
    assert_eq!(mode(4), None);
    assert_eq!(mode(6), Some(VerifyMode::Pattern));
}

#[test]
fn write_same_in_its_variants() {
    let mut unit = unit();
    let cdb = |byte1, count| [0x93, byte1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, count, 0, 0];
    let nothing = plan(&cdb(0x09, 0), &view(&unit));
    assert_eq!(failure_code(&nothing), Some(Code::INVALID_FIELD_IN_CDB));
    let planned = plan(&cdb(0x09, 64), &view(&unit));
    let range = ByteRange {
        offset: 0,
        length: 64 * 512,
    };
    let source = SameSource::Zeros;
    assert_eq!(
        planned,
        Plan::WriteSame {
            range,
            source,
            deallocate: true
        }
    );
    assert_eq!(planned.transfer(512).data_out, 0);
    let anchored = plan(&cdb(0x18, 1), &view(&unit));
    assert_eq!(failure_code(&anchored), Some(Code::INVALID_FIELD_IN_CDB));
    assert_eq!(plan(&cdb(0, 1), &view(&unit)).transfer(512).data_out, 512);
    unit.properties.thin = false;
    let unmap = plan(&cdb(0x08, 1), &view(&unit));
    assert_eq!(failure_code(&unmap), Some(Code::INVALID_FIELD_IN_CDB));
    unit.geometry.blocks = 1 << 32;
    let mut long = cdb(0, 0);
    long[10] = 0xff;
    let too_long = plan(&long, &view(&unit));
    assert_eq!(too_long, Plan::Fail(Failure::cdb_field(10)));
}

#[test]
fn unmap_reads_its_descriptors() {
    let unit = unit();
    let unmap = |data: &[u8]| {
        let [high, low] = u16::try_from(data.len()).unwrap().to_be_bytes();
        plan_with_parameters(&[0x42, 0, 0, 0, 0, 0, 0, high, low, 0], data, &view(&unit))
    };
    let list = |ranges: &[(u64, u32)]| {
        let length = u16::try_from(ranges.len() * 16).unwrap();
        let mut data = (length + 6).to_be_bytes().to_vec();
        data.extend_from_slice(&length.to_be_bytes());
        data.extend_from_slice(&[0; 4]);
        for (lba, count) in ranges {
            data.extend_from_slice(&lba.to_be_bytes());
            data.extend_from_slice(&count.to_be_bytes());
            data.extend_from_slice(&[0; 4]);
        }
        data
    };
    let ranges = vec![ByteRange {
        offset: 0,
        length: 1024,
    }];
    assert_eq!(unmap(&list(&[(0, 1), (1, 1)])), Plan::Unmap { ranges });
    let nothing = Plan::Reply(Reply::default());
    assert_eq!(unmap(&list(&[])), nothing);
    assert_eq!(unmap(&list(&[(8192, 0)])), nothing);
    assert_eq!(unmap(&[]), nothing);
    assert_eq!(
        failure_code(&unmap(&[0; 7])),
        Some(Code::PARAMETER_LIST_LENGTH)
    );
    assert_eq!(
        failure_code(&unmap(&list(&[(8192, 1)]))),
        Some(Code::LBA_OUT_OF_RANGE)
    );
    let invalid = Some(Code::INVALID_FIELD_IN_PARAMETERS);
    assert_eq!(failure_code(&unmap(&list(&[(0, 8192); 129]))), invalid);
    assert_eq!(failure_code(&unmap(&list(&[(0, 1); 257]))), invalid);
}

#[test]
fn sanitize_checks_what_it_is_given() {
    let mut unit = everything();
    let overwrite = |data: &[u8], unit: &LogicalUnit| {
        let [high, low] = u16::try_from(data.len()).unwrap().to_be_bytes();
        let cdb = [0x48, 0x81, 0, 0, 0, 0, 0, high, low, 0];
        plan_with_parameters(&cdb, data, &view(unit))
    };
    let Plan::Sanitize(sanitize) = overwrite(&[0x83, 0, 0, 2, 0xAA, 0x55], &unit) else {
        panic!();
    };
    assert!(sanitize.immediate);
    let pattern = vec![0xAA, 0x55];
    assert_eq!(
        sanitize.kind,
        SanitizeKind::Overwrite {
            pattern,
            count: 3,
            invert: true
        }
    );
    let parameters = Some(Code::INVALID_FIELD_IN_PARAMETERS);
    assert_eq!(
        failure_code(&overwrite(&[0, 0, 0, 2, 1, 2], &unit)),
        parameters
    );
    assert_eq!(
        failure_code(&overwrite(&[1, 0, 0, 3, 1, 2], &unit)),
        parameters
    );
    let cdb = Some(Code::INVALID_FIELD_IN_CDB);
    for length in [0, 4, 517] {
        assert_eq!(
            failure_code(&overwrite(&vec![1; length], &unit)),
            cdb,
            "{length}"
        );
    }
    let erase = plan(&[0x48, 0x02, 0, 0, 0, 0, 0, 0, 8, 0], &view(&unit));
    assert_eq!(failure_code(&erase), cdb);
    unit.medium = Medium::SanitizeFailed {
        unrestricted_exit: false,
    };
    let exit = |unit: &LogicalUnit| plan(&[0x48, 0x1F, 0, 0, 0, 0, 0, 0, 0, 0], &view(unit));
    assert_eq!(failure_code(&exit(&unit)), cdb);
    unit.medium = Medium::SanitizeFailed {
        unrestricted_exit: true,
    };
    assert!(matches!(exit(&unit), Plan::Sanitize(_)));
}

#[test]
fn the_medium_moves_only_where_it_can() {
    let mut unit = unit();
    let stop = |unit: &LogicalUnit, byte4| plan(&[0x1B, 0, 0, 0, byte4, 0], &view(unit));
    assert_eq!(
        failure_code(&stop(&unit, 2)),
        Some(Code::INVALID_FIELD_IN_CDB)
    );
    assert!(matches!(stop(&unit, 0), Plan::Flush { .. }));
    assert_eq!(stop(&unit, 4), Plan::Reply(Reply::default()));
    unit.properties.removable = true;
    assert_eq!(stop(&unit, 2), Plan::MoveMedium { load: false });
    assert_eq!(stop(&unit, 0x12), Plan::Reply(Reply::default()));
    unit.removal_prevented = true;
    let prevented = Some(Code::MEDIUM_REMOVAL_PREVENTED);
    assert_eq!(failure_code(&stop(&unit, 3)), prevented);
}

#[test]
fn format_takes_a_header_and_no_more() {
    let unit = unit();
    let format =
        |byte1, data: &[u8]| plan_with_parameters(&[0x04, byte1, 0, 0, 0, 0], data, &view(&unit));
    assert!(matches!(format(0, &[]), Plan::Format(plan) if !plan.immediate));
    assert!(matches!(format(0x10, &[0, 2, 0, 0]), Plan::Format(plan) if plan.immediate));
    assert!(matches!(format(0x30, &[0; 8]), Plan::Format(_)));
    for wrong in [[1, 0, 0, 0], [0, 8, 0, 0], [0, 0, 0, 4]] {
        let code = failure_code(&format(0x10, &wrong));
        assert_eq!(code, Some(Code::INVALID_FIELD_IN_PARAMETERS));
    }
    assert!(matches!(
        plan(&[0x04, 0x40, 0, 0, 0, 0], &view(&unit)),
        Plan::Fail(_)
    ));
}

#[test]
fn request_sense_tells_what_is_pending() {
    let mut unit = unit();
    let sense = |view: &View<'_>| reply(plan(&[0x03, 0, 0, 0, 18, 0], view));
    assert_eq!(sense(&view(&unit))[2], 0);
    unit.medium = Medium::Sanitizing { progress: 0x1234 };
    assert_eq!(sense(&view(&unit))[15..], [0x80, 0x12, 0x34]);
    let mut attentive = view(&unit);
    attentive.attention = Some(UnitAttention::CapacityChanged);
    let data = sense(&attentive);
    assert_eq!(
        (data[2], data[12], data[13]),
        (SenseKey::UnitAttention as u8, 0x2A, 0x09)
    );
}

#[test]
fn operation_codes_in_every_format() {
    let mut unit = unit();
    let ask = |unit: &LogicalUnit, byte2, opcode, action| {
        plan(
            &[0xA3, 0x0C, byte2, opcode, 0, action, 0, 1, 0, 0, 0, 0],
            &view(unit),
        )
    };
    let all = reply(ask(&unit, 0, 0, 0));
    let supported = COMMANDS.iter().filter(|c| c.is_supported_by(&unit)).count();
    assert_eq!(all.len(), 4 + 8 * supported);
    assert_eq!(reply(ask(&unit, 0x80, 0, 0)).len(), 4 + 20 * supported);
    let read = reply(ask(&unit, 1, 0x28, 0));
    assert_eq!(
        read,
        [
            0, 3, 0, 10, 0x28, 0x18, 255, 255, 255, 255, 0x1F, 255, 255, 4
        ]
    );
    let invalid = Some(Code::INVALID_FIELD_IN_CDB);
    assert_eq!(failure_code(&ask(&unit, 1, 0x48, 1)), invalid);
    assert_eq!(failure_code(&ask(&unit, 2, 0x28, 0)), invalid);
    assert_eq!(
        reply(ask(&unit, 2, 0x48, 1))[..6],
        [0, 3, 0, 10, 0x48, 0xA1]
    );
    assert_eq!(reply(ask(&unit, 0x83, 0x28, 0)).len(), 14 + 12);
    assert_eq!(reply(ask(&unit, 1, 0xEE, 0)), [0, 1, 0, 0]);
    unit.properties.atomic_write_bytes = 0;
    assert_eq!(reply(ask(&unit, 1, 0x9C, 0)), [0, 1, 0, 0]);
    let cdb = [0x9C, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
    assert_eq!(
        failure_code(&plan(&cdb, &view(&unit))),
        Some(Code::INVALID_OPCODE)
    );
}

#[test]
fn reports_of_names_time_functions_and_luns() {
    let unit = unit();
    let ask = |cdb: [u8; 12]| reply(plan(&cdb, &view(&unit)));
    assert_eq!(
        ask([0xA3, 5, 0, 0, 0, 0, 0, 0, 0, 99, 4, 0]),
        *b"\0\0\0\x06vol-1\0"
    );
    assert_eq!(
        ask([0xA3, 0x0F, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0]),
        [0, 10, 3, 0, 0, 1, 2, 3, 4, 5, 0, 0]
    );
    assert_eq!(
        ask([0xA3, 0x0D, 0, 0, 0, 0, 0, 0, 0, 99, 0, 0]),
        [0xDE, 7, 0, 0]
    );
    assert_eq!(
        ask([0xA3, 0x0D, 0x80, 0, 0, 0, 0, 0, 0, 99, 0, 0]).len(),
        16
    );
    assert_eq!(
        ask([0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0])[..4],
        [0, 0, 0, 8]
    );
    assert_eq!(
        ask([0xA0, 0, 2, 0, 0, 0, 0, 0, 0, 99, 0, 0])[16..18],
        [0xC1, 0x01]
    );
}
