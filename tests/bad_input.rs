//! Each class of bad input that has hurt a target. After every one the server must still serve a
//! session that was open before, and admit a new one.

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;

use support::initiator::{Command, Initiator};
use support::login::{ANSWER_TIMEOUT, Login};
use support::pdu::{Digests, FINAL, NO_TAG, Pdu, opcode};
use support::reserve::{action, flag, listed_parameters, out_cdb, parameters, transport_id};
use support::scsi::{self, BLOCK, pattern, status, test_unit_ready};
use support::server::{Server, Setup, Volume};

on_every_engine!(
    noise_instead_of_a_login,
    truncated_pdus_and_sudden_ends,
    headers_that_lie_about_lengths,
    long_and_many_unknown_keys,
    malformed_keys_and_stages,
    values_out_of_range,
    wrong_opcodes_in_full_feature_phase,
    data_out_that_no_one_asked_for,
    data_that_disagrees_with_the_cdb,
    parameter_lists_without_bound,
    transport_id_lists_that_lie,
    copy_descriptors_of_unknown_units,
    odd_offsets_and_lengths,
    broken_digests,
    aborts_and_resets_race,
    connections_close_under_load,
    a_peer_that_never_reads,
    random_pdus,
    a_login_storm,
);

/// A server with a session that was there before the trouble and must outlive it.
struct Scene {
    server: Server,
    volume: Volume,
    witness: Initiator,
    data: Vec<u8>,
}

impl Scene {
    fn new(setup: &Setup) -> Self {
        let server = setup.start();
        let volume = server.create_small("disk");
        let mut witness = server.session(&volume, "witness");
        let data = pattern(1, 64);
        witness.write_blocks(0, &data).good();
        Self {
            server,
            volume,
            witness,
            data,
        }
    }

    /// Both the old session and a new one read what was written.
    #[track_caller]
    fn assert_serves(&mut self) {
        self.witness.take_attentions();
        assert!(
            self.witness.read_blocks(0, 64).good() == self.data,
            "the open session"
        );
        let mut new = self.server.session(&self.volume, "new");
        assert!(new.read_blocks(0, 64).good() == self.data, "a new session");
        new.logout();
    }

    fn raw(&self) -> TcpStream {
        let stream = TcpStream::connect(self.server.portal()).expect("a connection");
        stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .expect("a timeout");
        stream
            .set_write_timeout(Some(ANSWER_TIMEOUT))
            .expect("a timeout");
        stream
    }

    fn session(&self) -> Initiator {
        self.server.session(&self.volume, "bad")
    }

    /// Waits until all that the last session asked for is over, resets included: one that is under way
    /// when its session ends still ends the commands of others, without a status, and leaves them a unit
    /// attention (SAM-5 section 6.3.3). A login of the same name and ISID takes the session's place, and
    /// is not answered before the old one has gone, tasks and all (RFC 7143 section 6.3.5).
    fn await_the_end_of_the_last_session(&self) {
        self.session().logout();
    }
}

/// Sends bytes and reads until the target ends the connection or an answer has come.
fn provoke(mut stream: TcpStream, bytes: &[u8]) {
    let _may_be_cut = stream.write_all(bytes);
    let _half_open = stream.shutdown(std::net::Shutdown::Write);
    let mut answer = Vec::new();
    let _may_be_reset = stream.take(1 << 20).read_to_end(&mut answer);
}

/// A reproducible sequence; the seed stands in the name of what fails.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }
}

fn noise_instead_of_a_login(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let mut random = Random(0x5eed);
    for length in [1, 47, 48, 49, 1000, 100_000] {
        let noise: Vec<u8> = (0..length).map(|_| random.byte()).collect();
        provoke(scene.raw(), &noise);
    }
    provoke(scene.raw(), b"GET / HTTP/1.1\r\nHost: example\r\n\r\n");
    provoke(scene.raw(), &[0; 4096]);
    provoke(scene.raw(), &[0xff; 4096]);
    scene.assert_serves();
}

fn truncated_pdus_and_sudden_ends(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let login = Pdu::new(opcode::LOGIN)
        .immediate()
        .with_data(b"InitiatorName=iqn.2024-01.test:x\0".to_vec());
    let bytes = login.to_bytes(Digests::default());
    for length in 0..bytes.len() {
        provoke(scene.raw(), &bytes[..length]);
    }
    for length in [1, 20, 47, 48, 60] {
        let mut session = scene.session();
        let command = Pdu::new(opcode::COMMAND).with_itt(9).with_data(vec![0; 64]);
        let bytes = command.to_bytes(session.negotiated.digests);
        session.stream.write_all(&bytes[..length]).expect("sent");
        session.cut();
    }
    scene.assert_serves();
}

