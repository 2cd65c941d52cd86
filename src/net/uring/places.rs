//! Which sockets are direct, and whose turn it is.
//!
//! A few may be, as long as nobody else speaks. Beyond these, a call for each socket in every round is worth
//! it only for one that speaks in most of them, as in a crowd under full load: there it saves what the ring
//! costs beside the call, and answers leave while they are in the cache. Otherwise most calls are in vain,
//! and whoever speaks waits for them.

use crate::base::clock::Instant;
use crate::base::slots::SlotKey;
use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

/// So many are direct that speak now and then.
const FEW: usize = 16;
/// How long one of them may be silent before it makes way for others.
const PATIENCE: Duration = Duration::from_millis(1);
/// How long they are not after one spoke for which there was no place: the others would be served several
/// times as often as it.
const CROWD_PATIENCE: Duration = Duration::from_millis(20);
/// A frequent speaker is never silent for more rounds.
const SILENT_ROUNDS_MAX: u64 = 8;
/// So often in a row.
const STREAK: u8 = 3;

/// A socket: whether it is direct, and how it speaks.
#[derive(Debug, Clone, Copy)]
pub(super) struct Speaker {
    is_direct: bool,
    /// When it last spoke, or became direct.
    at: Instant,
    round: u64,
    /// How often in a row it has spoken soon after.
    streak: u8,
}

impl Speaker {
    pub(super) const fn new() -> Self {
        Self {
            is_direct: false,
            at: Instant::ZERO,
            round: 0,
            streak: 0,
        }
    }

    pub(super) const fn is_direct(self) -> bool {
        self.is_direct
    }

    const fn is_frequent(self) -> bool {
        self.streak >= STREAK
    }
}

/// The places of direct sockets.
#[derive(Debug)]
pub(super) struct Places {
    max: usize,
    taken: usize,
    now: Instant,
    /// Polls so far.
    round: u64,
    /// Until when the few are not direct, and until when nobody is.
    crowded_until: Instant,
    overcrowded_until: Instant,
}

impl Places {
    pub(super) const fn new(max: usize) -> Self {
        Self {
            max,
            taken: 0,
            now: Instant::ZERO,
            round: 0,
            crowded_until: Instant::ZERO,
            overcrowded_until: Instant::ZERO,
        }
    }

    /// Begins a round.
    pub(super) const fn begin(&mut self, now: Instant) {
        self.now = now;
        self.round += 1;
    }

    /// A socket has spoken.
    #[inline]
    pub(super) fn spoke(&mut self, speaker: &mut Speaker) {
        speaker.streak = match self.round - speaker.round <= SILENT_ROUNDS_MAX {
            true => speaker.streak.saturating_add(1),
            false => 0,
        };
        (speaker.at, speaker.round) = (self.now, self.round);
        // Where none is ever direct, nobody is left out.
        if !speaker.is_direct && self.taken >= self.max.min(FEW) && self.max > 0 {
            self.crowded_until = self.now + CROWD_PATIENCE;
            if self.taken >= self.max && speaker.is_frequent() {
                self.overcrowded_until = self.crowded_until;
            }
        }
    }

    /// A socket waits for bytes, and gets a place or loses it.
    #[inline]
    pub(super) fn assign(&mut self, speaker: &mut Speaker) {
        if !self.may_be_direct(*speaker) {
            self.give_up(speaker);
        } else if !speaker.is_direct && self.taken < self.open_to(*speaker) {
            speaker.is_direct = true;
            (speaker.at, speaker.round) = (self.now, self.round);
            self.taken += 1;
        }
    }

    fn may_be_direct(&self, speaker: Speaker) -> bool {
        let until = match speaker.is_frequent() {
            true => self.overcrowded_until,
            false => self.crowded_until,
        };
        self.now >= until
    }

    /// How many places there are for such a socket.
    fn open_to(&self, speaker: Speaker) -> usize {
        match speaker.is_frequent() {
            true => self.max,
            false => self.max.min(FEW),
        }
    }

    pub(super) fn give_up(&mut self, speaker: &mut Speaker) {
        self.taken -= usize::from(std::mem::take(&mut speaker.is_direct));
    }

    /// Whether all of so many sockets keep their places for now, whatever they say.
    pub(super) fn all_keep(&self, sockets: usize) -> bool {
        sockets <= self.taken && self.taken <= FEW && self.now >= self.crowded_until
    }

