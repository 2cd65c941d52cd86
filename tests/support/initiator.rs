//! A session of one connection in full feature phase: commands, data, task management, text, logout.
//!
//! Blocking and plain on purpose. [`Initiator::submit`] sends a command; [`Initiator::complete`]
//! serves the connection (R2T, Data-In, NOP-In) until that command has its status, so several
//! commands may be outstanding.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};

use super::login::value_of;
use super::pdu::{self, Digests, FINAL, NO_TAG, Pdu, opcode};
use super::scsi::{Outcome, Residual};

/// Parameters that this side must keep to.
#[derive(Clone, Debug)]
pub struct Negotiated {
    pub digests: Digests,
    /// MaxRecvDataSegmentLength of the target.
    pub send_bytes: usize,
    pub first_burst: usize,
    pub immediate_data: bool,
    pub initial_r2t: bool,
}

impl Negotiated {
    /// What `offered` and `answered` settle; the defaults of RFC 7143 section 13 else.
    pub fn new(offered: &[(String, String)], answered: &[(String, String)]) -> Self {
        let offered_yes = |key: &str, or: bool| value_of(offered, key).map_or(or, |v| v == "Yes");
        let yes = |key: &str, or: bool| {
            value_of(answered, key).map_or_else(|| offered_yes(key, or), |value| value == "Yes")
        };
        let bytes = |key: &str, or: usize| {
            let said = value_of(answered, key).map_or(or, |value| value.parse().expect("a number"));
            let asked = value_of(offered, key).map_or(or, |value| value.parse().expect("a number"));
            if key == "FirstBurstLength" {
                said.min(asked)
            } else {
                said
            }
        };
        let crc = |key: &str| value_of(answered, key) == Some("CRC32C");
        Self {
            digests: Digests {
                header: crc("HeaderDigest"),
                data: crc("DataDigest"),
            },
            send_bytes: bytes("MaxRecvDataSegmentLength", 8192),
            first_burst: bytes("FirstBurstLength", 65_536),
            immediate_data: yes("ImmediateData", true),
            initial_r2t: yes("InitialR2T", true),
        }
    }
}

/// Where the numbering stands.
#[derive(Clone, Copy, Debug)]
pub struct Sequence {
    pub cmd_sn: u32,
    pub max_cmd_sn: u32,
    pub exp_stat_sn: u32,
}

/// Attributes of a command (RFC 7143 section 11.3.1).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attribute {
    Untagged = 0,
    #[default]
    Simple = 1,
    Ordered = 2,
    HeadOfQueue = 3,
}

/// A SCSI command to send.
#[derive(Clone, Debug, Default)]
pub struct Command {
    pub cdb: Vec<u8>,
    pub lun: u64,
    pub data_out: Vec<u8>,
    /// Expected Data Transfer Length; the length of `data_out`, or this many bytes to read.
    pub expected: u32,
    pub is_read: bool,
    pub attribute: Attribute,
    pub immediate: bool,
}

impl Command {
    pub fn none(cdb: &[u8]) -> Self {
        Self {
            cdb: cdb.to_vec(),
            ..Self::default()
        }
    }

    pub fn read(cdb: &[u8], expected: usize) -> Self {
        let expected = u32::try_from(expected).expect("a transfer fits in 32 bits");
        Self {
            expected,
            is_read: true,
            ..Self::none(cdb)
        }
    }

    pub fn write(cdb: &[u8], data: &[u8]) -> Self {
        let expected = u32::try_from(data.len()).expect("a transfer fits in 32 bits");
        Self {
            expected,
            data_out: data.to_vec(),
            ..Self::none(cdb)
        }
    }

    pub fn lun(mut self, lun: u8) -> Self {
        self.lun = u64::from(lun) << 48;
        self
    }

    pub fn attribute(mut self, attribute: Attribute) -> Self {
        self.attribute = attribute;
        self
    }

    fn header(&self, cmd_sn: u32, exp_stat_sn: u32, itt: u32) -> Pdu {
        assert!(self.cdb.len() <= 16, "extended CDBs are sent as raw PDUs");
        let mut header = Pdu::new(opcode::COMMAND)
            .with_lun(self.lun.to_be_bytes())
            .with_itt(itt)
            .with_u32(20, self.expected)
            .with_u32(24, cmd_sn)
            .with_u32(28, exp_stat_sn);
        header.bhs[32..32 + self.cdb.len()].copy_from_slice(&self.cdb);
        let read = if self.is_read { 0x40 } else { 0 };
        let write = if self.data_out.is_empty() { 0 } else { 0x20 };
        header.bhs[1] = FINAL | read | write | self.attribute as u8;
        if self.immediate {
            header.immediate()
        } else {
            header
        }
    }
}