fn headers_that_lie_about_lengths(setup: Setup) {
    let mut scene = Scene::new(&setup);
    for (ahs_words, data_bytes) in [
        (255_u8, 0_u32),
        (0, 0xff_ffff),
        (255, 0xff_ffff),
        (1, 0),
        (0, 8193),
        (0, 0x10_0000),
    ] {
        let lie = |opcode: u8| {
            let mut bytes = Pdu::new(opcode).immediate().to_bytes(Digests::default());
            bytes[4] = ahs_words;
            bytes[5..8].copy_from_slice(&data_bytes.to_be_bytes()[1..]);
            bytes.extend_from_slice(&[0; 2048]);
            bytes
        };
        provoke(scene.raw(), &lie(opcode::LOGIN));
        for opcode in [
            opcode::COMMAND,
            opcode::TEXT,
            opcode::NOP_OUT,
            opcode::DATA_OUT,
        ] {
            let session = scene.session();
            provoke(session.stream, &lie(opcode));
        }
    }
    // Additional header segments of every type and length, the extended CDB with none of it too.
    for (length, kind) in [
        (0_u16, 1_u8),
        (1, 1),
        (5, 1),
        (0xffff, 1),
        (4, 2),
        (5, 77),
        (0, 0),
    ] {
        let session = scene.session();
        let mut command = Pdu::new(opcode::COMMAND)
            .with_itt(7)
            .with_u32(24, session.sequence.cmd_sn)
            .with_u32(28, session.sequence.exp_stat_sn);
        command.ahs = vec![0; 8];
        command.ahs[..2].copy_from_slice(&length.to_be_bytes());
        command.ahs[2] = kind;
        provoke(session.stream, &command.to_bytes(Digests::default()));
    }
    scene.assert_serves();
}

fn long_and_many_unknown_keys(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let login = scene.server.login(&scene.volume, "bad");
    let mut many = login.clone();
    for index in 0..10_000 {
        many.keys
            .push((format!("X-test.key{index}"), "value".to_owned()));
    }
    let _either = many.try_connect();
    let _either = many.split(512).try_connect();
    let long_value = login
        .clone()
        .key("X-test.long", &"v".repeat(60_000))
        .split(8000);
    let _either = long_value.try_connect();
    let long_key = login.clone().key(&"K".repeat(300), "1");
    let _either = long_key.try_connect();
    let long_name = Login {
        initiator: Some("iqn.2024-01.test:".to_owned() + &"n".repeat(300)),
        ..login
    };
    assert!(
        long_name.try_connect().is_err(),
        "a name has at most 223 bytes"
    );
    scene.assert_serves();
}

fn malformed_keys_and_stages(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let texts: [&[u8]; 10] = [
        b"InitiatorName",
        b"InitiatorName\0",
        b"=value\0",
        b"\0\0\0\0",
        b"InitiatorName=iqn.2024-01.test:x",
        b"InitiatorName=\0TargetName=\0",
        b"InitiatorName=iqn.2024-01.test:x\0InitiatorName=iqn.2024-01.test:y\0",
        b"InitiatorName=\xff\xfe\x00",
        b"InitiatorName=a\nb\x1b[31m\0",
        b"MaxRecvDataSegmentLength=99999999999999999999999\0",
    ];
    for text in texts {
        for flags in [0x81, 0x87, 0x83, 0x8f, 0x40, 0xc7, 0x04, 0x0c, 0xff, 0x00] {
            let login = Pdu::new(opcode::LOGIN)
                .immediate()
                .with_flags(flags)
                .with_data(text);
            let bytes = login.to_bytes(Digests::default());
            provoke(scene.raw(), &[bytes.clone(), bytes].concat());
        }
    }
    for opcode in 0..=0x3f {
        provoke(scene.raw(), &Pdu::new(opcode).to_bytes(Digests::default()));
    }
    let mut version = Pdu::new(opcode::LOGIN).immediate().with_flags(0x87);
    (version.bhs[2], version.bhs[3]) = (9, 9);
    provoke(scene.raw(), &version.to_bytes(Digests::default()));
    scene.assert_serves();
}

