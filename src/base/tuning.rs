//! The knobs of a performance profile, as plain values.
//!
//! A profile sets every knob; the configuration file and the command line may override each one.
//! What a knob does is documented beside its value in `tuning/*.toml`. The rooms that own the
//! mechanism (reactor, net, target) read their knobs from here and nowhere else.

use std::time::Duration;

use bytesize::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits;

/// How a reactor with nothing to do waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Idle {
    /// Never blocks: the lowest latency, a whole core always busy.
    Spin,
    /// Polls for about twice the usual gap between arrivals, then blocks.
    Adaptive,
    /// Blocks as soon as there is nothing to do.
    Wait,
}

/// Which engine drives sockets and disks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Engine {
    /// io_uring where the kernel permits it, else mio; the log says which.
    Auto,
    /// io_uring, or an error at start.
    Uring,
    /// Readiness by mio (epoll).
    Mio,
}

/// Where something goes among the reactors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Placement {
    /// All on the volume's home reactor.
    Home,
    /// Round robin over all reactors.
    Spread,
}

/// Every knob, decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tuning {
    /// How a reactor waits.
    pub idle: Idle,
    /// The longest that [`Idle::Adaptive`] polls without finding anything.
    pub spin_max: Duration,
    /// Which engine drives sockets and disks.
    pub engine: Engine,
    /// Payload memory of each reactor, in bytes.
    pub arena_bytes: usize,
    /// Which reactors own a volume's shards.
    pub shards: Placement,
    /// Blocks of a volume are dealt to shards in ranges of that many bytes.
    pub shard_bytes: u64,
    /// Which reactor a connection moves to when its login ends.
    pub connections: Placement,
    /// `SO_SNDBUF` and `SO_RCVBUF` of each connection, in bytes; `None` leaves them to the kernel.
    pub socket_buffer_bytes: Option<usize>,
    /// How many sockets of a reactor are received from and sent to directly while it polls.
    pub direct_sockets_max: u32,
    /// The congestion control of each connection; `None` leaves it to the kernel.
    pub congestion_control: Option<String>,
    /// Whether the memory of RAM volumes is found before it is written.
    pub prefault: bool,
    /// Whether disks that have poll queues are polled for completions.
    pub poll_disks: bool,
    /// Whether what is polled for of an NVMe disk goes there as its commands, past the block layer.
    pub nvme_passthrough: bool,
}

impl Default for Tuning {
    /// The values of `tuning/efficiency.toml`, which a test compares.
    fn default() -> Self {
        Self {
            idle: Idle::Adaptive,
            spin_max: Duration::from_micros(200),
            engine: Engine::Auto,
            arena_bytes: limits::ARENA_BYTES_DEFAULT,
            shards: Placement::Home,
            shard_bytes: 1 << 30,
            connections: Placement::Home,
            socket_buffer_bytes: None,
            direct_sockets_max: 0,
            congestion_control: None,
            prefault: false,
            poll_disks: false,
            nvme_passthrough: false,
        }
    }
}

/// Some of the knobs: what a profile, a configuration file or the command line says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Overrides {
    /// How a reactor with nothing to do waits.
    pub idle: Option<Idle>,
    /// The longest that an adaptive reactor polls without finding anything, in microseconds.
    pub spin_max_microseconds: Option<SpinMicroseconds>,
    /// Which engine drives sockets and disks.
    pub engine: Option<Engine>,
    /// Payload memory of each reactor.
    pub arena: Option<ArenaSize>,
    /// Which reactors own a volume's shards.
    pub shards: Option<Placement>,
    /// Blocks of a volume are dealt to shards in ranges of that size.
    pub shard_size: Option<ShardSize>,
    /// Which reactor a connection moves to when its login ends.
    pub connections: Option<Placement>,
    /// `SO_SNDBUF` and `SO_RCVBUF` of each connection; 0 leaves them to the kernel.
    pub socket_buffer: Option<SocketBuffer>,
    /// How many sockets of a reactor are received from and sent to directly while it polls.
    pub direct_sockets: Option<DirectSockets>,
    /// The congestion control of each connection; `system` leaves it to the kernel.
    pub congestion_control: Option<CongestionControl>,
    /// Whether the memory of RAM volumes is found before it is written.
    pub prefault: Option<bool>,
    /// Whether disks that have poll queues are polled for completions.
    pub poll_disks: Option<bool>,
    /// Whether what is polled for of an NVMe disk goes there as its commands, past the block layer.
    pub nvme_passthrough: Option<bool>,
}

