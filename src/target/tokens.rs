//! Representations of data (ROD): what a token of POPULATE TOKEN stands for.
//!
//! A token stands for the data as it was when it was made (point in time copy, change vulnerable):
//! the first write into its ranges revokes it. Writers ask one published list, which is empty as
//! long as nobody offloads copies.

use super::failure::Failure;
use super::volume::Volume;
use crate::base::clock::Instant;
use crate::base::limits::TOKENS_PER_VOLUME_MAX;
use crate::base::rcu::{self, Guard};
use crate::scsi::ByteRange;
use crate::scsi::sense::{Code, SenseKey};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// One representation of data.
#[derive(Debug)]
pub(crate) struct Rod {
    pub(crate) identifier: u64,
    pub(crate) secret: [u8; 32],
    pub(crate) ranges: Vec<ByteRange>,
    pub(crate) expires: Instant,
    revoked: AtomicBool,
}

impl Rod {
    pub(crate) fn new(
        identifier: u64,
        secret: [u8; 32],
        ranges: Vec<ByteRange>,
        expires: Instant,
    ) -> Self {
        Self {
            identifier,
            secret,
            ranges,
            expires,
            revoked: AtomicBool::new(false),
        }
    }

    pub(crate) fn is_revoked(&self) -> bool {
        self.revoked.load(Ordering::Acquire)
    }

    pub(crate) fn revoke(&self) {
        self.revoked.store(true, Ordering::Release);
    }

    /// The part of the volume that holds `length` bytes of the represented data from `offset` on,
    /// as far as one range goes.
    pub(crate) fn locate(&self, offset: u64, length: u64) -> Option<ByteRange> {
        let mut skip = offset;
        for range in &self.ranges {
            if skip < range.length {
                let length = length.min(range.length - skip);
                return Some(ByteRange {
                    offset: range.offset + skip,
                    length,
                });
            }
            skip -= range.length;
        }
        None
    }
}

/// Revokes the tokens whose data is about to change. Called before the write is issued, so that
/// whoever reads through a token and finds it valid afterwards has read unchanged data.
#[inline]
pub(crate) fn revoke(volume: &Volume, range: Range<u64>, guard: &Guard) {
    for rod in volume.tokens.load(guard) {
        let concerned =
            |part: &ByteRange| part.offset < range.end && range.start < part.offset + part.length;
        if rod.ranges.iter().any(concerned) {
            rod.revoke();
        }
    }
}

/// Publishes a token; called at the home, which is the one writer of the list. What has expired or
/// was revoked makes room.
pub(crate) fn add(volume: &Volume, rod: Arc<Rod>, now: Instant) -> Result<(), Failure> {
    let guard = rcu::pin();
    let mut rods: Vec<Arc<Rod>> = volume
        .tokens
        .load(&guard)
        .iter()
        .filter(|rod| !rod.is_revoked() && rod.expires >= now)
        .map(Arc::clone)
        .collect();
    if rods.len() >= TOKENS_PER_VOLUME_MAX {
        return Err(Failure::check(
            SenseKey::IllegalRequest,
            Code::INSUFFICIENT_TOKENS,
        ));
    }
    rods.push(rod);
    volume.tokens.store(rods, &guard);
    Ok(())
}