fn values_out_of_range(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let login = scene.server.login(&scene.volume, "bad");
    for (key, value) in [
        ("MaxRecvDataSegmentLength", "0"),
        ("MaxRecvDataSegmentLength", "511"),
        ("MaxRecvDataSegmentLength", "16777216"),
        ("MaxRecvDataSegmentLength", "-1"),
        ("MaxBurstLength", "0"),
        ("MaxBurstLength", "abc"),
        ("FirstBurstLength", "0x"),
        ("FirstBurstLength", "999999999999"),
        ("MaxConnections", "0"),
        ("MaxConnections", "65536"),
        ("MaxOutstandingR2T", "0"),
        ("ErrorRecoveryLevel", "3"),
        ("DefaultTime2Wait", "3601"),
        ("InitialR2T", "Maybe"),
        ("ImmediateData", ""),
        ("HeaderDigest", "CRC32"),
        ("DataDigest", ",,,,"),
        ("SessionType", "Other"),
        ("AuthMethod", "None"),
        ("TargetPortalGroupTag", "1"),
    ] {
        if let Ok(mut session) = login.clone().key(key, value).try_connect() {
            session.take_attentions(); // admitted with another value: then it must serve
        }
    }
    scene.assert_serves();
}

fn wrong_opcodes_in_full_feature_phase(setup: Setup) {
    let mut scene = Scene::new(&setup);
    for code in 0..=0x3f {
        let session = scene.session();
        let pdu = Pdu::new(code)
            .with_itt(3)
            .with_ttt(5)
            .with_u32(24, session.sequence.cmd_sn)
            .with_u32(28, session.sequence.exp_stat_sn)
            .with_data(vec![0x41; 100]);
        provoke(session.stream, &pdu.to_bytes(Digests::default()));
    }
    let mut session = scene.session();
    let unknown = Pdu::new(0x1f)
        .immediate()
        .with_itt(3)
        .with_u32(24, session.sequence.cmd_sn);
    session.send(&unknown).expect("sent");
    let reject = session.receive().expect("a Reject");
    assert_eq!(reject.opcode(), opcode::REJECT);
    assert_eq!(reject.data, unknown.bhs, "it carries the bad header");
    scene.assert_serves();
}

fn data_out_that_no_one_asked_for(setup: Setup) {
    let mut scene = Scene::new(&setup);
    for (itt, ttt, offset, sn) in [
        (1, 2, 0, 0),
        (1, NO_TAG, 0, 0),
        (NO_TAG, NO_TAG, 0, 0),
        (1, 2, 0xffff_ff00, 0xffff_ffff),
    ] {
        let mut session = scene.session();
        let pdu = Pdu::new(opcode::DATA_OUT)
            .with_itt(itt)
            .with_ttt(ttt)
            .with_u32(36, sn)
            .with_u32(40, offset)
            .with_data(vec![0x42; 512]);
        session.send(&pdu).expect("sent");
        provoke(session.stream, &[]);
    }
    // Within a write: wrong offset, wrong number, too much, never the last.
    for (offset, sn, bytes, flags) in [
        (512_u32, 0_u32, 512, FINAL),
        (0, 5, 512, FINAL),
        (0, 0, 8192, FINAL),
        (0, 0, 512, 0),
        (0xffff_fe00, 0, 512, FINAL),
    ] {
        let mut session = scene
            .server
            .login(&scene.volume, "bad")
            .key("ImmediateData", "No")
            .connect();
        session.take_attentions();
        let write = Command::write(&scsi::write10(128, 8), &vec![0xcc; 8 * BLOCK]);
        let tag = session.submit(&write).expect("sent");
        let ready = session.receive().expect("an R2T");
        let pdu = Pdu::new(opcode::DATA_OUT)
            .with_flags(flags)
            .with_itt(tag)
            .with_ttt(ready.ttt())
            .with_u32(36, sn)
            .with_u32(40, offset)
            .with_data(vec![0xcc; bytes]);
        session.send(&pdu).expect("sent");
        provoke(session.stream, &[]);
    }
    scene.assert_serves();
}

