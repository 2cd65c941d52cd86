//! One nexus at work: a session, what is outstanding on it, and what it saw.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::attentions::JUDGED;
use super::copies::Copy;
use super::lots::Lots;
use super::mix::{Draft, Kind, Seen};
use super::orders::is_readable;
use super::port::Port;
use super::record::{Code, Ending, Nexus, Notes, Read, Reinstatement, Tick, Told, Write, tick};
use super::stamp::Content;
use super::support::copy::copy_target;
use super::support::initiator::{Attribute, Command, Initiator};
use super::support::scsi::{BLOCK, Outcome, status, test_unit_ready};

/// Task management functions (RFC 7143 section 11.5.1).
mod function {
    pub(super) const ABORT_TASK: u8 = 1;
    pub(super) const ABORT_TASK_SET: u8 = 2;
    pub(super) const LOGICAL_UNIT_RESET: u8 = 5;
}

/// A command that another nexus has ended gets no status if TAS is 0, so it is sent again after that
/// long. Nothing is judged by it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
const UNIT_ATTENTION: u8 = 6;
const ILLEGAL_REQUEST: u8 = 5;
const MISCOMPARE: u8 = 0xe;
/// Additional sense code.
const INVALID_TOKEN_OPERATION: u8 = 0x23;
/// Resets and I_T nexus loss; they end commands without a status.
const RESETS: u8 = 0x29;
const COMMANDS_CLEARED: u8 = 0x2f;

/// A command on its way.
enum Flying {
    Write {
        write: Write,
        compared: Option<Vec<u8>>,
        cmd_sn: u32,
    },
    Read {
        blocks: Range<u64>,
        sent: Tick,
    },
    Step(Copy),
    Other,
}

/// A nexus with its session.
pub(crate) struct Talk {
    pub(crate) port: Port,
    pub(crate) session: Initiator,
    pub(crate) notes: Notes,
    /// A block as it was read last.
    pub(crate) seen: Seen,
    flying: BTreeMap<u32, Flying>,
    sequence: u32,
    /// How a copy names the logical unit.
    target: Vec<u8>,
    /// The sequence number of the copy that is under way. There is one at most: it is copied from the
    /// same blocks each time.
    copying: Option<u32>,
    /// A step of it that has ended GOOD, and what it said.
    stepped: Option<(Copy, Vec<u8>)>,
    /// An attention said that commands were ended without a status.
    pub(crate) must_sweep: bool,
    /// A conflict said that the right is gone.
    pub(crate) conflicted: bool,
    /// Writes that ended GOOD since somebody asked.
    pub(crate) progress: u64,
}

impl Talk {
    pub(crate) fn new(port: Port) -> Self {
        let mut session = port.connect();
        let target = copy_target(&mut session);
        Self {
            port,
            session,
            notes: Notes::default(),
            seen: None,
            flying: BTreeMap::new(),
            sequence: 0,
            target,
            copying: None,
            stepped: None,
            must_sweep: false,
            conflicted: false,
            progress: 0,
        }
    }

    pub(crate) fn nexus(&self) -> Nexus {
        self.port.nexus
    }

    pub(crate) fn outstanding(&self) -> usize {
        self.flying.len()
    }

    pub(crate) fn next_sequence(&mut self) -> u32 {
        self.sequence += 1;
        self.sequence
    }

    /// Whether a copy may begin.
    pub(crate) fn may_copy(&self) -> bool {
        self.copying.is_none()
    }

    /// Goes on with a copy, if a step of it has ended.
    pub(crate) fn go_on(&mut self, lots: &mut Lots) -> bool {
        let Some((copy, data)) = self.stepped.take() else {
            return false;
        };
        let sequence = copy.sequence;
        match copy.next(lots, &self.target, &data) {
            Some(draft) => self.send(draft, sequence),
            None => self.copying = None,
        }
        true
    }

    /// Sends a command. A write has the sequence number that it was drawn with.
    pub(crate) fn send(&mut self, draft: Draft, sequence: u32) {
        let cmd_sn = self.session.sequence.cmd_sn;
        let sent = tick();
        let itt = self.session.submit(&draft.command);
        let itt = itt.unwrap_or_else(|error| self.lost(&error));
        let flying = match draft.kind {
            Kind::Other => Flying::Other,
            Kind::Step(copy) => {
                self.copying = Some(sequence);
                Flying::Step(copy)
            }
            Kind::Read => Flying::Read {
                blocks: draft.blocks,
                sent,
            },
            Kind::Write {
                pattern,
                single,
                compared,
            } => Flying::Write {
                write: Write {
                    nexus: self.nexus(),
                    sequence,
                    name: draft.name,
                    blocks: draft.blocks,
                    pattern,
                    single,
                    sent,
                    ended: sent,
                    ending: Ending::Cut,
                },
                compared,
                cmd_sn,
            },
        };
        self.flying.insert(itt, flying);
    }

