//! The ring itself: what stays, what is counted instead of listed.

use std::collections::{BTreeMap, VecDeque};

use super::Event;
use crate::base::limits::{EVENT_REPEAT_LOOK_BACK_MAX, EVENT_REPEAT_MAX, EVENTS_MAX};
use crate::control::api::{EventCursor, EventKind, EventView, EventsQuery, EventsView};

/// Events, oldest first.
#[derive(Debug, Default)]
pub(super) struct Ring {
    events: VecDeque<Noted>,
    sequence: u64,
    revision: u64,
    counts: BTreeMap<EventKind, u64>,
}

#[derive(Debug)]
struct Noted {
    view: EventView,
    /// When it last changed, in changes of the ring.
    revision: u64,
}

impl Ring {
    /// Goes on from events of an earlier run. What is here already has happened since, and gets the
    /// numbers that follow theirs; returns that.
    pub(super) fn restore(&mut self, events: Vec<EventView>) -> Vec<EventView> {
        let mut since = Vec::with_capacity(self.events.len());
        for Noted { view, .. } in std::mem::take(&mut self.events) {
            since.push(view);
        }
        let before = events.iter().map(|view| view.sequence).max();
        for (view, number) in since.iter_mut().zip(before.unwrap_or_default() + 1..) {
            view.sequence = number;
        }
        for view in events.into_iter().chain(since.iter().cloned()) {
            self.sequence = view.sequence;
            self.revision += 1;
            let revision = self.revision;
            self.events.push_back(Noted { view, revision });
        }
        self.forget();
        since
    }

    /// Takes note of an event at `now_ms`; returns what stands there of it.
    pub(super) fn push(&mut self, event: Event, now_ms: u64) -> &EventView {
        *self.counts.entry(event.kind).or_default() += 1;
        self.revision += 1;
        let position = match self.repeated(&event, now_ms) {
            Some(position) => position,
            None => {
                self.sequence += 1;
                self.events.push_back(Noted {
                    view: EventView {
                        sequence: self.sequence,
                        at_ms: now_ms,
                        last_ms: now_ms,
                        times: 0,
                        event: event.kind,
                        severity: event.kind.severity(),
                        volume: event.volume,
                        initiator: event.initiator,
                        address: event.address,
                        text: event.text,
                    },
                    revision: 0,
                });
                self.forget();
                self.events.len() - 1
            }
        };
        let noted = &mut self.events[position];
        noted.revision = self.revision;
        noted.view.last_ms = now_ms;
        noted.view.times += 1;
        &noted.view
    }

    /// Where the same thing stands, if it happened shortly before.
    fn repeated(&self, event: &Event, now_ms: u64) -> Option<usize> {
        let recent = self.events.iter().enumerate().rev();
        let recently = u64::try_from(EVENT_REPEAT_MAX.as_millis()).unwrap_or(u64::MAX);
        recent
            .take(EVENT_REPEAT_LOOK_BACK_MAX)
            .find(|(_, Noted { view, .. })| {
                view.event == event.kind
                    && view.volume == event.volume
                    && view.initiator == event.initiator
                    && view.address == event.address
                    && view.text == event.text
                    && now_ms.saturating_sub(view.last_ms) < recently
            })
            .map(|(position, _)| position)
    }

    fn forget(&mut self) {
        while self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    pub(super) fn counts(&self) -> Vec<(EventKind, u64)> {
        self.counts
            .iter()
            .map(|(kind, count)| (*kind, *count))
            .collect()
    }

    pub(super) const fn cursor(&self) -> EventCursor {
        EventCursor {
            sequence: self.sequence,
            revision: self.revision,
        }
    }

    pub(super) fn select(&self, query: &EventsQuery) -> EventsView {
        let after = query.after.map_or(0, |after| after.revision);
        let since = query.since_ms.unwrap_or(0);
        let mut chosen: Vec<&Noted> = self
            .events
            .iter()
            .filter(|noted| noted.revision > after && noted.view.last_ms >= since)
            .collect();
        chosen.sort_by_key(|noted| noted.revision);
        let limit = query.limit.unwrap_or(usize::MAX);
        let skipped = chosen.len().saturating_sub(limit);
        let events: Vec<_> = chosen[skipped..]
            .iter()
            .map(|noted| noted.view.clone())
            .collect();
        let first = self.events.front().map_or(0, |noted| noted.view.sequence);
        let lost = query
            .after
            .map_or(0, |seen| first.saturating_sub(seen.sequence + 1));
        EventsView {
            left_out: self.events.len() - events.len(),
            events,
            cursor: self.cursor(),
            lost,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> Event {
        Event::new(EventKind::LoginRefused, text).from_address("10.0.0.7")
    }

    fn texts(view: &EventsView) -> Vec<(&str, u64)> {
        let told = view.events.iter();
        told.map(|event| (event.text.as_str(), event.times))
            .collect()
    }

    fn after(cursor: EventCursor) -> EventsQuery {
        EventsQuery {
            after: Some(cursor),
            ..EventsQuery::default()
        }
    }

    #[test]
    fn what_happens_again_soon_is_counted_and_told_again() {
        let mut ring = Ring::default();
        ring.push(event("a"), 1000);
        ring.push(event("b"), 2000);
        let seen = ring.cursor();
        ring.push(event("a"), 3000);
        let news = ring.select(&after(seen));
        assert_eq!(texts(&news), [("a", 2)]);
        assert_eq!((news.events[0].at_ms, news.events[0].last_ms), (1000, 3000));
        assert!(ring.select(&after(news.cursor)).events.is_empty());
        // Much later it is another one.
        let long = u64::try_from(EVENT_REPEAT_MAX.as_millis()).unwrap();
        ring.push(event("a"), 3000 + long);
        assert_eq!(texts(&ring.select(&EventsQuery::default())).len(), 3);
        assert_eq!(ring.counts(), [(EventKind::LoginRefused, 4)]);
    }

    #[test]
    fn what_was_pushed_out_before_it_was_read_is_counted() {
        let mut ring = Ring::default();
        ring.push(event("first"), 0);
        let seen = ring.cursor();
        for number in 0..EVENTS_MAX + 5 {
            ring.push(event(&format!("{number}")), 0);
        }
        let news = ring.select(&after(seen));
        assert_eq!((news.events.len(), news.lost), (EVENTS_MAX, 5));
        assert_eq!(news.events[0].text, "5");
    }

    #[test]
    fn the_newest_of_a_time_are_told() {
        let mut ring = Ring::default();
        for number in 0..10 {
            ring.push(event(&format!("{number}")), number * 100);
        }
        let query = EventsQuery {
            since_ms: Some(500),
            limit: Some(2),
            ..EventsQuery::default()
        };
        let chosen = ring.select(&query);
        assert_eq!(texts(&chosen), [("8", 1), ("9", 1)]);
        assert_eq!(chosen.left_out, 8);
    }

    #[test]
    fn numbers_go_on_after_a_restart() {
        let mut ring = Ring::default();
        ring.push(event("old"), 5);
        let kept = ring.select(&EventsQuery::default()).events;
        let mut next = Ring::default();
        next.restore(kept);
        assert_eq!(next.push(event("new"), 500_000).sequence, 2);
        assert!(
            next.counts().len() == 1 && next.counts()[0].1 == 1,
            "counts are of this run"
        );
    }
}