fn data_that_disagrees_with_the_cdb(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let mut session = scene.session();
    let commands = [
        Command::none(&scsi::write10(128, 8)),
        Command::write(&scsi::write10(128, 8), &[1; 100]),
        Command::write(&scsi::write10(128, 1), &[1; 5000]),
        Command::write(&scsi::write10(128, 0), &[1; 512]),
        Command::write(&scsi::read10(128, 1), &[1; 512]),
        Command::read(&scsi::write10(128, 1), 512),
        Command::none(&scsi::compare_and_write(128, 1)),
        Command::write(&scsi::compare_and_write(128, 2), &[1; 512]),
        Command::none(&scsi::write_same16(128, 1, false)),
        Command::write(&scsi::write_same16(128, 1, false), &[1; 3]),
        Command::none(&scsi::unmap(24)),
        Command::write(&scsi::unmap(24), &[0xff; 24]),
        Command::write(&scsi::unmap(7), &[0xff; 7]),
        Command::write(&scsi::verify10(128, 8, 1), &[1; 512]),
        Command::none(&out_cdb(action::REGISTER, 0, 24)),
        Command::write(&out_cdb(action::REGISTER, 0, 24), &[0; 12]),
    ];
    for command in &commands {
        let _any_status = session.run(command);
        assert!(
            session.none(&test_unit_ready()).is_good(),
            "after {:02x?}",
            command.cdb
        );
    }
    scene.assert_serves();
}

fn parameter_lists_without_bound(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let mut session = scene.session();
    for length in [0x1_0001_u32, 0x10_0000, 0x7fff_ffff, 0xffff_ffff] {
        for service_action in 0..8 {
            let mut command = Command::none(&out_cdb(service_action, 0, length));
            command.expected = length;
            command.data_out = vec![0; 24];
            // The initiator claims `length` bytes and would send 24; a refusal must come first.
            let outcome = session.try_run(&command);
            let refused = outcome.expect("an answer, not a dropped connection");
            assert_eq!(
                refused.status,
                status::CHECK_CONDITION,
                "length {length:#x}"
            );
        }
    }
    let huge = |opcode: u8| {
        let mut cdb = [0_u8; 16];
        cdb[0] = opcode;
        cdb[2..16].fill(0xff);
        cdb
    };
    for opcode in [0x83, 0x42, 0x15, 0x55, 0x3b, 0x1d, 0xa3, 0xa4, 0x4c, 0x84] {
        let _any_status = session.try_run(&Command::none(&huge(opcode)));
    }
    scene.assert_serves();
}

fn transport_id_lists_that_lie(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let good = transport_id("iqn.2024-01.test:witness", Some([0x80, 0, 0, 0, 0, 1]));
    let mut session = scene.session();
    let lists = |id: &[u8]| {
        let mut inner_long = id.to_vec();
        inner_long[2..4].copy_from_slice(&[0xff, 0xfc]);
        let mut inner_short = id.to_vec();
        inner_short[2..4].copy_from_slice(&[0, 3]);
        let mut protocol = id.to_vec();
        protocol[0] = 0x06;
        let mut unended = id.to_vec();
        unended[4..].fill(b'x');
        let mut no_isid = id.to_vec();
        let comma = no_isid
            .iter()
            .position(|byte| *byte == b',')
            .expect("a separator");
        no_isid[comma..].fill(0);
        [
            inner_long,
            inner_short,
            protocol,
            unended,
            no_isid,
            vec![0; 4],
            vec![0xff; 24],
        ]
    };
    for bad in lists(&good) {
        let list = listed_parameters(0, 0x1234, &[good.clone(), bad]);
        let cdb = out_cdb(
            action::REGISTER,
            0,
            u32::try_from(list.len()).expect("fits"),
        );
        let outcome = session.write(&cdb, &list);
        assert_eq!(outcome.sense_code().0, 5, "ILLEGAL REQUEST");
        assert!(session.keys().is_empty(), "nothing stays registered");
    }
    let list = parameters(0, 0x1234, flag::SPEC_I_PT); // without a list at all
    assert!(
        !session
            .write(&out_cdb(action::REGISTER, 0, 24), &list)
            .is_good()
    );
    assert!(session.keys().is_empty());
    scene.assert_serves();
}