    /// Serves one PDU that the socket has, and notes what ended with it.
    pub(crate) fn serve(&mut self) {
        if let Err(error) = self.session.serve() {
            self.lost(&error);
        }
        self.note_finished();
    }

    /// Waits until nothing is outstanding.
    pub(crate) fn finish(&mut self) {
        while !self.flying.is_empty() {
            self.serve();
        }
    }

    fn note_finished(&mut self) {
        while let Some((itt, outcome)) = self.session.take_finished() {
            if let Some(flying) = self.flying.remove(&itt) {
                self.note(flying, outcome);
            }
        }
    }

    fn note(&mut self, flying: Flying, outcome: Outcome) {
        let ended = tick();
        let ending = self.ending_of(&flying, &outcome);
        match flying {
            Flying::Other => {}
            Flying::Step(copy) => {
                self.conflicted |= ending == Ending::Conflict;
                if ending == Ending::Good {
                    self.stepped = Some((copy, outcome.data));
                } else {
                    self.copying = None;
                }
            }
            Flying::Read { blocks, sent } if ending == Ending::Good => {
                self.seen = outcome
                    .data
                    .get(..BLOCK)
                    .map(|block| (blocks.start, block.to_vec()));
                self.note_read(blocks.start, &outcome.data, (sent, ended));
            }
            Flying::Read { .. } => {}
            Flying::Write {
                write, compared, ..
            } => {
                if ending == Ending::Good {
                    self.progress += 1;
                    // COMPARE AND WRITE has read what it compared, too.
                    if let Some(found) = compared {
                        self.note_read(write.blocks.start, &found, (write.sent, ended));
                    }
                }
                self.conflicted |= ending == Ending::Conflict;
                self.end_copy(write.sequence);
                self.notes.writes.push(Write {
                    ended,
                    ending,
                    ..write
                });
            }
        }
    }

    pub(crate) fn note_read(&mut self, first: u64, data: &[u8], (sent, ended): (Tick, Tick)) {
        self.notes.reads.push(Read {
            nexus: self.nexus(),
            first,
            contents: data.chunks_exact(BLOCK).map(Content::of).collect(),
            sent,
            ended,
        });
    }

    fn ending_of(&mut self, flying: &Flying, outcome: &Outcome) -> Ending {
        match outcome.status {
            _ if outcome.response != 0 => Ending::Failed,
            status::GOOD => Ending::Good,
            status::RESERVATION_CONFLICT => Ending::Conflict,
            status::BUSY | status::TASK_SET_FULL => Ending::Refused,
            status::TASK_ABORTED => Ending::TaskAborted,
            _ if self.take_attention(outcome) => Ending::Refused,
            _ => match (outcome.sense_code().0, flying) {
                // The token is too old, or gone with what made it.
                (ILLEGAL_REQUEST, Flying::Write { .. })
                    if outcome.sense_code().1 == INVALID_TOKEN_OPERATION =>
                {
                    Ending::Refused
                }
                (ILLEGAL_REQUEST, Flying::Write { write, .. }) => panic!(
                    "{}: {:02x?} for {write:?}",
                    write.name,
                    outcome.sense_code()
                ),
                (MISCOMPARE, Flying::Write { compared, .. }) if compared.is_some() => {
                    Ending::Refused
                }
                _ => Ending::Failed,
            },
        }
    }

    /// Notes a unit attention, if it is one.
    pub(crate) fn take_attention(&mut self, outcome: &Outcome) -> bool {
        let (key, asc, ascq) = outcome.sense_code();
        if outcome.status != status::CHECK_CONDITION || key != UNIT_ATTENTION {
            return false;
        }
        self.must_sweep |= asc == RESETS || asc == COMMANDS_CLEARED;
        let code: Code = (asc, ascq);
        if JUDGED.contains(&code) {
            self.notes.told.push(Told {
                nexus: self.nexus(),
                code,
                at: tick(),
            });
        }
        true
    }

    /// Runs a command ahead of all that is outstanding; sends it again after unit attentions. The
    /// ticks are those of the last time.
    pub(crate) fn run(&mut self, command: &Command) -> (Tick, Outcome, Tick) {
        let command = command.clone().attribute(Attribute::HeadOfQueue);
        let holds_r2ts = std::mem::take(&mut self.session.holds_r2ts);
        loop {
            let sent = tick();
            let outcome = self.session.try_run(&command);
            let outcome = outcome.unwrap_or_else(|error| self.lost(&error));
            let ended = tick();
            self.note_finished();
            if !self.take_attention(&outcome) && outcome.status != status::BUSY {
                self.session.holds_r2ts = holds_r2ts;
                return (sent, outcome, ended);
            }
        }
    }

