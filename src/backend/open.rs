//! Which store a volume wants, and opening it.

use super::delay::{DelayStore, Hold};
use super::disk::{block, file};
use super::fault::{FaultRule, FaultStore};
use super::lossy::LossyStore;
use super::null::NullStore;
use super::ram::RamStore;
use super::request::BackendError;
use super::store::{Bequest, Store};
use super::workers::Workers;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What a volume's bytes live in, as written in a configuration or a catalogue:
/// `{"type": "file", "path": "volume.img"}`. (The empty braces are there because serde overlooks
/// unknown fields of a variant without them.)
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "kebab-case", deny_unknown_fields)]
pub enum BackendSpec {
    /// Reads are zeros, writes vanish.
    Null {},
    /// Memory; empty after every start.
    Ram {},
    /// A sparse file.
    File {
        /// Relative paths begin at the data directory.
        path: PathBuf,
    },
    /// A block device, used as a whole.
    Block {
        /// Such as `/dev/disk/by-id/…`.
        path: PathBuf,
    },
    /// For tests: a store some of whose requests fail.
    Fault {
        /// The store behind it.
        inner: Box<BackendSpec>,
        /// Decides what is left to chance.
        #[serde(default)]
        seed: u64,
        /// The first rule that fits a request decides.
        rules: Vec<FaultRule>,
    },
    /// For tests: a store that is slow, and out of order.
    Delay {
        /// The store behind it.
        inner: Box<BackendSpec>,
        /// Decides the length of delays, and what goes first.
        #[serde(default)]
        seed: u64,
        /// What is held, and for how long.
        hold: Hold,
    },
    /// For tests: memory that forgets unflushed writes at a power cut.
    Lossy {},
}

/// Whether the store is expected to be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Intent {
    /// A new volume: a file that is there already is somebody else's.
    Create,
    /// A volume of the catalogue: a file that is missing is data lost, not a reason to make an empty
    /// one.
    Existing,
}

/// What of the machine a store may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Means {
    /// The reactors have a ring. Without one every disk goes by the workers.
    pub ring: bool,
    /// Disks are asked for completions instead of interrupting, where they have queues for that.
    pub polling: bool,
    /// What is polled for of an NVMe disk goes there as its commands, past the block layer.
    pub nvme_passthrough: bool,
    /// The memory of a RAM store is found before it is written.
    pub prefault: bool,
}

/// All that opening needs besides the specification.
#[derive(Debug, Clone)]
pub struct Opening<'a> {
    /// Where relative paths begin.
    pub directory: &'a Path,
    /// Bytes that the volume has: a multiple of its block.
    pub size_bytes: u64,
    /// Bytes of the volume's block: every request is a multiple of it. Direct I/O is used only if
    /// the medium can do it at this grain, so that no write here is ever a read-modify-write.
    pub block_bytes: u32,
    /// Whether the store is expected to be there.
    pub intent: Intent,
    /// Nothing is ever written, so that a device or file that cannot be written will do.
    pub read_only: bool,
    /// Threads for what blocks.
    pub workers: &'a Arc<Workers>,
    /// What of the machine it may use.
    pub means: Means,
}

/// Why a store could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The volume is in the catalogue, its file is not there.
    #[error(
        "{path} is missing although the volume exists; restore the file, or delete the volume if \
         its data is not wanted"
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// A new volume would take over a file.
    #[error("{path} exists already; remove it or name another path for the new volume")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// Another process, or another volume of this one, has it open.
    #[error("{path} is in use by another process or volume; stop that one first")]
    InUse {
        /// The file or device.
        path: PathBuf,
    },
    /// It is something else.
    #[error("{path} is not a {expected}")]
    WrongType {
        /// What was found.
        path: PathBuf,
        /// `regular file` or `block device`.
        expected: &'static str,
    },
    /// It is smaller than the volume.
    #[error(
        "{path} holds {found} bytes, but the volume has {expected}; it was truncated or is the \
         wrong one. Put back a copy that is whole, revert the volume to a snapshot, or delete it"
    )]
    TooSmall {
        /// The file or device.
        path: PathBuf,
        /// Bytes of the volume.
        expected: u64,
        /// Bytes there.
        found: u64,
    },
    /// The size or block of the volume makes no sense here.
    #[error("a volume of {size_bytes} bytes in blocks of {block_bytes} cannot be: {reason}")]
    Geometry {
        /// Bytes asked for.
        size_bytes: u64,
        /// Bytes of a block asked for.
        block_bytes: u32,
        /// What is wrong.
        reason: &'static str,
    },
    /// The system refused.
    #[error("cannot {attempt} {path}")]
    System {
        /// The file or device.
        path: PathBuf,
        /// What was tried.
        attempt: &'static str,
        /// What it said.
        source: io::Error,
    },
    /// What another process leaves is not what the store lives in.
    #[error("its bytes can't be taken over from another process")]
    NotInherited,
    /// Memory for the store was refused.
    #[error("cannot map {size_bytes} bytes of memory")]
    Memory {
        /// Bytes asked for.
        size_bytes: u64,
        /// What the system said.
        source: BackendError,
    },
}

impl OpenError {
    pub(super) fn system(
        path: &Path,
        attempt: &'static str,
    ) -> impl FnOnce(rustix::io::Errno) -> Self {
        let path = path.to_path_buf();
        move |errno| Self::System {
            path,
            attempt,
            source: errno.into(),
        }
    }
}

impl BackendSpec {
    /// The store that holds the bytes, behind whatever stands before it.
    #[must_use]
    pub fn innermost(&self) -> &Self {
        match self {
            Self::Fault { inner, .. } | Self::Delay { inner, .. } => inner.innermost(),
            store => store,
        }
    }
}

