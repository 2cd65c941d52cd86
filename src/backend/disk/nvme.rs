//! The character device of an NVMe namespace (`/dev/ng0n1`), which takes commands with no block layer in
//! between.

use super::patience::{PATIENCE, while_in_use};
use super::{access, attribute};
use crate::backend::open::{OpenError, Opening};
use crate::ring::{FileHandle, Namespace};
use rustix::fs::{FlockOperation, Mode, OFlags, flock, fstat, major, minor};
use rustix::io::Errno;
use std::fmt;
use std::io;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const PINS: &str =
    "the kernel takes no parts of registered buffers, and pins the pages of each command";

/// Where commands go.
#[derive(Debug)]
pub(super) struct Commands {
    /// The character device.
    pub(super) file: FileHandle,
    pub(super) namespace: Namespace,
}

/// Whether reads and writes are sent as commands, and why not.
///
/// # One server at a time
/// The block device is open exclusively, and stays so until its last request has ended, even that of a
/// process that was killed. Commands do not keep it open: they keep the character device open. So whoever
/// has begun to serve the disk has that one locked (flock(2)), shared, and who wants to begin asks for it
/// alone first: then no command of a process that is gone can still be on its way to the disk. A process
/// that takes the disk over from another one (an upgrade) shares the lock with it.
#[derive(Debug)]
pub(super) struct Passthrough {
    commands: Option<Commands>,
    /// Why none are sent (any more). The first reason stands.
    barred: OnceLock<String>,
    /// The kernel does not take a part of a registered buffer, so it pins the pages of each command.
    pins: AtomicBool,
}

impl Passthrough {
    /// That to the namespace of the block device of that number, which the caller has opened. `None` if it
    /// is none, or nobody has asked for commands.
    ///
    /// # Errors
    /// Commands of another process are still on their way.
    pub(super) fn to(
        device: u64,
        inherited: bool,
        opening: &Opening<'_>,
    ) -> Result<Option<Self>, OpenError> {
        let link = format!("/sys/dev/block/{}:{}", major(device), minor(device));
        let Ok(directory) = std::fs::canonicalize(link) else {
            return Ok(None);
        };
        let patience = (!inherited).then_some(PATIENCE);
        Self::of(&directory, Path::new("/dev"), patience, opening)
    }

    /// As [`Passthrough::to`], of the disk with that directory of sysfs. What another process has begun may
    /// take so long to end; `None` shares the disk with it.
    fn of(
        directory: &Path,
        devices: &Path,
        patience: Option<Duration>,
        opening: &Opening<'_>,
    ) -> Result<Option<Self>, OpenError> {
        let Some(numbers) = numbers(directory) else {
            return Ok(None);
        };
        let wanted = opening.means.polling && opening.means.nvme_passthrough;
        let without = |reason: String| Ok(wanted.then(|| Self::without(reason)));
        if attribute(directory, "partition").is_some() {
            return without("a partition takes none".to_owned());
        }
        let path = devices.join(format!("ng{numbers}"));
        let file = match character_device(&path, directory, opening) {
            Ok(file) => file,
            Err(reason) => return without(reason),
        };
        // Also if no commands will be sent: those of the server before may be on their way.
        lock(&file, &path, patience)?;
        if !wanted {
            return Ok(None);
        }
        let namespace = match namespace(directory) {
            Ok(namespace) => namespace,
            Err(reason) => return without(reason),
        };
        Ok(Some(Self {
            commands: Some(Commands { file, namespace }),
            barred: OnceLock::new(),
            pins: AtomicBool::new(false),
        }))
    }

    fn without(reason: String) -> Self {
        Self {
            commands: None,
            barred: OnceLock::from(reason),
            pins: AtomicBool::new(false),
        }
    }

    /// Where commands go, as long as they are taken.
    pub(super) fn commands(&self) -> Option<&Commands> {
        let commands = self.commands.as_ref()?;
        self.barred.get().is_none().then_some(commands)
    }

    /// Whether commands may have been sent.
    pub(super) const fn is_open(&self) -> bool {
        self.commands.is_some()
    }

    /// Whether commands name registered buffers.
    pub(super) fn registers(&self) -> bool {
        !self.pins.load(Ordering::Relaxed)
    }

    /// To be told of an error of a command, and whether its buffer was `registered`: whether the same
    /// request may go on as a command.
    pub(super) fn may_go_on(&self, error: &io::Error, registered: bool) -> bool {
        // Before Linux 6.12 its mapping fails unless the end of the buffer is that of what is registered.
        if registered && error.kind() == io::ErrorKind::InvalidInput {
            if !self.pins.swap(true, Ordering::Relaxed) {
                tracing::warn!("{PINS} (before Linux 6.12)");
            }
            return true;
        }
        if is_refusal(error) {
            self.refused(error);
        }
        false
    }

