//! A file volume's whole content as another file: shared block by block (reflink), or copied.
//!
//! All of it blocks, and none of it is for a reactor: the control plane calls it for snapshots.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    CWD, FileType, Mode, OFlags, RenameFlags, SeekFrom, copy_file_range, fchmod, fstat, fstatvfs,
    fsync, ftruncate, ioctl_ficlone, renameat_with, seek,
};
use rustix::io::{Errno, pread, pwrite};

use super::disk::file;
use super::open::OpenError;

/// Bytes that one step of a copy moves: after each the copy can be ended.
const COPY_STEP_BYTES: usize = 32 << 20;
/// Bytes of the buffer of a copy where the kernel can't do it.
const COPY_BUFFER_BYTES: usize = 1 << 20;

/// File systems by the magic numbers of `linux/magic.h`, for messages.
const FILE_SYSTEMS: [(i64, &str); 11] = [
    (0xEF53, "ext4"),
    (0x5846_5342, "XFS"),
    (0x9123_683E, "btrfs"),
    (0x0102_1994, "tmpfs"),
    (0x8584_58F6, "ramfs"),
    (0x794C_7630, "overlayfs"),
    (0x6969, "NFS"),
    (0xFF53_4D42, "CIFS"),
    (0xF2F5_2010, "F2FS"),
    (0x2FC1_2FC1, "ZFS"),
    (0x6573_5546, "FUSE"),
];

/// Why a file can't have the content of another.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The file system has no blocks that two files share.
    #[error(
        "{} lies on {file_system}, where files can't share blocks (reflink)", path.display()
    )]
    NoReflink {
        /// The file that was to be cloned.
        path: PathBuf,
        /// What it lies on, as people call it.
        file_system: String,
    },
    /// The two files lie on different file systems.
    #[error(
        "{} and {} lie on different file systems, where files can't share blocks",
        from.display(), to.display()
    )]
    OtherFileSystem {
        /// The one.
        from: PathBuf,
        /// The other.
        to: PathBuf,
    },
    /// There is not enough space.
    #[error(
        "the file system of {} has {free_bytes} bytes free, and {needed_bytes} are needed",
        path.display()
    )]
    Space {
        /// The file to be made.
        path: PathBuf,
        /// Bytes that are free.
        free_bytes: u64,
        /// Bytes that it takes.
        needed_bytes: u64,
    },
    /// Whoever asked for it wants it no more.
    #[error("it was interrupted")]
    Interrupted,
    /// The file can't be opened or made.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The system refused.
    #[error("can't {attempt} {}", path.display())]
    System {
        /// The file.
        path: PathBuf,
        /// What was tried.
        attempt: &'static str,
        /// What it said.
        source: io::Error,
    },
}

impl ContentError {
    fn system(path: &Path, attempt: &'static str) -> impl FnOnce(Errno) -> Self {
        let path = path.to_path_buf();
        move |errno| Self::System {
            path,
            attempt,
            source: errno.into(),
        }
    }
}

/// A file that is being made. What is not [kept](Draft::keep) goes when it is dropped.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    file: OwnedFd,
    kept: bool,
}

