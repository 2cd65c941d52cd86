//! Fabricated histories: the judge passes what is right and names what is wrong.

use super::attentions::{COMMANDS_CLEARED, REGISTRATIONS_PREEMPTED};
use super::judge::{Violation, judge};
use super::record::{
    Change, Ending, History, Nexus, Pattern, Read, Reinstatement, Tick, Told, Write,
};
use super::report::report;
use super::stamp::{Content, Stamp};

const LBA: u64 = 5;
const VICTIM: Nexus = 1;
const SURVIVOR: Nexus = 2;
const READER: Nexus = 9;

/// A history of one block that held zeros, told one step after the other.
#[derive(Default)]
struct Story {
    history: History,
}

fn history() -> Story {
    let history = History {
        initial: [(LBA, Content::Zeros)].into(),
        shard_blocks: 2048,
        ..History::default()
    };
    Story { history }
}

impl Story {
    /// The `sequence`th write of a nexus.
    fn write(mut self, nexus: Nexus, sequence: u32, life: (Tick, Tick), ending: Ending) -> Self {
        self.history.notes.writes.push(Write {
            nexus,
            sequence,
            name: "WRITE (16)",
            blocks: LBA..LBA + 1,
            pattern: Pattern::Each,
            single: true,
            sent: life.0,
            ended: life.1,
            ending,
        });
        self
    }

    fn last_write(mut self, change: impl FnOnce(&mut Write)) -> Self {
        change(self.history.notes.writes.last_mut().expect("a write"));
        self
    }

    fn read(mut self, life: (Tick, Tick), content: Content) -> Self {
        self.history.notes.reads.push(Read {
            nexus: READER,
            first: LBA,
            contents: vec![content],
            sent: life.0,
            ended: life.1,
        });
        self
    }

    fn change(mut self, change: Change) -> Self {
        self.history.changes.push(change);
        self
    }

    fn told(mut self, nexus: Nexus, code: (u8, u8), at: Tick) -> Self {
        self.history.notes.told.push(Told { nexus, code, at });
        self
    }

    /// The victim loses its right, and is told.
    fn fence(self, sent: Tick, good: Tick) -> Self {
        self.change(fence(sent, good))
            .told(VICTIM, REGISTRATIONS_PREEMPTED, good + 1)
    }

    fn gain(self, sent: Tick, good: Tick) -> Self {
        self.change(Change {
            what: "REGISTER".to_owned(),
            sent,
            good,
            gained: vec![VICTIM],
            ..Change::default()
        })
    }

    #[track_caller]
    fn passes(&self) {
        let found = judge(&self.history);
        assert!(found.is_empty(), "{}", report(&self.history, &found));
    }

    /// The one violation; it can be told in words.
    #[track_caller]
    fn fails(&self) -> Violation {
        let found = judge(&self.history);
        let told = report(&self.history, &found);
        assert_eq!(found.len(), 1, "{told}");
        assert!(told.lines().count() > 2, "{told}");
        found.into_iter().next().expect("one violation")
    }
}

fn fence(sent: Tick, good: Tick) -> Change {
    Change {
        what: "PREEMPT".to_owned(),
        sent,
        good,
        lost: vec![VICTIM],
        attentions: vec![(VICTIM, REGISTRATIONS_PREEMPTED)],
        ..Change::default()
    }
}

fn stamp(nexus: Nexus, sequence: u32) -> Content {
    let lba = LBA;
    Content::Stamp(Stamp {
        nexus,
        sequence,
        lba,
    })
}

#[test]
fn a_fence_that_holds_passes() {
    history()
        .write(VICTIM, 1, (10, 20), Ending::Good)
        .write(VICTIM, 2, (11, 60), Ending::Conflict)
        .fence(30, 40)
        .read((50, 51), stamp(VICTIM, 1))
        .write(VICTIM, 3, (52, 53), Ending::Conflict)
        .write(VICTIM, 4, (54, 55), Ending::Refused)
        .read((70, 71), stamp(VICTIM, 1))
        .passes();
}

#[test]
fn an_acknowledged_write_that_was_overwritten_passes() {
    history()
        .write(VICTIM, 1, (10, 20), Ending::Good)
        .write(SURVIVOR, 1, (15, 25), Ending::Good)
        .read((26, 27), stamp(VICTIM, 1))
        .write(SURVIVOR, 2, (30, 40), Ending::Good)
        .read((41, 42), stamp(SURVIVOR, 2))
        .passes();
}

