//! Every limit of the program, tied together by compile-time assertions.
//!
//! Nothing that a peer sends may make the process hold more than what stands here.

use std::time::Duration;

/// The smallest block that a buffer pool hands out, and the alignment of every buffer, in bytes.
pub const BUFFER_BLOCK_BYTES: usize = 4096;
/// The largest block that a buffer pool hands out, in bytes: the most that one backend request moves.
pub const BUFFER_BYTES_MAX: usize = 1 << 20;
/// Memory for payloads per reactor unless configured otherwise, in bytes.
pub const ARENA_BYTES_DEFAULT: usize = 128 << 20;

/// Reactors in one process.
pub const REACTORS_MAX: usize = 128;
/// Backend requests that one reactor may have issued at once; more are answered BUSY.
pub const ISSUED_PIECES_MAX: u32 = 65_536;
/// Answers that procedures of one reactor may wait for at once.
pub const WAITERS_MAX: u32 = 65_536;
/// Messages that may wait between one pair of reactors.
pub const MAILBOX_MESSAGES: usize = 1024;

/// Commands a session may have outstanding: the span of CmdSN from ExpCmdSN to MaxCmdSN
/// (RFC 7143 section 4.2.2.1).
pub const SESSION_COMMANDS_MAX: u32 = 128;
/// Immediate commands a session may have outstanding; more are rejected (RFC 7143 section 4.2.2.1).
pub const SESSION_IMMEDIATE_COMMANDS_MAX: u32 = 16;
/// Sessions on one volume unless configured otherwise (the service's own limit).
pub const VOLUME_SESSIONS_DEFAULT: u32 = 128;
/// The most sessions that may be configured for one volume.
pub const VOLUME_SESSIONS_MAX: u32 = 4096;
/// From so many percent of a volume's sessions on, an operator is told that they run short.
pub const VOLUME_SESSIONS_SHORT_PERCENT: u32 = 90;
/// Of volumes that take fewer sessions than this nobody is told: they are meant to be full.
pub const VOLUME_SESSIONS_SHORT_MIN: u32 = 10;
/// Nodes that may be drained at once.
pub const DRAINS_MAX: usize = 256;
/// How long the sessions of a drained node may have to log out.
pub const DRAIN_DEADLINE_MAX: Duration = Duration::from_secs(3600);
/// The longest that a test's backend may hold a request, all its wrappers together: well within
/// [`FENCE_TIMEOUT`].
pub const BACKEND_DELAY_MAX: Duration = Duration::from_secs(1);
/// Wrappers that a test may put before the store of one volume.
pub const TEST_WRAPPERS_MAX: usize = 4;
/// Rules of one wrapper that lets requests fail.
pub const FAULT_RULES_MAX: usize = 16;
/// Connections of one process, those in login included.
pub const CONNECTIONS_MAX: u32 = 16_384;
/// Connections of one process that have not finished login.
pub const CONNECTIONS_IN_LOGIN_MAX: u32 = 512;

/// Bytes of one data segment that this target accepts (MaxRecvDataSegmentLength it declares).
pub const RECEIVE_DATA_SEGMENT_BYTES: u32 = 256 << 10;
/// Bytes of one data segment during login (RFC 7143 section 6.1 fixes the default at 8192).
pub const LOGIN_DATA_SEGMENT_BYTES: u32 = 8192;
/// Text keys that one negotiation may send, over all its PDUs.
pub const LOGIN_KEYS_MAX: usize = 128;
/// Bytes of key=value text that one negotiation may send, over all its PDUs.
pub const LOGIN_TEXT_BYTES_MAX: usize = 64 << 10;
/// Login or Text requests that one negotiation may take.
pub const NEGOTIATION_STEPS_MAX: u32 = 64;
/// Bytes of an iSCSI name (RFC 7143 section 4.2.7.1).
pub const ISCSI_NAME_BYTES_MAX: usize = 223;
/// Bytes of a text response that SendTargets may build up.
pub const TEXT_RESPONSE_BYTES_MAX: usize = 4 << 20;
/// MaxBurstLength that the target offers, in bytes.
pub const MAX_BURST_BYTES: u32 = 1 << 20;
/// FirstBurstLength that the target offers, in bytes.
pub const FIRST_BURST_BYTES: u32 = 256 << 10;
/// MaxOutstandingR2T that the target accepts.
pub const OUTSTANDING_R2T_MAX: u32 = 8;
/// Bytes held for commands that arrived ahead of a gap in CmdSN, per connection.
pub const HELD_COMMAND_BYTES_MAX: usize = 1 << 20;
/// Bytes a connection may have queued for sending before it reads no further commands.
pub const SEND_QUEUE_BYTES_MAX: usize = 4 << 20;