fn copy_descriptors_of_unknown_units(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let mut session = scene.session();
    let mut cdb = [0_u8; 16];
    cdb[0] = 0x83;
    for (targets, segments, inline) in [
        (0x20_u16, 0x1c_u32, 0_u32),
        (0xffff, 0, 0),
        (0x20, 0xffff_ffff, 9),
    ] {
        let mut list = vec![0_u8; 16 + 0x20 + 0x1c];
        list[2..4].copy_from_slice(&targets.to_be_bytes());
        list[8..12].copy_from_slice(&segments.to_be_bytes());
        list[12..16].copy_from_slice(&inline.to_be_bytes());
        list[16] = 0xe4; // identification descriptor of a unit that is not here
        list[20..24].copy_from_slice(&[1, 3, 0, 16]);
        list[24..40].fill(0x6e);
        list[48] = 0x02; // block to block
        list[50..52].copy_from_slice(&0x18_u16.to_be_bytes());
        list[59] = 1; // block
        cdb[10..14].copy_from_slice(&u32::try_from(list.len()).expect("fits").to_be_bytes());
        let status = session.write(&cdb, &list).status;
        assert_eq!(
            status,
            status::CHECK_CONDITION,
            "{targets:x} {segments:x} {inline:x}"
        );
    }
    scene.assert_serves();
}

fn odd_offsets_and_lengths(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let mut session = scene.session();
    let mut random = Random(0xc0de);
    let reading = [
        0x03, 0x12, 0x1a, 0x5a, 0x25, 0x3c, 0x37, 0xb7, 0x4d, 0x5e, 0x9e, 0xa0, 0xa3, 0x84, 0x1c,
        0x08, 0x28, 0xa8, 0x88, 0x2f, 0x8f, 0xaf, 0x34, 0x90, 0x35, 0x91, 0x00, 0x1b, 0x1e,
    ];
    for round in 0..1500 {
        let mut cdb = [0_u8; 16];
        cdb.fill_with(|| {
            if random.below(2) == 0 {
                random.byte()
            } else {
                0
            }
        });
        cdb[0] = reading[random.below(reading.len())];
        if matches!(cdb[0], 0x1b | 0x1e) {
            cdb[4] = 1; // neither stop the unit nor forbid its removal
        }
        let expected = [0, 1, 3, 4, 8, 255, 4096, 70_000][random.below(8)];
        let outcome = session.try_run(&Command::read(&cdb, expected));
        let outcome = outcome.unwrap_or_else(|error| panic!("round {round}, {cdb:02x?}: {error}"));
        assert!(outcome.data.len() <= expected, "round {round}, {cdb:02x?}");
    }
    scene.assert_serves();
}

fn broken_digests(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let login = scene
        .server
        .login(&scene.volume, "bad")
        .digests("CRC32C", "CRC32C");
    let mut session = login.connect();
    session.take_attentions();
    let nop = Pdu::new(opcode::NOP_OUT)
        .immediate()
        .with_itt(3)
        .with_ttt(NO_TAG);
    let mut bytes = nop.to_bytes(session.negotiated.digests);
    bytes[50] ^= 1;
    session.stream.write_all(&bytes).expect("sent");
    assert!(
        session.is_closed_by_target(),
        "a header digest error drops the connection"
    );

    let mut session = login.connect();
    session.take_attentions();
    let command = Command::write(&scsi::write10(128, 1), &[7; BLOCK]);
    let header = {
        let mut header = Pdu::new(opcode::COMMAND)
            .with_flags(FINAL | 0x21)
            .with_itt(77)
            .with_u32(20, 512)
            .with_u32(24, session.sequence.cmd_sn)
            .with_u32(28, session.sequence.exp_stat_sn)
            .with_data(command.data_out.clone());
        header.bhs[32..42].copy_from_slice(&command.cdb);
        header
    };
    let mut bytes = header.to_bytes(session.negotiated.digests);
    let last = bytes.len() - 1;
    bytes[last] ^= 1;
    session.stream.write_all(&bytes).expect("sent");
    provoke(session.stream, &[]);
    let found = scene.witness.read_blocks(128, 1).good();
    assert!(
        found.iter().all(|byte| *byte == 0),
        "broken data are not written"
    );
    scene.assert_serves();
}

