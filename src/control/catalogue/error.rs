//! Why the catalogue can't be used.

use std::path::{Path, PathBuf};

use redb::DatabaseError;

use super::{PortalTagError, RecordError};
use crate::volume::{self, VolumeId};

/// Why the catalogue can't be used, in words for whoever started the server.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// Another process has the data directory.
    #[error(
        "the data directory {} is in use by {}; stop that server or choose another with --data",
        directory.display(), holder_name(*holder)
    )]
    InUse {
        /// The data directory.
        directory: PathBuf,
        /// The process, if it left its number.
        holder: Option<u32>,
    },
    /// There is none.
    #[error("there is no data directory {}; expected that of a server, by --data", directory.display())]
    NoDirectory {
        /// What was taken for it.
        directory: PathBuf,
    },
    /// What the file holds is not what was written.
    #[error(
        "the catalogue {} is damaged ({message}); nothing is served, because reservations are \
         unknown. `holdfast repair --data {}` shows the way back, with a backup or without",
        path.display(), directory(path)
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        message: String,
    },
    /// It is gone, although there was one.
    #[error(
        "the catalogue {} is missing, but beside it are {volumes} volumes' files and {kept} kept \
         copies of a catalogue; an empty one would forget every reservation. `holdfast repair \
         --data {}` shows the way back",
        path.display(), directory(path)
    )]
    Missing {
        /// The file.
        path: PathBuf,
        /// How many volumes' files there are.
        volumes: usize,
        /// How many copies of a catalogue there are.
        kept: usize,
    },
    /// Flushing it failed: what is on the disk is the last change or the one before.
    #[error(
        "flushing the catalogue {} failed, so nobody knows whether its last change is on the disk; \
         no further one is made. Look after the disk, then start the server again",
        path.display()
    )]
    FlushFailed {
        /// The file.
        path: PathBuf,
    },
    /// A volume's reservation record is not believed.
    #[error("the reservation record of volume {volume} can't be believed: {problem}")]
    Record {
        /// Whose record it is.
        volume: VolumeId,
        /// What is wrong with it.
        problem: RecordError,
    },
    /// A row that can't be read has that name.
    #[error(
        "volume {name} exists, but its row in the catalogue can't be read; `holdfast repair` shows \
         what can be done"
    )]
    UnreadableRow {
        /// The volume's name.
        name: String,
    },
    /// A newer or unknown program wrote it.
    #[error(
        "the catalogue {} has version {found}, this program knows 1 to {known}; use the program \
         that wrote it, or a newer one",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: String,
        /// The version of this program.
        known: u32,
    },
    /// It belongs to another SAN.
    #[error(
        "the catalogue {} is that of SAN {found}, the configuration says {configured}; set \
         san.name = \"{found}\", or choose another directory with --data",
        path.display()
    )]
    OtherSan {
        /// The file.
        path: PathBuf,
        /// Its SAN.
        found: String,
        /// The SAN of the configuration.
        configured: String,
    },
    /// A portal can't have the tag that it is to have.
    #[error("{0}")]
    PortalTag(#[from] PortalTagError),
    /// The model does not allow it.
    #[error("{}{}", .0, source_of(.0))]
    Refused(#[from] volume::CatalogueError),
    /// The file system or the store failed.
    #[error("{}: {message}", path.display())]
    Failed {
        /// The file or directory.
        path: PathBuf,
        /// What failed.
        message: String,
    },
}

/// What lies behind an error whose own text does not repeat it.
fn source_of(error: &volume::CatalogueError) -> String {
    std::error::Error::source(error)
        .map(|source| format!(": {source}"))
        .unwrap_or_default()
}

/// The data directory of a file, for a command to paste.
fn directory(path: &Path) -> std::path::Display<'_> {
    path.parent().unwrap_or(path).display()
}

fn holder_name(holder: Option<u32>) -> String {
    holder.map_or_else(
        || "another process".to_owned(),
        |pid| format!("process {pid}"),
    )
}

impl CatalogueError {
    pub(super) fn io(path: &Path, error: &std::io::Error) -> Self {
        Self::Failed {
            path: path.to_owned(),
            message: error.to_string(),
        }
    }

    /// Of opening or creating the store.
    pub(super) fn database(path: &Path, error: DatabaseError) -> Self {
        match error {
            DatabaseError::DatabaseAlreadyOpen => Self::InUse {
                directory: path.parent().unwrap_or(path).to_owned(),
                holder: None,
            },
            DatabaseError::RepairAborted | DatabaseError::UpgradeRequired(_) => Self::Corrupt {
                path: path.to_owned(),
                message: error.to_string(),
            },
            other => Self::of_redb(path, &other.into()),
        }
    }

    /// Of anything the store does.
    pub(super) fn of_redb(path: &Path, error: &redb::Error) -> Self {
        let message = error.to_string();
        let damaged = match error {
            redb::Error::Corrupted(_)
            | redb::Error::TableDoesNotExist(_)
            | redb::Error::TableTypeMismatch { .. } => true,
            redb::Error::Io(error) => matches!(
                error.kind(),
                std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof
            ),
            _ => false,
        };
        if damaged {
            Self::Corrupt {
                path: path.to_owned(),
                message,
            }
        } else {
            Self::Failed {
                path: path.to_owned(),
                message,
            }
        }
    }
}