/// A command on its way.
#[derive(Debug, Default)]
struct Pending {
    lun: u64,
    data_out: Vec<u8>,
    data_in: Vec<u8>,
    data_sn: u32,
    r2t_sn: u32,
}

impl Pending {
    fn of(command: &Command) -> Self {
        Self {
            lun: command.lun,
            data_out: command.data_out.clone(),
            ..Self::default()
        }
    }
}

/// A task management response code (RFC 7143 section 11.6.1).
pub type TaskResponse = u8;

/// A logged-in session. Dropping it closes the socket without a logout.
#[derive(Debug)]
pub struct Initiator {
    pub stream: TcpStream,
    pub negotiated: Negotiated,
    pub tsih: u16,
    pub sequence: Sequence,
    /// All keys that the target sent in login.
    pub answers: Vec<(String, String)>,
    /// Asynchronous messages that came by, oldest first.
    pub asyncs: Vec<Pdu>,
    /// The target's own NOP-Ins that asked for an answer and got it.
    pub pings_answered: usize,
    /// R2Ts wait for [`Initiator::answer_held_r2t`] instead of being answered at once.
    pub holds_r2ts: bool,
    held_r2ts: VecDeque<Pdu>,
    next_itt: u32,
    pending: HashMap<u32, Pending>,
    finished: HashMap<u32, Outcome>,
    others: HashMap<u32, Pdu>,
}

impl Initiator {
    pub fn new(
        stream: TcpStream,
        negotiated: Negotiated,
        tsih: u16,
        sequence: Sequence,
        answers: Vec<(String, String)>,
    ) -> Self {
        Self {
            stream,
            negotiated,
            tsih,
            sequence,
            answers,
            asyncs: Vec::new(),
            pings_answered: 0,
            holds_r2ts: false,
            held_r2ts: VecDeque::new(),
            next_itt: 0x100,
            pending: HashMap::new(),
            finished: HashMap::new(),
            others: HashMap::new(),
        }
    }

    pub fn answer(&self, key: &str) -> Option<&str> {
        value_of(&self.answers, key)
    }

    pub fn local_addr(&self) -> SocketAddr {
        self.stream
            .local_addr()
            .expect("a connected socket has an address")
    }

    /// Sends a command and waits for its status.
    pub fn run(&mut self, command: &Command) -> Outcome {
        self.try_run(command)
            .unwrap_or_else(|error| panic!("{:02x?}: {error}", command.cdb))
    }

    pub fn try_run(&mut self, command: &Command) -> io::Result<Outcome> {
        let itt = self.submit(command)?;
        self.complete(itt)
    }

    pub fn none(&mut self, cdb: &[u8]) -> Outcome {
        self.run(&Command::none(cdb))
    }

    pub fn read(&mut self, cdb: &[u8], expected: usize) -> Outcome {
        self.run(&Command::read(cdb, expected))
    }

    pub fn write(&mut self, cdb: &[u8], data: &[u8]) -> Outcome {
        self.run(&Command::write(cdb, data))
    }

    /// Sends a command with the unsolicited data that the negotiation allows; returns its tag.
    pub fn submit(&mut self, command: &Command) -> io::Result<u32> {
        let itt = self.take_itt();
        let mut header = command.header(self.sequence.cmd_sn, self.sequence.exp_stat_sn, itt);
        if !command.immediate {
            self.sequence.cmd_sn = self.sequence.cmd_sn.wrapping_add(1);
        }
        let total = command.data_out.len();
        let limit = self.negotiated.first_burst.min(total);
        let mut sent = 0;
        if self.negotiated.immediate_data && total > 0 {
            sent = limit.min(self.negotiated.send_bytes);
            header.data = command.data_out[..sent].to_vec();
        }
        let unsolicited = !self.negotiated.initial_r2t && sent < limit;
        if unsolicited {
            header.bhs[1] &= !FINAL;
        }
        self.pending.insert(itt, Pending::of(command));
        self.send(&header)?;
        if unsolicited {
            self.send_data_out(itt, NO_TAG, sent, limit)?;
        }
        Ok(itt)
    }