#[test]
fn one_late_block_fails() {
    let late = history()
        .write(SURVIVOR, 1, (5, 9), Ending::Good)
        .write(VICTIM, 1, (10, 80), Ending::Swept)
        .fence(30, 40)
        .read((50, 51), stamp(SURVIVOR, 1))
        .read((60, 61), stamp(VICTIM, 1));
    let expected = Violation::LateBlock {
        lba: LBA,
        write: 1,
        fence: 0,
        before: 0,
        after: 1,
    };
    assert_eq!(late.fails(), expected);
    assert!(report(&late.history, &[expected]).contains("LATE BLOCK: block 5"));
}

/// Every ending that leaves open whether the write took effect, and GOOD that comes late.
#[test]
fn a_late_block_fails_however_its_write_ended() {
    for ending in [
        Ending::Good,
        Ending::TaskAborted,
        Ending::Failed,
        Ending::Withdrawn,
        Ending::Swept,
        Ending::Cut,
    ] {
        let violation = history()
            .write(VICTIM, 1, (10, 80), ending)
            .fence(30, 40)
            .read((50, 51), Content::Zeros)
            .read((60, 61), stamp(VICTIM, 1))
            .fails();
        assert!(
            matches!(violation, Violation::LateBlock { .. }),
            "{ending:?}"
        );
    }
}

/// GOOD for the write does not make it right: its effect came after the fence all the same.
#[test]
fn a_late_block_fails_although_its_write_was_over_before_the_fence() {
    let violation = history()
        .write(SURVIVOR, 1, (5, 9), Ending::Good)
        .write(VICTIM, 1, (10, 20), Ending::Good)
        .fence(30, 40)
        .read((50, 51), stamp(SURVIVOR, 1))
        .read((60, 61), stamp(VICTIM, 1))
        .fails();
    assert!(
        matches!(violation, Violation::LateBlock { .. }),
        "{violation:?}"
    );
}

/// Between GOOD and the first read nobody looked; what a survivor wrote there gives it away.
#[test]
fn a_block_that_came_late_before_the_first_read_fails() {
    let violation = history()
        .write(VICTIM, 1, (10, 80), Ending::Swept)
        .fence(30, 40)
        .write(SURVIVOR, 1, (41, 45), Ending::Good)
        .read((50, 51), stamp(VICTIM, 1))
        .fails();
    assert!(
        matches!(violation, Violation::NoOrder { .. }),
        "{violation:?}"
    );
}

#[test]
fn late_zeros_fail() {
    let violation = history()
        .write(SURVIVOR, 1, (5, 9), Ending::Good)
        .write(VICTIM, 1, (10, 80), Ending::Swept)
        .last_write(|write| write.pattern = Pattern::Zeros)
        .fence(30, 40)
        .read((50, 51), stamp(SURVIVOR, 1))
        .read((60, 61), Content::Zeros)
        .fails();
    assert!(
        matches!(violation, Violation::NoOrder { .. }),
        "{violation:?}"
    );
}

#[test]
fn a_write_between_the_command_and_its_good_passes() {
    history()
        .write(VICTIM, 1, (10, 80), Ending::Swept)
        .write(VICTIM, 2, (35, 80), Ending::Good)
        .fence(30, 40)
        .read((50, 51), stamp(VICTIM, 2))
        .read((60, 61), stamp(VICTIM, 2))
        .passes();
}

#[test]
fn the_stamp_of_one_who_was_fenced_before_fails() {
    for (ending, sure) in [
        (Ending::Swept, false),
        (Ending::Conflict, false),
        (Ending::Good, true),
    ] {
        let told = history()
            .fence(30, 40)
            .write(VICTIM, 1, (50, 60), ending)
            .read((70, 71), stamp(VICTIM, 1));
        let found = judge(&told.history);
        let effect = Violation::EffectAfterFence {
            lba: LBA,
            write: 0,
            fence: Some(0),
            read: 0,
        };
        assert!(found.contains(&effect), "{ending:?}: {found:?}");
        let good = Violation::GoodAfterFence {
            write: 0,
            fence: Some(0),
        };
        assert_eq!(found.contains(&good), sure, "{ending:?}: {found:?}");
    }
}

#[test]
fn good_for_one_who_was_fenced_fails_unread() {
    let violation = history()
        .fence(30, 40)
        .write(VICTIM, 1, (50, 60), Ending::Good)
        .fails();
    assert!(
        matches!(violation, Violation::GoodAfterFence { .. }),
        "{violation:?}"
    );
    let mut told = history().write(VICTIM, 1, (50, 60), Ending::Good);
    told.history.without_right.push(VICTIM);
    let violation = told.fails();
    assert!(
        matches!(violation, Violation::GoodAfterFence { fence: None, .. }),
        "{violation:?}"
    );
}