impl Overrides {
    /// The first knob that has no value here.
    #[must_use]
    pub fn first_missing(&self) -> Option<&'static str> {
        let set = [
            ("idle", self.idle.is_some()),
            (
                "spin_max_microseconds",
                self.spin_max_microseconds.is_some(),
            ),
            ("engine", self.engine.is_some()),
            ("arena", self.arena.is_some()),
            ("shards", self.shards.is_some()),
            ("shard_size", self.shard_size.is_some()),
            ("connections", self.connections.is_some()),
            ("socket_buffer", self.socket_buffer.is_some()),
            ("direct_sockets", self.direct_sockets.is_some()),
            ("congestion_control", self.congestion_control.is_some()),
            ("prefault", self.prefault.is_some()),
            ("poll_disks", self.poll_disks.is_some()),
            ("nvme_passthrough", self.nvme_passthrough.is_some()),
        ];
        set.iter().find(|(_, set)| !set).map(|(name, _)| *name)
    }
}

impl Tuning {
    /// The same knobs as a file has them, each with a value.
    #[must_use]
    pub fn written(&self) -> Overrides {
        let spin = u32::try_from(self.spin_max.as_micros()).unwrap_or(u32::MAX);
        Overrides {
            idle: Some(self.idle),
            spin_max_microseconds: Some(SpinMicroseconds(spin)),
            engine: Some(self.engine),
            arena: Some(ArenaSize(self.arena_bytes)),
            shards: Some(self.shards),
            shard_size: Some(ShardSize(self.shard_bytes)),
            connections: Some(self.connections),
            socket_buffer: Some(SocketBuffer(self.socket_buffer_bytes)),
            direct_sockets: Some(DirectSockets(self.direct_sockets_max)),
            congestion_control: Some(CongestionControl(self.congestion_control.clone())),
            prefault: Some(self.prefault),
            poll_disks: Some(self.poll_disks),
            nvme_passthrough: Some(self.nvme_passthrough),
        }
    }

    /// These knobs, with those that `overrides` names set to its values.
    #[must_use]
    pub fn overridden(mut self, overrides: &Overrides) -> Self {
        let Overrides {
            idle,
            spin_max_microseconds,
            engine,
            arena,
            shards,
            shard_size,
            connections,
            socket_buffer,
            direct_sockets,
            congestion_control,
            prefault,
            poll_disks,
            nvme_passthrough,
        } = overrides;
        self.idle = idle.unwrap_or(self.idle);
        self.spin_max = spin_max_microseconds.map_or(self.spin_max, |spin| {
            Duration::from_micros(u64::from(spin.0))
        });
        self.engine = engine.unwrap_or(self.engine);
        self.arena_bytes = arena.map_or(self.arena_bytes, |arena| arena.0);
        self.shards = shards.unwrap_or(self.shards);
        self.shard_bytes = shard_size.map_or(self.shard_bytes, |size| size.0);
        self.connections = connections.unwrap_or(self.connections);
        self.socket_buffer_bytes = socket_buffer.map_or(self.socket_buffer_bytes, |size| size.0);
        self.direct_sockets_max = direct_sockets.map_or(self.direct_sockets_max, |most| most.0);
        if let Some(CongestionControl(name)) = congestion_control {
            self.congestion_control.clone_from(name);
        }
        self.prefault = prefault.unwrap_or(self.prefault);
        self.poll_disks = poll_disks.unwrap_or(self.poll_disks);
        self.nvme_passthrough = nvme_passthrough.unwrap_or(self.nvme_passthrough);
        self
    }
}

/// A spin time in microseconds, at most one second.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
pub struct SpinMicroseconds(u32);

/// Payload memory of a reactor: a multiple of 1 MiB from 8 MiB to 64 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "ByteSize", into = "ByteSize")]
#[schemars(try_from = "String", into = "String")]
pub struct ArenaSize(usize);

/// The size of a shard: a power of two of at least 1 MiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "ByteSize", into = "ByteSize")]
#[schemars(try_from = "String", into = "String")]
pub struct ShardSize(u64);

/// A socket buffer size from 64 KiB to 64 MiB; 0 leaves it to the kernel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "ByteSize", into = "ByteSize")]
#[schemars(try_from = "String", into = "String")]
pub struct SocketBuffer(Option<usize>);

/// How many sockets may be polled directly: each costs a system call in every tick.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "u32", into = "u32")]
pub struct DirectSockets(u32);

/// A congestion control as the kernel names it, such as `cubic`; `system` leaves it to the kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct CongestionControl(Option<String>);

const DIRECT_SOCKETS_MAX: u32 = 4096;
/// `TCP_CA_NAME_MAX` of the kernel, without its closing zero.
const CONGESTION_CONTROL_CHARS_MAX: usize = 15;
const SYSTEM: &str = "system";
const ARENA_BYTES_MIN: u64 = 8 << 20;
const ARENA_BYTES_MAX: u64 = 64 << 30;
const SOCKET_BUFFER_BYTES_MIN: u64 = 64 << 10;
const SOCKET_BUFFER_BYTES_MAX: u64 = 64 << 20;
const SPIN_MICROSECONDS_MAX: u32 = 1_000_000;

impl TryFrom<u32> for SpinMicroseconds {
    type Error = String;

    fn try_from(value: u32) -> Result<Self, String> {
        if value > SPIN_MICROSECONDS_MAX {
            return Err(format!(
                "expected 0 to {SPIN_MICROSECONDS_MAX} microseconds, got {value}"
            ));
        }
        Ok(Self(value))
    }
}

