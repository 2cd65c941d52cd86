//! The way of reads, writes and flushes to a file or device, chosen once at opening.

use super::nvme::{Commands, Passthrough};
use crate::backend::open::Opening;
use rustix::fs::{AtFlags, OFlags, StatxFlags, fcntl_getfl, fcntl_setfl, fstatfs, statx};
use std::fmt;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::OnceLock;

/// `TMPFS_MAGIC` and `RAMFS_MAGIC` of `linux/magic.h`.
const MEMORY_FILE_SYSTEMS: [(i64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58F6, "ramfs")];

/// What is polled for at most where a device does not tell what it takes.
const POLLED_BYTES_MAX_UNKNOWN: u64 = 128 << 10;

/// Which way it is, and why it is not a faster one.
#[derive(Debug)]
pub(in crate::backend) struct Way {
    /// The file system, if it is memory: then requests are carried out on the reactor. The kernel
    /// hands a ring's requests there to a thread, which costs three times as much and starves when a
    /// reactor spins on its core. Not by mapping the file: whoever truncates it would end this
    /// process by SIGBUS.
    memory: Option<&'static str>,
    /// What direct I/O demands of offsets and lengths, or why the page cache is used.
    direct: Result<u32, String>,
    /// Whether there is a ring; the workers otherwise.
    ring: bool,
    /// Longer requests are not polled for: what the device takes at once, in bytes and in pieces of memory.
    /// The kernel splits them, does not poll for the parts, and was seen never to end them (Linux 6.1).
    polled_bytes_max: u64,
    /// What is polled for can be an NVMe command; `None` where nobody would expect it.
    passthrough: Option<Passthrough>,
    /// Why completions come by interrupts and are not polled for, once that is known.
    unpolled: OnceLock<String>,
}

impl Way {
    /// The way to the file at `path`, which lies on the device of that number.
    pub(super) fn of_file(
        file: impl AsFd,
        path: &Path,
        device: u64,
        opening: &Opening<'_>,
    ) -> Self {
        let memory = fstatfs(&file).ok().and_then(|told| {
            // The type of the field differs between machines.
            #[allow(clippy::unnecessary_cast, reason = "it is not i64 everywhere")]
            let magic = told.f_type as i64;
            let known = MEMORY_FILE_SYSTEMS.iter();
            known.copied().find(|(number, _)| *number == magic)
        });
        let memory = memory.map(|(_, name)| name);
        Self::new(file, path, device, memory, None, opening)
    }

    /// The way to the device at `path`, which has that number.
    pub(super) fn of_device(
        file: impl AsFd,
        path: &Path,
        device: u64,
        passthrough: Option<Passthrough>,
        opening: &Opening<'_>,
    ) -> Self {
        Self::new(file, path, device, None, passthrough, opening)
    }

    fn new(
        file: impl AsFd,
        path: &Path,
        device: u64,
        memory: Option<&'static str>,
        passthrough: Option<Passthrough>,
        opening: &Opening<'_>,
    ) -> Self {
        let direct = match memory {
            Some(_) => Err("the file is in memory".to_owned()),
            None => use_direct_io(&file, opening.block_bytes),
        };
        let way = Self {
            memory,
            direct,
            ring: opening.means.ring,
            polled_bytes_max: polled_bytes_max(|name| super::queue_attribute(device, name)),
            passthrough,
            unpolled: OnceLock::new(),
        };
        if let Some(reason) = way.reason_not_to_poll(device, opening.means.polling) {
            way.stop_polling(reason);
        }
        tracing::info!(path = %path.display(), "{way}");
        way
    }

    fn reason_not_to_poll(&self, device: u64, allowed: bool) -> Option<String> {
        let queues = || super::queue_attribute(device, "io_poll").as_deref() == Some("1");
        let reason = match () {
            () if !self.ring => "polling takes io_uring",
            () if self.direct.is_err() => "polling takes direct I/O",
            () if !allowed => "the profile does not poll disks",
            () if !queues() => "the device has no poll queues",
            () => return None,
        };
        Some(reason.to_owned())
    }

    /// Whether requests are carried out on the reactor, at once.
    pub(super) const fn is_at_once(&self) -> bool {
        self.memory.is_some()
    }

    /// What direct I/O demands of offsets and lengths, in bytes; 1 without it.
    pub(super) const fn alignment_bytes(&self) -> u32 {
        match self.direct {
            Ok(bytes) => bytes,
            Err(_) => 1,
        }
    }

    /// Whether direct I/O is in use.
    pub(super) const fn is_direct(&self) -> bool {
        self.direct.is_ok()
    }

    /// Whether reads and writes that need not be durable are polled for.
    pub(super) fn is_polled(&self) -> bool {
        self.unpolled.get().is_none()
    }

    /// Whether those are that move so many bytes.
    pub(super) fn polls_for(&self, bytes: u64) -> bool {
        self.is_polled() && bytes <= self.polled_bytes_max
    }

    /// How NVMe commands are sent that move so many bytes, if they are.
    pub(super) fn passthrough_for(&self, bytes: u64) -> Option<(&Passthrough, &Commands)> {
        let passthrough = self.passthrough.as_ref()?;
        let commands = passthrough.commands().filter(|_| self.polls_for(bytes))?;
        Some((passthrough, commands))
    }

