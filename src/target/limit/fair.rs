//! Who goes next of those who share a limit: start-time fair queueing (Goyal, Vin and Cheng, 1996).
//!
//! Each flow has its items in their order. An item begins, in virtual time, where the one before it in
//! its flow has ended, or now if its flow had none; the item with the earliest beginning goes next. So
//! each flow that always has something waiting gets the same share by weight, whatever it has queued,
//! and one that comes with a single item waits for about one item of each other.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

/// One flow's items that wait.
#[derive(Debug)]
pub(crate) struct Flow<T> {
    items: VecDeque<(u64, T)>,
    /// Where its last item that went has ended, in virtual time.
    end: u64,
    /// The order has an entry for it.
    in_order: bool,
}

impl<T> Default for Flow<T> {
    fn default() -> Self {
        Self {
            items: VecDeque::new(),
            end: 0,
            in_order: false,
        }
    }
}

impl<T> Flow<T> {
    /// Keeps only the items that `keep` says yes to.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.items.retain(|(_, item)| keep(item));
    }
}

/// Which flow goes next. The flows themselves are with their owners, under `K`.
#[derive(Debug)]
pub(crate) struct Order<K> {
    /// By the beginning of the first item; among equals, by when it was entered.
    next: BinaryHeap<Reverse<(u64, u64, K)>>,
    entries: u64,
    /// The beginning of the item that went last.
    now: u64,
}

impl<K: Ord> Default for Order<K> {
    fn default() -> Self {
        Self {
            next: BinaryHeap::new(),
            entries: 0,
            now: 0,
        }
    }
}

impl<K: Ord + Copy> Order<K> {
    /// Whether no flow waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.next.is_empty()
    }

    /// Whether a flow that has nothing waiting would be treated as a new one.
    pub(crate) fn has_forgotten<T>(&self, flow: &Flow<T>) -> bool {
        flow.items.is_empty() && !flow.in_order && flow.end <= self.now
    }

    /// An item of that weight goes to the end of its flow.
    pub(crate) fn push<T>(&mut self, key: K, flow: &mut Flow<T>, weight: u64, item: T) {
        flow.items.push_back((weight, item));
        self.enter(key, flow);
    }

    /// Takes the flow out whose turn it is; the caller takes an item of it by [`Order::take`].
    pub(crate) fn pop(&mut self) -> Option<K> {
        let Reverse((start, _, key)) = self.next.pop()?;
        self.now = self.now.max(start);
        Some(key)
    }

    /// The first item of the flow that has been popped, and its next turn.
    pub(crate) fn take<T>(&mut self, key: K, flow: &mut Flow<T>) -> Option<T> {
        flow.in_order = false;
        let (weight, item) = flow.items.pop_front()?;
        flow.end = flow.end.max(self.now).saturating_add(weight);
        self.enter(key, flow);
        Some(item)
    }

    fn enter<T>(&mut self, key: K, flow: &mut Flow<T>) {
        if flow.in_order || flow.items.is_empty() {
            return;
        }
        flow.in_order = true;
        self.entries += 1;
        let start = flow.end.max(self.now);
        self.next.push(Reverse((start, self.entries, key)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    struct Flows {
        order: Order<usize>,
        flows: Vec<Flow<u64>>,
    }

    impl Flows {
        fn new(count: usize) -> Self {
            Self {
                order: Order::default(),
                flows: (0..count).map(|_| Flow::default()).collect(),
            }
        }

        fn push(&mut self, flow: usize, weight: u64) {
            self.order.push(flow, &mut self.flows[flow], weight, weight);
        }

        fn next(&mut self) -> Option<(usize, u64)> {
            while let Some(flow) = self.order.pop() {
                if let Some(weight) = self.order.take(flow, &mut self.flows[flow]) {
                    return Some((flow, weight));
                }
            }
            None
        }
    }

    #[test]
    fn a_deep_flow_and_a_shallow_one_take_turns() {
        let mut flows = Flows::new(2);
        (0..128).for_each(|_| flows.push(0, 10));
        flows.push(1, 10);
        let mut gone = [0; 2];
        for _ in 0..100 {
            let (flow, _) = flows.next().unwrap();
            gone[flow] += 1;
            // As an initiator that keeps one command outstanding: it is back before the next turn.
            if flow == 1 {
                flows.push(1, 10);
            }
        }
        assert_eq!(gone, [50, 50]);
    }

    #[test]
    fn shares_are_by_weight_and_not_by_number() {
        let mut flows = Flows::new(2);
        (0..100).for_each(|_| flows.push(0, 64));
        (0..2000).for_each(|_| flows.push(1, 4));
        let mut gone = [0; 2];
        for _ in 0..850 {
            let (flow, weight) = flows.next().unwrap();
            gone[flow] += weight;
        }
        assert!(gone[0].abs_diff(gone[1]) <= 64, "{gone:?}");
    }

    #[test]
    fn a_rest_earns_nothing() {
        let mut flows = Flows::new(2);
        (0..200).for_each(|_| flows.push(0, 10));
        for _ in 0..100 {
            assert_eq!(flows.next().unwrap().0, 0);
        }
        (0..50).for_each(|_| flows.push(1, 10));
        let turns: Vec<_> = (0..50).map(|_| flows.next().unwrap().0).collect();
        let of_late = turns.iter().filter(|flow| **flow == 1).count();
        assert_eq!(of_late, 25, "{turns:?}");
    }

    #[test]
    fn a_flow_that_has_lost_its_items_is_passed_over() {
        let mut flows = Flows::new(2);
        flows.push(0, 1);
        flows.push(1, 1);
        flows.flows[0].retain(|_| false);
        assert_eq!(flows.next(), Some((1, 1)));
        assert_eq!(flows.next(), None);
        flows.push(0, 3);
        assert_eq!(flows.next(), Some((0, 3)));
    }

    proptest! {
        /// Whatever is queued, flows that always wait are never further apart than an item of each.
        #[test]
        fn waiting_flows_stay_together(
            weights in proptest::collection::vec(proptest::collection::vec(1_u64..1000, 200), 2..6),
        ) {
            let mut flows = Flows::new(weights.len());
            for (flow, weights) in weights.iter().enumerate() {
                weights.iter().for_each(|weight| flows.push(flow, *weight));
            }
            let mut gone = vec![(0_usize, 0_u64); weights.len()];
            loop {
                let (flow, weight) = flows.next().unwrap();
                gone[flow].0 += 1;
                gone[flow].1 += weight;
                if gone[flow].0 == weights[flow].len() {
                    break;
                }
                let most = gone.iter().map(|(_, weight)| *weight).max().unwrap();
                let least = gone.iter().map(|(_, weight)| *weight).min().unwrap();
                prop_assert!(most - least <= 2000, "{gone:?}");
            }
        }

        /// Each flow's items go in their order.
        #[test]
        fn a_flow_keeps_its_order(pushes in proptest::collection::vec((0_usize..4, any::<bool>()), 1..200)) {
            let mut flows = Flows::new(4);
            let mut last = [0_u64; 4];
            for (serial, (flow, pops)) in (1_u64..).zip(pushes) {
                flows.push(flow, serial);
                if pops && let Some((flow, serial)) = flows.next() {
                    prop_assert!(serial > last[flow]);
                    last[flow] = serial;
                }
            }
        }
    }
}
