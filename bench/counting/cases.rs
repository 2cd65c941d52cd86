//! The cases: what is asked, of what, how many at once.

use std::fmt;

use crate::client::Request;

const KIB: u32 = 1024;
const BLOCK_BYTES: u32 = 512;
/// Transfers that a series goes round: each has a range of its own within a burst.
const PLACES: u32 = 64;
/// Room for the largest transfers at every place.
const SHARD_BLOCKS: u32 = PLACES * 128 * KIB / BLOCK_BYTES;

/// SCSI status codes (SAM-5 section 5.3).
pub(crate) const GOOD: u8 = 0x00;
const RESERVATION_CONFLICT: u8 = 0x18;

/// What moves the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Engine {
    /// The `latency` profile with few sockets: io_uring for all but sockets, which are tried directly.
    Direct,
    /// The `latency` profile with many sockets, and every other profile: io_uring for everything.
    Ring,
    /// Where io_uring is not permitted.
    Epoll,
}

/// Where the blocks are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Backend {
    Null,
    Ram,
}

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// Connections that are at rest.
    Nothing,
    Ping,
    TestUnitReady,
    /// READ(10) of that many bytes.
    Read(u32),
    /// WRITE(10) of that many bytes, as immediate data.
    Write(u32),
    /// WRITE(10) of that many bytes, none before they are asked for.
    SolicitedWrite(u32),
}

/// Who holds the volume.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reservation {
    None,
    /// Somebody else, for themselves.
    ByAnother,
    /// 1024 registrants, this one among them.
    ByRegistrants,
}

/// One line of the table.
#[derive(Clone, Copy)]
pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) work: Work,
    /// Requests of a round.
    pub(crate) burst: usize,
    pub(crate) backend: Backend,
    pub(crate) engine: Engine,
    /// CRC32C of headers and data.
    pub(crate) digests: bool,
    pub(crate) reservation: Reservation,
    /// Logged in, the one that is used included.
    pub(crate) sessions: u16,
    /// Reactors that the volume's blocks are dealt out over.
    pub(crate) reactors: usize,
    /// The blocks belong to another reactor than the connections.
    pub(crate) remote: bool,
}

const fn case(name: &'static str, work: Work, burst: usize) -> Case {
    Case {
        name,
        work,
        burst,
        backend: Backend::Null,
        engine: Engine::Direct,
        digests: false,
        reservation: Reservation::None,
        sessions: 1,
        reactors: 1,
        remote: false,
    }
}

impl Case {
    const fn ram(self) -> Self {
        Self {
            backend: Backend::Ram,
            ..self
        }
    }

    const fn on(self, engine: Engine) -> Self {
        Self { engine, ..self }
    }

    const fn digests(self) -> Self {
        Self {
            digests: true,
            ..self
        }
    }

    const fn reserved(self, reservation: Reservation) -> Self {
        Self {
            reservation,
            ..self
        }
    }

    const fn sessions(self, sessions: u16) -> Self {
        Self { sessions, ..self }
    }

    /// Two reactors share the volume, and the blocks belong to the connection's or to the other.
    const fn shared(self, remote: bool) -> Self {
        Self {
            reactors: 2,
            remote,
            ..self
        }
    }

    /// What every answer has to say.
    pub(crate) const fn status(&self) -> u8 {
        match self.reservation {
            Reservation::ByAnother => RESERVATION_CONFLICT,
            _ => GOOD,
        }
    }

    /// Request number `turn`.
    ///
    /// # Panics
    /// If there is nothing to be asked.
    pub(crate) fn request(&self, turn: usize) -> Request {
        let place = u32::try_from(turn).expect("turns are few") % PLACES;
        match self.work {
            Work::Nothing => unreachable!("nothing is asked of a reactor at rest"),
            Work::Ping => Request::Ping,
            Work::TestUnitReady => Request::none(TEST_UNIT_READY),
            Work::Read(bytes) => {
                Request::read(transfer(READ_10, self.lba(place, bytes), bytes), bytes)
            }
            Work::Write(bytes) | Work::SolicitedWrite(bytes) => {
                Request::write(transfer(WRITE_10, self.lba(place, bytes), bytes), bytes)
            }
        }
    }