impl Draft {
    /// Makes an empty file where there is none, for its owner alone.
    ///
    /// # Errors
    /// There is one, or the system refuses.
    pub fn create(path: &Path) -> Result<Self, ContentError> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file =
            rustix::fs::open(path, flags, Mode::RUSR | Mode::WUSR).map_err(
                |errno| match errno {
                    Errno::EXIST => OpenError::Exists {
                        path: path.to_path_buf(),
                    }
                    .into(),
                    errno => ContentError::system(path, "create")(errno),
                },
            )?;
        Ok(Self {
            path: path.to_path_buf(),
            file,
            kept: false,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Has it share all blocks of `from`, as `from` is at this moment.
    ///
    /// # Errors
    /// The file system can't, or has no space.
    pub fn share(&self, from: &Source) -> Result<(), ContentError> {
        ioctl_ficlone(&self.file, &from.file).map_err(|errno| match errno {
            Errno::OPNOTSUPP | Errno::NOTTY | Errno::NOSYS | Errno::INVAL => {
                ContentError::NoReflink {
                    path: from.path.clone(),
                    file_system: file_system_of(&from.file),
                }
            }
            Errno::XDEV => ContentError::OtherFileSystem {
                from: from.path.clone(),
                to: self.path.clone(),
            },
            errno => ContentError::system(&self.path, "clone blocks to")(errno),
        })
    }

    /// Copies what `from` holds; where it holds nothing, nothing is written. `go_on` is asked now and
    /// then, with the bytes that are done and those of the whole.
    ///
    /// # Errors
    /// The system refuses, there is no space, or `go_on` said no.
    pub fn copy(
        &self,
        from: &Source,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), ContentError> {
        let length = from.length_bytes()?;
        // What an attempt to share has left is no part of it.
        self.set_length(0)?;
        self.set_length(length)?;
        let mut done = 0;
        while done < length {
            let data = match seek(&from.file, SeekFrom::Data(done)) {
                Ok(data) => data,
                // Nothing but a hole is left.
                Err(Errno::NXIO) => break,
                Err(errno) => return Err(ContentError::system(&from.path, "read")(errno)),
            };
            let hole = seek(&from.file, SeekFrom::Hole(data))
                .map_err(ContentError::system(&from.path, "read"))?;
            self.copy_range(from, data, hole.min(length), length, go_on)?;
            done = hole;
        }
        match go_on(length, length) {
            true => Ok(()),
            false => Err(ContentError::Interrupted),
        }
    }

    fn copy_range(
        &self,
        from: &Source,
        start: u64,
        end: u64,
        total: u64,
        go_on: &mut dyn FnMut(u64, u64) -> bool,
    ) -> Result<(), ContentError> {
        let failed = |errno| ContentError::system(&self.path, "copy to")(errno);
        let mut at = start;
        while at < end {
            if !go_on(at, total) {
                return Err(ContentError::Interrupted);
            }
            let step = usize::try_from(end - at)
                .unwrap_or(COPY_STEP_BYTES)
                .min(COPY_STEP_BYTES);
            let (mut from_at, mut to_at) = (at, at);
            let moved = match copy_file_range(
                &from.file,
                Some(&mut from_at),
                &self.file,
                Some(&mut to_at),
                step,
            ) {
                Ok(0) => return Err(failed(Errno::IO)),
                Ok(moved) => moved,
                Err(Errno::INTR) => continue,
                Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => self
                    .copy_by_hand(from, at, step.min(COPY_BUFFER_BYTES))
                    .map_err(failed)?,
                Err(errno) => return Err(failed(errno)),
            };
            at += moved as u64;
        }
        Ok(())
    }

    fn copy_by_hand(&self, from: &Source, at: u64, step: usize) -> rustix::io::Result<usize> {
        let mut buffer = vec![0; step];
        let read = pread(&from.file, &mut buffer, at)?;
        if read == 0 {
            return Err(Errno::IO);
        }
        let mut written = 0;
        while written < read {
            written += pwrite(&self.file, &buffer[written..read], at + written as u64)?;
        }
        Ok(read)
    }

    /// Has it end there: what is new reads as zeros.
    ///
    /// # Errors
    /// The system refuses.
    pub fn set_length(&self, bytes: u64) -> Result<(), ContentError> {
        ftruncate(&self.file, bytes).map_err(ContentError::system(&self.path, "size"))
    }

    /// Makes it durable, and has it stay.
    ///
    /// # Errors
    /// The system refuses; it is gone then.
    pub fn keep(mut self) -> Result<(), ContentError> {
        fsync(&self.file).map_err(ContentError::system(&self.path, "flush"))?;
        file::flush_directory(&self.path)?;
        self.kept = true;
        Ok(())
    }

    /// As [`Draft::keep`], and nobody is to write to it again.
    ///
    /// # Errors
    /// As [`Draft::keep`].
    pub fn keep_sealed(self) -> Result<(), ContentError> {
        fchmod(&self.file, Mode::RUSR).map_err(ContentError::system(&self.path, "seal"))?;
        self.keep()
    }

    /// Gives it its name, durably, where nothing has it.
    ///
    /// # Errors
    /// Something has that name, or the system refuses; it is gone then.
    pub fn place(mut self, target: &Path) -> Result<(), ContentError> {
        // Whoever wrote it may have put another file in its place.
        let file = Source::open(&self.path)?.file;
        fsync(&file).map_err(ContentError::system(&self.path, "flush"))?;
        renameat_with(CWD, &self.path, CWD, target, RenameFlags::NOREPLACE).map_err(|errno| {
            match errno {
                Errno::EXIST => OpenError::Exists {
                    path: target.to_path_buf(),
                }
                .into(),
                errno => ContentError::system(target, "name")(errno),
            }
        })?;
        self.kept = true;
        Ok(file::flush_directory(target)?)
    }

    /// Has it take the place of `target`, durably: a crash leaves the one or the other.
    ///
    /// # Errors
    /// The system refuses; `target` is as it was, unless only flushing the directory failed.
    pub fn replace(mut self, target: &Path) -> Result<(), ContentError> {
        fsync(&self.file).map_err(ContentError::system(&self.path, "flush"))?;
        rustix::fs::rename(&self.path, target).map_err(ContentError::system(
            target,
            "put the reverted file in the place of",
        ))?;
        self.kept = true;
        Ok(file::flush_directory(target)?)
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if !self.kept
            && let Err(error) = file::remove(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "half a file stays behind");
        }
    }
}

/// A file whose content is wanted, open for reading.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    file: OwnedFd,
}

