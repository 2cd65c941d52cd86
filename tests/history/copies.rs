//! Writes that the target does by itself: a writer puts its stamps into blocks of its own first, and has
//! them copied from there, by EXTENDED COPY or by a token.
//!
//! The blocks that are copied from are nobody's to judge. A copy is sent when they have been written for
//! certain, and they are not written again before it has ended: so what it writes is known, and to the
//! judge it is one more write.

use std::ops::Range;

use super::area;
use super::lots::Lots;
use super::mix::{BLOCKS_MAX, Draft, Kind, Stamps, changing, count, some_attribute};
use super::record::{Nexus, Pattern};
use super::support::copy::{
    Segment, extended_copy, extended_copy_lid1, populate_token, receive_token, token_in,
    write_using_token,
};
use super::support::initiator::Command;
use super::support::scsi::write16;

/// The names of the copies.
pub(crate) const NAMES: [&str; 3] = [
    "EXTENDED COPY (LID1)",
    "EXTENDED COPY (LID4)",
    "WRITE USING TOKEN",
];

/// How far a copy is: the step that is under way.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// The stamps are written to where they are copied from.
    Staging,
    /// POPULATE TOKEN.
    Populating,
    /// RECEIVE ROD TOKEN INFORMATION.
    Receiving,
}

/// A copy before its last step.
#[derive(Clone, Debug)]
pub(crate) struct Copy {
    pub(crate) sequence: u32,
    name: &'static str,
    step: Step,
    from: u64,
    blocks: Range<u64>,
}

impl Copy {
    /// Some copy, and its first step. The sequence number is that of the write that it comes to.
    pub(crate) fn begin(lots: &mut Lots, nexus: Nexus, sequence: u32) -> Draft {
        let blocks = area::some_blocks(lots, BLOCKS_MAX);
        let from = area::staging(nexus).start;
        let copy = Self {
            sequence,
            name: lots.pick(&NAMES).expect("three names"),
            step: Step::Staging,
            from,
            blocks: blocks.clone(),
        };
        let stamps = Stamps { nexus, sequence }.over(blocks.clone());
        copy.step(Command::write(&write16(from, count(&blocks)), &stamps))
    }

    /// What is sent when the step that is under way has ended GOOD with `data`; `None`: no more.
    pub(crate) fn next(self, lots: &mut Lots, target: &[u8], data: &[u8]) -> Option<Draft> {
        let mut draft = self.follow(target, data)?;
        draft.command.attribute = some_attribute(lots);
        Some(draft)
    }

    fn follow(self, target: &[u8], data: &[u8]) -> Option<Draft> {
        let segment = Segment {
            to: 0,
            from_lba: self.from,
            to_lba: self.blocks.start,
            blocks: u16::try_from(count(&self.blocks)).expect("few blocks"),
        };
        // The next step of one that uses a token.
        let on = |step, command| {
            Some(
                Self {
                    step,
                    ..self.clone()
                }
                .step(command),
            )
        };
        let [lid1, lid4, _] = NAMES;
        match self.step {
            Step::Staging if self.name == lid1 => {
                let identifier = u8::try_from(self.sequence % 255).expect("a byte") + 1;
                let command = extended_copy_lid1(identifier, target, &segment);
                Some(self.last(command))
            }
            Step::Staging if self.name == lid4 => {
                let targets = [target.to_vec()];
                let command = extended_copy(self.sequence, &targets, &segment, false);
                Some(self.last(command))
            }
            Step::Staging => {
                let ranges = [(self.from, count(&self.blocks))];
                on(Step::Populating, populate_token(self.sequence, &ranges))
            }
            Step::Populating => on(Step::Receiving, receive_token(self.sequence)),
            Step::Receiving => {
                let ranges = [(self.blocks.start, count(&self.blocks))];
                let command = write_using_token(self.sequence, token_in(data)?, 0, &ranges);
                Some(self.last(command))
            }
        }
    }

    fn step(self, command: Command) -> Draft {
        Draft {
            name: self.name,
            command,
            blocks: 0..0,
            kind: Kind::Step(self),
        }
    }

    fn last(self, command: Command) -> Draft {
        changing(self.name, command, self.blocks, Pattern::Each, false)
    }
}
