//! Comparing two things so that the figure means something: bursts of both in turn, and the median of
//! the ratios of neighbours. Absolute values drift with the machine; ratios of neighbours do not.

use std::time::Duration;

use holdfast::base::clock::Instant;

/// Pairs of bursts that one comparison takes.
pub(crate) const PAIRS: usize = 12;
/// How long one burst lasts.
pub(crate) const BURST: Duration = Duration::from_millis(300);

/// Medians of a comparison.
pub(crate) struct Comparison {
    /// Nanoseconds per operation.
    pub(crate) a_ns: f64,
    /// Nanoseconds per operation.
    pub(crate) b_ns: f64,
    /// Median of `b / a` over the pairs.
    pub(crate) ratio: f64,
}

/// Runs bursts of `a` and `b` in turn. Both do some operations and return how many.
pub(crate) fn compare(mut a: impl FnMut() -> u64, mut b: impl FnMut() -> u64) -> Comparison {
    let mut pairs = Vec::with_capacity(PAIRS);
    burst(&mut a);
    burst(&mut b);
    for index in 0..PAIRS {
        // Each is first in every other pair, so that an order effect cancels out.
        if index % 2 == 0 {
            let first = burst(&mut a);
            pairs.push((first, burst(&mut b)));
        } else {
            let first = burst(&mut b);
            pairs.push((burst(&mut a), first));
        }
    }
    Comparison {
        a_ns: median(pairs.iter().map(|pair| pair.0)),
        b_ns: median(pairs.iter().map(|pair| pair.1)),
        ratio: median(pairs.iter().map(|pair| pair.1 / pair.0)),
    }
}

/// Nanoseconds per operation over one burst.
fn burst(work: &mut impl FnMut() -> u64) -> f64 {
    let start = Instant::now();
    let mut operations = 0_u64;
    loop {
        operations += work();
        let spent = Instant::now().since(start);
        if spent >= BURST {
            return spent.as_secs_f64() * 1e9 / operations as f64;
        }
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
