//! What `bench/icount` runs under callgrind: one case of the data path, and nothing else counted.
//!
//! The product's own code is driven from bytes in to bytes out: socket engine, protocol, plan, target
//! and backend, tick by tick on this thread ([`holdfast::target::stepped`]). Time stands still, and
//! the peer's bytes lie in a pair of sockets before the first tick of a round, so the same ticks find
//! the same bytes in every run.
//!
//! `--list` prints the cases, and `CASE` runs one. Only [`counted_tick`] is collected; callgrind
//! writes its counts down whenever [`end_of_series`] returns, so that the script can take the
//! difference of the last two series, of which one is twice as long as the other.

mod cases;
mod client;
#[path = "../crowd.rs"]
mod crowd;
mod pages;
mod stage;

use cases::{CASES, Case, Work};
use stage::Stage;
use std::process::ExitCode;

use holdfast::base::clock::Instant;
use holdfast::target::stepped::Stepped;

#[global_allocator]
static ALLOCATOR: pages::Paged = pages::Paged;

/// Rounds before the first that counts: queues have grown, memory has been touched.
const WARM_UP_ROUNDS: usize = 192;
/// Rounds of the shorter series. What happens once in a power of two of ticks (the collector of
/// epochs: once in 128) happens as often in every series of this length.
const SERIES_ROUNDS: usize = 128;
/// Exit status for a case that this machine cannot run.
const CANNOT_RUN: u8 = 3;

fn main() -> ExitCode {
    // `cargo bench` says `--bench` to every benchmark.
    let arguments: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["--list"] => CASES.iter().for_each(|case| println!("{case}")),
        [name] => match CASES.iter().find(|case| case.name == name) {
            Some(case) => return on_a_stack_of_its_own(case),
            None => {
                eprintln!("no case {name}; --list prints all");
                return ExitCode::from(2);
            }
        },
        _ => println!(
            "Counts under callgrind only: bench/icount runs this, and says more by --help."
        ),
    }
    ExitCode::SUCCESS
}

/// Name and environment of the program lie on the first thread's stack, and what follows them there
/// is aligned as they are long; that of another thread begins with a page.
fn on_a_stack_of_its_own(case: &'static Case) -> ExitCode {
    let ended = std::thread::spawn(|| run(case)).join();
    ended.unwrap_or(ExitCode::FAILURE)
}

fn run(case: &Case) -> ExitCode {
    if let Some(reason) = stage::cannot_run(case) {
        eprintln!("{}: {reason}", case.name);
        return ExitCode::from(CANNOT_RUN);
    }
    let (target, berths) = stage::target(case);
    let reactors = berths
        .into_iter()
        .map(|berth| berth.take().expect("a reactor"));
    let mut stage = Stage::set(case, target, reactors.collect());
    for rounds in [WARM_UP_ROUNDS, SERIES_ROUNDS, 2 * SERIES_ROUNDS] {
        series(case, &mut stage, rounds);
        end_of_series();
    }
    ExitCode::SUCCESS
}

fn series(case: &Case, stage: &mut Stage, rounds: usize) {
    for _ in 0..rounds {
        match case.work {
            Work::Nothing => assert!(!ticks(&mut stage.reactors), "an idle reactor is busy"),
            _ => round(case, stage),
        }
    }
}

/// One burst, from the first byte in to the last byte out.
fn round(case: &Case, stage: &mut Stage) {
    for _ in 0..case.burst {
        let request = case.request(stage.turn());
        stage.client.submit(&request);
    }
    stage.client.send();
    loop {
        while ticks(&mut stage.reactors) {}
        stage.client.receive(case.status());
        if stage.client.outstanding() == 0 {
            return;
        }
        // Data that an R2T has asked for.
        assert!(
            stage.client.send() > 0,
            "the reactor rests, and owes an answer"
        );
    }
}

/// One tick of each reactor; whether any had something to do.
fn ticks(reactors: &mut [Stepped]) -> bool {
    reactors
        .iter_mut()
        .fold(false, |busy, reactor| busy | counted_tick(reactor))
}

/// The one thing that is collected. Its name is what the script asks callgrind for.
#[inline(never)]
fn counted_tick(reactor: &mut Stepped) -> bool {
    reactor.step(Instant::ZERO).expect("the reactor goes on")
}

/// Where callgrind writes down what it has collected and begins anew.
#[inline(never)]
fn end_of_series() {
    std::hint::black_box(());
}
