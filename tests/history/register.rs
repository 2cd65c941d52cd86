//! One block as a register: is there an order of its writes and reads that explains what the reads
//! saw, in which each takes effect between its start and its end?
//!
//! Every stamp is written once, so a read names its write, and the question has an exact answer in
//! n log n steps (Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput. 26, 1997). A write
//! and the reads that saw it are a cluster. From the first end to the last start in it, the cluster's
//! value must have been in the block all the time: if that is a span of time, no other cluster may
//! need a moment of it for itself.
//!
//! Zeros are written often, so a read of zeros names nobody. For such a read it is asked only that
//! some writer of zeros may have been the last before it: a test that never refuses what is right.

use super::record::Tick;

/// What is written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Value {
    Zeros,
    /// Written by one write only.
    Unique(usize),
}

/// A write that may have taken effect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterWrite {
    pub(crate) value: Value,
    pub(crate) from: Tick,
    /// The last moment at which it may take effect.
    pub(crate) until: Tick,
    /// Whether it must have.
    pub(crate) must: bool,
}

/// A read and what it saw.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RegisterRead {
    pub(crate) value: Value,
    pub(crate) from: Tick,
    pub(crate) until: Tick,
}

/// Why no order explains what was read. Numbers are indices of the writes and reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Disorder {
    /// A read saw what was only written later.
    Foreseen { write: usize, read: usize },
    /// Both must have been in the block at the same time, or one while the other was there
    /// throughout.
    Together { one: Span, other: Span },
    /// A read saw zeros when nobody's zeros can have been there.
    Zeros { read: usize },
}

/// The time for which a write's value must have been there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) write: usize,
    /// The first end of the write and those who read it.
    first_end: Tick,
    /// The last start of them.
    last_start: Tick,
    /// The read that started last, if any read it.
    pub(crate) seen_by: Option<usize>,
}

impl Span {
    fn is_forward(&self) -> bool {
        self.first_end < self.last_start
    }

    fn low(&self) -> Tick {
        self.first_end.min(self.last_start)
    }

    fn high(&self) -> Tick {
        self.first_end.max(self.last_start)
    }
}

/// Looks for an order.
pub(crate) fn check(writes: &[RegisterWrite], reads: &[RegisterRead]) -> Result<(), Disorder> {
    let spans = spans(writes, reads)?;
    let zeros = |read: &RegisterRead| read.value == Value::Zeros;
    let impossible =
        |read: &RegisterRead| zeros(read) && !zeros_are_possible(read, &spans, writes, reads);
    if let Some(read) = reads.iter().position(impossible) {
        return Err(Disorder::Zeros { read });
    }
    let (mut forward, backward): (Vec<Span>, Vec<Span>) =
        spans.into_iter().partition(Span::is_forward);
    forward.sort_by_key(Span::low);
    for pair in forward.windows(2) {
        if pair[1].low() < pair[0].high() {
            return Err(together(pair[0], pair[1]));
        }
    }
    for inner in backward {
        // Forward spans do not overlap, so only the last that starts before can hold this one.
        let after = forward.partition_point(|outer| outer.low() < inner.low());
        if let Some(outer) = after.checked_sub(1).map(|at| forward[at])
            && inner.high() < outer.high()
        {
            return Err(together(outer, inner));
        }
    }
    Ok(())
}

fn together(one: Span, other: Span) -> Disorder {
    Disorder::Together { one, other }
}

/// The spans of all writes that took effect for certain.
fn spans(writes: &[RegisterWrite], reads: &[RegisterRead]) -> Result<Vec<Span>, Disorder> {
    let mut spans: Vec<Option<Span>> = writes
        .iter()
        .enumerate()
        .map(|(index, write)| write.must.then(|| alone(index, write)))
        .collect();
    for (index, read) in reads.iter().enumerate() {
        if read.value == Value::Zeros {
            continue;
        }
        let wrote = |write: &RegisterWrite| write.value == read.value;
        let Some(at) = writes.iter().position(wrote) else {
            panic!("a read names a write of its block: {read:?}");
        };
        if read.until < writes[at].from {
            return Err(Disorder::Foreseen {
                write: at,
                read: index,
            });
        }
        let span = spans[at].get_or_insert_with(|| alone(at, &writes[at]));
        span.first_end = span.first_end.min(read.until);
        if span.last_start < read.from {
            span.last_start = read.from;
            span.seen_by = Some(index);
        }
    }
    Ok(spans.into_iter().flatten().collect())
}

fn alone(index: usize, write: &RegisterWrite) -> Span {
    Span {
        write: index,
        first_end: write.until,
        last_start: write.from,
        seen_by: None,
    }
}

