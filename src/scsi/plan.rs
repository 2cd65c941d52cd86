//! What a command asks for: the answer of [`plan`](super::plan()), for `target` to carry out.
//!
//! Offsets and lengths are bytes, already checked against the capacity and the transfer limits.

use super::copy::program::CopyProgram;
use super::copy::token::{PopulateToken, WriteUsingToken};
use super::mode::ModePages;
use super::ports::PortGroupChange;
use super::sense::Failure;

/// A run of bytes of the volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByteRange {
    /// The first byte.
    pub offset: u64,
    /// How many bytes.
    pub length: u64,
}

impl ByteRange {
    /// The first byte behind the range.
    #[must_use]
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.length)
    }
}

/// How a command is to be carried out. `Read` and `Write` hold no allocation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan {
    /// Send the bytes of `range`.
    Read {
        /// What to read.
        range: ByteRange,
        /// Disable page out: the bytes need not stay in a cache.
        dpo: bool,
        /// Read from the medium, writing back a volatile cache first.
        fua: bool,
    },
    /// Take `range.length` bytes of Data-Out and write them.
    Write {
        /// Where to write.
        range: ByteRange,
        /// Disable page out.
        dpo: bool,
        /// GOOD only once the bytes are durable.
        fua: bool,
        /// All or nothing, also for a reader and over a power cut (WRITE ATOMIC).
        atomic: bool,
    },
    /// GOOD, with these bytes for the initiator.
    Reply(Reply),
    /// Anything but GOOD; nothing is fetched, nothing changes.
    Fail(Failure),
    /// Fetch that many bytes of Data-Out, then ask
    /// [`plan_with_parameters`](super::plan_with_parameters). Never zero, always bounded.
    Parameters {
        /// PARAMETER LIST LENGTH.
        length: u32,
    },
    /// VERIFY: read and compare as `mode` says; a difference is MISCOMPARE (E/1D/00).
    Verify {
        /// What to verify.
        range: ByteRange,
        /// Against what.
        mode: VerifyMode,
        /// Disable page out.
        dpo: bool,
    },
    /// WRITE AND VERIFY: write durably, then read back and, if `compare`, compare.
    WriteAndVerify {
        /// Where to write.
        range: ByteRange,
        /// BYTCHK: compare what is read with what was written.
        compare: bool,
        /// Disable page out.
        dpo: bool,
    },
    /// Data-Out is twice `range.length`: first what must stand there, then what to write, in one
    /// step for everyone else (SBC-3 section 5.2).
    CompareAndWrite {
        /// The blocks.
        range: ByteRange,
        /// Disable page out.
        dpo: bool,
        /// GOOD only once the bytes are durable.
        fua: bool,
    },
    /// ORWRITE: the blocks become their old value OR Data-Out, in one step for everyone else.
    OrWrite {
        /// The blocks.
        range: ByteRange,
        /// Disable page out.
        dpo: bool,
        /// GOOD only once the bytes are durable.
        fua: bool,
    },
    /// WRITE SAME: every block of `range` becomes the one block of `source`.
    WriteSame {
        /// The blocks.
        range: ByteRange,
        /// What they become.
        source: SameSource,
        /// UNMAP bit: deallocate instead where the result reads as the same bytes.
        deallocate: bool,
    },
    /// Deallocate these ranges.
    Unmap {
        /// In the order of the parameter list; they may overlap.
        ranges: Vec<ByteRange>,
    },
    /// GET LBA STATUS: [`lba_status::encode`](super::block::lba_status::encode) makes the answer.
    LbaStatus(LbaStatus),
    /// PRE-FETCH: read into the cache; CONDITION MET if it fits, else GOOD.
    Prefetch {
        /// What to read.
        range: ByteRange,
        /// Status before the blocks are there.
        immediate: bool,
    },
    /// SYNCHRONIZE CACHE: GOOD once every write that ended before is durable.
    Flush {
        /// What to make durable; the whole volume is always allowed.
        range: ByteRange,
        /// Status before it is done.
        immediate: bool,
    },
    /// FORMAT UNIT.
    Format(FormatPlan),
    /// SANITIZE.
    Sanitize(SanitizePlan),
    /// PERSISTENT RESERVE IN: the body is `reservation::report`'s; cut with [`Reply::truncated`].
    ReserveIn {
        /// READ KEYS 00, READ RESERVATION 01, REPORT CAPABILITIES 02, READ FULL STATUS 03.
        service_action: u8,
        /// Most bytes to send.
        allocation_length: u32,
    },
    /// PERSISTENT RESERVE OUT, parameters and all, for the volume's home.
    ReserveOut(Box<crate::reservation::Command>),
    /// RESERVE 6/10 (SPC-2).
    LegacyReserve,
    /// RELEASE 6/10 (SPC-2).
    LegacyRelease,
    /// MODE SELECT: publish these pages; other nexuses get MODE PARAMETERS CHANGED.
    ModeSelect {
        /// Every page, changed or not.
        pages: Box<ModePages>,
        /// SP: they outlive a restart.
        save: bool,
    },
    /// START STOP UNIT with LOEJ: make the medium [`Medium::Ready`](super::unit::Medium) or
    /// `Ejected`, the volatile cache written back first. The other nexuses get
    /// [`MediumChanged`](super::attention::UnitAttention::MediumChanged) on load.
    MoveMedium {
        /// Load, or eject.
        load: bool,
    },
    /// PREVENT ALLOW MEDIUM REMOVAL, for this nexus.
    PreventRemoval {
        /// Prevent, or allow again.
        prevent: bool,
    },
    /// SET TARGET PORT GROUPS.
    SetPortGroups(Vec<PortGroupChange>),
    /// WRITE BUFFER: [`NexusBuffers::write`](super::data_buffer::NexusBuffers::write).
    BufferWrite {
        /// Which buffer.
        mode: BufferMode,
        /// From which byte.
        offset: u32,
        /// What to keep.
        data: Vec<u8>,
    },
    /// READ BUFFER: [`NexusBuffers::read`](super::data_buffer::NexusBuffers::read).
    BufferRead {
        /// Which buffer.
        mode: BufferMode,
        /// From which byte.
        offset: u32,
        /// Most bytes to send.
        allocation_length: u32,
    },
    /// SEND DIAGNOSTIC: read a block; what fails is HARDWARE ERROR, LOGICAL UNIT FAILED SELF-TEST.
    SelfTest,
    /// EXTENDED COPY.
    Copy(Box<CopyProgram>),
    /// RECEIVE COPY RESULTS and RECEIVE ROD TOKEN INFORMATION.
    CopyResults(CopyResults),
    /// COPY OPERATION ABORT.
    CopyAbort {
        /// LIST IDENTIFIER.
        list_identifier: u32,
    },
    /// POPULATE TOKEN.
    PopulateToken(Box<PopulateToken>),
    /// WRITE USING TOKEN.
    WriteUsingToken(Box<WriteUsingToken>),
}

