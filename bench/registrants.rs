//! IOPS of a volume with 1024 registrants against one with none, on one running server.
//!
//! `cargo bench --bench registrants` alternates reads of 4 KiB at depth 32 on two null volumes, beside
//! an A/A control. A ratio near the control's says that registrants cost an I/O nothing.

mod pairs;
#[path = "../tests/support/mod.rs"]
mod support;

use support::initiator::{Command, Initiator};
use support::reserve::kind;
use support::scsi::read16;
use support::server::{Engine, Server, Setup, Volume};

const REGISTRANTS: u16 = 1024;
const DEPTH: usize = 32;
const BLOCKS: u32 = 8;
const READ_BYTES: usize = 4096;

fn main() {
    let server = Setup::new(Engine::Mio, 1, "null").start();
    let [none, also_none, many] =
        ["none", "also-none", "many"].map(|name| server.create_small(name));
    register_many(&server, &many);
    let [mut none, mut also_none, mut many] =
        [none, also_none, many].map(|volume| server.session(&volume, "node"));
    let control = pairs::compare(|| read_batch(&mut none), || read_batch(&mut also_none));
    let registrants = pairs::compare(|| read_batch(&mut none), || read_batch(&mut many));
    println!("reads of 4 KiB, ns              A       B   B/A");
    for (what, result) in [
        ("none / none (control)", control),
        ("none / 1024 registrants", registrants),
    ] {
        println!(
            "{what:<26} {:>6.0}  {:>6.0}  {:>4.2}",
            result.a_ns, result.b_ns, result.ratio
        );
    }
}

/// Registers 1024 nexuses, one session after the other, and reserves for registrants.
fn register_many(server: &Server, volume: &Volume) {
    for index in 0..REGISTRANTS - 1 {
        let mut session = server.login(volume, "other").isid(index).connect();
        session.take_attentions();
        session.register(0, 1).good();
        session.logout();
    }
    let mut session = server.session(volume, "node");
    session.register(0, 2).good();
    session.reserve(kind::EA_RO, 2).good();
    session.logout();
}

fn read_batch(session: &mut Initiator) -> u64 {
    let command = Command::read(&read16(0, BLOCKS), READ_BYTES);
    let tags: Vec<u32> = (0..DEPTH)
        .map(|_| session.submit(&command).expect("the command is sent"))
        .collect();
    for tag in tags {
        assert!(session.complete(tag).expect("an answer").is_good());
    }
    DEPTH as u64
}
