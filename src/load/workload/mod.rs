//! Which transfers a session makes: direction, address and length, one after the other.

mod pace;
mod verify;

pub(super) use pace::Pace;
pub use verify::WrongBlock;
pub(super) use verify::{Stamps, Strictness};

use std::num::NonZeroU64;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

use super::initiator::command::Capacity;
use super::plan::{Pattern, Workload};
use super::tally::Direction;
use crate::base::limits::LOAD_VERIFY_BLOCKS_MAX;

/// One transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) direction: Direction,
    /// The first logical block.
    pub(super) lba: u64,
    pub(super) blocks: u32,
    pub(super) bytes: u32,
}

/// A range of a volume, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) start: u64,
    pub(super) bytes: u64,
}

/// Why a workload does not fit a volume.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// A transfer that is not made of whole blocks.
    #[error("a block size of {bytes} bytes on a volume whose blocks have {block_bytes}")]
    Transfer {
        /// Bytes of the transfer.
        bytes: u32,
        /// Bytes of a logical block.
        block_bytes: u32,
    },
    /// A range that begins or ends within a block.
    #[error(
        "an offset, size or stride of {bytes} bytes on a volume whose blocks have {block_bytes}"
    )]
    Alignment {
        /// The value.
        bytes: u64,
        /// Bytes of a logical block.
        block_bytes: u32,
    },
    /// A range beyond the volume's end.
    #[error("the range ends at byte {end}, the volume at {bytes}")]
    Beyond {
        /// Where the range ends.
        end: u64,
        /// Bytes of the volume.
        bytes: u64,
    },
    /// A range too small for the transfers.
    #[error(
        "a range of {bytes} bytes for each session, too small for transfers of {transfer_bytes}"
    )]
    TooSmall {
        /// Bytes of the range, or of each session's part of it under verification.
        bytes: u64,
        /// Bytes of the longest transfer.
        transfer_bytes: u32,
    },
    /// More blocks than verification keeps track of.
    #[error("verification keeps track of {limit} blocks, the range has {blocks}: give --size")]
    TooManyToVerify {
        /// How many are possible.
        limit: u64,
        /// Blocks of the range.
        blocks: u64,
    },
}

/// The range that session `index` of `sessions` works on. Under verification each has a part of
/// its own, because it alone knows what it wrote.
///
/// # Errors
/// When the workload does not fit the volume.
pub(super) fn region(
    workload: &Workload,
    capacity: Capacity,
    index: usize,
    sessions: usize,
) -> Result<Region, Misfit> {
    let block_bytes = capacity.block_bytes;
    for block in &workload.blocks {
        if !block.bytes.is_multiple_of(block_bytes) {
            let bytes = block.bytes;
            return Err(Misfit::Transfer { bytes, block_bytes });
        }
    }
    let stride = match workload.pattern {
        Pattern::Strided(stride) => stride.get(),
        _ => 0,
    };
    for bytes in [workload.offset, workload.size.unwrap_or(0), stride] {
        if !bytes.is_multiple_of(u64::from(block_bytes)) {
            return Err(Misfit::Alignment { bytes, block_bytes });
        }
    }
    let rest = capacity.bytes().saturating_sub(workload.offset);
    let bytes = workload.size.unwrap_or(rest);
    if bytes > rest {
        let end = workload.offset.saturating_add(bytes);
        let bytes = capacity.bytes();
        return Err(Misfit::Beyond { end, bytes });
    }
    let mut region = Region {
        start: workload.offset,
        bytes,
    };
    if workload.verify {
        let blocks = bytes / u64::from(block_bytes);
        let limit = LOAD_VERIFY_BLOCKS_MAX;
        if blocks > limit {
            return Err(Misfit::TooManyToVerify { limit, blocks });
        }
        let part = blocks / sessions as u64 * u64::from(block_bytes);
        region.start += part * index as u64;
        region.bytes = part;
    }
    let transfer_bytes = workload.transfer_bytes_max();
    if region.bytes < u64::from(transfer_bytes) {
        let bytes = region.bytes;
        return Err(Misfit::TooSmall {
            bytes,
            transfer_bytes,
        });
    }
    Ok(region)
}

/// One transfer length among others.
#[derive(Debug)]
struct Choice {
    bytes: u32,
    /// Sum of the weights up to this one.
    weights: u32,
    /// Places in the range, aligned to the length.
    places: u64,
    /// Under Zipf's law: ranks of the places.
    ranks: Option<Zipf<f64>>,
}