    /// From now on none are sent, because one was turned down.
    pub(super) fn refused(&self, error: &io::Error) {
        if self.barred.set(format!("one was refused: {error}")).is_ok() {
            tracing::warn!(%error, "an NVMe disk takes no commands; its block device is used instead");
        }
    }

    /// Sends commands to a file, which takes none.
    #[cfg(test)]
    pub(super) fn to_file(file: FileHandle) -> Self {
        let namespace = Namespace {
            id: 1,
            block_shift: 9,
        };
        Self {
            commands: Some(Commands { file, namespace }),
            barred: OnceLock::new(),
            pins: AtomicBool::new(false),
        }
    }
}

impl fmt::Display for Passthrough {
    /// Goes on after how completions come; the alternate form is for a disk that is not polled.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.barred.get() {
            Some(reason) => write!(f, "not as NVMe commands ({reason})"),
            None if f.alternate() => {
                f.write_str("not as NVMe commands (completions of these are polled for)")
            }
            None if self.registers() => f.write_str("as NVMe commands (passthrough)"),
            None => write!(f, "as NVMe commands (passthrough; {PINS})"),
        }
    }
}

/// What follows `nvme` in the name of a namespace's disk, such as `0n1`.
fn numbers(directory: &Path) -> Option<String> {
    let name = directory.file_name()?.to_str()?;
    let numbers = name.strip_prefix("nvme")?;
    numbers.contains('n').then(|| numbers.to_owned())
}

/// Opens the character device beside the disk, and makes sure that it is that.
fn character_device(path: &Path, disk: &Path, opening: &Opening<'_>) -> Result<FileHandle, String> {
    let told = |errno: Errno| format!("{}: {errno}", path.display());
    let file =
        rustix::fs::open(path, access(opening) | OFlags::CLOEXEC, Mode::empty()).map_err(told)?;
    let number = fstat(&file).map_err(told)?.st_rdev;
    let beside = path.file_name().map(|name| disk.with_file_name(name));
    let expected = beside.and_then(|directory| attribute(&directory, "dev"));
    if expected != Some(format!("{}:{}", major(number), minor(number))) {
        return Err(format!("{} is not the disk's", path.display()));
    }
    Ok(file.into())
}

/// Whether a command was turned down and would be again: by the kernel, for want of a right or because it
/// does not know it, or by the device.
fn is_refusal(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput | io::ErrorKind::PermissionDenied
    ) || error.raw_os_error() == Some(libc::ENOTTY)
}

/// See [`Passthrough`].
fn lock(file: &FileHandle, path: &Path, patience: Option<Duration>) -> Result<(), OpenError> {
    let failed = |errno| match errno {
        Errno::WOULDBLOCK => OpenError::InUse {
            path: path.to_path_buf(),
        },
        errno => OpenError::system(path, "lock")(errno),
    };
    if let Some(patience) = patience {
        let is_taken = |errno: &Errno| *errno == Errno::WOULDBLOCK;
        let alone = || flock(file, FlockOperation::NonBlockingLockExclusive);
        while_in_use(patience, is_taken, alone).map_err(failed)?;
    }
    flock(file, FlockOperation::NonBlockingLockShared).map_err(failed)
}

