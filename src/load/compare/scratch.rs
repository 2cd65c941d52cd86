//! What a comparison keeps on disk: among the temporary files (`TMPDIR`), removed afterwards.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::iscsi::settings::system_entropy;
use crate::load::workload::mix;

/// Bytes written at once.
const PIECE_BYTES: usize = 1 << 20;

/// A new directory, removed with everything in it.
#[derive(Debug)]
pub(super) struct Directory(PathBuf);

impl Directory {
    pub(super) fn make() -> io::Result<Self> {
        let mut random = [0; 8];
        system_entropy(&mut random).map_err(io::Error::other)?;
        let name = format!("holdfast-compare-{:016x}", u64::from_le_bytes(random));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        // What is left of it is in the directory of temporary files, where it may be left.
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A file for the polled disk, written from end to end: a hole would be read without the disk.
#[derive(Debug)]
pub struct ScratchFile {
    path: PathBuf,
    _directory: Directory,
}

impl ScratchFile {
    /// Writes a file of `bytes`, rounded up to whole MiB, and has it on the disk.
    ///
    /// # Errors
    /// When there is no room for it.
    pub fn make(bytes: u64) -> io::Result<Self> {
        let directory = Directory::make()?;
        let path = directory.path().join("disk");
        let piece: Vec<u8> = (0..PIECE_BYTES as u64 / 8)
            .flat_map(|word| mix(word).to_le_bytes())
            .collect();
        let mut file = File::create(&path)?;
        for _ in 0..bytes.div_ceil(PIECE_BYTES as u64) {
            file.write_all(&piece)?;
        }
        file.sync_all()?;
        Ok(Self {
            path,
            _directory: directory,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn a_scratch_file_has_no_hole_and_leaves_nothing() {
        let file = ScratchFile::make((2 << 20) + 1).unwrap();
        let metadata = fs::metadata(file.path()).unwrap();
        assert_eq!(metadata.len(), 3 << 20);
        assert!(metadata.blocks() * 512 >= metadata.len());
        let directory = file.path().parent().unwrap().to_owned();
        drop(file);
        assert!(!directory.exists());
    }
}