/// Makes the requests of one session.
#[derive(Debug)]
pub(super) struct Generator {
    rng: SmallRng,
    read_percent: u8,
    pattern: Pattern,
    choices: Vec<Choice>,
    weights: u32,
    region: Region,
    block_shift: u32,
    /// Of the sequential patterns: the next byte of the range, and where this pass began.
    cursor: u64,
    pass: u64,
}

impl Generator {
    /// The requests of session `index` of `sessions` in `region`.
    pub(super) fn new(
        workload: &Workload,
        region: Region,
        block_bytes: u32,
        (index, sessions): (usize, usize),
    ) -> Self {
        let mut weights = 0_u32;
        let choices = workload.blocks.iter().map(|block| {
            weights = weights.saturating_add(block.weight);
            let places = region.bytes / u64::from(block.bytes);
            let ranks = match workload.pattern {
                #[allow(
                    clippy::cast_precision_loss,
                    reason = "the ranks far out are all alike"
                )]
                Pattern::Zipf(theta) => Zipf::new(places as f64, theta).ok(),
                _ => None,
            };
            Choice {
                bytes: block.bytes,
                weights,
                places,
                ranks,
            }
        });
        let choices: Vec<_> = choices.collect();
        // Sessions that share a range begin spread over it.
        let longest = u64::from(workload.transfer_bytes_max());
        let shared = if workload.verify { 0 } else { index as u64 };
        let cursor = region.bytes / longest * shared / sessions as u64 * longest;
        let seed = workload.seed ^ mix(index as u64);
        Self {
            rng: SmallRng::seed_from_u64(seed),
            read_percent: workload.read_percent,
            pattern: workload.pattern,
            choices,
            weights,
            region,
            block_shift: block_bytes.trailing_zeros(),
            cursor,
            pass: 0,
        }
    }

    /// The next request.
    pub(super) fn next(&mut self) -> Request {
        let direction = self.direction();
        let choice = self.choice();
        let Choice {
            bytes,
            places,
            ranks,
            ..
        } = &self.choices[choice];
        let (bytes, places) = (*bytes, *places);
        let length = u64::from(bytes);
        let offset = match self.pattern {
            Pattern::Uniform => self.rng.random_range(0..places) * length,
            Pattern::Zipf(_) => {
                let rank = ranks
                    .as_ref()
                    .map_or(1.0, |ranks| ranks.sample(&mut self.rng));
                #[allow(
                    clippy::cast_possible_truncation,
                    clippy::cast_sign_loss,
                    reason = "ranks are from 1 up to the number of places"
                )]
                let rank = rank as u64;
                mix(rank) % places * length
            }
            Pattern::Sequential => self.advance(length, length),
            Pattern::Strided(stride) => self.advance(length, stride.get()),
        };
        Request {
            direction,
            lba: (self.region.start + offset) >> self.block_shift,
            blocks: bytes >> self.block_shift,
            bytes,
        }
    }

    fn direction(&mut self) -> Direction {
        let is_read = match self.read_percent {
            100 => true,
            0 => false,
            percent => self.rng.random_range(0..100) < percent,
        };
        if is_read {
            Direction::Read
        } else {
            Direction::Write
        }
    }

    fn choice(&mut self) -> usize {
        if self.choices.len() == 1 {
            return 0;
        }
        let drawn = self.rng.random_range(0..self.weights);
        self.choices
            .iter()
            .position(|choice| drawn < choice.weights)
            .unwrap_or(0)
    }

    /// Where a transfer of `length` goes, when the next one starts `stride` behind it.
    fn advance(&mut self, length: u64, stride: u64) -> u64 {
        if self.cursor + length > self.region.bytes {
            // A strided pass leaves gaps, which the passes behind it fill.
            self.pass += length;
            if stride <= length || self.pass >= stride || self.pass + length > self.region.bytes {
                self.pass = 0;
            }
            self.cursor = self.pass;
        }
        let offset = self.cursor;
        self.cursor += stride;
        offset
    }
}

/// Scatters numbers over all of their range (the finaliser of SplitMix64).
pub(super) const fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// What is left of a number of I/Os.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quota(Option<u64>);

impl Quota {
    /// The part of session `index` of `sessions`.
    pub(super) fn new(total: Option<NonZeroU64>, index: usize, sessions: usize) -> Self {
        Self(total.map(|total| {
            let (sessions, index) = (sessions as u64, index as u64);
            total.get() / sessions + u64::from(index < total.get() % sessions)
        }))
    }

    pub(super) const fn is_used_up(self) -> bool {
        matches!(self.0, Some(0))
    }

    pub(super) fn take(&mut self) {
        if let Some(left) = &mut self.0 {
            *left = left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests;
