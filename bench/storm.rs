//! What a storm of reservation changes on one volume does to the reads of other volumes.
//!
//! `cargo bench --bench storm` alternates bursts of reads without and with the storm: 1,000 successful
//! PERSISTENT RESERVE OUT commands a second (REGISTER, RESERVE, PREEMPT, RELEASE and unregistering, by
//! two nodes in turn) on a volume of its own, without and with APTPL, whose changes are durable before
//! each GOOD. Beside them stand a control, the same bursts with nothing in either, and as many commands
//! that change nothing, which tell what the load of the storm's own node costs on a small machine. The
//! target: p99.9 of the reads within 1.1 times the one without the storm, as far as the control stays
//! there itself.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use clap::{Parser, ValueEnum};
use hdrhistogram::Histogram;
use holdfast::base::clock::Instant;
use serde_json::{Value, json};
use support::initiator::{Command, Initiator};
use support::reserve::{flag, kind};
use support::scsi::{read16, test_unit_ready};
use support::server::{Engine, Server, Setup};

const READ_BLOCKS: u32 = 8;
const READ_BYTES: usize = 4096;
/// The keys of the two nodes that make the storm.
const A: u64 = 0xaaaa;
const B: u64 = 0xbbbb;
/// Significant digits of a recorded latency.
const DIGITS: u8 = 3;
const QUANTILES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// Reads on some volumes while the reservations of another one change.
#[derive(Parser)]
struct Options {
    /// Pairs of bursts for each comparison.
    #[arg(long, default_value_t = 10)]
    pairs: usize,
    /// Length of a burst, in milliseconds.
    #[arg(long, default_value_t = 1000)]
    burst_ms: u64,
    /// Reservation changes a second.
    #[arg(long, default_value_t = 1000)]
    rate: u32,
    /// Volumes that are read, each by one session at depth 1.
    #[arg(long, default_value_t = 2)]
    readers: usize,
    /// Reactors of the server.
    #[arg(long, default_value_t = 2)]
    reactors: usize,
    /// Socket engine of the server.
    #[arg(long, default_value = "auto")]
    engine: SocketEngine,
    /// Backend of all volumes.
    #[arg(long, default_value = "null")]
    backend: String,
    /// One JSON document instead of a table.
    #[arg(long)]
    json: bool,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum SocketEngine {
    Auto,
    Uring,
    Mio,
}

/// What runs in every other burst.
#[derive(Clone, Copy)]
enum Disturbance {
    Nothing,
    /// As many commands that change nothing: what the load alone costs, on both sides.
    Commands,
    /// The storm, with this byte 20 in its registrations.
    Storm {
        flags: u8,
    },
}

const COMPARISONS: [(&str, Disturbance); 4] = [
    ("control", Disturbance::Nothing),
    ("TEST UNIT READY", Disturbance::Commands),
    ("storm", Disturbance::Storm { flags: 0 }),
    ("storm, APTPL", Disturbance::Storm { flags: flag::APTPL }),
];

/// Latencies of reads in nanoseconds.
type Latencies = Histogram<u64>;

struct Comparison {
    name: &'static str,
    quiet: Latencies,
    disturbed: Latencies,
    /// Successful commands of the disturbance, and how long they were sent.
    sent: u64,
    spent: Duration,
}

impl Comparison {
    fn ratio(&self, quantile: f64) -> f64 {
        let at = |latencies: &Latencies| latencies.value_at_quantile(quantile) as f64;
        at(&self.disturbed) / at(&self.quiet)
    }

    fn sent_per_second(&self) -> f64 {
        match self.spent.as_secs_f64() {
            0.0 => 0.0,
            seconds => self.sent as f64 / seconds,
        }
    }