    /// Sends commands in one write, so that they come together; immediate data only. Returns their tags.
    pub fn submit_together(&mut self, commands: &[Command]) -> io::Result<Vec<u32>> {
        let (mut bytes, mut tags) = (Vec::new(), Vec::new());
        for command in commands {
            let itt = self.take_itt();
            let mut header = command.header(self.sequence.cmd_sn, self.sequence.exp_stat_sn, itt);
            self.sequence.cmd_sn = self.sequence.cmd_sn.wrapping_add(1);
            let limit = self.negotiated.first_burst.min(self.negotiated.send_bytes);
            assert!(self.negotiated.immediate_data && command.data_out.len() <= limit);
            header.data = command.data_out.clone();
            bytes.extend(header.to_bytes(self.negotiated.digests));
            self.pending.insert(itt, Pending::of(command));
            tags.push(itt);
        }
        self.stream.write_all(&bytes)?;
        Ok(tags)
    }

    /// Serves the connection until that command has its status.
    pub fn complete(&mut self, itt: u32) -> io::Result<Outcome> {
        loop {
            if let Some(outcome) = self.finished.remove(&itt) {
                return Ok(outcome);
            }
            self.serve()?;
        }
    }

    /// Whether that command's status has been received.
    pub fn is_answered(&self, itt: u32) -> bool {
        self.finished.contains_key(&itt)
    }

    /// Forgets a command that will never get a status (it was aborted).
    pub fn forget(&mut self, itt: u32) {
        self.pending.remove(&itt);
    }

    /// Sends one PDU as it is, digests apart.
    pub fn send(&mut self, pdu: &Pdu) -> io::Result<()> {
        pdu.write_to(&mut self.stream, self.negotiated.digests)
    }

    /// Receives one PDU as it is, and keeps ExpStatSN and the command window.
    pub fn receive(&mut self) -> io::Result<Pdu> {
        let pdu = Pdu::read_from(&mut self.stream, self.negotiated.digests)?;
        let has_status = match pdu.opcode() {
            opcode::R2T => false,
            opcode::DATA_IN => pdu.flags() & 1 != 0,
            opcode::NOP_IN => pdu.itt() != NO_TAG,
            _ => true,
        };
        if has_status {
            assert_eq!(
                pdu.stat_sn(),
                self.sequence.exp_stat_sn,
                "StatSN counts by one per connection ({:#04x})",
                pdu.opcode()
            );
            self.sequence.exp_stat_sn = pdu.stat_sn().wrapping_add(1);
        }
        let widened = pdu.max_cmd_sn().wrapping_sub(self.sequence.max_cmd_sn);
        assert!(widened < 1 << 31, "MaxCmdSN never shrinks");
        self.sequence.max_cmd_sn = pdu.max_cmd_sn();
        Ok(pdu)
    }

    /// Takes the status of some command that has it.
    pub fn take_finished(&mut self) -> Option<(u32, Outcome)> {
        let itt = *self.finished.keys().next()?;
        self.finished.remove_entry(&itt)
    }

    /// Receives one PDU and does what it asks for.
    pub fn serve(&mut self) -> io::Result<()> {
        let pdu = self.receive()?;
        match pdu.opcode() {
            opcode::DATA_IN => self.take_data_in(&pdu),
            opcode::RESPONSE => self.take_response(&pdu),
            opcode::R2T if self.holds_r2ts => self.held_r2ts.push_back(pdu),
            opcode::R2T => return self.answer_r2t(&pdu),
            opcode::NOP_IN if pdu.ttt() != NO_TAG => return self.answer_ping(&pdu),
            opcode::ASYNC => self.asyncs.push(pdu),
            opcode::REJECT => {
                let reason = pdu.bhs[2];
                return Err(io::Error::other(format!(
                    "the target rejects: reason {reason:#04x}"
                )));
            }
            _ => {
                self.others.insert(pdu.itt(), pdu);
            }
        }
        Ok(())
    }

    fn take_data_in(&mut self, pdu: &Pdu) {
        let pending = self
            .pending
            .get_mut(&pdu.itt())
            .expect("Data-In for a command we sent");
        assert_eq!(
            pdu.u32_at(36),
            pending.data_sn,
            "DataSN counts by one per command"
        );
        pending.data_sn += 1;
        let offset = pdu.u32_at(40) as usize;
        assert_eq!(offset, pending.data_in.len(), "Data-In arrives in order");
        pending.data_in.extend_from_slice(&pdu.data);
        if pdu.flags() & 1 != 0 {
            assert!(pdu.is_final(), "status rides on the last Data-In only");
            let data = std::mem::take(&mut pending.data_in);
            self.finish(
                pdu,
                Outcome {
                    status: pdu.bhs[3],
                    data,
                    ..Outcome::default()
                },
            );
        }
    }

