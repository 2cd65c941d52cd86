//! Fences with one thing done wrong, each of which the model must find out.

use super::scenario::{HOPS, HUNG, LOCKED, MUTUAL, NEWCOMER, SESSIONS, STRANGERS, Scenario};
use super::state::Fault;
use super::{Fence, story};
use stateright::{Checker, Model};

/// What is done wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mutant {
    /// A write is checked at arrival, and not again when its data are there.
    NotCheckedAtIssue,
    /// Of a write in several pieces only the first is checked at issue.
    OnlyFirstPieceChecked,
    /// A piece that waited for a range lock is issued without another check.
    NotCheckedAfterLock,
    /// GOOD goes out as soon as the snapshot is published.
    NoGracePeriod,
    /// A reactor answers the fence before it has drained.
    AnsweredBeforeDrained,
    /// Only the home's reactor is asked.
    OnlyHomeFences,
    /// The home adds up what the reactors have counted as issued, without a message to them: it
    /// misses a piece between its check and its issue.
    FenceReadsFromOutside,
    /// The reactors are asked before the snapshot is published.
    FencedBeforePublished,
    /// The fence is for the registered only.
    FenceMissesStrangers,
    /// A fence that takes too long is answered GOOD.
    TimeoutIsGood,
    /// A fence may take for ever.
    NoBound,
    /// What is taken back after a timeout is not published.
    TakenBackUnpublished,
    /// The snapshot is published before the store has the change.
    PublishedBeforeDurable,
    /// GOOD goes out before the store has the change.
    AnsweredBeforeDurable,
    /// GOOD goes out as soon as the fence has passed, whatever was aborted.
    AnsweredBeforeQuiet,
    /// Whoever has the victim's key is aborted, the sender included.
    AbortsByKey,
    /// The victims' indices are not held until the abort is over.
    VictimsNotHeld,
    /// Victims that wait for the change to end are not turned away.
    QueuedVictimsStay,
    /// Victims that wait to read the keys are not turned away.
    QueuedReadersStay,
    /// A session gives its index back while a piece of it is under way.
    IndexFreedEarly,
    /// With its session a piece at the backend is no longer counted.
    SessionLossForgetsPieces,
    /// ABORT TASK is answered while the piece is at the backend.
    AbortForgetsPieces,
}

/// Shows that the model finds the mutant out, by the promise that it breaks, and prints the shortest
/// way there.
#[track_caller]
fn is_caught(mutant: Mutant, scenario: Scenario, fault: Fault) {
    let model = Fence {
        scenario,
        mutant: Some(mutant),
    };
    // One thread finds a shortest way.
    let checker = model.checker().spawn_bfs().join();
    let Some(path) = checker.discovery("as promised") else {
        panic!("{mutant:?} was not found out");
    };
    let found = checker.model().fault(path.last_state());
    println!("{mutant:?}: {found:?} after\n{}", story(path));
    assert_eq!(
        found,
        Some(fault),
        "{mutant:?} was found out by another promise"
    );
}

/// One test for each mutant.
macro_rules! mutants {
    ($($name:ident: $mutant:ident in $scenario:ident breaks $fault:ident;)*) => {
        $(#[test]
        fn $name() {
            is_caught(Mutant::$mutant, $scenario, Fault::$fault);
        })*
    };
}

mutants! {
    no_check_at_issue: NotCheckedAtIssue in HOPS breaks LateWrite;
    no_check_of_later_pieces: OnlyFirstPieceChecked in HOPS breaks LateWrite;
    no_check_after_a_range_lock: NotCheckedAfterLock in LOCKED breaks LateWrite;
    no_grace_period: NoGracePeriod in HOPS breaks LateWrite;
    an_answer_before_the_drain: AnsweredBeforeDrained in HOPS breaks LateWrite;
    a_fence_of_the_home_alone: OnlyHomeFences in HOPS breaks LateWrite;
    a_fence_that_reads_counters_from_outside: FenceReadsFromOutside in HOPS breaks LateWrite;
    a_fence_before_the_snapshot: FencedBeforePublished in HOPS breaks LateWrite;
    a_fence_for_the_registered_only: FenceMissesStrangers in STRANGERS breaks LateWrite;
    a_timeout_answered_good: TimeoutIsGood in HUNG breaks LateWrite;
    a_fence_without_bound: NoBound in HUNG breaks Unanswered;
    a_state_taken_back_in_secret: TakenBackUnpublished in HUNG breaks FailedButChanged;
    a_snapshot_before_the_store: PublishedBeforeDurable in HUNG breaks FailedButChanged;
    an_answer_before_the_store: AnsweredBeforeDurable in HOPS breaks NotDurable;
    an_answer_before_the_aborts: AnsweredBeforeQuiet in SESSIONS breaks Survivor;
    an_abort_by_key: AbortsByKey in MUTUAL breaks WrongVictim;
    an_index_that_is_not_held: VictimsNotHeld in SESSIONS breaks WrongVictim;
    victims_that_wait_in_line: QueuedVictimsStay in MUTUAL breaks Unanswered;
    victims_that_wait_to_read: QueuedReadersStay in MUTUAL breaks Unanswered;
    an_index_that_is_freed_early: IndexFreedEarly in NEWCOMER breaks ForeignIndex;
    a_session_that_forgets_its_pieces: SessionLossForgetsPieces in NEWCOMER breaks LateWrite;
    an_abort_that_forgets_its_pieces: AbortForgetsPieces in SESSIONS breaks WriteAfterItsEnd;
}