    /// Takes all unit attentions, behind all that is outstanding.
    fn take_attentions(&mut self) {
        loop {
            let itt = self.session.submit(&Command::none(&test_unit_ready()));
            let itt = itt.unwrap_or_else(|error| self.lost(&error));
            let Some(outcome) = self.status_of(itt) else {
                continue;
            };
            if outcome.is_good() {
                return;
            }
            let told = self.take_attention(&outcome);
            let ended = [status::TASK_ABORTED, status::BUSY].contains(&outcome.status);
            assert!(told || ended, "TEST UNIT READY ends with {outcome:?}");
        }
    }

    /// The status of a command that is none of the flying ones.
    fn status_of(&mut self, itt: u32) -> Option<Outcome> {
        while is_readable(&self.session, ANSWER_PATIENCE) {
            if let Err(error) = self.session.serve() {
                self.lost(&error);
            }
            while let Some((finished, outcome)) = self.session.take_finished() {
                if finished == itt {
                    return Some(outcome);
                }
                if let Some(flying) = self.flying.remove(&finished) {
                    self.note(flying, outcome);
                }
            }
        }
        None
    }

    /// Takes all unit attentions; then nothing is outstanding any more. What has no status although
    /// it must have been ended, or at any rate with `sweep`, ends with ABORT TASK SET as `swept`.
    pub(crate) fn settle(&mut self, sweep: bool, swept: Ending) {
        self.session.holds_r2ts = false;
        while self.answer_held_r2t() {}
        self.take_attentions();
        while !self.flying.is_empty() {
            if sweep || self.must_sweep {
                self.sweep(swept);
            } else {
                self.serve();
            }
        }
        self.must_sweep = false;
        self.session.holds_r2ts = self.port.dawdles;
    }

    pub(crate) fn answer_held_r2t(&mut self) -> bool {
        let answered = self.session.answer_held_r2t();
        answered.unwrap_or_else(|error| self.lost(&error))
    }

    /// ABORT TASK SET.
    pub(crate) fn sweep(&mut self, swept: Ending) {
        let response = self.session.manage(function::ABORT_TASK_SET, None);
        assert_eq!(response, 0, "ABORT TASK SET: function complete");
        self.note_finished();
        self.end_all(swept);
    }

    /// LOGICAL UNIT RESET.
    pub(crate) fn reset(&mut self) {
        let sent = tick();
        let response = self.session.manage(function::LOGICAL_UNIT_RESET, None);
        assert_eq!(response, 0, "LOGICAL UNIT RESET: function complete");
        self.note_finished();
        self.end_all(Ending::Withdrawn);
        self.notes.resets.push((sent, tick()));
    }

    /// ABORT TASK for some write; what it does not find has its status, or was ended by another.
    pub(crate) fn withdraw(&mut self, lot: u64) {
        let writes = self.flying.iter().filter_map(|(itt, flying)| match flying {
            Flying::Write { cmd_sn, .. } => Some((*itt, *cmd_sn)),
            _ => None,
        });
        let writes: Vec<(u32, u32)> = writes.collect();
        let Some(at) = usize::try_from(lot)
            .ok()
            .and_then(|lot| lot.checked_rem(writes.len()))
        else {
            return;
        };
        let response = self.session.manage(function::ABORT_TASK, Some(writes[at]));
        self.note_finished();
        if response == 0
            && let Some(flying) = self.flying.remove(&writes[at].0)
        {
            self.session.forget(writes[at].0);
            self.end(flying, Ending::Withdrawn);
        }
    }

    /// Drops the session, or leaves it to the target to, and logs in anew.
    pub(crate) fn reinstate(&mut self, drop_first: bool) {
        let cut = tick();
        if drop_first {
            let _already_gone = self.session.stream.shutdown(std::net::Shutdown::Both);
        }
        self.session = self.port.connect();
        self.notes.reinstatements.push(Reinstatement {
            nexus: self.nexus(),
            cut,
            back: tick(),
        });
        self.end_all(Ending::Cut);
        self.must_sweep = false;
    }

    fn end_all(&mut self, ending: Ending) {
        for (itt, flying) in std::mem::take(&mut self.flying) {
            self.session.forget(itt);
            self.end(flying, ending);
        }
    }

    fn end(&mut self, flying: Flying, ending: Ending) {
        if let Flying::Step(copy) = &flying {
            self.end_copy(copy.sequence);
        }
        if let Flying::Write { write, .. } = flying {
            self.end_copy(write.sequence);
            self.notes.writes.push(Write {
                ended: tick(),
                ending,
                ..write
            });
        }
    }

    /// If that was a copy, another may begin.
    fn end_copy(&mut self, sequence: u32) {
        self.copying = self.copying.filter(|copy| *copy != sequence);
    }

    fn lost(&self, error: &std::io::Error) -> ! {
        panic!("nexus {}: {error}", self.nexus())
    }
}