    /// The first block of a place.
    const fn lba(&self, place: u32, bytes: u32) -> u32 {
        let shard = if self.remote { SHARD_BLOCKS } else { 0 };
        shard + place * (bytes / BLOCK_BYTES)
    }

    /// Every place that the case touches, written once.
    pub(crate) fn preparation(&self) -> Vec<Request> {
        match self.work {
            Work::Read(bytes) | Work::Write(bytes) if self.backend == Backend::Ram => (0..PLACES)
                .map(|place| {
                    Request::write(transfer(WRITE_10, self.lba(place, bytes), bytes), bytes)
                })
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Bytes that a volume needs for the case.
    pub(crate) const fn volume_bytes() -> u64 {
        2 * Self::shard_bytes()
    }

    /// Bytes that follow each other on one reactor.
    pub(crate) const fn shard_bytes() -> u64 {
        SHARD_BLOCKS as u64 * BLOCK_BYTES as u64
    }
}

/// Name, and how many operations a round counts for.
impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.burst)
    }
}

const TEST_UNIT_READY: [u8; 16] = [0; 16];
const READ_10: u8 = 0x28;
const WRITE_10: u8 = 0x2a;

/// READ(10) or WRITE(10) (SBC-3 sections 5.8 and 5.32).
fn transfer(operation: u8, lba: u32, bytes: u32) -> [u8; 16] {
    let blocks = bytes / BLOCK_BYTES;
    let mut cdb = [0; 16];
    cdb[0] = operation;
    cdb[2..6].copy_from_slice(&lba.to_be_bytes());
    cdb[7..9].copy_from_slice(&blocks.to_be_bytes()[2..]);
    cdb
}

const R4K: Work = Work::Read(4 * KIB);
const W4K: Work = Work::Write(4 * KIB);

/// All cases, in the order of the table.
pub(crate) const CASES: [Case; 26] = [
    case("nop-out", Work::Ping, 1),
    case("test-unit-ready", Work::TestUnitReady, 1),
    case("read-4k-null-1", R4K, 1),
    case("read-4k-null-32", R4K, 32),
    case("read-4k-ram-1", R4K, 1).ram(),
    case("read-4k-ram-32", R4K, 32).ram(),
    case("write-4k-null-1", W4K, 1),
    case("write-4k-null-32", W4K, 32),
    case("write-4k-ram-1", W4K, 1).ram(),
    case("write-4k-ram-32", W4K, 32).ram(),
    case("read-4k-null-32-digests", R4K, 32).digests(),
    case("write-4k-null-32-digests", W4K, 32).digests(),
    case("read-128k-ram-1", Work::Read(128 * KIB), 1).ram(),
    case("write-128k-ram-1-r2t", Work::SolicitedWrite(128 * KIB), 1).ram(),
    case("read-4k-null-32-conflict", R4K, 32).reserved(Reservation::ByAnother),
    case("read-4k-null-32-1024-registrants", R4K, 32).reserved(Reservation::ByRegistrants),
    case("read-4k-null-1-local-of-2", R4K, 1).shared(false),
    case("read-4k-null-1-remote-of-2", R4K, 1).shared(true),
    case("read-4k-null-1-ring", R4K, 1).on(Engine::Ring),
    case("read-4k-null-32-ring", R4K, 32).on(Engine::Ring),
    case("write-4k-null-32-ring", W4K, 32).on(Engine::Ring),
    case("read-4k-null-1-epoll", R4K, 1).on(Engine::Epoll),
    case("read-4k-null-32-epoll", R4K, 32).on(Engine::Epoll),
    case("write-4k-null-32-epoll", W4K, 32).on(Engine::Epoll),
    case("idle-tick-16-sessions", Work::Nothing, 1).sessions(16),
    case("idle-tick-16-sessions-epoll", Work::Nothing, 1)
        .on(Engine::Epoll)
        .sessions(16),
];
