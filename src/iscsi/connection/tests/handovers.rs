//! A connection that is parked and taken up again after every byte of its input, as data in between: its
//! initiator sees what one sees that stayed where it was.

use super::super::super::answer::Response;
use super::super::super::pdu::R2t;
use super::super::parked::NotParked;
use super::*;
use crate::base::limits::BUFFER_BYTES_MAX;
use crate::iscsi::Parked;

const KEYS: &[&str] = &[
    "InitialR2T=No",
    "ImmediateData=Yes",
    "FirstBurstLength=1024",
    "MaxBurstLength=1024",
    "MaxOutstandingR2T=2",
];
const DIGESTS: [&[&str]; 2] = [&[], &["HeaderDigest=CRC32C", "DataDigest=CRC32C"]];

/// What the owner does about events, and what has come of it.
#[derive(Default)]
struct Owner {
    written: Vec<Vec<u8>>,
    commands: Vec<u32>,
}

impl Owner {
    fn handle(&mut self, initiator: &mut Initiator, event: Event) {
        match event {
            Event::Command(command) => {
                self.commands.push(command.initiator_task_tag);
                if command.write_length > 0 {
                    let buffer = initiator.buffer(command.write_length as usize);
                    initiator
                        .connection
                        .accept_data_out(command.task, buffer, 0);
                } else {
                    let response = Response::good(0);
                    initiator.connection.respond(command.task, &response);
                }
            }
            Event::DataOut {
                task,
                buffer,
                result,
            } => {
                assert_eq!(result, Ok(()));
                self.written.push(buffer.to_vec());
                let response = Response::good(buffer.len() as u64);
                initiator.connection.respond(task, &response);
            }
            other => panic!("unexpected: {other:?}"),
        }
    }
}

impl Initiator {
    /// Another connection goes on in the place of this one, out of bytes.
    fn hand_over(&mut self) {
        let parked = self.connection.park().unwrap();
        let bytes = rmp_serde::to_vec_named(&parked).unwrap();
        let parked: Parked = rmp_serde::from_slice(&bytes).unwrap();
        let portal = self.connection.portal().clone();
        let settings = Arc::new(settings());
        let taken = Connection::take_up(parked, portal, settings, self.now, &mut self.pool);
        self.connection = taken.unwrap();
    }

    /// Offers the backlog in pieces of `step` bytes, and changes connections behind each.
    fn feed(&mut self, step: usize, hands_over: bool, owner: &mut Owner) {
        for piece in std::mem::take(&mut self.backlog).chunks(step) {
            self.backlog = piece.to_vec();
            while let Some(event) = self.next_event() {
                owner.handle(self, event);
            }
            assert!(self.backlog.is_empty(), "what is offered is taken");
            if hands_over {
                self.hand_over();
            }
        }
    }
}

/// A read, a write of all kinds of data, a command behind a gap and the one that fills it. Returns all
/// that the target sent, and what was written.
fn converse(keys: &[&str], step: usize, hands_over: bool) -> (Vec<u8>, Owner) {
    let mut initiator = Initiator::logged_in(&[KEYS, keys].concat());
    let mut owner = Owner::default();
    let data = pattern(3001);
    initiator.read(1, 0);
    initiator.write(2, 3001, &data[..500], false);
    initiator.data_out(2, UNSOLICITED, 0, 500, true, &data[500..1024]);
    initiator.feed(step, hands_over, &mut owner);
    // It ends behind its immediate data, which a gap keeps back.
    initiator.cmd_sn += 1;
    initiator.write(4, 100, &data[..100], true);
    initiator.cmd_sn -= 2;
    initiator.feed(step, hands_over, &mut owner);
    let r2ts = |bytes: &[u8]| -> Vec<R2t> {
        let header = keys.contains(&"HeaderDigest=CRC32C");
        let received = decode(bytes, header, header);
        let r2ts = received
            .iter()
            .filter(|(bhs, _)| bhs.opcode() == Opcode::R2t);
        r2ts.map(|(bhs, _)| R2t::parse(bhs)).collect()
    };
    let first = r2ts(&initiator.connection.output().to_vec());
    assert_eq!(first.len(), 2, "both halves of what is left");
    for r2t in first {
        let from = r2t.buffer_offset as usize;
        let to = from + r2t.desired_data_transfer_length as usize;
        let middle = from + 333;
        let tag = r2t.target_transfer_tag;
        let offset = |at: usize| u32::try_from(at).unwrap();
        initiator.data_out(2, tag, 0, offset(from), false, &data[from..middle]);
        initiator.data_out(2, tag, 1, offset(middle), true, &data[middle..to]);
    }
    initiator.feed(step, hands_over, &mut owner);
    // The gap is filled.
    initiator.read(3, 0);
    initiator.feed(step, hands_over, &mut owner);
    (initiator.connection.output().to_vec(), owner)
}