impl Source {
    /// Opens a file.
    ///
    /// # Errors
    /// It is missing, is no regular file, or the system refuses.
    pub fn open(path: &Path) -> Result<Self, ContentError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| match errno {
            Errno::NOENT => OpenError::Missing {
                path: path.to_path_buf(),
            }
            .into(),
            errno => ContentError::system(path, "open")(errno),
        })?;
        let stat = fstat(&file).map_err(ContentError::system(path, "look at"))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(OpenError::WrongType {
                path: path.to_path_buf(),
                expected: "regular file",
            }
            .into());
        }
        Ok(Self {
            path: path.to_path_buf(),
            file,
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its length.
    ///
    /// # Errors
    /// The system refuses.
    pub fn length_bytes(&self) -> Result<u64, ContentError> {
        let stat = fstat(&self.file).map_err(ContentError::system(&self.path, "look at"))?;
        Ok(u64::try_from(stat.st_size).unwrap_or(0))
    }

    /// Bytes that it occupies, those that it shares with other files included.
    ///
    /// # Errors
    /// The system refuses.
    pub fn allocated_bytes(&self) -> Result<u64, ContentError> {
        let stat = fstat(&self.file).map_err(ContentError::system(&self.path, "look at"))?;
        // `st_blocks` counts 512 bytes each, whatever the file system's block is (stat(3)).
        Ok(u64::try_from(stat.st_blocks)
            .unwrap_or(0)
            .saturating_mul(512))
    }

    /// Bytes that its file system has free for the user of this process.
    ///
    /// # Errors
    /// The system refuses.
    pub fn free_bytes(&self) -> Result<u64, ContentError> {
        let told = fstatvfs(&self.file).map_err(ContentError::system(&self.path, "look at"))?;
        Ok(told.f_bavail.saturating_mul(told.f_frsize))
    }

    /// Passes if its file system has that much free.
    ///
    /// # Errors
    /// It has less.
    pub fn check_space(&self, needed_bytes: u64) -> Result<(), ContentError> {
        let free_bytes = self.free_bytes()?;
        if free_bytes >= needed_bytes {
            return Ok(());
        }
        Err(ContentError::Space {
            path: self.path.clone(),
            free_bytes,
            needed_bytes,
        })
    }
}

/// What a file lies on, as people call it.
fn file_system_of(file: impl AsFd) -> String {
    let Ok(told) = rustix::fs::fstatfs(file) else {
        return "a file system".to_owned();
    };
    // The type of the field differs between machines.
    #[allow(clippy::unnecessary_cast, reason = "it is not i64 everywhere")]
    let magic = told.f_type as i64;
    let known = FILE_SYSTEMS.iter().find(|(number, _)| *number == magic);
    known.map_or_else(
        || format!("a file system of type {magic:#x}"),
        |(_, name)| (*name).to_owned(),
    )
}

/// Removes a file, durably. One that is not there is no error.
///
/// # Errors
/// The system refuses.
pub fn remove_file(path: &Path) -> Result<(), OpenError> {
    file::remove(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};

    const MIB: u64 = 1 << 20;

    fn sparse(directory: &Path) -> PathBuf {
        let path = directory.join("source");
        let file = std::fs::File::create(&path).unwrap();
        file.set_len(64 * MIB).unwrap();
        file.write_all_at(&[7; 5000], 3 * MIB).unwrap();
        file.write_all_at(b"end", 64 * MIB - 3).unwrap();
        path
    }

    #[test]
    fn a_copy_has_the_content_and_the_holes() {
        let directory = tempfile::tempdir().unwrap();
        let from = Source::open(&sparse(directory.path())).unwrap();
        let path = directory.path().join("copy");
        let draft = Draft::create(&path).unwrap();
        let mut told = Vec::new();
        let mut go_on = |done, total| {
            told.push((done, total));
            true
        };
        draft.copy(&from, &mut go_on).unwrap();
        draft.keep_sealed().unwrap();
        assert_eq!(told.last(), Some(&(64 * MIB, 64 * MIB)));
        assert_eq!(
            std::fs::read(&path).unwrap(),
            std::fs::read(from.path()).unwrap()
        );
        let metadata = std::fs::metadata(&path).unwrap();
        assert!(
            metadata.blocks() * 512 < MIB,
            "{} blocks",
            metadata.blocks()
        );
        assert_eq!(metadata.permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn a_draft_that_is_not_kept_leaves_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let from = Source::open(&sparse(directory.path())).unwrap();
        let path = directory.path().join("copy");
        let draft = Draft::create(&path).unwrap();
        let ended = draft.copy(&from, &mut |_, _| false).unwrap_err();
        assert!(matches!(ended, ContentError::Interrupted));
        drop(draft);
        assert!(!path.exists());
        std::fs::write(&path, b"somebody's").unwrap();
        let taken = Draft::create(&path).unwrap_err();
        assert!(taken.to_string().contains("exists already"), "{taken}");
        assert_eq!(std::fs::read(&path).unwrap(), b"somebody's");
    }

    #[test]
    fn what_takes_a_place_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let target = directory.path().join("target");
        std::fs::write(&target, b"before").unwrap();
        let draft = Draft::create(&directory.path().join("draft")).unwrap();
        draft.set_length(10).unwrap();
        draft.replace(&target).unwrap();
        assert_eq!(std::fs::read(&target).unwrap(), [0; 10]);
        assert!(!directory.path().join("draft").exists());
    }

    #[test]
    fn space_that_is_not_there_is_told_in_bytes() {
        let directory = tempfile::tempdir().unwrap();
        let from = Source::open(&sparse(directory.path())).unwrap();
        from.check_space(1).unwrap();
        let error = from.check_space(u64::MAX).unwrap_err().to_string();
        assert!(
            error.contains("bytes free, and 18446744073709551615 are needed"),
            "{error}"
        );
        assert!(from.allocated_bytes().unwrap() < MIB);
        assert_eq!(from.length_bytes().unwrap(), 64 * MIB);
    }

    #[test]
    fn a_file_system_without_reflink_is_named() {
        let directory = tempfile::tempdir_in("/dev/shm").unwrap();
        let from = Source::open(&sparse(directory.path())).unwrap();
        let draft = Draft::create(&directory.path().join("clone")).unwrap();
        let error = draft.share(&from).unwrap_err().to_string();
        assert!(
            error.contains("lies on tmpfs, where files can't share blocks"),
            "{error}"
        );
    }

    #[test]
    fn what_is_no_file_is_no_source() {
        let directory = tempfile::tempdir().unwrap();
        let error = Source::open(directory.path()).unwrap_err().to_string();
        assert!(error.contains("is not a regular file"), "{error}");
        let error = Source::open(&directory.path().join("none")).unwrap_err();
        assert!(matches!(
            error,
            ContentError::Open(OpenError::Missing { .. })
        ));
    }
}
