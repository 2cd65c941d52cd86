//! The bytes of each mode page, and which of their bits can be changed.

use super::{AttentionInterlock, ModePages, QueueError};
use crate::scsi::fields::Fields;

/// A mode page that there is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Page {
    /// 08h (SBC-3 section 6.5.5).
    Caching,
    /// 0Ah (SPC-4 section 7.5.8).
    Control,
    /// 1Ch (SBC-3 section 6.5.8).
    Exceptions,
}

const WCE: u8 = 0x04;
const D_SENSE: u8 = 0x04;
const NUAR: u8 = 0x08;
const QERR_SHIFT: u8 = 1;
const UA_INTLCK_SHIFT: u8 = 4;
const SWP: u8 = 0x08;
const TAS: u8 = 0x40;
const DEXCPT: u8 = 0x08;
const MRIE: u8 = 0x0F;
/// TST 001b: each nexus has a task set of its own.
const TASK_SET_PER_NEXUS: u8 = 0x20;
/// QUEUE ALGORITHM MODIFIER 1h: simple tasks run in any order.
const UNRESTRICTED_REORDERING: u8 = 0x10;
/// MRIE values that are defined.
const MRIE_MAX: u8 = 6;

impl Page {
    /// Every page, in ascending order.
    pub(super) const ALL: [Self; 3] = [Self::Caching, Self::Control, Self::Exceptions];

    /// PAGE CODE.
    pub(super) const fn code(self) -> u8 {
        match self {
            Self::Caching => 0x08,
            Self::Control => 0x0A,
            Self::Exceptions => 0x1C,
        }
    }

    /// The page with that code.
    pub(super) fn of(code: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|page| page.code() == code)
    }

    /// PAGE LENGTH: the bytes behind the two of the head.
    pub(super) const fn length(self) -> u8 {
        match self {
            Self::Caching => 18,
            Self::Control | Self::Exceptions => 10,
        }
    }

    /// What stands behind the head.
    pub(super) fn body(self, pages: &ModePages) -> Vec<u8> {
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut body = match self {
            Self::Caching => vec![flag(pages.write_cache, WCE)],
            Self::Control => vec![
                TASK_SET_PER_NEXUS | flag(pages.descriptor_sense, D_SENSE),
                UNRESTRICTED_REORDERING
                    | flag(pages.no_attention_on_release, NUAR)
                    | (pages.queue_error as u8) << QERR_SHIFT,
                (pages.attention_interlock as u8) << UA_INTLCK_SHIFT
                    | flag(pages.write_protect, SWP),
                flag(pages.task_aborted_status, TAS),
            ],
            Self::Exceptions => vec![
                flag(pages.exceptions_disabled, DEXCPT),
                pages.exceptions_method & MRIE,
            ],
        };
        body.resize(usize::from(self.length()), 0);
        body
    }

    /// One for each bit behind the head that MODE SELECT may change.
    pub(super) fn changeable(self, volatile_cache: bool) -> Vec<u8> {
        let mut mask = match self {
            Self::Caching if volatile_cache => vec![WCE],
            Self::Caching => vec![0],
            Self::Control => vec![
                D_SENSE,
                NUAR | 0b11 << QERR_SHIFT,
                0b11 << UA_INTLCK_SHIFT | SWP,
                TAS,
            ],
            Self::Exceptions => vec![DEXCPT, MRIE],
        };
        mask.resize(usize::from(self.length()), 0);
        mask
    }

    /// Reads the body back into `pages`.
    ///
    /// # Errors
    /// The index of the byte in the body that holds no value there is.
    pub(super) fn read(self, body: Fields<'_>, pages: &mut ModePages) -> Result<(), usize> {
        match self {
            Self::Caching => pages.write_cache = body.byte(0) & WCE != 0,
            Self::Control => {
                pages.descriptor_sense = body.byte(0) & D_SENSE != 0;
                pages.no_attention_on_release = body.byte(1) & NUAR != 0;
                pages.queue_error = match body.byte(1) >> QERR_SHIFT & 0b11 {
                    0b00 => QueueError::Continue,
                    0b01 => QueueError::AbortAll,
                    0b11 => QueueError::AbortNexus,
                    _ => return Err(1),
                };
                pages.attention_interlock = match body.byte(2) >> UA_INTLCK_SHIFT & 0b11 {
                    0b00 => AttentionInterlock::ClearWhenReported,
                    0b10 => AttentionInterlock::Keep,
                    0b11 => AttentionInterlock::KeepAndRaise,
                    _ => return Err(2),
                };
                pages.write_protect = body.byte(2) & SWP != 0;
                pages.task_aborted_status = body.byte(3) & TAS != 0;
            }
            Self::Exceptions => {
                pages.exceptions_disabled = body.byte(0) & DEXCPT != 0;
                pages.exceptions_method = body.byte(1) & MRIE;
                if pages.exceptions_method > MRIE_MAX {
                    return Err(1);
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_reads_back_as_written() {
        let pages = ModePages {
            write_cache: true,
            descriptor_sense: true,
            task_aborted_status: true,
            write_protect: true,
            attention_interlock: AttentionInterlock::KeepAndRaise,
            queue_error: QueueError::AbortNexus,
            no_attention_on_release: true,
            exceptions_disabled: true,
            exceptions_method: 6,
        };
        let mut read = ModePages::default();
        for page in Page::ALL {
            let body = page.body(&pages);
            assert_eq!(body.len(), usize::from(page.length()));
            page.read(Fields(&body), &mut read).unwrap();
        }
        assert_eq!(read, pages);
    }

    #[test]
    fn what_can_change_covers_what_is_read() {
        let set = |page: Page, pages: &ModePages| page.body(pages);
        let all = ModePages {
            write_cache: true,
            descriptor_sense: true,
            task_aborted_status: true,
            write_protect: true,
            attention_interlock: AttentionInterlock::KeepAndRaise,
            queue_error: QueueError::AbortNexus,
            no_attention_on_release: true,
            exceptions_disabled: true,
            exceptions_method: 15,
        };
        for page in Page::ALL {
            let (zero, one) = (set(page, &ModePages::default()), set(page, &all));
            let differs: Vec<u8> = zero.iter().zip(&one).map(|(a, b)| a ^ b).collect();
            assert_eq!(differs, page.changeable(true), "{page:?}");
        }
        assert!(
            Page::Caching
                .changeable(false)
                .iter()
                .all(|&byte| byte == 0)
        );
    }
}
