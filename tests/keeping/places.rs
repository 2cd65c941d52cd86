//! What the volumes of these tests hold, and the files that they lie in.

use std::path::Path;

pub(crate) use crate::support::places::{Place, reflink_places};

use crate::support::initiator::Initiator;
use crate::support::scsi::{BLOCK, read16, write16};

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