/// Payloads up to that many bytes are copied behind their PDU header; larger ones go by reference.
pub const INLINE_PAYLOAD_BYTES_MAX: usize = 16 << 10;

/// Bytes of one connection's reads that may be lent to it at a time: as many are copied at once if its
/// socket does not take them.
pub const LENT_BYTES_MAX: usize = 1 << 20;

/// A connection that has not logged in by then is dropped.
pub const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);
/// An initiator silent for that long is asked with a NOP-In.
pub const NOP_INTERVAL: Duration = Duration::from_secs(30);
/// An initiator that leaves a NOP-In unanswered for that long is gone.
pub const NOP_TIMEOUT: Duration = Duration::from_secs(30);
/// Data-Out that an R2T asked for must make progress within that time.
pub const DATA_OUT_TIMEOUT: Duration = Duration::from_secs(60);
/// How long sessions have to log out when the target drains.
pub const DRAIN_TIMEOUT: Duration = Duration::from_secs(5);
/// Bytes of a reactor's buffers that the reads and writes of one connection may hold; one command
/// is always let through.
pub const CONNECTION_BUFFER_BYTES_MAX: u64 = 16 << 20;
/// How long a reservation command may take, the fence included, before it answers with an error.
pub const FENCE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a reservation command that has failed waits for the store to take its change back.
pub const TAKE_BACK_TIMEOUT: Duration = Duration::from_secs(3);
/// How often a state that the store may not hold is saved again, until it does.
pub const PUT_RIGHT_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest that may be configured: a healthy disk's slowest write should be done by then.
pub const FENCE_TIMEOUT_MIN: Duration = Duration::from_secs(1);
/// The longest that may be configured: initiators have to hear the error before they give up.
pub const FENCE_TIMEOUT_MAX: Duration = Duration::from_secs(25);
/// When initiators give a command up (Linux sd; others wait longer).
const INITIATOR_TIMEOUT: Duration = Duration::from_secs(30);