    /// Whether a direct socket that had nothing to say keeps its place, one of so many sockets.
    #[inline]
    pub(super) fn keeps(&self, speaker: &mut Speaker, sockets: usize) -> bool {
        if self.round - speaker.round > SILENT_ROUNDS_MAX {
            speaker.streak = 0;
        }
        let silent = sockets > self.taken && self.now.since(speaker.at) > PATIENCE;
        !silent && self.taken <= self.open_to(*speaker) && self.may_be_direct(*speaker)
    }
}

/// The sockets that are tried in every round, in turn.
#[derive(Debug, Default)]
pub(super) struct Turns {
    sockets: VecDeque<SlotKey>,
    /// The places of those that have not been in this round.
    untried: Range<usize>,
}

impl Turns {
    /// Is tried from the next round on.
    #[inline]
    pub(super) fn join(&mut self, socket: SlotKey) {
        self.sockets.push_back(socket);
    }

    pub(super) fn begin(&mut self) {
        self.untried = 0..self.sockets.len();
    }

    /// Whose turn it is; nobody's once all have been tried.
    #[inline]
    pub(super) fn current(&self) -> Option<SlotKey> {
        let at = (!self.untried.is_empty()).then_some(self.untried.start)?;
        self.sockets.get(at).copied()
    }

    /// Whose turn it was is tried again in the next round.
    #[inline]
    pub(super) const fn stay(&mut self) {
        self.untried.start += 1;
    }

    /// Whose turn it was is not.
    #[inline]
    pub(super) fn leave(&mut self) {
        // In a crowd that speaks, it is always the first one.
        match self.untried.start {
            0 => self.sockets.pop_front(),
            at => self.sockets.remove(at),
        };
        self.untried.end -= 1;
    }

    /// All leave.
    pub(super) fn disband(&mut self) -> VecDeque<SlotKey> {
        self.untried = 0..0;
        std::mem::take(&mut self.sockets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUND: Duration = Duration::from_micros(10);

    /// How many of the sockets, and whether the last one, is direct after rounds in which they speak as
    /// `speaks` says.
    fn direct_after(
        rounds: usize,
        max: usize,
        sockets: usize,
        speaks: impl Fn(usize, usize) -> bool,
    ) -> (usize, bool) {
        let mut places = Places::new(max);
        let mut speakers = vec![Speaker::new(); sockets];
        let mut now = Instant::ZERO;
        for speaker in &mut speakers {
            places.assign(speaker);
        }
        for round in 0..rounds {
            now = now + ROUND;
            places.begin(now);
            for (index, speaker) in speakers.iter_mut().enumerate() {
                if speaks(round, index) {
                    places.spoke(speaker);
                    places.assign(speaker);
                    continue;
                }
                let all_keep = places.all_keep(sockets);
                if speaker.is_direct() && !places.keeps(speaker, sockets) {
                    assert!(!all_keep);
                    places.give_up(speaker);
                }
            }
            let direct = speakers.iter().filter(|speaker| speaker.is_direct());
            assert_eq!(direct.count(), places.taken);
        }
        let last = speakers.last().is_some_and(|speaker| speaker.is_direct());
        (places.taken, last)
    }

    #[test]
    fn a_few_are_direct_however_seldom_they_speak() {
        assert_eq!(direct_after(5000, 256, 4, |_, _| false).0, 4);
        let seldom = |round: usize, index| round % 100 == index;
        assert_eq!(direct_after(5000, 256, 16, seldom).0, 16);
        assert_eq!(direct_after(5000, 0, 4, |_, _| true).0, 0);
    }

    #[test]
    fn those_that_are_silent_make_way() {
        for speaks_each in [1, 50] {
            let last = |round: usize, index| index == 19 && round.is_multiple_of(speaks_each);
            assert_eq!(direct_after(5000, 256, 20, last), (1, true));
        }
    }

    #[test]
    fn a_crowd_is_direct_while_all_of_it_speaks_often() {
        assert_eq!(direct_after(200, 256, 128, |_, _| true).0, 128);
        let by_turns = |round, index| index % 4 == round % 4;
        assert_eq!(direct_after(200, 256, 128, by_turns).0, 128);
        // Until it does no more.
        let early = |round, _| round < 100;
        assert!(direct_after(1000, 256, 128, early).0 <= FEW);
        // One that does among those that do not.
        let last = |round, index| index == 127 || index == round % 127;
        assert_eq!(direct_after(5000, 256, 128, last), (1, true));
    }

    #[test]
    fn none_is_direct_where_more_speak_than_there_are_places() {
        let seldom = |round: usize, index| round % 100 == index;
        assert_eq!(direct_after(5000, 256, 32, seldom).0, 0);
        assert_eq!(direct_after(200, 100, 128, |_, _| true).0, 0);
        assert_eq!(direct_after(200, 2, 6, |_, _| true).0, 0);
    }
}