    fn to_json(&self) -> Value {
        let microseconds = |latencies: &Latencies| -> Value {
            let at = |quantile| latencies.value_at_quantile(quantile) as f64 / 1e3;
            QUANTILES
                .map(|(name, quantile)| (name, at(quantile)))
                .into_iter()
                .collect()
        };
        let ratios: Value = QUANTILES
            .map(|(name, quantile)| (name, self.ratio(quantile)))
            .into_iter()
            .collect();
        json!({
            "comparison": self.name,
            "commands_per_second": self.sent_per_second(),
            "reads": [self.quiet.len(), self.disturbed.len()],
            "quiet_microseconds": microseconds(&self.quiet),
            "disturbed_microseconds": microseconds(&self.disturbed),
            "ratios": ratios,
        })
    }
}

fn main() {
    let options = Options::parse();
    let engine = match options.engine {
        SocketEngine::Auto => Engine::Auto,
        SocketEngine::Uring => Engine::Uring,
        SocketEngine::Mio => Engine::Mio,
    };
    let backend: &'static str = String::leak(options.backend.clone());
    let server = Setup::new(engine, options.reactors, backend).start();
    let mut readers: Vec<Initiator> = (0..options.readers)
        .map(|index| {
            let volume = server.create_small(&format!("quiet{index}"));
            server.session(&volume, "reader")
        })
        .collect();
    let mut storm = Storm::new(&server, options.rate);
    let results: Vec<Comparison> = COMPARISONS
        .into_iter()
        .map(|(name, disturbance)| compare(name, disturbance, &options, &mut readers, &mut storm))
        .collect();
    if options.json {
        let all: Vec<Value> = results.iter().map(Comparison::to_json).collect();
        println!("{:#}", json!({ "rate": options.rate, "comparisons": all }));
    } else {
        print(&results);
    }
}

fn print(results: &[Comparison]) {
    println!(
        "reads of 4 KiB, us        p50            p99          p99.9     ratios of          commands/s"
    );
    println!(
        "                       quiet/with     quiet/with     quiet/with     p50   p99  p99.9"
    );
    for result in results {
        print!("{:<18}", result.name);
        for (_, quantile) in QUANTILES {
            let at = |latencies: &Latencies| latencies.value_at_quantile(quantile) as f64 / 1e3;
            print!(
                "  {:>6.1}/{:<6.1}",
                at(&result.quiet),
                at(&result.disturbed)
            );
        }
        for (_, quantile) in QUANTILES {
            print!("  {:>4.2}", result.ratio(quantile));
        }
        println!("  {:>8.0}", result.sent_per_second());
    }
}

fn compare(
    name: &'static str,
    disturbance: Disturbance,
    options: &Options,
    readers: &mut [Initiator],
    storm: &mut Storm,
) -> Comparison {
    let mut comparison = Comparison {
        name,
        quiet: latencies(),
        disturbed: latencies(),
        sent: 0,
        spent: Duration::ZERO,
    };
    let burst = Duration::from_millis(options.burst_ms);
    read_all(readers, burst); // to warm up
    for pair in 0..options.pairs {
        // Each is first in every other pair, so that an order effect cancels out.
        for is_disturbed in [pair % 2 == 1, pair % 2 == 0] {
            let side = match is_disturbed {
                true => &mut comparison.disturbed,
                false => &mut comparison.quiet,
            };
            if !is_disturbed || matches!(disturbance, Disturbance::Nothing) {
                side.add(read_all(readers, burst)).expect("same bounds");
                continue;
            }
            let stopped = AtomicBool::new(false);
            std::thread::scope(|scope| {
                let blowing = scope.spawn(|| storm.blow(disturbance, &stopped));
                side.add(read_all(readers, burst)).expect("same bounds");
                stopped.store(true, Ordering::Relaxed);
                let (sent, spent) = blowing.join().expect("the storm is answered");
                comparison.sent += sent;
                comparison.spent += spent;
            });
        }
    }
    comparison
}

fn latencies() -> Latencies {
    Latencies::new(DIGITS).expect("a number of digits that there is")
}

/// All readers at once, for one burst.
fn read_all(readers: &mut [Initiator], burst: Duration) -> Latencies {
    std::thread::scope(|scope| {
        let reading: Vec<_> = readers
            .iter_mut()
            .map(|reader| scope.spawn(|| read_for(reader, burst)))
            .collect();
        let mut all = latencies();
        for reads in reading {
            let reads = reads.join().expect("reads are answered");
            all.add(reads).expect("same bounds");
        }
        all
    })
}

fn read_for(reader: &mut Initiator, burst: Duration) -> Latencies {
    let command = Command::read(&read16(0, READ_BLOCKS), READ_BYTES);
    let mut latencies = latencies();
    let start = Instant::now();
    let mut before = start;
    while before.since(start) < burst {
        reader.run(&command).good();
        let after = Instant::now();
        let nanoseconds = u64::try_from(after.since(before).as_nanos());
        latencies
            .record(nanoseconds.expect("a latency fits"))
            .expect("the histogram grows by itself");
        before = after;
    }
    latencies
}

/// Two nodes that take one volume from each other.
struct Storm {
    a: Initiator,
    b: Initiator,
    interval: Duration,
}

impl Storm {
    fn new(server: &Server, rate: u32) -> Self {
        let volume = server.create_small("storm");
        let [a, b] = ["a", "b"].map(|name| server.session(&volume, name));
        let interval = Duration::from_secs(1) / rate.max(1);
        Self { a, b, interval }
    }

    /// Sends commands until it is stopped, and leaves no reservation behind. How many succeeded, and
    /// how long it took.
    fn blow(&mut self, disturbance: Disturbance, stopped: &AtomicBool) -> (u64, Duration) {
        let mut pace = Pace::new(self.interval);
        while !stopped.load(Ordering::Relaxed) {
            match disturbance {
                Disturbance::Nothing => break,
                Disturbance::Commands => {
                    pace.wait();
                    self.a.none(&test_unit_ready()).good();
                }
                Disturbance::Storm { flags } => self.change_hands(flags, &mut pace),
            }
        }
        (u64::from(pace.sent), Instant::now().since(pace.start))
    }

    /// One node takes the volume, the other takes it away and gives it up: six changes.
    fn change_hands(&mut self, flags: u8, pace: &mut Pace) {
        let Self { a, b, .. } = self;
        pace.wait();
        a.register_with(0, A, flags).good();
        pace.wait();
        a.reserve(kind::WE_RO, A).good();
        pace.wait();
        b.register_with(0, B, flags).good();
        pace.wait();
        b.preempt(kind::WE_RO, B, A).good();
        pace.wait();
        b.release(kind::WE_RO, B).good();
        pace.wait();
        b.register_with(B, 0, flags).good();
        a.take_attentions(); // REGISTRATIONS PREEMPTED
    }
}

/// When commands are due. One that comes late does not move those after it.
struct Pace {
    start: Instant,
    interval: Duration,
    sent: u32,
}

impl Pace {
    fn new(interval: Duration) -> Self {
        Self {
            start: Instant::now(),
            interval,
            sent: 0,
        }
    }

    /// Waits until the next one is due.
    fn wait(&mut self) {
        let at = self.interval * self.sent;
        self.sent += 1;
        loop {
            let rest = at.saturating_sub(Instant::now().since(self.start));
            if rest.is_zero() {
                return;
            }
            std::thread::park_timeout(rest);
        }
    }
}
