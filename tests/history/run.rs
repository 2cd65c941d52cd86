//! A run: rounds of fences over one volume, judged every few rounds.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use super::area::{self, SHARD_BLOCKS, VOLUME_BLOCKS, windows};
use super::fencer::{Fencer, Hand};
use super::judge::{Violation, judge};
use super::lots::Lots;
use super::mix;
use super::model::Model;
use super::orders::post_and_inbox;
use super::record::{Ending, History, Read};
use super::report::report;
use super::stage::{Scenario, Stage};
use super::stamp::Content;
use super::support::scsi::BLOCK;
use super::support::server::Setup;
use super::talk::Talk;
use super::upgrades::{Upgrades, upgrade_on};
use super::writer::Writer;

/// Rounds from one judgement to the next; what is kept of the past is bounded by them.
const ROUNDS_JUDGED_AT_ONCE: u32 = 10;
/// How often a long run says how far it is.
const TELL_EVERY: Duration = Duration::from_secs(30);

/// How many of what a run had.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    rounds: u64,
    fences: BTreeMap<&'static str, u64>,
    /// Writes that ended GOOD, by command.
    good: BTreeMap<&'static str, u64>,
    /// Writes, by how they ended otherwise.
    otherwise: BTreeMap<String, u64>,
    blocks_read: u64,
    pub(crate) upgrades: Upgrades,
}

impl Totals {
    /// Fences that had victims.
    pub(crate) fn fences(&self) -> u64 {
        self.fences.values().sum()
    }

    /// Writes by that command that ended GOOD.
    pub(crate) fn good(&self, command: &str) -> u64 {
        self.good.get(command).copied().unwrap_or(0)
    }
}

impl fmt::Display for Totals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let good: u64 = self.good.values().sum();
        let otherwise: u64 = self.otherwise.values().sum();
        let fences = self.fences();
        write!(
            f,
            "{} rounds, {fences} fences {:?}, {} writes judged: {good} good {:?}, others {:?}; {} \
             blocks read; {:?}",
            self.rounds,
            self.fences,
            good + otherwise,
            self.good,
            self.otherwise,
            self.blocks_read,
            self.upgrades
        )
    }
}

/// What a run found, in a history that can be shown.
pub(crate) struct Found {
    pub(crate) violations: Vec<Violation>,
    pub(crate) text: String,
}

/// Runs until `time` has passed, or until something is wrong.
pub(crate) fn run(setup: Setup, scenario: &Scenario, time: Duration) -> Result<Totals, Found> {
    let Stage {
        mut server,
        writers,
        observers,
    } = Stage::new(setup, scenario);
    let lots = Lots::new(scenario.seed);
    let (progress, reports) = channel();
    std::thread::scope(|scope| {
        let mut hands = Vec::new();
        for port in &writers {
            let (post, inbox) = post_and_inbox();
            let talk = Talk::new(port.clone());
            let lots = lots.branch(u64::from(port.nexus));
            let writer = Writer::new(talk, inbox, lots, progress.clone());
            scope.spawn(|| writer.work());
            hands.push(Hand {
                port: port.clone(),
                post,
            });
        }
        let fencer = Fencer {
            hands,
            observers: observers.iter().cloned().map(Talk::new).collect(),
            progress: reports,
            lots: lots.branch(u64::MAX),
            longest_delay: scenario.longest_delay * 3 / 2,
            model: Model::default(),
            changes: Vec::new(),
            fences: BTreeMap::new(),
        };
        let mut run = Run {
            fencer,
            scenario,
            initial: area::blocks().map(|lba| (lba, Content::Zeros)).collect(),
            totals: Totals::default(),
        };
        run.prepare();
        let (end, ended) = channel();
        let replaced = scenario.upgrades.then(|| {
            let (server, lots) = (&mut server, lots.branch(u64::MAX - 1));
            scope.spawn(move || upgrade_on(server, lots, &ended))
        });
        let judged = run.until(time);
        drop(end);
        if let Some(upgrades) = replaced {
            run.totals.upgrades = upgrades.join().expect("it says why");
        }
        judged?;
        run.look_elsewhere();
        Ok(run.totals)
    })
}

struct Run<'a> {
    fencer: Fencer,
    scenario: &'a Scenario,
    /// What the blocks held when the history that is being made began.
    initial: BTreeMap<u64, Content>,
    totals: Totals,
}

