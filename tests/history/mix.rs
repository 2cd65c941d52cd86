//! What the writers send: every kind of command that changes the medium, at random.

use std::ops::Range;

use super::area;
use super::copies::Copy;
use super::lots::Lots;
use super::record::{Nexus, Pattern};
use super::stamp::Stamp;
use super::support::initiator::{Attribute, Command};
use super::support::scsi::{
    BLOCK, compare_and_write, read16, synchronize_cache10, unmap, unmap_list, write_and_verify10,
    write_atomic16, write_same16, write10, write16, write16_fua,
};

pub(crate) const BLOCKS_MAX: u64 = 16;
const LONG_BLOCKS_MAX: u64 = 48;
/// An atomic write of that many blocks fits one physical block of every backend.
const ATOMIC_BLOCKS: u64 = 8;

/// A command to be sent.
pub(crate) struct Draft {
    pub(crate) name: &'static str,
    pub(crate) command: Command,
    pub(crate) blocks: Range<u64>,
    pub(crate) kind: Kind,
}

/// What a command is to the record.
pub(crate) enum Kind {
    Write {
        pattern: Pattern,
        /// See [`Write::single`](super::record::Write::single).
        single: bool,
        /// COMPARE AND WRITE ends GOOD only if this was there.
        compared: Option<Vec<u8>>,
    },
    Read,
    /// A step of a copy that is not the last one: it changes nothing under judgement.
    Step(Copy),
    /// It leaves the medium as it is and tells nothing of it.
    Other,
}

/// A block as it was read a while ago, for COMPARE AND WRITE.
pub(crate) type Seen = Option<(u64, Vec<u8>)>;

/// The next command of a nexus; a write of it would have this sequence number. It may begin a copy if
/// none is under way.
pub(crate) fn draw(
    lots: &mut Lots,
    nexus: Nexus,
    sequence: u32,
    seen: &mut Seen,
    may_copy: bool,
) -> Draft {
    let stamps = Stamps { nexus, sequence };
    let mut draft = match lots.below(100) {
        0..10 if may_copy => Copy::begin(lots, nexus, sequence),
        0..27 => write_16(lots, stamps),
        27..47 => write_10(lots, stamps),
        47..53 => write_fua(lots, stamps),
        53..60 => write_and_verify(lots, stamps),
        60..68 => write_same(lots, stamps),
        68..72 => write_same_of_zeros(lots),
        72..77 => unmap_some(lots),
        77..85 => match seen.take() {
            Some((lba, found)) => compare_and_swap(lba, found, stamps),
            None => read_some(lots, 1),
        },
        85..91 => write_atomically(lots, stamps),
        91..98 => read_some(lots, BLOCKS_MAX),
        _ => synchronize_cache(),
    };
    draft.command.attribute = some_attribute(lots);
    draft
}

pub(crate) fn some_attribute(lots: &mut Lots) -> Attribute {
    match lots.below(16) {
        0 => Attribute::Ordered,
        1 | 2 => Attribute::HeadOfQueue,
        3 => Attribute::Untagged,
        _ => Attribute::Simple,
    }
}

/// A READ of blocks.
pub(crate) fn read(blocks: Range<u64>) -> Draft {
    let bytes = usize_of(blocks.end - blocks.start) * BLOCK;
    Draft {
        name: "READ (16)",
        command: Command::read(&read16(blocks.start, count(&blocks)), bytes),
        blocks,
        kind: Kind::Read,
    }
}

/// A WRITE of stamps.
pub(crate) fn write(blocks: Range<u64>, nexus: Nexus, sequence: u32) -> Draft {
    let cdb = write16(blocks.start, count(&blocks));
    stamped("WRITE (16)", &cdb, blocks, Stamps { nexus, sequence })
}

#[derive(Clone, Copy)]
pub(crate) struct Stamps {
    pub(crate) nexus: Nexus,
    pub(crate) sequence: u32,
}

impl Stamps {
    fn at(self, lba: u64) -> Vec<u8> {
        let Self { nexus, sequence } = self;
        Stamp {
            nexus,
            sequence,
            lba,
        }
        .block()
    }

    pub(crate) fn over(self, blocks: Range<u64>) -> Vec<u8> {
        blocks.flat_map(|lba| self.at(lba)).collect()
    }
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("a small number")
}

pub(crate) fn count(blocks: &Range<u64>) -> u32 {
    u32::try_from(blocks.end - blocks.start).expect("few blocks")
}