/// Registrations per logical unit unless configured otherwise.
pub const REGISTRATIONS_DEFAULT: u32 = 1024;
/// Nexuses that a volume remembers (registered, logged in, or owed a unit attention).
pub const NEXUSES_MAX: u32 = 8192;
/// Nexuses without a registration for which a volume keeps unit attentions until they log in again.
/// Those that are registered are all kept.
pub const ATTENTIONS_OWED_TO_STRANGERS_MAX: usize = 1024;
/// The same of one initiator name, which may come back under ever new ISIDs.
pub const ATTENTIONS_OWED_TO_NAME_MAX: usize = 128;
/// Pairs of addresses that a volume remembers to have taken sessions from each other.
pub const TAKEOVER_PAIRS_MAX: usize = 64;
/// A takeover back within that time is by another host, not by one that has moved.
pub const TAKEOVER_RETURN_MAX: Duration = Duration::from_secs(120);
/// How long takeovers are shown after the last one.
pub const TAKEOVER_MEMORY: Duration = Duration::from_secs(3600);
/// How often the takeovers of one pair are logged.
pub const TAKEOVER_LOG_INTERVAL: Duration = Duration::from_secs(60);
/// Bytes of a PERSISTENT RESERVE OUT parameter list.
pub const RESERVE_OUT_BYTES_MAX: u32 = 64 << 10;
/// Bytes of any other parameter list.
pub const PARAMETER_LIST_BYTES_MAX: u32 = 256 << 10;
/// Reservation records that may wait for the store.
pub const RESERVATION_SAVES_MAX: usize = 1024;
/// Of those, how many are made durable at once.
pub const RESERVATION_SAVES_TOGETHER_MAX: usize = 64;
/// Entries of the history of one volume's reservations.
pub const HISTORY_ENTRIES_MAX: usize = 256;
/// Those of them that may be refusals and other commands without effect.
pub const HISTORY_IDLE_ENTRIES_MAX: usize = HISTORY_ENTRIES_MAX / 4;
/// Nexuses that one entry of the history names as having lost something; more are counted.
pub const HISTORY_LOSSES_MAX: usize = 8;
/// Bytes of one entry of the history as it is kept.
pub const HISTORY_ENTRY_BYTES_MAX: usize = 4096;
/// Entries of the history that nothing else makes durable are saved that long after the first.
pub const HISTORY_SAVE_INTERVAL: Duration = Duration::from_secs(10);
/// Requests that may wait at once for something new in a history.
pub const HISTORY_FOLLOWERS_MAX: usize = 16;
/// How long one such request waits at most.
pub const HISTORY_WAIT_MAX: Duration = Duration::from_secs(20);
/// How long it goes on gathering once something has happened: an attempt that is repeated in a loop
/// is not to become a request for each.
pub const HISTORY_GATHER_INTERVAL: Duration = Duration::from_millis(100);
/// Things that happened and wait for the control plane to take note of them; more are counted and lost.
pub const HAPPENINGS_MAX: usize = 4096;
/// Slow I/Os of one volume on one reactor: one is told in that time, the others are counted.
pub const SLOW_IO_LOG_INTERVAL: Duration = Duration::from_secs(1);
/// The same for requests that its backend fails.
pub const BACKEND_FAILURE_LOG_INTERVAL: Duration = Duration::from_secs(10);
/// Volumes whose counts a reactor copies in one go, for whoever measures.
pub const METERS_PER_LOOK_MAX: usize = 16;
/// Events of the server that are kept.
pub const EVENTS_MAX: usize = 4096;
/// An event that happens again within that time is counted with the one before.
pub const EVENT_REPEAT_MAX: Duration = Duration::from_secs(60);
/// So far back the one before is looked for, in events.
pub const EVENT_REPEAT_LOOK_BACK_MAX: usize = 64;
/// Bytes of one of the two files of events.
pub const EVENT_FILE_BYTES_MAX: u64 = 2 << 20;
/// Bytes of one line of them.
pub const EVENT_LINE_BYTES_MAX: u64 = 64 << 10;
/// Connections that the metrics endpoint serves at once.
pub const METRICS_CONNECTIONS_MAX: usize = 8;
/// Bytes of the head of a request to it.
pub const METRICS_REQUEST_BYTES_MAX: usize = 8 << 10;
/// How long one request to it may take to come, or its answer to be taken.
pub const METRICS_PATIENCE: Duration = Duration::from_secs(5);
/// Copy operations that one nexus may ask about.
pub const COPY_OPERATIONS_MAX: usize = 32;
/// Tokens of POPULATE TOKEN that stand for data of one volume.
pub const TOKENS_PER_VOLUME_MAX: usize = 256;
/// Copy targets of one EXTENDED COPY.
pub const COPY_TARGETS_MAX: u16 = 16;
/// Segments of one EXTENDED COPY.
pub const COPY_SEGMENTS_MAX: u16 = 64;
/// Bytes of the target and segment descriptors of one EXTENDED COPY.
pub const COPY_DESCRIPTOR_BYTES_MAX: u32 = 4096;
/// Bytes of one segment of EXTENDED COPY.
pub const COPY_SEGMENT_BYTES_MAX: u32 = 256 << 20;
/// Copies that a nexus may have under way.
pub const COPIES_CONCURRENT_MAX: u8 = 8;
/// Bytes that a token may stand for.
pub const TOKEN_BYTES_MAX: u64 = 256 << 20;
/// Ranges of POPULATE TOKEN and WRITE USING TOKEN.
pub const TOKEN_RANGES_MAX: u16 = 64;
/// How long a token lasts unused unless asked otherwise, in seconds.
pub const TOKEN_TIMEOUT_DEFAULT_S: u32 = 60;
/// How long a token may be asked to last unused, in seconds.
pub const TOKEN_TIMEOUT_MAX_S: u32 = 600;
/// Bytes of the buffers that WRITE BUFFER fills, per nexus.
pub const DATA_BUFFER_BYTES: u32 = 4096;
/// Unit attentions that wait for one nexus.
pub const UNIT_ATTENTIONS_MAX: usize = 32;

