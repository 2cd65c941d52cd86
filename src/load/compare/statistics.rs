//! Ratios, their spread, and what they say.

/// The spread of some ratios.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, schemars::JsonSchema)]
pub struct Quartiles {
    /// The smallest.
    pub min: f64,
    /// A quarter is not larger.
    pub q1: f64,
    /// The one in the middle.
    pub median: f64,
    /// Three quarters are not larger.
    pub q3: f64,
    /// The largest.
    pub max: f64,
}

impl Quartiles {
    /// Of `values`, linear between neighbours; `None` of nothing.
    #[must_use]
    pub fn of(mut values: Vec<f64>) -> Option<Self> {
        values.sort_by(f64::total_cmp);
        let (min, max) = (*values.first()?, *values.last()?);
        // Quarters of the way from the first to the last, in whole numbers.
        let at = |quarters: usize| {
            let place = (values.len() - 1) * quarters;
            let (below, rest) = (place / 4, place % 4);
            let above = values[(below + 1).min(values.len() - 1)];
            #[allow(clippy::cast_precision_loss, reason = "below four")]
            let part = rest as f64 / 4.0;
            values[below] + (above - values[below]) * part
        };
        Some(Self {
            min,
            q1: at(1),
            median: at(2),
            q3: at(3),
            max,
        })
    }

    /// The farthest that the quartiles are from 1, as a factor of at least 1.
    #[must_use]
    pub fn noise(&self) -> f64 {
        let from_one = |ratio: f64| ratio.max(1.0 / ratio);
        from_one(self.q1).max(from_one(self.q3))
    }
}

/// What ratios to the reference say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The median is no farther from 1 than the control's quartiles, or the line's own quartiles lie
    /// on both sides of 1.
    WithinNoise,
    /// Better than the reference by more than that.
    Better,
    /// Worse than the reference by more than that.
    Worse,
}

impl Verdict {
    /// Of a line's ratios and the control's.
    #[must_use]
    pub fn of(ratios: &Quartiles, control: &Quartiles, more_is_better: bool) -> Self {
        let noise = control.noise();
        let within = ratios.median <= noise && ratios.median >= 1.0 / noise;
        if within || (ratios.q1 <= 1.0 && ratios.q3 >= 1.0) {
            Self::WithinNoise
        } else if (ratios.median > 1.0) == more_is_better {
            Self::Better
        } else {
            Self::Worse
        }
    }

    /// For people, and in JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WithinNoise => "within noise",
            Self::Better => "better",
            Self::Worse => "worse",
        }
    }
}