fn aborts_and_resets_race(setup: Setup) {
    let mut scene = Scene::new(&setup);
    for round in 0..20_u32 {
        let mut session = scene.session();
        for index in 0..16 {
            let command = Command::read(&scsi::read16(0, 64), 64 * BLOCK);
            let tag = session.submit(&command).expect("sent");
            let function = [1, 2, 4, 5][usize::try_from((round + index) % 4).expect("fits")];
            let abort = Pdu::new(opcode::TASK_MANAGEMENT)
                .immediate()
                .with_flags(FINAL | function)
                .with_ttt(tag)
                .with_u32(32, session.sequence.cmd_sn.wrapping_sub(1));
            session.submit_request(abort).expect("sent");
        }
        if round % 2 == 0 {
            session.cut();
        } else {
            provoke(session.stream, &[]);
        }
    }
    scene.await_the_end_of_the_last_session();
    scene.assert_serves();
}

fn connections_close_under_load(setup: Setup) {
    let mut scene = Scene::new(&setup);
    for round in 0..30 {
        let mut session = scene
            .server
            .login(&scene.volume, "bad")
            .isid(round)
            .connect();
        for index in 0..32 {
            let command = if index % 2 == 0 {
                Command::read(&scsi::read16(0, 2048), 2048 * BLOCK)
            } else {
                Command::write(&scsi::write16(4096, 512), &vec![9; 512 * BLOCK])
            };
            if session.submit(&command).is_err() {
                break;
            }
        }
        session.cut();
    }
    scene.assert_serves();
}

fn a_peer_that_never_reads(setup: Setup) {
    let mut scene = Scene::new(&setup);
    let mut greedy = scene.session();
    greedy
        .stream
        .set_nonblocking(true)
        .expect("a mode of the socket");
    // Far more answers than any socket buffer holds; the server must stop reading from us alone.
    for _ in 0..512 {
        if greedy
            .submit(&Command::read(&scsi::read16(0, 2048), 2048 * BLOCK))
            .is_err()
        {
            break;
        }
    }
    for _ in 0..50 {
        scene.assert_serves();
    }
}

fn random_pdus(setup: Setup) {
    let mut scene = Scene::new(&setup);
    for seed in 1..=60_u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let session = scene.session();
        let mut bytes = Vec::new();
        for _ in 0..20 {
            let mut pdu = Pdu::new([0, 1, 2, 4, 5, 6, 0x10][random.below(7)]);
            for at in 1..48 {
                if !(4..8).contains(&at) && random.below(3) == 0 {
                    pdu.bhs[at] = random.byte();
                }
            }
            pdu = pdu.with_u32(
                24,
                session
                    .sequence
                    .cmd_sn
                    .wrapping_add(u32::from(random.byte() % 4)),
            );
            pdu.data = vec![random.byte(); random.below(64)];
            pdu.bhs[32] = [0x00, 0x12, 0x28, 0x88, 0x5e, 0x9e, 0xa3][random.below(7)]; // reads only
            bytes.extend(pdu.to_bytes(Digests::default()));
        }
        provoke(session.stream, &bytes);
    }
    scene.await_the_end_of_the_last_session();
    scene.assert_serves();
}

fn a_login_storm(setup: Setup) {
    let mut scene = Scene::new(&setup);
    // Half-open peers that stay, and logins that come and go meanwhile.
    let idle: Vec<_> = (0..200).map(|_| scene.raw()).collect();
    std::thread::scope(|scope| {
        for client in 0..8 {
            let login = scene.server.login(&scene.volume, &format!("storm{client}"));
            scope.spawn(move || {
                for round in 0..100 {
                    let session = login.clone().isid(round).connect();
                    if round % 2 == 0 {
                        session.logout()
                    } else {
                        session.cut()
                    }
                }
            });
        }
    });
    scene.assert_serves();
    drop(idle);
    scene.assert_serves();
}

#[test]
fn a_connection_that_never_logs_in_is_dropped() {
    let setup = Setup::default().config("[limits]\nlogin_timeout = \"1s\"\n");
    let mut scene = Scene::new(&setup);
    let mut silent = scene.raw();
    assert_eq!(
        silent
            .read(&mut [0; 48])
            .expect("the end of the connection"),
        0
    );
    let mut slow = scene.raw();
    slow.write_all(&[0x43, 0x87]).expect("the start of a login");
    assert_eq!(
        slow.read(&mut [0; 48]).expect("the end of the connection"),
        0
    );
    scene.assert_serves();
}