/// Data-In of a command that is answered from the [`View`](super::View) alone.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reply {
    /// The bytes, already cut to the allocation length.
    pub data: Vec<u8>,
}

impl Reply {
    /// `data`, cut to the allocation length.
    #[must_use]
    pub fn truncated(mut data: Vec<u8>, allocation_length: u32) -> Self {
        data.truncate(usize::try_from(allocation_length).unwrap_or(usize::MAX));
        Self { data }
    }
}

/// Bytes that a plan moves each way, from which residuals follow (RFC 7143 section 11.4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Transfer {
    /// From initiator to target.
    pub data_out: u64,
    /// From target to initiator.
    pub data_in: u64,
}

/// A plan is handed on by value for every I/O.
const _: () = assert!(size_of::<Plan>() <= 64);

impl Plan {
    /// What the command moves. Where the amount of Data-In is known only once the plan was carried
    /// out (reports of `target`), this is 0 and the reply's length counts.
    #[must_use]
    pub fn transfer(&self, block_bytes: u32) -> Transfer {
        let block = u64::from(block_bytes);
        let data_out = match self {
            Self::Read { range, .. } => {
                return Transfer {
                    data_out: 0,
                    data_in: range.length,
                };
            }
            Self::Reply(reply) => {
                let data_in = u64::try_from(reply.data.len()).unwrap_or(u64::MAX);
                return Transfer {
                    data_out: 0,
                    data_in,
                };
            }
            Self::Write { range, .. }
            | Self::WriteAndVerify { range, .. }
            | Self::OrWrite { range, .. }
            | Self::Verify {
                range,
                mode: VerifyMode::Compare,
                ..
            } => range.length,
            Self::CompareAndWrite { range, .. } => range.length.saturating_mul(2),
            Self::Verify {
                mode: VerifyMode::Pattern,
                ..
            }
            | Self::WriteSame {
                source: SameSource::Block,
                ..
            } => block,
            Self::Parameters { length } => u64::from(*length),
            _ => 0,
        };
        Transfer {
            data_out,
            data_in: 0,
        }
    }

