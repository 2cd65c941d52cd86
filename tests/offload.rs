//! Work that the target does by itself: FORMAT UNIT, and copies by token as Windows asks for them
//! (POPULATE TOKEN, WRITE USING TOKEN; SBC-3 section 4.25).

mod support;

use support::copy::{populate_token, receive_token, token_in, write_using_token};
use support::initiator::Initiator;
use support::scsi::{BLOCK, Outcome, pattern};
use support::server::{Server, Setup};

const TOKEN_UNKNOWN: (u8, u8, u8) = (0x05, 0x23, 0x04);
const TOKEN_CORRUPT: (u8, u8, u8) = (0x05, 0x23, 0x05);
const TOKEN_REVOKED: (u8, u8, u8) = (0x05, 0x23, 0x06);
const ZERO_TOKEN_TYPE: [u8; 4] = [0xff, 0xff, 0x00, 0x01];

on_every_engine!(
    a_formatted_volume_reads_as_zeros,
    a_token_copies_within_a_volume,
    a_token_copies_to_another_volume_and_from_any_session,
    a_token_is_revoked_by_the_first_write_to_its_data,
    a_forged_token_is_refused,
    the_zero_token_writes_zeros,
    a_fenced_node_copies_nothing,
);

fn scene(setup: &Setup) -> (Server, Initiator) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let session = server.session(&volume, "a");
    (server, session)
}

fn populate(session: &mut Initiator, identifier: u32, ranges: &[(u64, u32)]) -> Vec<u8> {
    session.run(&populate_token(identifier, ranges)).good();
    let report = session.run(&receive_token(identifier)).good();
    token_in(&report).expect("the copy is complete").to_vec()
}

fn write_using(
    session: &mut Initiator,
    token: &[u8],
    offset: u64,
    ranges: &[(u64, u32)],
) -> Outcome {
    session.run(&write_using_token(77, token, offset, ranges))
}

fn refused(outcome: Outcome, (key, asc, ascq): (u8, u8, u8)) {
    outcome.check(key, asc, ascq);
}

fn a_formatted_volume_reads_as_zeros(setup: Setup) {
    let (_server, mut session) = scene(&setup);
    let (blocks, _) = session.capacity();
    for lba in [0, blocks - 8] {
        session.write_blocks(lba, &pattern(lba + 1, 8)).good();
    }
    session.none(&[0x04, 0, 0, 0, 0, 0]).good();
    for lba in [0, blocks - 8] {
        assert_eq!(session.read_blocks(lba, 8).good(), vec![0; 8 * BLOCK]);
    }
    session.write_blocks(3, &pattern(9, 1)).good();
    assert_eq!(session.read_blocks(3, 1).good(), pattern(9, 1));
}

fn a_token_copies_within_a_volume(setup: Setup) {
    let (_server, mut session) = scene(&setup);
    session.write_blocks(0, &pattern(1, 16)).good();
    session.write_blocks(100, &pattern(2, 8)).good();
    let token = populate(&mut session, 1, &[(0, 16), (100, 8)]);
    // From block 4 of the data on: twelve blocks of the first range, then the second.
    write_using(&mut session, &token, 4, &[(200, 12), (300, 8)]).good();
    assert_eq!(
        session.read_blocks(200, 12).good(),
        pattern(1, 16)[4 * BLOCK..]
    );
    assert_eq!(session.read_blocks(300, 8).good(), pattern(2, 8));
}

fn a_token_copies_to_another_volume_and_from_any_session(setup: Setup) {
    let (server, mut session) = scene(&setup);
    let other = server.create_small("other");
    session.write_blocks(8, &pattern(3, 8)).good();
    let token = populate(&mut session, 2, &[(8, 8)]);
    let mut elsewhere = server.session(&other, "b");
    write_using(&mut elsewhere, &token, 0, &[(40, 8)]).good();
    assert_eq!(elsewhere.read_blocks(40, 8).good(), pattern(3, 8));
}

fn a_token_is_revoked_by_the_first_write_to_its_data(setup: Setup) {
    let (_server, mut session) = scene(&setup);
    session.write_blocks(0, &pattern(4, 8)).good();
    let token = populate(&mut session, 3, &[(0, 8)]);
    session.write_blocks(8, &pattern(5, 1)).good();
    write_using(&mut session, &token, 0, &[(50, 8)]).good();
    session.write_blocks(7, &pattern(6, 1)).good();
    let late = write_using(&mut session, &token, 0, &[(60, 8)]);
    refused(late, TOKEN_REVOKED);
    assert_eq!(session.read_blocks(60, 8).good(), vec![0; 8 * BLOCK]);
}

fn a_forged_token_is_refused(setup: Setup) {
    let (_server, mut session) = scene(&setup);
    let token = populate(&mut session, 4, &[(0, 8)]);
    let mut guessed = token.clone();
    guessed[130] ^= 1; // in the secret
    refused(
        write_using(&mut session, &guessed, 0, &[(50, 8)]),
        TOKEN_CORRUPT,
    );
    let mut unknown = token;
    unknown[15] ^= 0x40; // another identifier
    refused(
        write_using(&mut session, &unknown, 0, &[(50, 8)]),
        TOKEN_UNKNOWN,
    );
}

fn the_zero_token_writes_zeros(setup: Setup) {
    let (_server, mut session) = scene(&setup);
    session.write_blocks(0, &pattern(7, 24)).good();
    write_using(&mut session, &ZERO_TOKEN_TYPE, 0, &[(8, 8)]).good();
    let mut expected = pattern(7, 24);
    expected[8 * BLOCK..16 * BLOCK].fill(0);
    assert_eq!(session.read_blocks(0, 24).good(), expected);
}

fn a_fenced_node_copies_nothing(setup: Setup) {
    let (server, mut session) = scene(&setup);
    session.write_blocks(0, &pattern(8, 8)).good();
    let token = populate(&mut session, 5, &[(0, 8)]);
    let mut holder = server.session(&server.volume("disk"), "holder");
    holder.register(0, 0xb).good();
    holder.reserve(support::reserve::kind::WE_RO, 0xb).good();
    write_using(&mut session, &token, 0, &[(50, 8)]).conflict();
    session.none(&[0x04, 0, 0, 0, 0, 0]).conflict();
    assert_eq!(session.read_blocks(50, 8).good(), vec![0; 8 * BLOCK]);
    assert_eq!(session.read_blocks(0, 8).good(), pattern(8, 8));
}