/// The namespace of a disk, if its blocks are data and nothing else.
fn namespace(directory: &Path) -> Result<Namespace, String> {
    let number = |name| attribute(directory, name)?.parse::<u64>().ok();
    // Since Linux 6.8 by the first, before by the second, which is about what is known of.
    let metadata = number("metadata_bytes").is_some_and(|bytes| bytes > 0);
    let integrity = attribute(directory, "integrity/format").is_some_and(|format| format != "none");
    if metadata || integrity {
        return Err("its blocks have metadata".to_owned());
    }
    if attribute(directory, "queue/zoned").is_some_and(|model| model != "none") {
        return Err("it is zoned".to_owned());
    }
    let id = number("nsid").and_then(|id| u32::try_from(id).ok());
    let block_bytes = number("queue/logical_block_size").filter(|bytes| bytes.is_power_of_two());
    let (id, block_bytes) = id
        .zip(block_bytes)
        .ok_or("the kernel does not tell its identifier and block")?;
    Ok(Namespace {
        id,
        block_shift: block_bytes.trailing_zeros(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::{Intent, Means, Workers};
    use std::fs;

    /// A disk as sysfs and /dev show it, with some attributes of its own.
    struct Machine(tempfile::TempDir);

    impl Machine {
        fn with(name: &str, attributes: &[(&str, &str)]) -> Self {
            let root = tempfile::tempdir().unwrap();
            let usual = [
                ("nsid", "3\n"),
                ("queue/logical_block_size", "4096\n"),
                ("queue/zoned", "none\n"),
                ("../ng0n3/dev", "0:0\n"),
            ];
            fs::create_dir(root.path().join(name)).unwrap();
            for (attribute, text) in usual.iter().chain(attributes) {
                let path = root.path().join(name).join(attribute);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            fs::create_dir(root.path().join("dev")).unwrap();
            fs::write(root.path().join("dev/ng0n3"), "").unwrap();
            Self(root)
        }

        fn open(
            &self,
            name: &str,
            inherited: bool,
            passthrough: bool,
        ) -> Result<Option<Passthrough>, OpenError> {
            let root = self.0.path();
            let opening = Opening {
                directory: root,
                size_bytes: 1 << 20,
                block_bytes: 4096,
                intent: Intent::Existing,
                read_only: false,
                workers: &Workers::start(1).unwrap(),
                means: Means {
                    ring: true,
                    polling: true,
                    nvme_passthrough: passthrough,
                    prefault: false,
                },
            };
            let patience = (!inherited).then_some(Duration::ZERO);
            Passthrough::of(&root.join(name), &root.join("dev"), patience, &opening)
        }
    }

    #[test]
    fn a_whole_namespace_of_plain_blocks_takes_commands() {
        let machine = Machine::with("nvme0n3", &[("integrity/format", "none\n")]);
        let passthrough = machine.open("nvme0n3", false, true).unwrap().unwrap();
        let namespace = Namespace {
            id: 3,
            block_shift: 12,
        };
        assert_eq!(passthrough.commands().unwrap().namespace, namespace);
        assert_eq!(passthrough.to_string(), "as NVMe commands (passthrough)");
        // Two may be on their way as the first is turned down.
        for _ in 0..2 {
            assert!(passthrough.may_go_on(&Errno::INVAL.into(), true));
        }
        assert!(!passthrough.registers());
        assert!(!passthrough.may_go_on(&Errno::IO.into(), false));
        assert!(passthrough.commands().is_some(), "another may do better");
        let told = passthrough.to_string();
        assert!(
            told.starts_with("as NVMe commands (passthrough; the kernel takes no"),
            "{told}"
        );
        assert!(!passthrough.may_go_on(&Errno::INVAL.into(), false));
        assert!(passthrough.commands().is_none());
        let told = passthrough.to_string();
        assert!(
            told.starts_with("not as NVMe commands (one was refused: "),
            "{told}"
        );
    }

    #[test]
    fn others_say_why_not() {
        for (name, attribute, why) in [
            ("nvme0n3p1", ("partition", "1\n"), "partition"),
            ("nvme0n3", ("metadata_bytes", "8\n"), "metadata"),
            (
                "nvme0n3",
                ("integrity/format", "T10-DIF-TYPE1-CRC\n"),
                "metadata",
            ),
            ("nvme0n3", ("queue/zoned", "host-managed\n"), "zoned"),
            ("nvme0n3", ("nsid", "\n"), "identifier"),
            ("nvme0n3", ("../ng0n3/dev", "242:7\n"), "is not the disk's"),
            ("nvme1n1", ("x", ""), "ng1n1"),
        ] {
            let machine = Machine::with(name, &[attribute]);
            let passthrough = machine.open(name, false, true).unwrap().unwrap();
            assert!(passthrough.commands().is_none());
            let reason = passthrough.to_string();
            assert!(reason.contains(why), "{name}: {reason}");
            // Who has not asked is told nothing.
            assert!(machine.open(name, false, false).unwrap().is_none());
        }
        let machine = Machine::with("sda", &[]);
        assert!(machine.open("sda", false, true).unwrap().is_none());
    }

    #[test]
    fn a_disk_is_not_served_while_commands_of_another_server_may_be_on_their_way() {
        let machine = Machine::with("nvme0n3", &[]);
        let first = machine.open("nvme0n3", false, true).unwrap().unwrap();
        let heir = machine.open("nvme0n3", true, true).unwrap().unwrap();
        for passthrough in [true, false] {
            let refused = machine.open("nvme0n3", false, passthrough).unwrap_err();
            assert!(
                matches!(refused, OpenError::InUse { .. }),
                "as much if it will send none: {refused}"
            );
        }
        let in_flight = heir.commands().unwrap().file.clone();
        drop((first, heir));
        machine.open("nvme0n3", false, true).unwrap_err();
        drop(in_flight);
        machine.open("nvme0n3", false, true).unwrap().unwrap();
    }
}
