//! How long initiators wait while `holdfast upgrade` puts another process in the server's place.
//!
//! `cargo bench --bench upgrade` prints the pause as the server tells it, and as an initiator at depth 1
//! sees it that writes and reads back all the time and compares: the longest that one command took. More
//! volumes make the catalogue and the files that are opened more, more sessions what is handed over.
//! `-- --json` prints the same for programs; `-- --rounds N` sets how many upgrades each line is made of.

mod rounds;
#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use hdrhistogram::Histogram;
use holdfast::base::clock::Instant;
use rounds::Options;
use serde_json::{Value, json};
use support::initiator::Initiator;
use support::scsi::pattern;
use support::server::{Engine, Server, Setup};

const ROUNDS: u32 = 20;
const REACTORS: usize = 2;
/// Volumes, and sessions over all of them.
const SHAPES: [(usize, usize); 4] = [(1, 1), (1, 128), (64, 64), (256, 256)];
const BLOCKS: usize = 8;
/// How long the load runs before the first upgrade and between two.
const SETTLE: u64 = 200;

/// The upgrades of one line, in microseconds.
struct Line {
    volumes: usize,
    sessions: usize,
    /// From the first command that has to wait to the word that the other process serves.
    told: Histogram<u64>,
    /// The longest that a command of the load took.
    seen: Histogram<u64>,
    /// Commands of the load.
    commands: u64,
}

fn main() {
    let options = Options::of_process(ROUNDS);
    let lines: Vec<_> = SHAPES
        .into_iter()
        .map(|(volumes, sessions)| measure(volumes, sessions, options.rounds))
        .collect();
    if options.json {
        let lines: Vec<_> = lines.iter().map(Line::to_json).collect();
        println!("{}", json!({ "rounds": options.rounds, "upgrade": lines }));
    } else {
        print(&lines, options.rounds);
    }
}

fn measure(volumes: usize, sessions: usize, rounds: u32) -> Line {
    let mut server = Setup::new(Engine::Auto, REACTORS, "file").start();
    // The first start has made one.
    let names: Vec<String> = (1..=volumes).map(|n| format!("volume-{n}")).collect();
    for name in names.iter().skip(1) {
        server.text(&["volume", "create", name, "--size", "64MiB"]);
    }
    let mut idle: Vec<Initiator> = (1..sessions)
        .map(|number| {
            let volume = server.volume(&names[number % volumes]);
            let isid = u16::try_from(number).expect("few sessions");
            server.login(&volume, "idle").isid(isid).connect()
        })
        .collect();
    let busy = server.session(&server.volume(&names[0]), "busy");
    let mut line = Line {
        volumes,
        sessions,
        told: histogram(),
        seen: histogram(),
        commands: 0,
    };
    let load = Load::default();
    std::thread::scope(|scope| {
        let running = scope.spawn(|| load.run(busy));
        load.wait_for(SETTLE);
        for _ in 0..rounds {
            load.longest_us.store(0, Ordering::Relaxed);
            let told = server.upgrade(&[]);
            record(&mut line.told, pause_us(&told));
            load.wait_for(SETTLE);
            record(&mut line.seen, load.longest_us.load(Ordering::Relaxed));
        }
        load.stop.store(true, Ordering::Relaxed);
        running
            .join()
            .expect("nothing was lost, and nobody was cut off");
    });
    line.commands = load.commands.load(Ordering::Relaxed);
    for session in &mut idle {
        session.ping(b"still there").expect("it is still logged in");
    }
    end(server, idle);
    line
}

fn end(server: Server, idle: Vec<Initiator>) {
    idle.into_iter().for_each(Initiator::logout);
    server.stop();
}

fn pause_us(told: &Value) -> u64 {
    told["pause_us"].as_u64().expect("it tells the pause")
}

/// One session that writes and reads back.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    commands: AtomicU64,
    longest_us: AtomicU64,
}

impl Load {
    fn run(&self, mut session: Initiator) {
        for round in 0.. {
            if self.stop.load(Ordering::Relaxed) {
                return session.logout();
            }
            let (lba, data) = (round * BLOCKS as u64 % 1024, pattern(round, BLOCKS));
            self.time(|| drop(session.write_blocks(lba, &data).good()));
            self.time(|| {
                let read = session.read_blocks(lba, BLOCKS);
                assert!(read.good() == data, "block {lba}, round {round}");
            });
        }
    }

    fn time(&self, command: impl FnOnce()) {
        let began = Instant::now();
        command();
        let took = Instant::now().since(began).as_micros();
        let took = u64::try_from(took).expect("microseconds fit");
        self.longest_us.fetch_max(took, Ordering::Relaxed);
        self.commands.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for that many more commands.
    fn wait_for(&self, more: u64) {
        let until = self.commands.load(Ordering::Relaxed) + more;
        while self.commands.load(Ordering::Relaxed) < until {
            std::thread::park_timeout(Duration::from_millis(1));
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new(3).expect("three digits are possible")
}

fn record(histogram: &mut Histogram<u64>, us: u64) {
    histogram.record(us).expect("the histogram grows");
}

impl Line {
    fn to_json(&self) -> Value {
        let of = |taken: &Histogram<u64>| json!({ "p50": taken.value_at_quantile(0.5), "max": taken.max() });
        json!({
            "volumes": self.volumes,
            "sessions": self.sessions,
            "pause_us": of(&self.told),
            "longest_command_us": of(&self.seen),
            "commands": self.commands,
        })
    }
}

fn print(lines: &[Line], rounds: u32) {
    println!(
        "{rounds} upgrades for each line, in milliseconds; {REACTORS} reactors, volumes in files"
    );
    println!(
        "volumes  sessions  pause: p50     max  longest command: p50     max  commands compared"
    );
    for line in lines {
        let ms = |us: u64| Duration::from_micros(us).as_secs_f64() * 1e3;
        println!(
            "{:7}  {:8}  {:10.1}  {:6.1}  {:20.1}  {:6.1}  {:17}",
            line.volumes,
            line.sessions,
            ms(line.told.value_at_quantile(0.5)),
            ms(line.told.max()),
            ms(line.seen.value_at_quantile(0.5)),
            ms(line.seen.max()),
            line.commands
        );
    }
}