/// The most blocks that one command may read or write (MAXIMUM TRANSFER LENGTH), in bytes.
pub const TRANSFER_BYTES_MAX: u64 = 32 << 20;
/// The most blocks of COMPARE AND WRITE.
pub const COMPARE_AND_WRITE_BLOCKS_MAX: u8 = 255;
/// The most block descriptors of one UNMAP.
pub const UNMAP_DESCRIPTORS_MAX: u32 = 256;
/// The longest range of one UNMAP descriptor or WRITE SAME, in bytes.
pub const UNMAP_BYTES_MAX: u64 = 512 << 20;
/// Atomic writes are at most that long, in bytes.
pub const ATOMIC_WRITE_BYTES_MAX: u32 = 1 << 20;

/// Extents that one request for them reports; the caller asks again from where they end.
pub const EXTENTS_MAX: usize = 1024;
/// Requests that one channel of a store may have with the kernel or the workers; more wait in the
/// channel.
pub const CHANNEL_REQUESTS_MAX: u16 = 256;
/// Threads for disk calls that block, unless configured otherwise.
pub const WORKERS_DEFAULT: usize = 4;
/// Jobs that wait for the disk workers; more wait in their channels.
pub const WORKER_JOBS_MAX: usize = 1024;

/// Commands that one session of the load generator keeps outstanding.
pub const LOAD_DEPTH_MAX: u32 = 4096;
/// Sessions of one run of the load generator.
pub const LOAD_SESSIONS_MAX: usize = 4096;
/// Bytes of the largest transfer of the load generator.
pub const LOAD_TRANSFER_BYTES_MAX: u32 = 16 << 20;
/// Bytes of one data segment that the load generator takes (MaxRecvDataSegmentLength it declares).
pub const LOAD_DATA_SEGMENT_BYTES: u32 = 1 << 20;
/// Blocks of one volume whose content a run of the load generator keeps track of: eight bytes each.
pub const LOAD_VERIFY_BLOCKS_MAX: u64 = 1 << 26;
/// Kinds of failure that one run of the load generator tells apart; a target may invent sense codes.
pub const LOAD_FAILURE_KINDS_MAX: usize = 64;
/// Redirections that one login of the load generator follows.
pub const LOAD_REDIRECTIONS_MAX: u32 = 4;