#[test]
fn the_right_regained_is_a_right() {
    history()
        .fence(30, 40)
        .gain(50, 60)
        .write(VICTIM, 1, (55, 65), Ending::Good)
        .write(VICTIM, 2, (66, 70), Ending::Good)
        .read((71, 72), stamp(VICTIM, 2))
        .passes();
}

#[test]
fn a_lost_write_fails() {
    let violation = history()
        .write(SURVIVOR, 1, (10, 20), Ending::Good)
        .write(SURVIVOR, 2, (30, 40), Ending::Good)
        .read((50, 51), stamp(SURVIVOR, 1))
        .fails();
    let expected = Violation::NoOrder {
        lba: LBA,
        writes: vec![Some(0), Some(1)],
        reads: vec![0],
    };
    assert_eq!(violation, expected);
    let violation = history()
        .write(SURVIVOR, 1, (10, 20), Ending::Good)
        .read((50, 51), Content::Zeros)
        .fails();
    assert!(
        matches!(violation, Violation::NoOrder { .. }),
        "{violation:?}"
    );
}

#[test]
fn a_lost_unmap_fails() {
    let violation = history()
        .write(SURVIVOR, 1, (10, 20), Ending::Good)
        .write(SURVIVOR, 2, (30, 40), Ending::Good)
        .last_write(|write| write.pattern = Pattern::Zeros)
        .read((50, 51), stamp(SURVIVOR, 1))
        .fails();
    assert!(
        matches!(violation, Violation::NoOrder { .. }),
        "{violation:?}"
    );
}

#[test]
fn a_refused_write_that_is_there_fails() {
    for ending in [Ending::Conflict, Ending::Refused] {
        let violation = history()
            .write(VICTIM, 1, (10, 60), ending)
            .fence(30, 40)
            .read((70, 71), stamp(VICTIM, 1))
            .fails();
        assert!(
            matches!(violation, Violation::RefusedButWritten { .. }),
            "{ending:?}"
        );
    }
}

/// A write over two shards meets the fence between them: half of it is there, in time.
#[test]
fn a_command_of_several_steps_may_stop_half_way() {
    for change in [
        (|write: &mut Write| write.blocks = 2040..2056) as fn(&mut Write),
        |write| write.single = false,
    ] {
        let half = |content| {
            let mut told = history()
                .write(VICTIM, 1, (10, 60), Ending::Conflict)
                .last_write(change)
                .fence(30, 40);
            let lba = told.history.notes.writes[0].blocks.start;
            told.history.initial = [(lba, Content::Zeros)].into();
            let stamp = told.history.notes.writes[0].stamp(lba).expect("a stamp");
            told.history.notes.reads.push(Read {
                nexus: READER,
                first: lba,
                contents: vec![content],
                sent: 45,
                ended: 46,
            });
            told.history.notes.reads.push(Read {
                nexus: READER,
                first: lba,
                contents: vec![Content::Stamp(stamp)],
                sent: 70,
                ended: 71,
            });
            (told, stamp)
        };
        let (_, stamp) = half(Content::Zeros);
        half(Content::Stamp(stamp)).0.passes();
        let violation = half(Content::Zeros).0.fails();
        assert!(
            matches!(violation, Violation::LateBlock { .. }),
            "{violation:?}"
        );
    }
}

#[test]
fn a_torn_block_fails() {
    let violation = history()
        .write(SURVIVOR, 1, (10, 20), Ending::Good)
        .read((30, 31), Content::Broken("torn at byte 256".to_owned()))
        .fails();
    assert!(
        matches!(violation, Violation::Broken { .. }),
        "{violation:?}"
    );
}

#[test]
fn a_stamp_that_nobody_wrote_there_fails() {
    let elsewhere = Content::Stamp(Stamp {
        nexus: SURVIVOR,
        sequence: 1,
        lba: LBA + 1,
    });
    for content in [stamp(SURVIVOR, 2), stamp(VICTIM, 1), elsewhere] {
        let violation = history()
            .write(SURVIVOR, 1, (10, 20), Ending::Good)
            .read((30, 31), content)
            .fails();
        assert!(
            matches!(violation, Violation::Broken { .. }),
            "{violation:?}"
        );
    }
    history()
        .write(SURVIVOR, 1, (10, 20), Ending::Good)
        .last_write(|write| {
            write.pattern = Pattern::Same;
            write.blocks = LBA - 1..LBA + 2;
        })
        .read(
            (30, 31),
            Content::Stamp(Stamp {
                nexus: SURVIVOR,
                sequence: 1,
                lba: LBA - 1,
            }),
        )
        .passes();
}