impl Run<'_> {
    /// Sets TAS and stamps every block, so that nearly every read names its write.
    fn prepare(&mut self) {
        let writers: Vec<_> = self.fencer.writers().collect();
        for observer in &mut self.fencer.observers {
            observer.settle(false, Ending::Swept);
        }
        let observer = &mut self.fencer.observers[0];
        if self.scenario.task_aborted_status {
            observer.session.tell_of_aborts();
        }
        for window in windows() {
            let sequence = observer.next_sequence();
            observer.send(mix::write(window, observer.nexus(), sequence), sequence);
            observer.finish();
        }
        self.fencer.settle(&writers, false);
    }

    #[allow(
        clippy::disallowed_methods,
        reason = "a run takes as long as it is told to"
    )]
    fn until(&mut self, time: Duration) -> Result<(), Found> {
        let start = Instant::now();
        let mut told = start;
        loop {
            let without_right = self.fencer.without_right();
            for _ in 0..ROUNDS_JUDGED_AT_ONCE {
                self.fencer.round();
                self.totals.rounds += 1;
            }
            self.judge(without_right)?;
            if told.elapsed() >= TELL_EVERY {
                told = Instant::now();
                eprintln!("{:>6} s: {}", start.elapsed().as_secs(), self.totals);
            }
            if start.elapsed() >= time {
                return Ok(());
            }
        }
    }

    /// Brings everything to rest, and judges what happened since it last was.
    fn judge(&mut self, without_right: Vec<u32>) -> Result<(), Found> {
        let writers: Vec<_> = self.fencer.writers().collect();
        self.fencer.settle(&writers, false);
        for observer in &mut self.fencer.observers {
            observer.settle(false, Ending::Swept);
        }
        self.fencer.read_all();
        let history = History {
            initial: std::mem::take(&mut self.initial),
            shard_blocks: SHARD_BLOCKS,
            without_right,
            task_aborted_status: self.scenario.task_aborted_status,
            changes: std::mem::take(&mut self.fencer.changes),
            notes: self.fencer.hand_over(),
        };
        self.count(&history);
        let violations = judge(&history);
        if !violations.is_empty() {
            let text = format!(
                "seed {:#x}, {}\n{}",
                self.scenario.seed,
                self.totals,
                report(&history, &violations)
            );
            return Err(Found { violations, text });
        }
        self.initial = last_contents(&history);
        Ok(())
    }

    fn count(&mut self, history: &History) {
        self.totals.fences = self.fencer.fences.clone();
        for write in &history.notes.writes {
            let count = match write.ending {
                Ending::Good => self.totals.good.entry(write.name).or_default(),
                other => {
                    let name = format!("{other:?}");
                    self.totals.otherwise.entry(name).or_default()
                }
            };
            *count += 1;
        }
        let blocks = history.notes.reads.iter().map(|read| read.contents.len());
        self.totals.blocks_read += blocks.sum::<usize>() as u64;
    }

    /// Nothing was written outside the blocks under judgement.
    fn look_elsewhere(&mut self) {
        self.fencer.end_reservation();
        let copied_from: Vec<_> = self.fencer.writers().map(area::staging).collect();
        let observer = &mut self.fencer.observers[0];
        for first in (0..VOLUME_BLOCKS).step_by(256) {
            let (_, outcome, _) = observer.run(&mix::read(first..first + 256).command);
            let data = outcome.good();
            for (lba, block) in (first..).zip(data.chunks_exact(BLOCK)) {
                let mut written = windows().chain(copied_from.iter().cloned());
                assert!(
                    written.any(|blocks| blocks.contains(&lba))
                        || Content::of(block) == Content::Zeros,
                    "block {lba}, to which nobody wrote: {}",
                    Content::of(block)
                );
            }
        }
    }
}

/// What the last reads saw, after which nobody wrote.
fn last_contents(history: &History) -> BTreeMap<u64, Content> {
    let mut reads: Vec<&Read> = history.notes.reads.iter().collect();
    reads.sort_by_key(|read| read.sent);
    let seen = reads
        .iter()
        .flat_map(|read| (read.first..).zip(read.contents.iter().cloned()));
    seen.filter(|(lba, _)| history.initial.contains_key(lba))
        .collect()
}