/// Opens a store, and with [`Intent::Create`] makes it. No two processes, and no two volumes of one,
/// have the same file or device open.
///
/// # Errors
/// What is wrong and what to do about it.
pub fn open(spec: &BackendSpec, opening: &Opening<'_>) -> Result<Arc<dyn Store>, OpenError> {
    check_geometry(opening)?;
    let size_bytes = opening.size_bytes;
    let memory = |source| OpenError::Memory { size_bytes, source };
    Ok(match spec {
        BackendSpec::Null {} => NullStore::new(size_bytes),
        BackendSpec::Ram {} => {
            let store = RamStore::new(size_bytes).map_err(memory)?;
            if opening.means.prefault {
                store.prefault();
            }
            store
        }
        BackendSpec::File { path } => file::open(&opening.directory.join(path), opening)?,
        BackendSpec::Block { path } => block::open(&opening.directory.join(path), opening)?,
        BackendSpec::Fault { inner, seed, rules } => {
            FaultStore::new(open(inner, opening)?, rules.clone(), *seed)
        }
        BackendSpec::Delay { inner, seed, hold } => {
            DelayStore::new(open(inner, opening)?, *hold, *seed)
        }
        BackendSpec::Lossy {} => LossyStore::new(size_bytes).map_err(memory)?,
    })
}

/// Opens a store that another process serves at this moment, with what that one leaves.
///
/// # Errors
/// What is wrong and what to do about it.
pub fn inherit(
    spec: &BackendSpec,
    bequest: Bequest,
    opening: &Opening<'_>,
) -> Result<Arc<dyn Store>, OpenError> {
    check_geometry(opening)?;
    let size_bytes = opening.size_bytes;
    Ok(match (spec, bequest) {
        (BackendSpec::Null {}, Bequest::Nothing) => NullStore::new(size_bytes),
        (BackendSpec::File { path }, Bequest::File(file)) => {
            file::inherit(file, &opening.directory.join(path), opening)?
        }
        (BackendSpec::Block { path }, Bequest::File(file)) => {
            block::inherit(file, &opening.directory.join(path), opening)?
        }
        (BackendSpec::Fault { inner, seed, rules }, bequest) => {
            FaultStore::new(inherit(inner, bequest, opening)?, rules.clone(), *seed)
        }
        (BackendSpec::Delay { inner, seed, hold }, bequest) => {
            DelayStore::new(inherit(inner, bequest, opening)?, *hold, *seed)
        }
        _ => return Err(OpenError::NotInherited),
    })
}

/// Removes what [`Intent::Create`] made, durably. A device stays as it is. Removing what is not
/// there succeeds, so that a removal cut short can be repeated.
///
/// # Errors
/// When the system refuses.
pub fn remove(spec: &BackendSpec, directory: &Path) -> Result<(), OpenError> {
    match spec.innermost() {
        BackendSpec::File { path } => file::remove(&directory.join(path)),
        _ => Ok(()),
    }
}

fn check_geometry(opening: &Opening<'_>) -> Result<(), OpenError> {
    let Opening {
        size_bytes,
        block_bytes,
        ..
    } = *opening;
    let refuse = |reason| {
        Err(OpenError::Geometry {
            size_bytes,
            block_bytes,
            reason,
        })
    };
    if !block_bytes.is_power_of_two() {
        return refuse("the block is not a power of two");
    }
    if size_bytes == 0 || !size_bytes.is_multiple_of(u64::from(block_bytes)) {
        return refuse("the size is not a positive multiple of the block");
    }
    if size_bytes > crate::base::limits::VOLUME_BYTES_MAX {
        return refuse("it is more than the largest volume holds");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::fault::{Action, Trigger};
    use crate::backend::{ErrorKind, OpKind};

    #[test]
    fn a_specification_reads_as_json_and_toml() {
        let spec = BackendSpec::File {
            path: "volume.img".into(),
        };
        assert_eq!(
            serde_json::to_string(&spec).unwrap(),
            r#"{"type":"file","path":"volume.img"}"#
        );
        assert_eq!(
            toml::from_str::<BackendSpec>("type = 'null'").unwrap(),
            BackendSpec::Null {}
        );
        assert!(serde_json::from_str::<BackendSpec>(r#"{"type":"ram","path":"x"}"#).is_err());
        let fault = BackendSpec::Fault {
            inner: Box::new(BackendSpec::Ram {}),
            seed: 7,
            rules: vec![FaultRule {
                on: Some(OpKind::WriteZeros),
                range: Some((0, 4096)),
                when: Trigger::Nth(3),
                action: Action::Fail(ErrorKind::SpaceExhausted),
            }],
        };
        let text = toml::to_string(&fault).unwrap();
        assert_eq!(toml::from_str::<BackendSpec>(&text).unwrap(), fault);
    }

    #[test]
    fn a_size_that_cannot_be_is_refused() {
        let workers = Workers::start(1).unwrap();
        let mut opening = Opening {
            directory: Path::new("."),
            size_bytes: 1000,
            block_bytes: 512,
            intent: Intent::Create,
            read_only: false,
            workers: &workers,
            means: Means::default(),
        };
        let refused = |opening: &Opening<'_>| {
            matches!(
                open(&BackendSpec::Null {}, opening),
                Err(OpenError::Geometry { .. })
            )
        };
        assert!(refused(&opening));
        opening.size_bytes = 1024;
        assert!(!refused(&opening));
        opening.block_bytes = 3;
        assert!(refused(&opening));
    }
}