/// Bytes of a volume, smallest and largest.
pub const VOLUME_BYTES_MIN: u64 = 1 << 20;
/// Bytes of the largest volume.
pub const VOLUME_BYTES_MAX: u64 = 64 << 40;
/// Operations per second that a volume or a group may be limited to. With fewer, a session's window of
/// commands would wait for longer than initiators do.
pub const OPERATIONS_LIMIT_MIN: u64 = 10;
/// The most that may be asked for.
pub const OPERATIONS_LIMIT_MAX: u64 = 10_000_000;
/// Bytes per second that a volume or a group may be limited to, at least; the longest command then takes
/// about as long as initiators wait.
pub const BANDWIDTH_LIMIT_MIN: u64 = 1_000_000;
/// The most that may be asked for.
pub const BANDWIDTH_LIMIT_MAX: u64 = 1_000_000_000_000;
/// How long unused credit of a limit adds up unless configured otherwise. A reactor that looks later
/// than that loses some of the rate.
pub const LIMIT_BURST_DEFAULT: Duration = Duration::from_millis(100);
/// The shortest that may be configured.
pub const LIMIT_BURST_MIN: Duration = Duration::from_millis(10);
/// The longest that may be configured.
pub const LIMIT_BURST_MAX: Duration = Duration::from_secs(3600);
/// Volumes in one volume group.
pub const VOLUMES_PER_GROUP_MAX: usize = 1000;
/// Snapshots of one volume.
pub const SNAPSHOTS_PER_VOLUME_MAX: usize = 256;
/// Volumes that one snapshot is taken of at one instant.
pub const SNAPSHOT_VOLUMES_MAX: usize = 64;
/// How long the I/O of volumes may be held for a snapshot, from the first volume's hold to the last
/// one's release; then nothing is taken. Well below what initiators wait for a command.
pub const SNAPSHOT_HOLD_MAX: Duration = Duration::from_secs(5);
/// Bytes that a file system must have free for a snapshot that shares its blocks with its volume.
pub const SNAPSHOT_FREE_BYTES_MIN: u64 = 64 << 20;
/// The longest that deleted volumes may be kept.
pub const RETENTION_MAX: Duration = Duration::from_secs(10 * 365 * 86_400);
/// Volume groups in one SAN.
pub const GROUPS_MAX: usize = 200;

const _: () = assert!(BUFFER_BLOCK_BYTES.is_power_of_two());
const _: () = assert!(BUFFER_BYTES_MAX.is_power_of_two());
const _: () = assert!(BUFFER_BYTES_MAX.is_multiple_of(BUFFER_BLOCK_BYTES));
const _: () = assert!(ARENA_BYTES_DEFAULT.is_multiple_of(BUFFER_BYTES_MAX));
const _: () = assert!(MAX_BURST_BYTES as usize <= BUFFER_BYTES_MAX);
const _: () = assert!(FIRST_BURST_BYTES <= MAX_BURST_BYTES);
const _: () = assert!(ATOMIC_WRITE_BYTES_MAX as usize <= BUFFER_BYTES_MAX);
const _: () = assert!(FENCE_TIMEOUT_MIN.as_millis() <= FENCE_TIMEOUT.as_millis());
const _: () = assert!(FENCE_TIMEOUT.as_millis() <= FENCE_TIMEOUT_MAX.as_millis());
const _: () = assert!(FENCE_TIMEOUT_MAX.as_millis() < INITIATOR_TIMEOUT.as_millis());
const _: () = assert!(BACKEND_DELAY_MAX.as_millis() < FENCE_TIMEOUT.as_millis());
const _: () = assert!(SNAPSHOT_HOLD_MAX.as_millis() * 2 < INITIATOR_TIMEOUT.as_millis());
const _: () = assert!(SNAPSHOT_HOLD_MAX.as_millis() < FENCE_TIMEOUT.as_millis());
const _: () = assert!(VOLUME_SESSIONS_DEFAULT <= VOLUME_SESSIONS_MAX);
const _: () = assert!(
    SESSION_COMMANDS_MAX as u64 / OPERATIONS_LIMIT_MIN < INITIATOR_TIMEOUT.as_secs(),
    "a session's commands are over before its initiator gives them up"
);
const _: () = assert!(LIMIT_BURST_MIN.as_millis() <= LIMIT_BURST_DEFAULT.as_millis());
const _: () = assert!(VOLUME_SESSIONS_MAX <= CONNECTIONS_MAX);
// Parameter3 of an asynchronous message is seconds in 16 bits (RFC 7143 section 11.9).
const _: () = assert!(DRAIN_DEADLINE_MAX.as_secs() <= u16::MAX as u64);
const _: () = assert!(TAKEOVER_RETURN_MAX.as_nanos() < TAKEOVER_MEMORY.as_nanos());