#[test]
fn registrations_have_a_limit() {
    let setup = Setup::default().config("[limits]\nregistrations_per_volume = 8\n");
    let mut scene = Scene::new(&setup);
    let mut sessions: Vec<_> = (0..9)
        .map(|index| {
            scene
                .server
                .login(&scene.volume, "node")
                .isid(index)
                .connect()
        })
        .collect();
    for (index, session) in sessions.iter_mut().enumerate() {
        session.take_attentions();
        let outcome = session.register(0, 1 + index as u64);
        if index < 8 {
            outcome.good();
        } else {
            outcome.check(5, 0x55, 4);
        }
    }
    assert_eq!(scene.witness.keys().len(), 8);
    sessions[0].register(1, 0).good();
    sessions[8].register(0, 9).good();
    scene.assert_serves();
}

#[test]
fn challenges_differ_across_restarts() {
    let accounts = "[[account]]\nuser = \"user\"\nsecret = \"initiator-secret-1\"\n";
    let setup = Setup::new(support::server::Engine::Mio, 1, "file").accounts(accounts);
    let server = setup.start();
    let volume = server.create_small("disk");
    let first = challenges(&server, &volume);
    let setup = server.stop();
    let second = challenges(&setup.start(), &volume);
    for challenge in &first {
        assert!(
            !second.contains(challenge),
            "identical challenges after a restart"
        );
    }
}

/// The challenges of a few logins, none of which is finished.
fn challenges(server: &Server, volume: &Volume) -> Vec<String> {
    (0..4)
        .map(|_| {
            let mut stream = TcpStream::connect(server.portal()).expect("a connection");
            stream
                .set_read_timeout(Some(ANSWER_TIMEOUT))
                .expect("a timeout");
            let mut ask = |text: String, exp_stat_sn: u32| {
                let mut request = Pdu::new(opcode::LOGIN)
                    .immediate()
                    .with_flags(0)
                    .with_u32(28, exp_stat_sn)
                    .with_data(text);
                request.bhs[8] = 0x80;
                request
                    .write_to(&mut stream, Digests::default())
                    .expect("sent");
                Pdu::read_from(&mut stream, Digests::default()).expect("an answer")
            };
            let identity = format!(
                "InitiatorName=iqn.2024-01.test:x\0TargetName={}\0AuthMethod=CHAP\0",
                volume.iqn
            );
            let answer = ask(identity, 0);
            let answer = ask("CHAP_A=5\0".to_owned(), answer.stat_sn().wrapping_add(1));
            let keys = support::pdu::decode_text(&answer.data);
            support::login::value_of(&keys, "CHAP_C")
                .expect("a challenge")
                .to_owned()
        })
        .collect()
}

#[test]
fn chap_values_of_every_wrong_shape() {
    let accounts = "[[account]]\nuser = \"user\"\nsecret = \"initiator-secret-1\"\n";
    let server = Setup::default().accounts(accounts).start();
    let volume = server.create_small("disk");
    let values = [
        "",
        "0x",
        "0b",
        "0xzz",
        "0x123",
        "123",
        "0b====",
        "0b!",
        "0x00",
        "None",
        "0X",
        &format!("0x{}", "ab".repeat(2000)),
    ];
    for value in values {
        for text in [
            format!("CHAP_N=user\0CHAP_R={value}\0"),
            format!("CHAP_N=user\0CHAP_R=0x00\0CHAP_I={value}\0CHAP_C={value}\0"),
            format!("CHAP_R={value}\0"),
            format!("CHAP_N={value}\0"),
            format!("CHAP_A={value}\0CHAP_A={value}\0"),
        ] {
            let mut bytes = Vec::new();
            let identity = format!(
                "InitiatorName=iqn.2024-01.test:x\0TargetName={}\0AuthMethod=CHAP\0",
                volume.iqn
            );
            for text in [identity.as_str(), "CHAP_A=5\0", &text] {
                let mut request = Pdu::new(opcode::LOGIN)
                    .immediate()
                    .with_flags(0)
                    .with_data(text.as_bytes());
                request.bhs[8] = 0x80;
                bytes.extend(request.to_bytes(Digests::default()));
            }
            let stream = TcpStream::connect(server.portal()).expect("a connection");
            stream
                .set_read_timeout(Some(ANSWER_TIMEOUT))
                .expect("a timeout");
            provoke(stream, &bytes);
        }
    }
    let chap = support::chap::Chap::one_way("user", "initiator-secret-1");
    server
        .login(&volume, "a")
        .chap(chap)
        .connect()
        .take_attentions();
}
