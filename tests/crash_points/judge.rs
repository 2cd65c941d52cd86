//! Whether an order of commands explains what was answered and what was found: a search over all
//! orders that agree with when commands were sent and answered (Wing and Gong), with a model of WRITE
//! EXCLUSIVE - REGISTRANTS ONLY of its own.

use std::collections::HashSet;

pub(crate) const NODES: usize = 4;

/// A command. `key` is what the node believes to have registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Order {
    /// REGISTER AND IGNORE EXISTING KEY; zero unregisters.
    Register {
        key: u64,
    },
    Reserve {
        key: u64,
    },
    Release {
        key: u64,
    },
    Preempt {
        key: u64,
        victim: u64,
    },
    Clear {
        key: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Good,
    Conflict,
}

/// A command as it was sent, and when it was answered, if it was.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event {
    pub(crate) node: usize,
    pub(crate) order: Order,
    pub(crate) sent: u64,
    pub(crate) answer: Option<(u64, Answer)>,
}

/// Who has registered which key (zero: none), and who holds the reservation.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub(crate) struct State {
    pub(crate) keys: [u64; NODES],
    pub(crate) holder: Option<usize>,
}

impl State {
    /// The answer, and the state behind it (SPC-4 section 5.13).
    fn after(mut self, node: usize, order: Order) -> (Answer, Self) {
        let (Order::Reserve { key }
        | Order::Release { key }
        | Order::Preempt { key, .. }
        | Order::Clear { key }) = order
        else {
            if let Order::Register { key } = order {
                self.keys[node] = key;
                self.release_if_gone();
            }
            return (Answer::Good, self);
        };
        let conflict = (Answer::Conflict, self);
        if self.keys[node] == 0 || self.keys[node] != key {
            return conflict;
        }
        match order {
            Order::Reserve { .. } => match self.holder {
                Some(holder) if holder != node => return conflict,
                _ => self.holder = Some(node),
            },
            Order::Release { .. } => self.holder = self.holder.filter(|holder| *holder != node),
            Order::Clear { .. } => self = Self::default(),
            Order::Preempt { victim, .. } => {
                let Some(found) = self.keys.iter().position(|key| *key == victim) else {
                    return conflict;
                };
                self.keys[found] = 0;
                if self.holder == Some(found) {
                    self.holder = Some(node);
                }
            }
            Order::Register { .. } => {}
        }
        (Answer::Good, self)
    }

    fn release_if_gone(&mut self) {
        self.holder = self.holder.filter(|holder| self.keys[*holder] != 0);
    }
}

/// Whether the events lead from one state to the other in some order.
pub(crate) fn explains(from: &State, events: &[Event], to: &State) -> bool {
    let mut nodes: [Vec<Event>; NODES] = Default::default();
    for event in events {
        nodes[event.node].push(*event);
    }
    let mut tried = HashSet::new();
    let mut open = vec![([0; NODES], *from)];
    while let Some((done, state)) = open.pop() {
        if !tried.insert((done, state)) {
            continue;
        }
        let next = |node: usize| nodes[node].get(done[node]);
        let waits = |node: usize| next(node).and_then(|event| event.answer);
        // What was answered first bounds what can come before it.
        let first_answer = (0..NODES).filter_map(waits).map(|(at, _)| at).min();
        if first_answer.is_none() && state == *to {
            return true;
        }
        for node in 0..NODES {
            let Some(event) = next(node) else { continue };
            if first_answer.is_some_and(|answered| event.sent > answered) {
                continue;
            }
            let (answer, after) = state.after(node, event.order);
            if event.answer.is_none_or(|(_, given)| given == answer) {
                let mut done = done;
                done[node] += 1;
                open.push((done, after));
            }
        }
    }
    false
}

fn event(node: usize, order: Order, sent: u64, answer: Option<(u64, Answer)>) -> Event {
    Event {
        node,
        order,
        sent,
        answer,
    }
}

#[test]
fn a_change_that_was_acknowledged_and_lost_is_not_explained() {
    let good = Some((2, Answer::Good));
    let register = Order::Register { key: 7 };
    let mut registered = State::default();
    registered.keys[0] = 7;
    let told = [event(0, register, 1, good)];
    assert!(explains(&State::default(), &told, &registered));
    assert!(!explains(&State::default(), &told, &State::default()));
    let not_told = [event(0, register, 1, None)];
    assert!(explains(&State::default(), &not_told, &registered));
    assert!(explains(&State::default(), &not_told, &State::default()));
}

#[test]
fn half_a_change_and_a_wrong_order_are_not_explained() {
    let mut two = State::default();
    two.keys[..2].copy_from_slice(&[7, 8]);
    two.holder = Some(1);
    let preempt = Order::Preempt { key: 7, victim: 8 };
    let told = [event(0, preempt, 1, Some((2, Answer::Good)))];
    let mut whole = two;
    whole.keys[1] = 0;
    whole.holder = Some(0);
    assert!(explains(&two, &told, &whole));
    let half = State {
        holder: None,
        ..whole
    };
    assert!(!explains(&two, &told, &half));
    // The node that was preempted was told of it before it released.
    let release = event(1, Order::Release { key: 8 }, 3, Some((4, Answer::Good)));
    assert!(!explains(&two, &[told[0], release], &whole));
    let release = event(1, Order::Release { key: 8 }, 0, Some((4, Answer::Good)));
    let mut released = whole;
    released.holder = None;
    assert!(explains(&two, &[told[0], release], &released));
}
