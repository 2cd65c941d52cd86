//! How long PREEMPT takes, over a real socket, while the nodes that it fences have writes in flight.
//!
//! `cargo bench --bench preempt` prints percentiles for none, 32 and 1024 writes, on a volume in RAM and
//! on one that holds each write for 2 ms: the fence waits for those that have been issued, and what has
//! not been issued yet is refused. `-- --json` prints them for programs; `-- --rounds N` sets how many
//! PREEMPTs each line is made of.

mod rounds;
#[path = "../tests/support/mod.rs"]
mod support;

use hdrhistogram::Histogram;
use holdfast::base::clock::Instant;
use rounds::Options;
use serde_json::json;
use support::initiator::{Command, Initiator};
use support::reserve::kind;
use support::scsi::{pattern, write16};
use support::server::{Engine, Server, Setup, Volume};

const ROUNDS: u32 = 200;
const IN_FLIGHT: [u32; 3] = [0, 32, 1024];
const DELAY: &str = "2ms";
const REACTORS: usize = 2;
/// Commands that one session may have outstanding.
const WINDOW: u32 = 128;
const BLOCKS: u32 = 8;
/// The key of the node that preempts, and that of all others.
const KEEPER: u64 = 0xa;
const VICTIM: u64 = 0xb;

/// The PREEMPTs of one line.
struct Line {
    volume: &'static str,
    in_flight: u32,
    /// From the command to its status, in microseconds.
    taken_us: Histogram<u64>,
    /// Writes that ended in RESERVATION CONFLICT, of all that were sent.
    refused: u64,
}

fn main() {
    let options = Options::of_process(ROUNDS);
    let server = Setup::new(Engine::Auto, REACTORS, "ram").start();
    let quick = server.create_small("quick");
    server.text(&[
        "volume",
        "create",
        "slow",
        "--size",
        "64MiB",
        "--backend",
        "ram",
        "--delay",
        DELAY,
    ]);
    let slow = server.volume("slow");
    let mut lines = Vec::new();
    for (name, volume) in [("ram", &quick), ("ram, 2 ms a write", &slow)] {
        for in_flight in IN_FLIGHT {
            lines.push(measure(&server, volume, name, in_flight, options.rounds));
        }
    }
    if options.json {
        let lines: Vec<_> = lines.iter().map(Line::to_json).collect();
        println!("{}", json!({ "rounds": options.rounds, "preempt": lines }));
    } else {
        print(&lines, options.rounds);
    }
}

/// Preempts the sessions that have `in_flight` writes outstanding together, again and again.
fn measure(
    server: &Server,
    volume: &Volume,
    name: &'static str,
    in_flight: u32,
    rounds: u32,
) -> Line {
    let mut keeper = server.session(volume, "keeper");
    keeper.register_and_ignore(KEEPER).good();
    keeper.reserve(kind::WE_RO, KEEPER).good();
    let sessions = u16::try_from(in_flight.div_ceil(WINDOW).max(1)).expect("few sessions");
    let mut victims: Vec<Initiator> = (0..sessions)
        .map(|number| server.login(volume, "victim").isid(number).connect())
        .collect();
    let mut line = Line {
        volume: name,
        in_flight,
        taken_us: Histogram::new(3).expect("three digits are possible"),
        refused: 0,
    };
    for _ in 0..rounds {
        for victim in &mut victims {
            victim.take_attentions();
            victim.register_and_ignore(VICTIM).good();
        }
        let writes = send_writes(&mut victims, in_flight);
        let start = Instant::now();
        keeper.preempt(kind::WE_RO, KEEPER, VICTIM).good();
        let taken = Instant::now().since(start).as_micros();
        let taken = u64::try_from(taken).expect("microseconds fit");
        line.taken_us.record(taken).expect("the histogram grows");
        line.refused += refused(&mut victims, writes);
    }
    for victim in victims {
        victim.logout();
    }
    keeper.clear(KEEPER).good();
    keeper.logout();
    line
}

/// Sends that many writes, dealt out over the sessions; their tags, session by session.
fn send_writes(victims: &mut [Initiator], count: u32) -> Vec<(usize, u32)> {
    let data = pattern(1, BLOCKS as usize);
    (0..count)
        .map(|number| {
            let session = (number / WINDOW) as usize;
            let cdb = write16(u64::from(number * BLOCKS), BLOCKS);
            let tag = victims[session].submit(&Command::write(&cdb, &data));
            (session, tag.expect("the command is sent"))
        })
        .collect()
}

/// Takes the statuses of all; how many are RESERVATION CONFLICT.
fn refused(victims: &mut [Initiator], writes: Vec<(usize, u32)>) -> u64 {
    let statuses = writes.into_iter().map(|(session, tag)| {
        let outcome = victims[session].complete(tag).expect("a status");
        u64::from(outcome.is_conflict())
    });
    statuses.sum()
}

impl Line {
    fn at(&self, quantile: f64) -> u64 {
        self.taken_us.value_at_quantile(quantile)
    }

    /// The share of writes that were refused.
    fn refused_share(&self) -> f64 {
        let sent = u64::from(self.in_flight) * self.taken_us.len();
        self.refused as f64 / sent.max(1) as f64
    }

    fn to_json(&self) -> serde_json::Value {
        json!({
            "volume": self.volume,
            "in_flight": self.in_flight,
            "p50_us": self.at(0.5),
            "p99_us": self.at(0.99),
            "max_us": self.taken_us.max(),
            "refused": self.refused_share(),
        })
    }
}

fn print(lines: &[Line], rounds: u32) {
    println!("PREEMPT, microseconds of {rounds} each");
    println!(
        "{:<18} {:>9} {:>8} {:>8} {:>8} {:>9}",
        "volume", "in flight", "p50", "p99", "max", "refused"
    );
    for line in lines {
        println!(
            "{:<18} {:>9} {:>8} {:>8} {:>8} {:>8.0}%",
            line.volume,
            line.in_flight,
            line.at(0.5),
            line.at(0.99),
            line.taken_us.max(),
            line.refused_share() * 100.0
        );
    }
}