fn short(blocks: &Range<u64>) -> (u32, u16) {
    let lba = u32::try_from(blocks.start).expect("a small volume");
    let blocks = u16::try_from(blocks.end - blocks.start).expect("few blocks");
    (lba, blocks)
}

fn stamped(name: &'static str, cdb: &[u8], blocks: Range<u64>, stamps: Stamps) -> Draft {
    let command = Command::write(cdb, &stamps.over(blocks.clone()));
    changing(name, command, blocks, Pattern::Each, true)
}

pub(crate) fn changing(
    name: &'static str,
    command: Command,
    blocks: Range<u64>,
    pattern: Pattern,
    single: bool,
) -> Draft {
    let kind = Kind::Write {
        pattern,
        single,
        compared: None,
    };
    Draft {
        name,
        command,
        blocks,
        kind,
    }
}

fn some_length(lots: &mut Lots) -> u64 {
    if lots.one_in(6) {
        LONG_BLOCKS_MAX
    } else {
        BLOCKS_MAX
    }
}

fn write_16(lots: &mut Lots, stamps: Stamps) -> Draft {
    let blocks_max = some_length(lots);
    let blocks = area::some_blocks(lots, blocks_max);
    write(blocks, stamps.nexus, stamps.sequence)
}

fn write_10(lots: &mut Lots, stamps: Stamps) -> Draft {
    let blocks = area::some_blocks(lots, BLOCKS_MAX);
    let (lba, count) = short(&blocks);
    stamped("WRITE (10)", &write10(lba, count), blocks, stamps)
}

fn write_fua(lots: &mut Lots, stamps: Stamps) -> Draft {
    let blocks = area::some_blocks(lots, BLOCKS_MAX);
    let cdb = write16_fua(blocks.start, count(&blocks));
    stamped("WRITE (16) with FUA", &cdb, blocks, stamps)
}

fn write_and_verify(lots: &mut Lots, stamps: Stamps) -> Draft {
    let blocks = area::some_blocks(lots, BLOCKS_MAX);
    let (lba, count) = short(&blocks);
    let command = Command::write(
        &write_and_verify10(lba, count),
        &stamps.over(blocks.clone()),
    );
    changing("WRITE AND VERIFY", command, blocks, Pattern::Each, false)
}

fn write_same(lots: &mut Lots, stamps: Stamps) -> Draft {
    let blocks = area::some_blocks(lots, LONG_BLOCKS_MAX);
    let cdb = write_same16(blocks.start, count(&blocks), false);
    let command = Command::write(&cdb, &stamps.at(blocks.start));
    changing("WRITE SAME", command, blocks, Pattern::Same, false)
}

fn write_same_of_zeros(lots: &mut Lots) -> Draft {
    let blocks = area::some_blocks(lots, LONG_BLOCKS_MAX);
    let cdb = write_same16(blocks.start, count(&blocks), true);
    let command = Command::write(&cdb, &[0; BLOCK]);
    changing(
        "WRITE SAME with UNMAP",
        command,
        blocks,
        Pattern::Zeros,
        false,
    )
}

fn unmap_some(lots: &mut Lots) -> Draft {
    let blocks = area::some_blocks(lots, LONG_BLOCKS_MAX);
    let list = unmap_list(blocks.start, count(&blocks));
    let length = u16::try_from(list.len()).expect("one descriptor");
    let command = Command::write(&unmap(length), &list);
    changing("UNMAP", command, blocks, Pattern::Zeros, false)
}

fn compare_and_swap(lba: u64, found: Vec<u8>, stamps: Stamps) -> Draft {
    let data = [found.clone(), stamps.at(lba)].concat();
    let command = Command::write(&compare_and_write(lba, 1), &data);
    let name = "COMPARE AND WRITE";
    let mut draft = changing(name, command, lba..lba + 1, Pattern::Each, true);
    if let Kind::Write { compared, .. } = &mut draft.kind {
        *compared = Some(found);
    }
    draft
}

fn write_atomically(lots: &mut Lots, stamps: Stamps) -> Draft {
    let blocks = area::some_aligned_blocks(lots, ATOMIC_BLOCKS);
    let cdb = write_atomic16(blocks.start, short(&blocks).1);
    stamped("WRITE ATOMIC", &cdb, blocks, stamps)
}

fn read_some(lots: &mut Lots, blocks_max: u64) -> Draft {
    read(area::some_blocks(lots, blocks_max))
}

fn synchronize_cache() -> Draft {
    Draft {
        name: "SYNCHRONIZE CACHE",
        command: Command::none(&synchronize_cache10()),
        blocks: 0..0,
        kind: Kind::Other,
    }
}