    fn take_response(&mut self, pdu: &Pdu) {
        let Some(pending) = self.pending.get_mut(&pdu.itt()) else {
            panic!(
                "a response to a command that is not outstanding: {:02x?}",
                pdu.bhs
            )
        };
        let data = std::mem::take(&mut pending.data_in);
        let sense = match pdu.data.split_first_chunk::<2>() {
            Some((length, rest)) => rest[..usize::from(u16::from_be_bytes(*length))].to_vec(),
            None => Vec::new(),
        };
        let outcome = Outcome {
            response: pdu.bhs[2],
            status: pdu.bhs[3],
            sense,
            data,
            ..Outcome::default()
        };
        self.finish(pdu, outcome);
    }

    fn finish(&mut self, pdu: &Pdu, mut outcome: Outcome) {
        let count = pdu.u32_at(44);
        outcome.residual = match pdu.flags() & 6 {
            0 => Residual::None,
            2 => Residual::Underflow(count),
            4 => Residual::Overflow(count),
            _ => panic!("both residual bits are set"),
        };
        self.pending.remove(&pdu.itt());
        self.finished.insert(pdu.itt(), outcome);
    }

    /// Answers the R2T that was held longest; false when none is held.
    pub fn answer_held_r2t(&mut self) -> io::Result<bool> {
        match self.held_r2ts.pop_front() {
            Some(pdu) => self.answer_r2t(&pdu).map(|()| true),
            None => Ok(false),
        }
    }

    /// From where on the R2T that was held longest asks for data.
    pub fn held_r2t_offset(&self) -> Option<u32> {
        self.held_r2ts.front().map(|pdu| pdu.u32_at(40))
    }

    pub fn has_held_r2ts(&self) -> bool {
        !self.held_r2ts.is_empty()
    }

    fn answer_r2t(&mut self, pdu: &Pdu) -> io::Result<()> {
        let Some(pending) = self.pending.get_mut(&pdu.itt()) else {
            return Ok(()); // for a command that we gave up meanwhile
        };
        assert_eq!(
            pdu.u32_at(36),
            pending.r2t_sn,
            "R2TSN counts by one per command"
        );
        pending.r2t_sn += 1;
        let offset = pdu.u32_at(40) as usize;
        let length = pdu.u32_at(44) as usize;
        assert!(length > 0, "an R2T asks for something");
        self.send_data_out(pdu.itt(), pdu.ttt(), offset, offset + length)
    }

    /// Sends the bytes `start..end` of a command's data as one sequence of Data-Out PDUs.
    pub fn send_data_out(
        &mut self,
        itt: u32,
        ttt: u32,
        start: usize,
        end: usize,
    ) -> io::Result<()> {
        let pending = &self.pending[&itt];
        assert!(
            end <= pending.data_out.len(),
            "the R2T stays within the command's data"
        );
        let lun = pending.lun.to_be_bytes();
        let bytes = pending.data_out[start..end].to_vec();
        let chunk = self.negotiated.send_bytes;
        let count = bytes.len().div_ceil(chunk);
        for (index, piece) in bytes.chunks(chunk).enumerate() {
            let flags = if index + 1 == count { FINAL } else { 0 };
            let offset = u32::try_from(start + index * chunk).expect("an offset fits");
            let pdu = Pdu::new(opcode::DATA_OUT)
                .with_flags(flags)
                .with_lun(lun)
                .with_itt(itt)
                .with_ttt(ttt)
                .with_u32(28, self.sequence.exp_stat_sn)
                .with_u32(36, u32::try_from(index).expect("DataSN fits"))
                .with_u32(40, offset)
                .with_data(piece);
            self.send(&pdu)?;
        }
        Ok(())
    }

    fn answer_ping(&mut self, ping: &Pdu) -> io::Result<()> {
        self.pings_answered += 1;
        let answer = Pdu::new(opcode::NOP_OUT)
            .immediate()
            .with_lun(ping.bhs[8..16].try_into().expect("eight bytes"))
            .with_itt(NO_TAG)
            .with_ttt(ping.ttt())
            .with_u32(24, self.sequence.cmd_sn)
            .with_u32(28, self.sequence.exp_stat_sn);
        self.send(&answer)
    }

