//! Reads of memory that are sent from where they lie: what they say is what stood there at their turn,
//! whatever comes behind them and however slowly they are taken.

mod support;

use support::initiator::{Attribute, Command, Initiator};
use support::scsi::{BLOCK, pattern, read16, write16};
use support::server::Setup;

on_every_engine!(
    what_follows_a_read_does_not_change_it,
    a_read_is_old_or_new_however_slowly_it_is_taken,
    reads_of_all_lengths_are_whole,
);

/// Blocks of one command in these tests.
const BLOCKS: usize = 8;

fn read(lba: u64, blocks: usize) -> Command {
    let count = u32::try_from(blocks).expect("a count");
    Command::read(&read16(lba, count), blocks * BLOCK)
}

fn write(lba: u64, data: &[u8]) -> Command {
    let count = u32::try_from(data.len() / BLOCK).expect("a count");
    Command::write(&write16(lba, count), data)
}

/// READs and WRITEs of the same blocks, in one burst. They are carried out in their order.
fn what_follows_a_read_does_not_change_it(setup: Setup) {
    let server = setup.start();
    let volume = server.create_small("disk");
    let mut session = server.session(&volume, "one");
    for round in 0..20 {
        let generations: Vec<_> = (0..6).map(|g| pattern(100 * round + g, BLOCKS)).collect();
        session.write_blocks(0, &generations[0]).good();
        let mut commands = vec![read(0, BLOCKS)];
        for (number, data) in generations.iter().enumerate().skip(1) {
            // Some go a longer way.
            let attribute = match number {
                2 => Attribute::HeadOfQueue,
                4 => Attribute::Ordered,
                _ => Attribute::Simple,
            };
            let write = write(0, data).attribute(attribute);
            commands.extend([write, read(0, BLOCKS), read(0, 1)]);
        }
        let tags = session.submit_together(&commands).expect("a burst");
        let mut answers = Vec::new();
        for (tag, command) in tags.into_iter().zip(&commands) {
            let data = session.complete(tag).expect("an answer").good();
            if command.data_out.is_empty() {
                answers.push(data);
            }
        }
        let first = std::iter::once(generations[0].clone());
        let others = generations[1..]
            .iter()
            .flat_map(|data| [data.clone(), data[..BLOCK].to_vec()]);
        let expected: Vec<_> = first.chain(others).collect();
        assert!(
            answers == expected,
            "round {round}: each READ finds what was written before it"
        );
    }
}

/// An initiator asks for much more than the sockets between hold, and takes nothing. Another one
/// overwrites all of it. Then the first one takes its answers.
fn a_read_is_old_or_new_however_slowly_it_is_taken(setup: Setup) {
    const LONG: usize = 128;
    const READS: u64 = 100;
    let server = setup.start();
    let volume = server.create("disk", "16MiB");
    let mut slow = server.session(&volume, "slow");
    let mut quick = server.session(&volume, "quick");
    let versions = [vec![0xa1; LONG * BLOCK], vec![0xb2; LONG * BLOCK]];
    let fill = |session: &mut Initiator, data: &[u8]| {
        for number in 0..READS {
            session.write_blocks(number * LONG as u64, data).good();
        }
    };
    fill(&mut quick, &versions[0]);
    let commands: Vec<_> = (0..READS)
        .map(|number| read(number * LONG as u64, LONG))
        .collect();
    let tags = slow.submit_together(&commands).expect("a burst");
    fill(&mut quick, &versions[1]);
    let (mut old, mut new) = (0, 0);
    for (number, tag) in tags.into_iter().enumerate() {
        let data = slow.complete(tag).expect("an answer").good();
        if data == versions[0] {
            old += 1;
        } else {
            assert!(data == versions[1], "READ {number} is neither old nor new");
            new += 1;
        }
    }
    assert!(
        old > 0,
        "none of {new} was carried out before it was overwritten"
    );
    slow.logout();
}

/// From a block to more than a PDU holds, and with several in a burst.
fn reads_of_all_lengths_are_whole(setup: Setup) {
    const ALL: usize = 2048;
    let server = setup.start();
    let volume = server.create("disk", "16MiB");
    let mut session = server.session(&volume, "one");
    let data = pattern(9, ALL);
    for (number, part) in data.chunks(256 * BLOCK).enumerate() {
        session.write_blocks(number as u64 * 256, part).good();
    }
    let lengths = [1, 7, 8, 31, 32, 33, 64, 128, 500, 512, 513, 1024, 2048];
    for digests in ["None", "CRC32C"] {
        let mut session = server
            .login(&volume, "two")
            .digests(digests, digests)
            .connect();
        session.take_attentions();
        let commands: Vec<_> = lengths
            .iter()
            .enumerate()
            .map(|(number, blocks)| read(((ALL - blocks) * number / lengths.len()) as u64, *blocks))
            .collect();
        let tags = session.submit_together(&commands).expect("a burst");
        for ((number, blocks), tag) in lengths.iter().enumerate().zip(tags) {
            let start = (ALL - blocks) * number / lengths.len() * BLOCK;
            let read = session.complete(tag).expect("an answer").good();
            let expected = &data[start..start + blocks * BLOCK];
            assert!(read == expected, "{blocks} blocks, digests {digests}");
        }
    }
}
