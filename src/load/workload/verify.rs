//! Stamped blocks, judged when they are read.
//!
//! Each logical block that is written bears a stamp:
//!
//! ```text
//!  0  | "holdfast" (8 bytes)                                             |
//!  8  | logical block address (8)                                        |
//! 16  | the run (8)                                                      |
//! 24  | generation: how often the run has written this block (4)         |
//! 28  | filler that follows from the above                               |
//! -4  | CRC32C of all before it (4)                                      |
//! ```
//!
//! All numbers are little-endian. A torn, misplaced, stale or damaged block is told from each other.

use super::{Region, Request, mix};
use crate::base::crc32c::crc32c;
use crate::load::failure::Mismatch;
use crate::load::tally::Direction;

const MAGIC: [u8; 8] = *b"holdfast";
const FILLER: usize = 28;
const CRC_BYTES: usize = 4;

/// What a block that this run has not written may contain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Strictness {
    /// Anything without a stamp. A stamp must hold.
    Lenient,
    /// A stamp of whatever run: nothing is written, so there is something to be read.
    Strict,
}

/// A block that is not what was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WrongBlock {
    /// Its logical block address.
    pub lba: u64,
    /// What is wrong.
    pub mismatch: Mismatch,
}

/// What is known of a block.
#[derive(Debug, Clone, Copy, Default)]
struct Known {
    /// Zero: nothing.
    generation: u32,
    readers: u16,
    writing: bool,
}

/// What one session knows of the blocks that it alone writes.
#[derive(Debug)]
pub(crate) struct Stamps {
    run: u64,
    strictness: Strictness,
    first: u64,
    block_bytes: usize,
    blocks: Vec<Known>,
}

impl Stamps {
    /// Nothing is known of the blocks of `region`.
    pub(crate) fn new(run: u64, strictness: Strictness, region: Region, block_bytes: u32) -> Self {
        let count = region.bytes / u64::from(block_bytes);
        // `region` held this against the limit.
        let count = usize::try_from(count).unwrap_or(usize::MAX);
        Self {
            run,
            strictness,
            first: region.start / u64::from(block_bytes),
            block_bytes: block_bytes as usize,
            blocks: vec![Known::default(); count],
        }
    }

    fn known(&mut self, request: &Request) -> &mut [Known] {
        // Requests are of this session's region.
        let start = usize::try_from(request.lba - self.first).unwrap_or(usize::MAX);
        &mut self.blocks[start..start + request.blocks as usize]
    }

    /// Claims the blocks of a request that is to start. `false` if it would have to wait: what a
    /// read returns while a write is under way, or which of two writes comes last, nobody can know.
    pub(crate) fn claim(&mut self, request: &Request) -> bool {
        let is_read = request.direction == Direction::Read;
        let known = self.known(request);
        let is_free = |known: &Known| !known.writing && (is_read || known.readers == 0);
        if !known.iter().all(is_free) {
            return false;
        }
        for known in known {
            if is_read {
                known.readers += 1;
            } else {
                known.writing = true;
                known.generation = known.generation.wrapping_add(1).max(1);
            }
        }
        true
    }

    /// Stamps the data of a write that was claimed.
    pub(crate) fn stamp(&mut self, request: &Request, data: &mut [u8]) {
        let (run, block_bytes) = (self.run, self.block_bytes);
        let known = self.known(request).iter();
        for ((known, block), lba) in known
            .zip(data.chunks_exact_mut(block_bytes))
            .zip(request.lba..)
        {
            stamp(block, lba, run, known.generation);
        }
    }

    /// A claimed request that moved no data, or of which nobody knows what it wrote.
    pub(crate) fn failed(&mut self, request: &Request) {
        let is_read = request.direction == Direction::Read;
        for known in self.known(request) {
            if is_read {
                known.readers -= 1;
            } else {
                *known = Known::default();
            }
        }
    }

    /// A claimed write that is done.
    pub(crate) fn written(&mut self, request: &Request) {
        for known in self.known(request) {
            known.writing = false;
        }
    }

    /// Judges the data of a claimed read.
    ///
    /// # Errors
    /// The first block that is not what was written.
    pub(crate) fn judge(&mut self, request: &Request, data: &[u8]) -> Result<(), WrongBlock> {
        let (run, strictness, block_bytes) = (self.run, self.strictness, self.block_bytes);
        let mut first = Ok(());
        let known = self.known(request).iter_mut();
        for ((known, block), lba) in known.zip(data.chunks_exact(block_bytes)).zip(request.lba..) {
            known.readers -= 1;
            let expected = (known.generation != 0).then_some((run, known.generation));
            if let (Ok(()), Err(mismatch)) = (first, judge(block, lba, expected, strictness)) {
                first = Err(WrongBlock { lba, mismatch });
            }
        }
        first
    }

    /// The next read of blocks that this run has written, from block `from` of the region on, of at
    /// most `bytes`; and where to go on behind it.
    pub(crate) fn next_written(&self, from: usize, bytes: u32) -> Option<(Request, usize)> {
        let is_written = |known: &Known| known.generation != 0;
        let start = from + self.blocks.get(from..)?.iter().position(is_written)?;
        let most = (bytes as usize / self.block_bytes).max(1);
        let run = self.blocks[start..].iter().take(most);
        let count = run.take_while(|known| is_written(known)).count();
        let blocks = u32::try_from(count).unwrap_or(u32::MAX);
        let request = Request {
            direction: Direction::Read,
            lba: self.first + start as u64,
            blocks,
            bytes: u32::try_from(count * self.block_bytes).unwrap_or(u32::MAX),
        };
        Some((request, start + count))
    }
}