#[test]
fn a_write_seen_before_it_was_sent_fails() {
    let violation = history()
        .read((5, 6), stamp(SURVIVOR, 1))
        .write(SURVIVOR, 1, (10, 20), Ending::Good)
        .fails();
    assert!(
        matches!(violation, Violation::NoOrder { .. }),
        "{violation:?}"
    );
}

/// The old session's commands end before its successor is logged in.
#[test]
fn a_write_of_a_session_that_is_gone_fails() {
    let violation = history()
        .write(SURVIVOR, 1, (10, 20), Ending::Cut)
        .read((30, 31), Content::Zeros)
        .read((40, 41), stamp(SURVIVOR, 1))
        .fails();
    assert!(
        matches!(violation, Violation::NoOrder { .. }),
        "{violation:?}"
    );
}

#[test]
fn a_conflict_without_a_reason_fails() {
    let violation = history()
        .write(SURVIVOR, 1, (10, 20), Ending::Conflict)
        .fence(30, 40)
        .fails();
    assert_eq!(violation, Violation::BaselessConflict { write: 0 });
    let violation = history()
        .fence(30, 40)
        .gain(50, 60)
        .write(VICTIM, 1, (70, 80), Ending::Conflict)
        .fails();
    assert_eq!(violation, Violation::BaselessConflict { write: 0 });
    history()
        .write(VICTIM, 1, (20, 35), Ending::Conflict)
        .fence(30, 40)
        .gain(50, 60)
        .write(VICTIM, 2, (55, 65), Ending::Conflict)
        .passes();
}

#[test]
fn an_attention_that_is_missing_or_told_twice_fails() {
    let told = |times: u64| {
        let start = history().change(fence(30, 40));
        (0..times).fold(start, |told, at| {
            told.told(VICTIM, REGISTRATIONS_PREEMPTED, 50 + at)
        })
    };
    told(1).passes();
    assert!(matches!(
        told(0).fails(),
        Violation::MissingAttention { change: 0, .. }
    ));
    assert_eq!(told(2).fails(), Violation::UnowedAttention { told: 1 });
    let violation = told(1).told(SURVIVOR, REGISTRATIONS_PREEMPTED, 60).fails();
    assert_eq!(violation, Violation::UnowedAttention { told: 1 });

    // Once for each registration that was lost.
    let again = history().fence(30, 40).gain(50, 60).change(fence(70, 80));
    assert!(matches!(
        again.fails(),
        Violation::MissingAttention { change: 2, .. }
    ));

    let mut cut = told(0);
    cut.history.notes.reinstatements.push(Reinstatement {
        nexus: VICTIM,
        cut: 41,
        back: 45,
    });
    cut.passes();
}

#[test]
fn a_command_that_was_aborted_is_told_of_as_tas_says() {
    let aborting = |tas| {
        let change = Change {
            aborted: vec![VICTIM],
            attentions: Vec::new(),
            ..fence(30, 40)
        };
        let mut told = history().change(change);
        told.history.task_aborted_status = tas;
        told
    };
    let swept = |tas| aborting(tas).write(VICTIM, 1, (10, 60), Ending::Swept);
    swept(false).told(VICTIM, COMMANDS_CLEARED, 50).passes();
    assert!(matches!(
        swept(false).fails(),
        Violation::MissingAttention { .. }
    ));
    assert!(matches!(swept(true).fails(), Violation::NoStatus { .. }));
    assert!(matches!(
        aborting(true).told(VICTIM, COMMANDS_CLEARED, 50).fails(),
        Violation::UnowedAttention { .. }
    ));
    // It ended by itself, or a reset ended it: nothing is owed for certain.
    aborting(false)
        .write(VICTIM, 1, (10, 35), Ending::Swept)
        .passes();
    let mut reset = swept(false);
    reset.history.notes.resets.push((45, 46));
    reset.passes();
}

/// A copy that the target goes on with after GOOD, as it would if only the first step were checked.
#[test]
fn a_copy_of_a_victim_that_goes_on_after_good_is_found() {
    let copied = |story: Story| {
        story.last_write(|write| {
            write.name = "EXTENDED COPY (LID4)";
            write.single = false;
        })
    };
    let cut_short = copied(history().write(VICTIM, 1, (10, 60), Ending::Conflict));
    let cut_short = cut_short.fence(30, 40).read((50, 51), stamp(VICTIM, 1));
    cut_short.passes();
    let late = copied(history().write(VICTIM, 1, (10, 60), Ending::Conflict));
    let late = late
        .fence(30, 40)
        .read((50, 51), Content::Zeros)
        .read((52, 53), stamp(VICTIM, 1))
        .fails();
    assert!(
        matches!(late, Violation::LateBlock { lba: LBA, .. }),
        "{late:?}"
    );
}