#[test]
fn nothing_is_different_after_a_handover_behind_any_byte() {
    for keys in DIGESTS {
        let (plain, owner) = converse(keys, 4096, false);
        assert_eq!(owner.commands, [1, 2, 3, 4]);
        assert_eq!(owner.written, [pattern(3001), pattern(100)]);
        for step in [1, 7, 48, 61] {
            let (sent, handed) = converse(keys, step, true);
            assert_eq!(handed.commands, owner.commands, "{keys:?}, {step}");
            assert_eq!(handed.written, owner.written, "{keys:?}, {step}");
            assert_eq!(sent, plain, "{keys:?}, {step}");
        }
    }
}

#[test]
fn what_is_not_at_rest_is_not_parked() {
    let mut initiator = Initiator::connect(settings());
    assert_eq!(initiator.connection.park().unwrap_err(), NotParked::Phase);
    initiator.login(1, Some(3), NORMAL);
    assert!(matches!(initiator.event(), Event::Identify(_)));
    assert_eq!(initiator.connection.park().unwrap_err(), NotParked::Phase);
    let mut initiator = Initiator::logged_in(KEYS);
    initiator.write(1, 512, &[0; 512], true);
    let command = initiator.command_event();
    let buffer = initiator.buffer(512);
    initiator
        .connection
        .accept_data_out(command.task, buffer, 0);
    let mut input = initiator.backlog.as_slice();
    // The data is there, and the owner has not fetched the event that says so.
    let _data = initiator.connection.next_event(&mut input, initiator.now);
    initiator
        .connection
        .respond(command.task, &Response::good(512));
    assert!(initiator.connection.park().is_ok());
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let mut initiator = Initiator::logged_in(KEYS);
    initiator.write(1, 3000, &[0; 300], true);
    let command = initiator.command_event();
    let buffer = initiator.buffer(3000);
    initiator
        .connection
        .accept_data_out(command.task, buffer, 0);
    initiator.no_event();
    let parked = initiator.connection.park().unwrap();
    let text = serde_json::to_value(&parked).unwrap();
    let take_up = |change: &dyn Fn(&mut serde_json::Value)| {
        let mut text = text.clone();
        change(&mut text);
        let parked: Parked = serde_json::from_value(text).unwrap();
        let portal = initiator.connection.portal().clone();
        let mut pool = Pool::new(BUFFER_BYTES_MAX, 0).unwrap();
        Connection::take_up(
            parked,
            portal,
            Arc::new(settings()),
            initiator.now,
            &mut pool,
        )
        .map(drop)
        .map_err(|error| error.to_string())
    };
    assert_eq!(take_up(&|_| {}), Ok(()));
    let shorter = |text: &mut serde_json::Value| {
        text["tasks"][0]["window"].as_array_mut().unwrap().pop();
    };
    let refused = take_up(&shorter).unwrap_err();
    assert!(refused.contains("window of a write"), "{refused}");
    let twice = |text: &mut serde_json::Value| {
        let task = text["tasks"][0].clone();
        text["tasks"].as_array_mut().unwrap().push(task);
    };
    let refused = take_up(&twice).unwrap_err();
    assert!(refused.contains("task table"), "{refused}");
    let long = |text: &mut serde_json::Value| text["header"] = serde_json::json!(vec![0; 5000]);
    let refused = take_up(&long).unwrap_err();
    assert!(refused.contains("header"), "{refused}");
}