    /// As [`Passthrough::may_go_on`].
    pub(super) fn command_may_go_on(&self, error: &io::Error, registered: bool) -> bool {
        let passthrough = self.passthrough.as_ref();
        passthrough.is_some_and(|passthrough| passthrough.may_go_on(error, registered))
    }

    /// Whether writes may have gone past the page cache of the device.
    pub(super) fn passes_page_cache(&self) -> bool {
        self.passthrough.as_ref().is_some_and(Passthrough::is_open)
    }

    /// From now on nothing is polled for.
    pub(super) fn stop_polling(&self, reason: String) {
        // The first reason stands.
        let _ = self.unpolled.set(reason);
    }

    /// As [`Way::stop_polling`], because the kernel turned polling down after all.
    pub(super) fn polling_refused(&self, error: &io::Error) {
        if self.is_polled() {
            self.stop_polling(format!("the kernel refused to poll: {error}"));
            tracing::warn!(%error, "a disk cannot be polled; interrupts are used instead");
        }
    }

    /// Polls from now on, whatever the device says, and sends commands there.
    #[cfg(test)]
    pub(super) fn poll(&mut self, passthrough: Option<Passthrough>) {
        self.unpolled = OnceLock::new();
        self.passthrough = passthrough;
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = self.memory {
            return write!(
                f,
                "{name}: read and written on the reactor at once (io_uring would hand that to a \
                 kernel thread)"
            );
        }
        f.write_str(match self.ring {
            true => "io_uring",
            false => "worker threads (no io_uring)",
        })?;
        match &self.direct {
            Ok(bytes) => write!(f, ", direct I/O in units of {bytes} bytes")?,
            Err(reason) => write!(f, ", through the page cache ({reason})")?,
        }
        match self.unpolled.get() {
            Some(reason) => write!(f, ", completions by interrupts ({reason})"),
            None => {
                let kib = self.polled_bytes_max >> 10;
                write!(f, ", completions polled for (IOPOLL) up to {kib} KiB")
            }
        }?;
        match &self.passthrough {
            Some(passthrough) if self.is_polled() => write!(f, ", {passthrough}"),
            Some(passthrough) => write!(f, ", {passthrough:#}"),
            None => Ok(()),
        }
    }
}

/// Bytes that a device takes at once, by its queue's attributes. A page of memory is a piece, if no two
/// happen to lie behind each other.
fn polled_bytes_max(attribute: impl Fn(&str) -> Option<String>) -> u64 {
    let number = |name| attribute(name)?.parse::<u64>().ok();
    let bytes = number("max_sectors_kb").map(|kib| kib.saturating_mul(1024));
    let pages = number("max_segments").map(|segments| segments.saturating_mul(4096));
    let unknown = POLLED_BYTES_MAX_UNKNOWN;
    bytes.unwrap_or(unknown).min(pages.unwrap_or(unknown))
}

/// Turns direct I/O on if the medium can do it in blocks of `block_bytes`, and says at which
/// alignment, or why not. Otherwise the page cache is used: for a volume of 512-byte blocks on a
/// medium of 4096 that is the kernel's read-modify-write, under its locks, instead of one of our own.
fn use_direct_io(file: impl AsFd, block_bytes: u32) -> Result<u32, String> {
    let alignment = direct_alignment(&file).ok_or("the file system offers no direct I/O")?;
    if alignment > block_bytes {
        return Err(format!(
            "direct I/O wants {alignment}-byte blocks and the volume has {block_bytes}"
        ));
    }
    let flags = fcntl_getfl(&file).unwrap_or(OFlags::RDWR);
    match fcntl_setfl(&file, flags | OFlags::DIRECT) {
        Ok(()) => Ok(alignment),
        Err(errno) => Err(format!("no direct I/O: {errno}")),
    }
}

/// The alignment that direct I/O demands of offsets and lengths; `None` if there is no direct I/O.
/// A kernel that does not tell (before Linux 6.1) is taken to want whole pages.
fn direct_alignment(file: impl AsFd) -> Option<u32> {
    let asked = StatxFlags::DIOALIGN;
    let told = statx(file, c"", AtFlags::EMPTY_PATH, asked).ok()?;
    if told.stx_mask & asked.bits() == 0 {
        return Some(4096);
    }
    // The memory alignment never exceeds the page that a buffer begins at.
    (told.stx_dio_offset_align > 0).then_some(told.stx_dio_offset_align)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_device_takes_at_once_is_the_least_that_it_tells() {
        let told = |kib: &str, segments: &str| {
            polled_bytes_max(|name| match name {
                "max_sectors_kb" => (!kib.is_empty()).then(|| kib.to_owned()),
                "max_segments" => (!segments.is_empty()).then(|| segments.to_owned()),
                _ => None,
            })
        };
        assert_eq!(told("512", "127"), 127 * 4096);
        assert_eq!(told("128", "127"), 128 << 10);
        assert_eq!(told("1280", ""), POLLED_BYTES_MAX_UNKNOWN);
        assert_eq!(told("", "8"), 8 * 4096);
    }
}
