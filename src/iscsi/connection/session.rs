//! Full feature phase: which PDU goes where (RFC 7143 section 4.2).

use super::super::error::{CloseReason, DataOutError, Violation};
use super::super::event::{Event, LoginSummary, Parameters, TaskId};
use super::super::pdu::{
    Bhs, LogoutReason, LogoutRequest, LogoutResponse, LogoutResult, NO_TAG, NopIn, NopOut, Opcode,
    Reject, RejectReason, SessionType,
};
use super::super::settings::Settings;
use super::super::task::Tasks;
use super::super::window::{Arrival, Window};
use super::held::{Held, HeldPdu};
use super::receiver::{DigestMismatch, Header};
use super::text_exchange::Exchange;
use super::{Link, Sink};
use crate::base::clock::Instant;

/// The state of a session that has logged in.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) parameters: Parameters,
    pub(super) session_type: SessionType,
    pub(super) cid: u16,
    pub(super) window: Window,
    pub(super) tasks: Tasks,
    pub(super) held: Held,
    pub(super) exchange: Option<Exchange>,
    pub(super) next_tag: u32,
    /// When to look for Data-Out that does not come; `None` while none is due.
    pub(super) stall_check: Option<Instant>,
}

impl Session {
    pub(super) fn new(summary: &LoginSummary, first_cmd_sn: u32, settings: &Settings) -> Self {
        Self {
            parameters: summary.parameters,
            session_type: summary.identity.session_type,
            cid: summary.identity.cid,
            window: Window::new(first_cmd_sn, settings.session_commands),
            tasks: Tasks::new(
                settings.session_commands,
                settings.session_immediate_commands,
            ),
            held: Held::default(),
            exchange: None,
            next_tag: 0,
            stall_check: None,
        }
    }

    /// ExpCmdSN and MaxCmdSN for the PDU that leaves now.
    #[inline]
    pub(super) fn numbers(&mut self) -> (u32, u32) {
        self.window.open(self.tasks.free_commands());
        (self.window.expected(), self.window.maximum())
    }

    /// The Target Transfer Tag that [`Session::take_tag`] will give out.
    pub(super) const fn next_tag(&self) -> u32 {
        self.next_tag
    }

    /// A Target Transfer Tag that is not in use: tags are given out in turn and come round after
    /// 2³² of them.
    pub(super) const fn take_tag(&mut self) -> u32 {
        let tag = self.next_tag;
        self.next_tag = match tag.wrapping_add(1) {
            NO_TAG => 0,
            next => next,
        };
        tag
    }

    /// Judges a header and says where its data segment goes.
    #[inline]
    pub(super) fn begin(
        &mut self,
        link: &mut Link,
        bhs: &Bhs,
        header: &Header,
    ) -> Result<Sink, Violation> {
        match bhs.opcode() {
            Opcode::DataOut => return self.begin_data_out(header),
            Opcode::LoginRequest => return Err(Violation::LoginAfterLogin),
            Opcode::Snack => {
                // There is nothing to send again at error recovery level 0.
                self.reject(link, bhs, RejectReason::Snack);
                return Ok(Sink::Discard);
            }
            Opcode::ScsiCommand
            | Opcode::TaskManagementRequest
            | Opcode::NopOut
            | Opcode::TextRequest
            | Opcode::LogoutRequest => {}
            _ => {
                self.reject(link, bhs, RejectReason::NotSupported);
                return Ok(Sink::Discard);
            }
        }
        if !bhs.is_immediate() {
            match self.window.arrival(bhs.cmd_sn()) {
                Arrival::Next => self.window.deliver(),
                Arrival::Ahead if !self.held.has_command(bhs.cmd_sn()) => {
                    return self.hold(header, bhs.cmd_sn());
                }
                Arrival::Ahead | Arrival::Ignored => return Ok(Sink::Discard),
            }
        }
        Ok(self.deliver(link, bhs, header))
    }

    /// A request whose turn it is.
    #[inline]
    fn deliver(&mut self, link: &mut Link, bhs: &Bhs, header: &Header) -> Sink {
        let in_discovery = matches!(bhs.opcode(), Opcode::TextRequest | Opcode::LogoutRequest);
        if self.session_type == SessionType::Discovery && !in_discovery {
            self.reject(link, bhs, RejectReason::ProtocolError);
            return Sink::Discard;
        }
        match bhs.opcode() {
            Opcode::ScsiCommand => self.begin_command(link, bhs, header),
            Opcode::TaskManagementRequest => {
                self.begin_task_management(link, bhs);
                Sink::Discard
            }
            Opcode::LogoutRequest => {
                self.logout(link, bhs);
                Sink::Discard
            }
            // A NOP-Out without a task tag wants no answer: it is one, or a sign of life.
            Opcode::NopOut if bhs.initiator_task_tag() == NO_TAG => Sink::Discard,
            _ => Sink::Collect,
        }
    }

