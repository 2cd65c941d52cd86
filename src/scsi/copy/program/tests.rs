use super::*;
use crate::scsi::testing::{failure_code, unit, view};
use crate::scsi::{plan, plan_with_parameters};

const SEGMENT_BYTES: usize = 28;

fn target() -> Vec<u8> {
    unit().identity.designator().descriptor(512).to_vec()
}

fn segment(source: u8, destination: u8, count: u16, from: u64, to: u64) -> Vec<u8> {
    let mut bytes = vec![0x02, 0, 0, 0x18, 0, source, 0, destination, 0, 0];
    bytes.extend_from_slice(&count.to_be_bytes());
    bytes.extend_from_slice(&from.to_be_bytes());
    bytes.extend_from_slice(&to.to_be_bytes());
    bytes
}

fn list(targets: &[Vec<u8>], segments: &[Vec<u8>]) -> Vec<u8> {
    let (targets, segments) = (targets.concat(), segments.concat());
    let mut bytes = vec![7, 0];
    bytes.extend_from_slice(&u16::try_from(targets.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&u32::try_from(segments.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(&[0; 4]);
    [bytes, targets, segments].concat()
}

fn copy(data: &[u8]) -> Plan {
    let mut cdb = [0; 16];
    cdb[0] = 0x83;
    cdb[10..14].copy_from_slice(&u32::try_from(data.len()).unwrap().to_be_bytes());
    let unit = unit();
    plan_with_parameters(&cdb, data, &view(&unit))
}

fn program(data: &[u8]) -> CopyProgram {
    match copy(data) {
        Plan::Copy(program) => *program,
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_segment_within_one_unit() {
    let program = program(&list(&[target()], &[segment(0, 0, 8, 1, 100)]));
    assert_eq!(program.list_identifier, Some(7));
    let expected = Segment {
        source: 0,
        destination: 0,
        source_offset: 512,
        destination_offset: 51200,
        length: 4096,
    };
    assert_eq!(program.segments, [expected]);
    assert!(unit().answers_to(&program.targets[0].designator));
    assert_eq!(program.check(&[Some(&unit())]), Ok(()));
}

#[test]
fn segments_that_leave_the_unit_abort_the_copy() {
    let far = program(&list(&[target()], &[segment(0, 0, 8, 0, 8191)]));
    let sense = far.check(&[Some(&unit())]).unwrap_err().sense.unwrap();
    assert_eq!((sense.key, sense.code), (SenseKey::CopyAborted, Code::NONE));
    let sense = far.check(&[None]).unwrap_err().sense.unwrap();
    assert_eq!(sense.code, Code::COPY_TARGET_NOT_REACHABLE);
    let nowhere = copy(&list(&[target()], &[segment(0, 1, 8, 0, 0)]));
    assert_eq!(failure_code(&nowhere), Some(Code::UNREACHABLE_COPY_TARGET));
    let wraps = copy(&list(&[target()], &[segment(0, 0, 8, u64::MAX, 0)]));
    assert_eq!(failure_code(&wraps), Some(Code::NONE));
}

#[test]
fn too_many_descriptors_and_too_many_bytes() {
    let one = segment(0, 0, 8, 0, 100);
    let targets = vec![target(); usize::from(COPY_TARGETS_MAX) + 1];
    let many = copy(&list(&targets, std::slice::from_ref(&one)));
    assert_eq!(failure_code(&many), Some(Code::TOO_MANY_TARGETS));
    let segments = vec![one; usize::from(COPY_SEGMENTS_MAX) + 1];
    let many = copy(&list(&[target()], &segments));
    assert_eq!(failure_code(&many), Some(Code::TOO_MANY_SEGMENTS));
    let longest = COPY_DESCRIPTOR_BYTES_MAX + 17;
    let mut cdb = [0; 16];
    cdb[0] = 0x83;
    cdb[10..14].copy_from_slice(&longest.to_be_bytes());
    let planned = plan(&cdb, &view(&unit()));
    assert_eq!(failure_code(&planned), Some(Code::PARAMETER_LIST_LENGTH));
}

#[test]
fn unknown_descriptors() {
    let mut fibre_channel = target();
    fibre_channel[0] = 0xE0;
    let planned = copy(&list(&[fibre_channel], &[segment(0, 0, 8, 0, 100)]));
    assert_eq!(failure_code(&planned), Some(Code::TARGET_TYPE_UNSUPPORTED));
    let mut stream = segment(0, 0, 8, 0, 100);
    stream[0] = 0x03;
    let planned = copy(&list(&[target()], &[stream]));
    assert_eq!(failure_code(&planned), Some(Code::SEGMENT_TYPE_UNSUPPORTED));
}

#[test]
fn lists_cut_short_copy_nothing() {
    let whole = list(&[target()], &[segment(0, 0, 8, 0, 100)]);
    for cut in [17, 16 + 31, 16 + 32 + SEGMENT_BYTES - 1] {
        let planned = copy(&whole[..cut]);
        assert_eq!(
            failure_code(&planned),
            Some(Code::PARAMETER_LIST_LENGTH),
            "{cut}"
        );
    }
    assert_eq!(copy(&[]), Plan::Reply(Reply::default()));
}

#[test]
fn the_list_with_a_long_identifier() {
    let (target, segment) = (target(), segment(0, 0, 8, 0, 100));
    let mut data = vec![0; 48];
    data[0] = 1;
    data[3] = 0x20;
    data[15] = 1;
    data[16] = 0xFF;
    data[20..24].copy_from_slice(&0x0102_0304_u32.to_be_bytes());
    data[43] = 32;
    data[45] = 28;
    let data = [data, target, segment].concat();
    let mut cdb = [0; 16];
    cdb[..2].copy_from_slice(&[0x83, 0x01]);
    cdb[13] = u8::try_from(data.len()).unwrap();
    let unit = unit();
    let Plan::Copy(program) = plan_with_parameters(&cdb, &data, &view(&unit)) else {
        panic!()
    };
    assert_eq!(program.list_identifier, Some(0x0102_0304));
    assert!(program.immediate);
}
