//! The blocks under judgement: a window over each border between two shards of the volume, so that
//! commands within a shard and over two of them are about equally many.

use std::ops::Range;

use super::lots::Lots;
use super::record::Nexus;

/// Blocks of a shard, which the configuration sets to 1 MiB.
pub(crate) const SHARD_BLOCKS: u64 = 2048;
const SHARDS: u64 = 8;
/// Blocks of the volume.
pub(crate) const VOLUME_BLOCKS: u64 = SHARDS * SHARD_BLOCKS;
/// The volume's size as `--size` takes it.
pub(crate) const VOLUME_SIZE: &str = "8MiB";
/// Blocks of a window before the border, and behind it.
pub(crate) const HALF_BLOCKS: u64 = 32;

/// Blocks from which a writer has some copied; they are nobody's to judge.
const STAGING_BLOCKS: u64 = 16;
/// Where those of the first writer are.
const STAGING_FROM: u64 = 256;

/// The blocks of a writer from which it has some copied.
pub(crate) fn staging(nexus: Nexus) -> Range<u64> {
    let from = STAGING_FROM + u64::from(nexus) * STAGING_BLOCKS;
    from..from + STAGING_BLOCKS
}

/// The windows, in order.
pub(crate) fn windows() -> impl Iterator<Item = Range<u64>> {
    let borders = (1..SHARDS).map(|shard| shard * SHARD_BLOCKS);
    borders.map(|border| border - HALF_BLOCKS..border + HALF_BLOCKS)
}

/// Every block under judgement.
pub(crate) fn blocks() -> impl Iterator<Item = u64> {
    windows().flatten()
}

/// Up to `blocks_max` blocks in one window.
pub(crate) fn some_blocks(lots: &mut Lots, blocks_max: u64) -> Range<u64> {
    let window = some_window(lots);
    let blocks = 1 + lots.below(blocks_max);
    let start = window.start + lots.below(HALF_BLOCKS * 2 - blocks + 1);
    start..start + blocks
}

/// Blocks that begin at a multiple of `blocks`: that many.
pub(crate) fn some_aligned_blocks(lots: &mut Lots, blocks: u64) -> Range<u64> {
    let window = some_window(lots);
    let start = window.start + lots.below(HALF_BLOCKS * 2 / blocks) * blocks;
    start..start + blocks
}

fn some_window(lots: &mut Lots) -> Range<u64> {
    let border = SHARD_BLOCKS * (1 + lots.below(SHARDS - 1));
    border - HALF_BLOCKS..border + HALF_BLOCKS
}
