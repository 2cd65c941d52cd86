//! File systems for tests: with reflink, where this machine has them, and small ones that get full.

use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::support::initiator::Initiator;
use crate::support::scsi::{BLOCK, read16, write16};

/// Bytes of such a file system: XFS wants 300 MiB.
const BYTES: u64 = 640 << 20;

/// A file system in a file, mounted for a test.
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    _image: TempDir,
}

impl Place {
    /// One that can share blocks, or why there is none.
    pub(crate) fn with_reflink(kind: &str) -> Result<Self, String> {
        let options: &[&str] = match kind {
            "xfs" => &["-q", "-m", "reflink=1"],
            _ => &["-q"],
        };
        Self::mount(kind, options, BYTES)
    }

    /// A small one that can't.
    pub(crate) fn small(bytes: u64) -> Result<Self, String> {
        Self::mount("ext4", &["-q", "-m", "0"], bytes)
    }

    fn mount(kind: &str, options: &[&str], bytes: u64) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root may mount".to_owned());
        }
        let directory = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
        let (image, path) = (
            directory.path().join("image"),
            directory.path().join("mounted"),
        );
        std::fs::create_dir(&path).expect("a mount point");
        let file = std::fs::File::create(&image).expect("an image");
        file.set_len(bytes).expect("a size");
        run(Command::new(format!("mkfs.{kind}"))
            .args(options)
            .arg(&image))?;
        run(Command::new("mount")
            .args(["-o", "loop"])
            .args([&image, &path]))?;
        Ok(Self {
            path,
            _image: directory,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A server that was killed a moment ago may still let go of its files.
        let mut unmount = Command::new("umount");
        let done = unmount.arg("--lazy").arg(&self.path).status();
        assert!(done.is_ok_and(|status| status.success()), "unmounted");
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command
        .output()
        .map_err(|error| format!("{:?}: {error}", command.get_program()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

/// Every kind of file system with reflink that can be had here; says so where there is none.
pub(crate) fn reflink_places() -> impl Iterator<Item = Place> {
    ["xfs", "btrfs"].into_iter().filter_map(|kind| {
        Place::with_reflink(kind)
            .inspect_err(|why| eprintln!("SKIPPED on {kind}: {why}"))
            .ok()
    })
}

/// Writes the same byte over a whole range of blocks, by one command.
pub(crate) fn fill(session: &mut Initiator, lba: u64, blocks: u32, byte: u8) {
    let data = vec![byte; blocks as usize * BLOCK];
    session.write(&write16(lba, blocks), &data).good();
}

/// The bytes of a range of blocks.
pub(crate) fn content(session: &mut Initiator, lba: u64, blocks: u32) -> Vec<u8> {
    session
        .read(&read16(lba, blocks), blocks as usize * BLOCK)
        .good()
}

/// The files of a data directory's volumes.
pub(crate) fn volume_files(data: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(data.join("volumes")).expect("a directory");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("an entry")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    names.sort();
    names
}
