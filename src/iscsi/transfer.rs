//! The data of one write: what may come, what has come, what is asked for next (RFC 7143 sections
//! 4.2.5, 11.7 and 11.8). Bytes pass by; this room only counts.
//!
//! ```text
//!  immediate ▶ unsolicited ▶ │ R2T │ R2T │ R2T │            each within the owner's window
//!  └── ≤ FirstBurstLength ──┘ └─ ≤ MaxBurstLength each, at most MaxOutstandingR2T at once
//! ```
//!
//! A *sequence* is the unsolicited burst or the answer to one R2T; the F bit ends it. An error is
//! remembered and told only when every sequence has ended (RFC 7143 section 7.8), because until
//! then more data comes.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::error::DataOutError;
use super::event::Parameters;
use super::pdu::{DataOut, NO_TAG};
use crate::base::limits::OUTSTANDING_R2T_MAX;
use serde::{Deserialize, Serialize};
use std::ops::Range;

const R2TS: usize = OUTSTANDING_R2T_MAX as usize;

/// One sequence of Data-Out PDUs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Sequence {
    /// Target Transfer Tag; [`NO_TAG`] for the unsolicited burst.
    tag: u32,
    next_offset: u32,
    end: u32,
    next_data_sn: u32,
}

/// A part of the data that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Grant {
    /// Where it starts, in bytes.
    pub offset: u32,
    /// Bytes; never zero.
    pub bytes: u32,
    /// R2TSN.
    pub r2t_sn: u32,
}

/// A Data-Out whose Target Transfer Tag no R2T of the task gave out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct UnknownTag;

/// What the owner wants done with the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
enum Want {
    /// It has not said.
    Undecided,
    /// Bytes of this range.
    Window(Range<u32>),
    /// Nothing; whatever comes is dropped.
    Nothing,
}

/// The data of one write.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Transfer {
    /// Bytes that the initiator will send in all.
    total: u32,
    /// Immediate data and what follows it unasked.
    unsolicited: Option<Sequence>,
    /// Part of the unsolicited burst was dropped.
    missed: bool,
    /// Unsolicited Data-Out follows the command.
    burst_follows: bool,
    solicited: [Option<Sequence>; R2TS],
    want: Want,
    /// Bytes of the window that have arrived.
    filled: u32,
    /// Where the next R2T starts.
    asked: u32,
    r2t_sn: u32,
    failure: Option<DataOutError>,
}

impl Transfer {
    /// The data of a command that announces `total` bytes and carries `immediate` of them.
    /// `more` says that unsolicited Data-Out follows (the F bit was not set).
    #[must_use]
    pub fn new(total: u32, immediate: u32, more: bool, parameters: &Parameters) -> Self {
        let first_burst = total.min(parameters.first_burst_bytes);
        let allowed = if parameters.immediate_data {
            first_burst
        } else {
            0
        };
        let too_much = immediate > allowed && total > 0;
        let follows = more && !parameters.initial_r2t && immediate < first_burst && !too_much;
        let burst = Sequence {
            tag: NO_TAG,
            next_offset: immediate,
            end: first_burst,
            next_data_sn: 0,
        };
        Self {
            total,
            unsolicited: (follows || immediate > 0).then_some(burst),
            missed: false,
            burst_follows: follows,
            solicited: [None; R2TS],
            want: if total == 0 {
                Want::Nothing
            } else {
                Want::Undecided
            },
            filled: 0,
            asked: 0,
            r2t_sn: 0,
            failure: too_much.then_some(DataOutError::UnexpectedUnsolicited),
        }
    }

    /// Whether unsolicited Data-Out follows the command and its immediate data.
    #[must_use]
    pub const fn burst_follows(&self) -> bool {
        self.burst_follows
    }

    /// Bytes that the initiator will send in all.
    #[must_use]
    pub const fn total(&self) -> u32 {
        self.total
    }

    /// R2Ts issued so far.
    #[must_use]
    pub const fn r2t_count(&self) -> u32 {
        self.r2t_sn
    }