    /// Whether bytes of this volume change: such a plan is checked again when it is issued
    /// (spec/reservations.md section 7).
    #[must_use]
    pub const fn changes_medium(&self) -> bool {
        matches!(
            self,
            Self::Write { .. }
                | Self::WriteAndVerify { .. }
                | Self::CompareAndWrite { .. }
                | Self::OrWrite { .. }
                | Self::WriteSame { .. }
                | Self::Unmap { .. }
                | Self::Format(_)
                | Self::Sanitize(_)
                | Self::Copy(_)
                | Self::WriteUsingToken(_)
        )
    }
}

/// The buffers of READ BUFFER and WRITE BUFFER.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BufferMode {
    /// Data mode: bytes at an offset.
    Data,
    /// Echo: what was written last comes back.
    Echo,
}

/// What VERIFY compares (BYTCHK, SBC-3 section 5.29).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerifyMode {
    /// 00b: the medium can be read. No Data-Out.
    Medium,
    /// 01b: the medium holds Data-Out, `range.length` bytes.
    Compare,
    /// 11b: every block holds the one block of Data-Out.
    Pattern,
}

/// What WRITE SAME writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SameSource {
    /// One block of Data-Out.
    Block,
    /// Zeros (NDOB): no Data-Out.
    Zeros,
}

/// GET LBA STATUS (SBC-4 section 5.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LbaStatus {
    /// From STARTING LOGICAL BLOCK ADDRESS to the end of the volume.
    pub range: ByteRange,
    /// Most bytes to send.
    pub allocation_length: u32,
    /// Most descriptors that fit; at least one is always made.
    pub descriptors_max: u32,
    /// Which extents are wanted.
    pub report: LbaReport,
}

/// REPORT TYPE of GET LBA STATUS (SBC-4 table 68).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LbaReport {
    /// 00h: every extent.
    All,
    /// 02h: mapped extents only.
    Mapped,
    /// 03h: deallocated extents only.
    Deallocated,
}

/// FORMAT UNIT (SBC-3 section 5.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FormatPlan {
    /// Status before it is done.
    pub immediate: bool,
    /// Every byte of the volume becomes zero; the geometry stays.
    pub range: ByteRange,
}

/// SANITIZE (SBC-3 section 5.22).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SanitizePlan {
    /// What to do.
    pub kind: SanitizeKind,
    /// Status before it is done.
    pub immediate: bool,
    /// AUSE: after a failure, EXIT FAILURE MODE may be used.
    pub unrestricted_exit: bool,
}

/// Service action of SANITIZE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SanitizeKind {
    /// 01h.
    Overwrite {
        /// Repeated over each block.
        pattern: Vec<u8>,
        /// Passes, 1 to 31.
        count: u8,
        /// Each pass writes the complement of the one before.
        invert: bool,
    },
    /// 02h.
    BlockErase,
    /// 03h.
    CryptoErase,
    /// 1Fh.
    ExitFailureMode,
}

/// What the initiator wants to know of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyResults {
    /// Which report.
    pub report: CopyReport,
    /// LIST IDENTIFIER.
    pub list_identifier: u32,
    /// Most bytes to send.
    pub allocation_length: u32,
}

/// Service action of RECEIVE COPY RESULTS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyReport {
    /// 00h COPY STATUS (LID1).
    StatusLid1,
    /// 04h FAILED SEGMENT DETAILS (LID1).
    FailedSegmentDetails,
    /// 05h COPY STATUS (LID4).
    StatusLid4,
    /// 07h RECEIVE ROD TOKEN INFORMATION.
    TokenInformation,
}