    /// Sends a request that is no SCSI command, numbered, and waits for the PDU that answers it.
    pub fn request(&mut self, request: Pdu) -> io::Result<Pdu> {
        let itt = self.submit_request(request)?;
        loop {
            if let Some(answer) = self.others.remove(&itt) {
                return Ok(answer);
            }
            self.serve()?;
        }
    }

    /// Numbers and sends a request; returns its tag.
    pub fn submit_request(&mut self, request: Pdu) -> io::Result<u32> {
        let itt = self.take_itt();
        let immediate = request.bhs[0] & pdu::IMMEDIATE != 0;
        let request = request
            .with_itt(itt)
            .with_u32(24, self.sequence.cmd_sn)
            .with_u32(28, self.sequence.exp_stat_sn);
        if !immediate {
            self.sequence.cmd_sn = self.sequence.cmd_sn.wrapping_add(1);
        }
        self.send(&request)?;
        Ok(itt)
    }

    /// A NOP-Out that wants its data back (RFC 7143 section 11.18).
    pub fn ping(&mut self, data: &[u8]) -> io::Result<Vec<u8>> {
        let answer = self.request(Pdu::new(opcode::NOP_OUT).with_ttt(NO_TAG).with_data(data))?;
        assert_eq!(answer.opcode(), opcode::NOP_IN);
        assert_eq!(answer.ttt(), NO_TAG, "a reply asks for no reply");
        Ok(answer.data)
    }

    /// A text exchange; follows the C bit and the Target Transfer Tag to the end.
    pub fn text(&mut self, keys: &[(&str, &str)]) -> io::Result<Vec<(String, String)>> {
        let owned: Vec<_> = keys
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let mut request = Pdu::new(opcode::TEXT)
            .with_ttt(NO_TAG)
            .with_data(pdu::encode_text(&owned));
        let mut text = Vec::new();
        loop {
            let answer = self.request(request)?;
            assert_eq!(answer.opcode(), opcode::TEXT_RESPONSE);
            text.extend_from_slice(&answer.data);
            if answer.is_final() {
                return Ok(pdu::decode_text(&text));
            }
            request = Pdu::new(opcode::TEXT).with_ttt(answer.ttt());
        }
    }

    /// A task management function (RFC 7143 section 11.5), sent for immediate delivery.
    pub fn manage(&mut self, function: u8, referenced: Option<(u32, u32)>) -> TaskResponse {
        let (tag, ref_cmd_sn) = referenced.unwrap_or((NO_TAG, 0));
        let request = Pdu::new(opcode::TASK_MANAGEMENT)
            .immediate()
            .with_flags(FINAL | function)
            .with_ttt(tag)
            .with_u32(32, ref_cmd_sn);
        let answer = self.request(request).expect("an answer to task management");
        assert_eq!(answer.opcode(), opcode::TASK_MANAGEMENT_RESPONSE);
        answer.bhs[2]
    }

    /// Logs out and closes; returns the response code. 0: close the session.
    pub fn logout_for(mut self, reason: u8) -> io::Result<u8> {
        let answer = self.request(Pdu::new(opcode::LOGOUT).with_flags(FINAL | reason))?;
        assert_eq!(answer.opcode(), opcode::LOGOUT_RESPONSE);
        Ok(answer.bhs[2])
    }

    /// Logs out in order.
    pub fn logout(self) {
        assert_eq!(
            self.logout_for(0).expect("an answer to the logout"),
            0,
            "logout succeeds"
        );
    }

    /// Waits for the next asynchronous message, answering whatever else arrives.
    pub fn wait_for_async(&mut self) -> io::Result<Pdu> {
        while self.asyncs.is_empty() {
            self.serve()?;
        }
        Ok(self.asyncs.remove(0))
    }

    /// Cuts the TCP connection without a word.
    pub fn cut(self) {
        let _already_gone = self.stream.shutdown(Shutdown::Both);
    }

    /// Whether the target ends the connection before the answer timeout; other PDUs are dropped.
    pub fn is_closed_by_target(&mut self) -> bool {
        loop {
            match Pdu::read_from(&mut self.stream, self.negotiated.digests) {
                Ok(_) => {}
                Err(error) => {
                    return !matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
                    );
                }
            }
        }
    }

    fn take_itt(&mut self) -> u32 {
        self.next_itt += 1;
        self.next_itt
    }
}