fn stamp(block: &mut [u8], lba: u64, run: u64, generation: u32) {
    let end = block.len() - CRC_BYTES;
    block[..8].copy_from_slice(&MAGIC);
    block[8..16].copy_from_slice(&lba.to_le_bytes());
    block[16..24].copy_from_slice(&run.to_le_bytes());
    block[24..FILLER].copy_from_slice(&generation.to_le_bytes());
    let mut word = mix(lba ^ run.rotate_left(17) ^ u64::from(generation));
    for piece in block[FILLER..end].chunks_mut(8) {
        piece.copy_from_slice(&word.to_le_bytes()[..piece.len()]);
        word = word.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
    }
    let crc = crc32c(&block[..end]);
    block[end..].copy_from_slice(&crc.to_le_bytes());
}

/// Judges one block; `expected` is the run and generation that it must bear, if they are known.
fn judge(
    block: &[u8],
    lba: u64,
    expected: Option<(u64, u32)>,
    strictness: Strictness,
) -> Result<(), Mismatch> {
    let number = |at: usize| {
        let bytes = block[at..].first_chunk().copied().unwrap_or_default();
        u64::from_le_bytes(bytes)
    };
    if block[..8] != MAGIC {
        let may_be_bare = expected.is_none() && strictness == Strictness::Lenient;
        return if may_be_bare {
            Ok(())
        } else {
            Err(Mismatch::NoStamp)
        };
    }
    let (content, crc) = block.split_at(block.len() - CRC_BYTES);
    if crc32c(content).to_le_bytes() != crc {
        return Err(Mismatch::Checksum);
    }
    if number(8) != lba {
        return Err(Mismatch::WrongAddress);
    }
    match expected {
        Some((run, generation))
            if number(16) != run || block[24..FILLER] != generation.to_le_bytes() =>
        {
            Err(Mismatch::WrongGeneration)
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const REGION: Region = Region {
        start: 1024,
        bytes: 64 << 10,
    };

    fn request(direction: Direction, lba: u64, blocks: u32) -> Request {
        Request {
            direction,
            lba,
            blocks,
            bytes: blocks * 512,
        }
    }

    fn stamps() -> Stamps {
        Stamps::new(7, Strictness::Lenient, REGION, 512)
    }

    fn write(stamps: &mut Stamps, lba: u64, blocks: u32) -> Vec<u8> {
        let write = request(Direction::Write, lba, blocks);
        let mut data = vec![0; write.bytes as usize];
        assert!(stamps.claim(&write));
        stamps.stamp(&write, &mut data);
        stamps.written(&write);
        data
    }

    fn read(stamps: &mut Stamps, lba: u64, data: &[u8]) -> Result<(), Mismatch> {
        let blocks = u32::try_from(data.len() / 512).unwrap();
        let read = request(Direction::Read, lba, blocks);
        assert!(stamps.claim(&read));
        stamps.judge(&read, data).map_err(|wrong| wrong.mismatch)
    }

    #[test]
    fn what_was_written_is_right_and_nothing_else() {
        let mut stamps = stamps();
        let old = write(&mut stamps, 2, 4);
        assert_eq!(read(&mut stamps, 2, &old), Ok(()));
        let new = write(&mut stamps, 2, 4);
        assert_eq!(read(&mut stamps, 2, &new), Ok(()));
        assert_eq!(read(&mut stamps, 2, &old), Err(Mismatch::WrongGeneration));
        assert_eq!(read(&mut stamps, 2, &[0; 2048]), Err(Mismatch::NoStamp));
        let mut moved = new.clone();
        moved.rotate_left(512);
        assert_eq!(read(&mut stamps, 2, &moved), Err(Mismatch::WrongAddress));
        for at in [8, 20, 27, 100, 511] {
            let mut torn = new.clone();
            torn[at] ^= 1;
            assert_eq!(read(&mut stamps, 2, &torn), Err(Mismatch::Checksum), "{at}");
        }
    }

    #[test]
    fn unknown_blocks_may_be_anything_but_a_broken_stamp() {
        let data = write(&mut stamps(), 2, 1);
        let mut fresh = stamps();
        assert_eq!(read(&mut fresh, 2, &[9; 512]), Ok(()));
        assert_eq!(read(&mut fresh, 2, &data), Ok(()), "of another run");
        assert_eq!(read(&mut fresh, 3, &data), Err(Mismatch::WrongAddress));
        let mut strict = Stamps::new(8, Strictness::Strict, REGION, 512);
        assert_eq!(read(&mut strict, 2, &data), Ok(()));
        assert_eq!(read(&mut strict, 2, &[9; 512]), Err(Mismatch::NoStamp));
    }

    #[test]
    fn overlapping_requests_wait() {
        let mut stamps = stamps();
        let (read, write) = (
            request(Direction::Read, 2, 4),
            request(Direction::Write, 5, 4),
        );
        assert!(stamps.claim(&read) && stamps.claim(&read));
        assert!(!stamps.claim(&write));
        stamps.failed(&read);
        stamps.failed(&read);
        assert!(stamps.claim(&write) && !stamps.claim(&write) && !stamps.claim(&read));
        stamps.failed(&write);
        assert!(stamps.claim(&read));
        assert_eq!(
            stamps.next_written(0, 4096),
            None,
            "nobody knows what it is"
        );
    }

    #[test]
    fn what_was_written_is_found_again() {
        let mut stamps = stamps();
        write(&mut stamps, 4, 3);
        write(&mut stamps, 20, 1);
        let mut found = Vec::new();
        let mut from = 0;
        while let Some((request, next)) = stamps.next_written(from, 1024) {
            found.push((request.lba, request.blocks));
            from = next;
        }
        assert_eq!(found, [(4, 2), (6, 1), (20, 1)]);
    }
}
