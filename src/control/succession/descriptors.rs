//! The estate on its way: a file in memory with the record, and the descriptors in packets.

use super::channel::{Channel, ChannelError, DESCRIPTORS_MAX};
use super::message::{Legacy, ToSuccessor};
use crate::base::crc32c::crc32c;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, memfd_create};
use std::fs::File;
use std::io::{Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::time::Duration;

/// Bytes of an estate at most: the buffers of all connections, and room for all else.
const ESTATE_BYTES_MAX: u64 = 8 << 30;

/// A record in a file in memory that nobody can change any more.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) file: File,
    pub(super) bytes: u64,
    pub(super) checksum: u32,
}

/// Writes a record down.
pub(super) fn seal(legacy: &Legacy) -> std::io::Result<Sealed> {
    let bytes = rmp_serde::to_vec_named(legacy);
    let bytes = bytes.map_err(|error| std::io::Error::other(error.to_string()))?;
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut file = File::from(memfd_create(c"holdfast-estate", flags)?);
    file.write_all(&bytes)?;
    fcntl_add_seals(
        &file,
        SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK | SealFlags::SEAL,
    )?;
    Ok(Sealed {
        file,
        bytes: bytes.len() as u64,
        checksum: crc32c(&bytes),
    })
}

/// Reads it back.
fn unseal(file: OwnedFd, bytes: u64, checksum: u32) -> Result<Legacy, ChannelError> {
    let mut file = File::from(file);
    let unreadable = |why: String| ChannelError::Unreadable(why);
    let found = file.metadata()?.len();
    if found != bytes || bytes > ESTATE_BYTES_MAX {
        return Err(unreadable(format!(
            "the estate has {found} bytes, and {bytes} were announced"
        )));
    }
    let length = usize::try_from(bytes).map_err(std::io::Error::other)?;
    let mut text = Vec::with_capacity(length);
    file.rewind()?;
    file.take(bytes).read_to_end(&mut text)?;
    if text.len() != length || crc32c(&text) != checksum {
        return Err(unreadable("the estate's checksum is wrong".to_owned()));
    }
    let legacy = rmp_serde::from_slice(&text);
    legacy.map_err(|error| unreadable(format!("the estate: {error}")))
}

/// Waits for the estate: the record, and the descriptors in the order in which they were given.
pub(super) fn receive(
    channel: &Channel,
    patience: Duration,
) -> Result<(Legacy, Vec<OwnedFd>), ChannelError> {
    // However long the predecessor waits for the data path to come to rest, or thinks better of it.
    let (message, mut descriptors) = channel.receive(None)?;
    let ToSuccessor::Estate {
        bytes,
        checksum,
        descriptors: count,
    } = message
    else {
        return Err(ChannelError::Unreadable("no estate".to_owned()));
    };
    let file = descriptors.pop();
    let file =
        file.ok_or_else(|| ChannelError::Unreadable("an estate without a file".to_owned()))?;
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    let mut descriptors = Vec::new();
    while descriptors.len() < count {
        let (message, more) = channel.receive(Some(patience))?;
        if !matches!(message, ToSuccessor::Descriptors) || more.is_empty() {
            return Err(ChannelError::Unreadable("no descriptors".to_owned()));
        }
        descriptors.extend(more);
    }
    if descriptors.len() != count {
        return Err(ChannelError::Unreadable("too many descriptors".to_owned()));
    }
    Ok((unseal(file, bytes, checksum)?, descriptors))
}

/// As many packets as it takes for those descriptors.
pub(super) fn packets<T>(descriptors: &[T]) -> impl Iterator<Item = &[T]> {
    descriptors.chunks(DESCRIPTORS_MAX)
}