    /// A request whose data segment is complete.
    pub(super) fn collected(
        &mut self,
        link: &mut Link,
        header: &Header,
        data: &[u8],
        digest: Result<(), DigestMismatch>,
    ) {
        let bhs = header.bhs();
        if digest.is_err() {
            return self.reject(link, &bhs, RejectReason::DataDigest);
        }
        match bhs.opcode() {
            Opcode::NopOut => self.answer_nop(link, &NopOut::parse(&bhs), data),
            _ => self.text(link, &bhs, data),
        }
    }

    /// Keeps a PDU for its turn.
    pub(super) fn hold(&self, header: &Header, cmd_sn: u32) -> Result<Sink, Violation> {
        let bytes = usize::try_from(header.bhs().data_segment_bytes()).unwrap_or(usize::MAX);
        if !self.held.has_room(header.whole().len(), bytes) {
            let limit = crate::base::limits::HELD_COMMAND_BYTES_MAX;
            return Err(Violation::HeldCommands { limit });
        }
        Ok(Sink::Hold { cmd_sn })
    }

    /// The PDU to keep is complete.
    pub(super) fn held(
        &mut self,
        header: &Header,
        cmd_sn: u32,
        data: Vec<u8>,
        digest: Result<(), DigestMismatch>,
    ) {
        self.held.insert(HeldPdu {
            cmd_sn,
            header: header.whole().to_vec(),
            data,
            digest,
        });
    }

    /// Queues a Reject with the header that is refused (RFC 7143 section 11.17).
    pub(super) fn reject(&mut self, link: &mut Link, bad: &Bhs, reason: RejectReason) {
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = Reject {
            reason,
            initiator_task_tag: NO_TAG,
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            data_sn: 0,
        };
        link.output.push(pdu.emit(), bad.as_bytes());
    }

    /// Echoes the ping data, as far as the initiator takes it.
    fn answer_nop(&mut self, link: &mut Link, ping: &NopOut, data: &[u8]) {
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = NopIn {
            lun: ping.lun,
            initiator_task_tag: ping.initiator_task_tag,
            target_transfer_tag: NO_TAG,
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
        };
        let limit = self.parameters.initiator_data_segment_bytes as usize;
        link.output
            .push(pdu.emit(), data.get(..limit).unwrap_or(data));
    }

    /// Asks a silent initiator for a sign of life. A ping has the next StatSN and does not use it
    /// up (RFC 7143 section 11.19).
    pub(super) fn ping(&mut self, link: &mut Link) {
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = NopIn {
            lun: [0; 8],
            initiator_task_tag: NO_TAG,
            target_transfer_tag: self.take_tag(),
            stat_sn: link.output.stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
        };
        link.output.push(pdu.emit(), &[]);
    }

    /// Ends the session, which is this connection (RFC 7143 section 11.14).
    fn logout(&mut self, link: &mut Link, bhs: &Bhs) {
        let request = LogoutRequest::parse(bhs);
        let response = match request.reason {
            LogoutReason::CloseSession => LogoutResult::Closed,
            LogoutReason::CloseConnection if request.cid == self.cid => LogoutResult::Closed,
            LogoutReason::CloseConnection => LogoutResult::CidNotFound,
            LogoutReason::RemoveForRecovery => LogoutResult::RecoveryNotSupported,
            LogoutReason::Unknown(_) => {
                return self.reject(link, bhs, RejectReason::ProtocolError);
            }
        };
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = LogoutResponse {
            response,
            initiator_task_tag: request.initiator_task_tag,
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            time2wait: self.parameters.default_time2wait,
            time2retain: 0,
        };
        link.output.push(pdu.emit(), &[]);
        if response == LogoutResult::Closed {
            link.events.push_back(Event::Logout {
                reason: request.reason,
            });
            link.close = Some(CloseReason::LoggedOut);
        }
    }

    /// The data segment of a Data-Out, or of a command, is over.
    pub(super) fn end_data(
        &mut self,
        link: &mut Link,
        bhs: &Bhs,
        (task, tag, last): (TaskId, u32, bool),
        digest: Result<(), DigestMismatch>,
    ) {
        if digest.is_err() {
            self.reject(link, bhs, RejectReason::DataDigest);
        }
        if let Some(task) = self.tasks.get_mut(task) {
            if let Err(DigestMismatch { expected, got }) = digest {
                task.transfer.fail(DataOutError::Digest { expected, got });
            }
            task.transfer.end(tag, last);
        }
        self.advance(link, task);
    }
}