/// Whether some zeros were written before the end of `read`, and nothing that is certain lies whole
/// between the two.
fn zeros_are_possible(
    read: &RegisterRead,
    spans: &[Span],
    writes: &[RegisterWrite],
    reads: &[RegisterRead],
) -> bool {
    // What was written took effect before the first who saw it was done.
    let others = spans
        .iter()
        .map(|span| (&writes[span.write], span.first_end))
        .filter(|(write, _)| write.value != Value::Zeros)
        .map(|(write, first_end)| (write.from, first_end));
    let seen = reads
        .iter()
        .filter(|other| other.value != Value::Zeros)
        .map(|other| (other.from, other.until));
    let certain: Vec<(Tick, Tick)> = others.chain(seen).collect();
    writes
        .iter()
        .filter(|write| write.value == Value::Zeros && write.from < read.until)
        .any(|zeros| {
            !certain
                .iter()
                .any(|&(from, until)| zeros.until < from && until < read.from)
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Tries every order: true if one of them explains the reads.
    fn some_order_explains(writes: &[RegisterWrite], reads: &[RegisterRead]) -> bool {
        fn go(
            held: Option<Value>,
            writes: &mut Vec<RegisterWrite>,
            reads: &mut Vec<RegisterRead>,
        ) -> bool {
            if reads.is_empty() && writes.is_empty() {
                return true;
            }
            // What is next must not start after the end of anything that is still to come.
            let ends = writes.iter().map(|write| write.until);
            let first_end = ends.chain(reads.iter().map(|read| read.until)).min();
            let may_be_next = |from| first_end.is_none_or(|end| from <= end);
            for at in 0..reads.len() {
                if may_be_next(reads[at].from) && Some(reads[at].value) == held {
                    let read = reads.remove(at);
                    let found = go(held, writes, reads);
                    reads.insert(at, read);
                    if found {
                        return true;
                    }
                }
            }
            for at in 0..writes.len() {
                let write = writes[at];
                if !may_be_next(write.from) {
                    continue;
                }
                writes.remove(at);
                let found = go(Some(write.value), writes, reads);
                writes.insert(at, write);
                if found {
                    return true;
                }
            }
            false
        }
        // Of those that may have taken effect, any choice.
        let unsure: Vec<usize> = (0..writes.len()).filter(|&at| !writes[at].must).collect();
        (0..1_u32 << unsure.len()).any(|chosen| {
            let mut kept = Vec::new();
            for (at, write) in writes.iter().enumerate() {
                let place = unsure.iter().position(|&index| index == at);
                if place.is_none_or(|place| chosen >> place & 1 == 1) {
                    kept.push(*write);
                }
            }
            go(None, &mut kept, &mut reads.to_vec())
        })
    }

    type History = (Vec<RegisterWrite>, Vec<RegisterRead>);

    /// Up to five writes and reads over shuffled ticks; `zeros` of ten writes write zeros.
    fn histories(zeros: u32) -> impl Strategy<Value = History> {
        let operations = (1..5_usize, 0..5_usize);
        operations
            .prop_flat_map(move |(writes, reads)| {
                let count = (writes + reads) * 2;
                let ticks: Vec<Tick> = (1..=count as u64).collect();
                (
                    Just((writes, reads)),
                    Just(ticks).prop_shuffle(),
                    proptest::collection::vec((0..10_u32, any::<bool>()), writes),
                    proptest::collection::vec(0..writes, reads),
                )
            })
            .prop_map(move |((writes, _), ticks, kinds, seen)| {
                let span = |at: usize| {
                    let (a, b) = (ticks[at * 2], ticks[at * 2 + 1]);
                    (a.min(b), a.max(b))
                };
                let written: Vec<RegisterWrite> = kinds
                    .iter()
                    .enumerate()
                    .map(|(index, (kind, must))| {
                        let (from, until) = span(index);
                        let zero = *kind < zeros;
                        RegisterWrite {
                            value: if zero {
                                Value::Zeros
                            } else {
                                Value::Unique(index)
                            },
                            from,
                            until,
                            must: *must,
                        }
                    })
                    .collect();
                let read = seen
                    .iter()
                    .enumerate()
                    .map(|(index, &write)| {
                        let (from, until) = span(writes + index);
                        RegisterRead {
                            value: written[write].value,
                            from,
                            until,
                        }
                    })
                    .collect();
                (written, read)
            })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn stamps_are_judged_as_by_trying_every_order((writes, reads) in histories(0)) {
            let judged = check(&writes, &reads).is_ok();
            prop_assert_eq!(judged, some_order_explains(&writes, &reads));
        }

        #[test]
        fn zeros_are_never_refused_where_an_order_explains_them((writes, reads) in histories(5)) {
            if some_order_explains(&writes, &reads) {
                prop_assert_eq!(check(&writes, &reads), Ok(()));
            }
        }
    }
}