    /// Whether the owner has to say where data goes before any is taken.
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.want == Want::Undecided && self.failure.is_none()
    }

    /// Whether a window waits for data.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(self.want, Want::Window(_))
    }

    /// Bytes of the window that is open; zero where none is.
    #[must_use]
    pub fn window_bytes(&self) -> u32 {
        match &self.want {
            Want::Window(window) => window.end.saturating_sub(window.start),
            Want::Undecided | Want::Nothing => 0,
        }
    }

    /// Opens the window.
    ///
    /// # Panics
    /// If a window is open, or `range` is empty or beyond the command's data: the owner's error.
    pub fn open(&mut self, range: Range<u32>) {
        assert!(!self.is_open(), "one window at a time");
        assert!(
            range.start < range.end && range.end <= self.total,
            "a window within the data"
        );
        self.asked = range.start;
        self.filled = 0;
        self.want = Want::Window(range);
    }

    /// Nothing more is wanted.
    pub fn refuse(&mut self) {
        self.want = Want::Nothing;
        self.missed |= self.unsolicited.is_some();
    }

    /// Takes the header of a Data-Out in. Its numbers are judged against its sequence, and a
    /// failure is remembered.
    ///
    /// # Errors
    /// When its tag names no sequence.
    pub fn begin(&mut self, pdu: &DataOut, bytes: u32) -> Result<(), UnknownTag> {
        let sequence = if pdu.target_transfer_tag == NO_TAG {
            match &mut self.unsolicited {
                Some(sequence) => sequence,
                // The empty end of a burst that was full already says nothing.
                None if bytes == 0 && pdu.final_pdu => return Ok(()),
                None => {
                    self.fail(DataOutError::UnexpectedUnsolicited);
                    return Ok(());
                }
            }
        } else {
            self.solicited
                .iter_mut()
                .flatten()
                .find(|sequence| sequence.tag == pdu.target_transfer_tag)
                .ok_or(UnknownTag)?
        };
        let expected = *sequence;
        sequence.next_data_sn = expected.next_data_sn.wrapping_add(1);
        sequence.next_offset = expected.next_offset.saturating_add(bytes);
        let due = expected.end.saturating_sub(expected.next_offset);
        if pdu.data_sn != expected.next_data_sn {
            let expected = expected.next_data_sn;
            self.fail(DataOutError::DataSn {
                expected,
                got: pdu.data_sn,
            });
        } else if pdu.buffer_offset != expected.next_offset {
            let expected = expected.next_offset;
            self.fail(DataOutError::Offset {
                expected,
                got: pdu.buffer_offset,
            });
        } else if bytes > due || (pdu.final_pdu && expected.tag != NO_TAG && bytes < due) {
            self.fail(DataOutError::IncorrectAmount {
                expected: due,
                got: bytes,
            });
        }
        Ok(())
    }

    /// Where a piece of data belongs: how many of its bytes come before the window, and the range
    /// within the window that the next ones fill. The range is empty when the data is to be
    /// dropped.
    #[must_use]
    pub fn place(&self, offset: u32, bytes: u32) -> (u32, Range<u32>) {
        match &self.want {
            Want::Window(window) if self.failure.is_none() && !self.drops_the_burst() => {
                let start = offset.clamp(window.start, window.end);
                let end = offset.saturating_add(bytes).clamp(window.start, window.end);
                let within = |at: u32| at.saturating_sub(window.start);
                (start.saturating_sub(offset), within(start)..within(end))
            }
            _ => (0, 0..0),
        }
    }

    /// Whether the unsolicited burst is still running and part of it was dropped: then none of the
    /// rest counts, and all of it is asked for by R2T.
    const fn drops_the_burst(&self) -> bool {
        self.missed && self.unsolicited.is_some()
    }

    /// `bytes` more bytes of the window are in place.
    pub fn fill(&mut self, bytes: u32) {
        self.filled = self.filled.saturating_add(bytes);
    }

    /// The data segment of a PDU of the sequence `tag` is over; with `last`, so is the sequence.
    pub fn end(&mut self, tag: u32, last: bool) {
        if !last {
            return;
        }
        if tag == NO_TAG {
            self.unsolicited = None;
        }
        for sequence in &mut self.solicited {
            if sequence.is_some_and(|open| open.tag == tag) {
                *sequence = None;
            }
        }
    }

    /// Remembers the first failure.
    pub fn fail(&mut self, error: DataOutError) {
        self.failure.get_or_insert(error);
    }

    /// The next part to ask for, if there is one and no more than `outstanding` are asked for.
    pub fn grant(&mut self, tag: u32, burst_bytes: u32, outstanding: u32) -> Option<Grant> {
        let Want::Window(window) = &self.want else {
            return None;
        };
        if self.failure.is_some() || self.unsolicited.is_some() {
            return None;
        }
        if self.r2t_sn == 0 || self.solicited.iter().all(Option::is_none) {
            self.asked = window.start.saturating_add(self.filled);
        }
        let bytes = window.end.saturating_sub(self.asked).min(burst_bytes);
        let open = self.solicited.iter().flatten().count();
        if bytes == 0 || open >= usize::try_from(outstanding).unwrap_or(R2TS) {
            return None;
        }
        let free = self
            .solicited
            .iter_mut()
            .find(|sequence| sequence.is_none())?;
        let end = self.asked.saturating_add(bytes);
        *free = Some(Sequence {
            tag,
            next_offset: self.asked,
            end,
            next_data_sn: 0,
        });
        let grant = Grant {
            offset: self.asked,
            bytes,
            r2t_sn: self.r2t_sn,
        };
        self.asked = end;
        self.r2t_sn = self.r2t_sn.wrapping_add(1);
        Some(grant)
    }

    /// Whether data is due that the target asked for or was promised.
    #[must_use]
    pub fn awaits_data(&self) -> bool {
        self.unsolicited.is_some() || self.solicited.iter().any(Option::is_some)
    }

    /// Closes the window when it is full, or when the transfer has failed and nothing more comes.
    pub fn finish(&mut self) -> Option<Result<(), DataOutError>> {
        let Want::Window(window) = &self.want else {
            return None;
        };
        let full = self.filled >= window.end.saturating_sub(window.start);
        if self.awaits_data() || !(full || self.failure.is_some()) {
            return None;
        }
        self.want = if self.failure.is_some() {
            Want::Nothing
        } else {
            Want::Undecided
        };
        Some(self.failure.map_or(Ok(()), Err))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parameters(initial_r2t: bool, immediate_data: bool) -> Parameters {
        Parameters {
            initial_r2t,
            immediate_data,
            first_burst_bytes: 1024,
            max_burst_bytes: 2048,
            ..Parameters::default()
        }
    }

    fn data_out(tag: u32, data_sn: u32, offset: u32, final_pdu: bool) -> DataOut {
        DataOut {
            final_pdu,
            lun: [0; 8],
            initiator_task_tag: 1,
            target_transfer_tag: tag,
            exp_stat_sn: 0,
            data_sn,
            buffer_offset: offset,
        }
    }

    fn take(transfer: &mut Transfer, pdu: DataOut, bytes: u32) {
        transfer.begin(&pdu, bytes).unwrap();
        let (_, place) = transfer.place(pdu.buffer_offset, bytes);
        transfer.fill(place.end - place.start);
        transfer.end(pdu.target_transfer_tag, pdu.final_pdu);
    }

    #[test]
    fn immediate_data_within_the_first_burst_needs_no_r2t() {
        let mut transfer = Transfer::new(512, 512, false, &parameters(true, true));
        assert!(transfer.is_undecided());
        transfer.open(0..512);
        assert_eq!(
            transfer.grant(7, 2048, 1),
            None,
            "the immediate data is on its way"
        );
        transfer.fill(512);
        assert_eq!(transfer.finish(), None);
        transfer.end(NO_TAG, !transfer.burst_follows());
        assert_eq!(transfer.grant(7, 2048, 1), None);
        assert_eq!(transfer.finish(), Some(Ok(())));
    }

    #[test]
    fn an_unsolicited_burst_runs_to_the_first_burst_and_r2ts_take_over() {
        let mut transfer = Transfer::new(6000, 256, true, &parameters(false, true));
        transfer.open(0..6000);
        transfer.fill(256);
        assert_eq!(transfer.grant(1, 2048, 2), None, "the burst is not over");
        take(&mut transfer, data_out(NO_TAG, 0, 256, false), 500);
        take(&mut transfer, data_out(NO_TAG, 1, 756, true), 268);
        let first = transfer.grant(1, 2048, 2).unwrap();
        let second = transfer.grant(2, 2048, 2).unwrap();
        assert_eq!(
            first,
            Grant {
                offset: 1024,
                bytes: 2048,
                r2t_sn: 0
            }
        );
        assert_eq!(
            second,
            Grant {
                offset: 3072,
                bytes: 2048,
                r2t_sn: 1
            }
        );
        assert_eq!(transfer.grant(3, 2048, 2), None, "two are outstanding");
        take(&mut transfer, data_out(1, 0, 1024, true), 2048);
        assert_eq!(transfer.grant(3, 2048, 2).unwrap().bytes, 880);
        take(&mut transfer, data_out(2, 0, 3072, true), 2048);
        assert_eq!(transfer.finish(), None);
        take(&mut transfer, data_out(3, 0, 5120, true), 880);
        assert_eq!(transfer.finish(), Some(Ok(())));
    }

    #[test]
    fn windows_follow_each_other() {
        let mut transfer = Transfer::new(4096, 0, false, &parameters(true, false));
        for window in [0..2048, 2048..4096] {
            transfer.open(window.clone());
            let grant = transfer.grant(9, 65_536, 1).unwrap();
            assert_eq!((grant.offset, grant.bytes), (window.start, 2048));
            take(&mut transfer, data_out(9, 0, window.start, true), 2048);
            assert_eq!(transfer.finish(), Some(Ok(())));
            assert!(transfer.is_undecided());
        }
    }

    #[test]
    fn each_violation_has_its_error_and_waits_for_the_end_of_the_sequence() {
        let offset = DataOutError::Offset {
            expected: 0,
            got: 4,
        };
        let data_sn = DataOutError::DataSn {
            expected: 0,
            got: 1,
        };
        let short = DataOutError::IncorrectAmount {
            expected: 2048,
            got: 100,
        };
        for (pdu, error) in [
            (data_out(5, 0, 4, true), offset),
            (data_out(5, 1, 0, true), data_sn),
            (data_out(5, 0, 0, true), short),
        ] {
            let mut transfer = Transfer::new(4096, 0, false, &parameters(true, false));
            transfer.open(0..4096);
            let _ = transfer.grant(5, 2048, 2).unwrap();
            let _ = transfer.grant(6, 2048, 2).unwrap();
            take(&mut transfer, pdu, 100);
            assert_eq!(transfer.finish(), None, "the other sequence is open");
            take(&mut transfer, data_out(6, 0, 2048, true), 2048);
            assert_eq!(transfer.finish(), Some(Err(error)));
        }
    }

    #[test]
    fn data_that_was_not_allowed_is_unexpected() {
        let mut transfer = Transfer::new(4096, 512, false, &parameters(true, false));
        assert!(!transfer.is_undecided());
        transfer.open(0..4096);
        assert_eq!(transfer.finish(), None, "the data is on its way");
        transfer.end(NO_TAG, true);
        assert_eq!(
            transfer.finish(),
            Some(Err(DataOutError::UnexpectedUnsolicited))
        );
        let mut transfer = Transfer::new(4096, 0, true, &parameters(true, true));
        transfer.open(0..4096);
        assert_eq!(
            transfer.begin(&data_out(77, 0, 0, true), 10),
            Err(UnknownTag)
        );
        take(&mut transfer, data_out(NO_TAG, 0, 0, true), 10);
        assert_eq!(
            transfer.finish(),
            Some(Err(DataOutError::UnexpectedUnsolicited))
        );
    }

    proptest! {
        /// Whatever comes, no byte lands outside of the window and nothing overflows.
        #[test]
        fn any_header_is_placed_inside_the_window(
            total: u32, immediate: u32, more: bool, modes: (bool, bool), window: (u32, u32),
            pdus in prop::collection::vec((any::<bool>(), any::<u32>(), any::<u32>(), any::<bool>(), any::<u32>()), 0..20),
        ) {
            let mut transfer =
                Transfer::new(total, immediate, more, &parameters(modes.0, modes.1));
            if total == 0 {
                return Ok(());
            }
            let start = window.0 % total;
            let end = start + 1 + window.1 % (total - start);
            transfer.open(start..end);
            for (number, (known, data_sn, offset, last, bytes)) in (0u32..).zip(pdus) {
                let _ = transfer.grant(number, 2048, 8);
                let tag = if known { number } else { NO_TAG };
                let pdu = data_out(tag, data_sn, offset, last);
                let _ = transfer.begin(&pdu, bytes);
                let (_, place) = transfer.place(offset, bytes);
                prop_assert!(place.start <= place.end && place.end <= end - start);
                transfer.end(pdu.target_transfer_tag, last);
                if transfer.finish().is_some() {
                    break;
                }
            }
        }
    }
}