impl From<SpinMicroseconds> for u32 {
    fn from(value: SpinMicroseconds) -> Self {
        value.0
    }
}

impl TryFrom<u32> for DirectSockets {
    type Error = String;

    fn try_from(value: u32) -> Result<Self, String> {
        if value > DIRECT_SOCKETS_MAX {
            return Err(format!(
                "expected 0 to {DIRECT_SOCKETS_MAX} sockets, got {value}"
            ));
        }
        Ok(Self(value))
    }
}

impl From<DirectSockets> for u32 {
    fn from(value: DirectSockets) -> Self {
        value.0
    }
}

impl TryFrom<String> for CongestionControl {
    type Error = String;

    fn try_from(value: String) -> Result<Self, String> {
        let expected = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let length = 1..=CONGESTION_CONTROL_CHARS_MAX;
        if !length.contains(&value.len()) || !value.chars().all(expected) {
            return Err(format!(
                "expected \"{SYSTEM}\" or a name from net.ipv4.tcp_available_congestion_control, \
                 got {value:?}"
            ));
        }
        Ok(Self((value != SYSTEM).then_some(value)))
    }
}

impl From<CongestionControl> for String {
    fn from(value: CongestionControl) -> Self {
        value.0.unwrap_or_else(|| SYSTEM.to_owned())
    }
}

impl TryFrom<ByteSize> for ArenaSize {
    type Error = String;

    fn try_from(value: ByteSize) -> Result<Self, String> {
        let bytes = value.as_u64();
        let block = limits::BUFFER_BYTES_MAX as u64;
        if !(ARENA_BYTES_MIN..=ARENA_BYTES_MAX).contains(&bytes) || !bytes.is_multiple_of(block) {
            return Err(format!(
                "expected a multiple of 1 MiB from 8 MiB to 64 GiB, got {value}"
            ));
        }
        usize::try_from(bytes)
            .map(Self)
            .map_err(|_| format!("{value} is beyond this machine"))
    }
}

impl From<ArenaSize> for ByteSize {
    fn from(value: ArenaSize) -> Self {
        Self::b(value.0 as u64)
    }
}

impl TryFrom<ByteSize> for ShardSize {
    type Error = String;

    fn try_from(value: ByteSize) -> Result<Self, String> {
        let bytes = value.as_u64();
        if bytes < limits::BUFFER_BYTES_MAX as u64 || !bytes.is_power_of_two() {
            return Err(format!(
                "expected a power of two of at least 1 MiB, got {value}"
            ));
        }
        Ok(Self(bytes))
    }
}

impl From<ShardSize> for ByteSize {
    fn from(value: ShardSize) -> Self {
        Self::b(value.0)
    }
}

impl TryFrom<ByteSize> for SocketBuffer {
    type Error = String;

    fn try_from(value: ByteSize) -> Result<Self, String> {
        let bytes = value.as_u64();
        if bytes == 0 {
            return Ok(Self(None));
        }
        if !(SOCKET_BUFFER_BYTES_MIN..=SOCKET_BUFFER_BYTES_MAX).contains(&bytes) {
            return Err(format!("expected 0 or 64 KiB to 64 MiB, got {value}"));
        }
        usize::try_from(bytes)
            .map(|bytes| Self(Some(bytes)))
            .map_err(|_| format!("{value} is beyond this machine"))
    }
}

impl From<SocketBuffer> for ByteSize {
    fn from(value: SocketBuffer) -> Self {
        Self::b(value.0.unwrap_or(0) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_named_knobs_change() {
        let overrides = Overrides {
            engine: Some(Engine::Mio),
            ..Overrides::default()
        };
        let tuned = Tuning::default().overridden(&overrides);
        assert_eq!(
            tuned,
            Tuning {
                engine: Engine::Mio,
                ..Tuning::default()
            }
        );
    }

    #[test]
    fn sizes_are_checked() {
        assert!(ArenaSize::try_from(ByteSize::b(1)).is_err());
        assert!(ShardSize::try_from(ByteSize::mib(3)).is_err());
        assert_eq!(
            SocketBuffer::try_from(ByteSize::b(0)),
            Ok(SocketBuffer(None))
        );
        assert!(SocketBuffer::try_from(ByteSize::b(1)).is_err());
        assert!(DirectSockets::try_from(DIRECT_SOCKETS_MAX + 1).is_err());
    }

    #[test]
    fn a_congestion_control_has_a_name_that_the_kernel_could_know() {
        let parse = |name: &str| CongestionControl::try_from(name.to_owned());
        assert_eq!(parse("system"), Ok(CongestionControl(None)));
        assert_eq!(parse("cubic").map(String::from), Ok("cubic".to_owned()));
        for wrong in ["", "two words", "sixteen-letters-"] {
            assert!(parse(wrong).is_err(), "{wrong:?}");
        }
    }
}
