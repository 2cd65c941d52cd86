//! Charts as inline SVG: curves over logarithmic axes, and bars.
//!
//! Colours come from the page's classes `s0` to `s5`, which know light and dark. Curves also differ
//! by their dashes, so that nothing rests on colour alone.

use std::fmt::Write;

use super::escape;

/// Colours that the page has.
const COLOURS: usize = 6;
const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
/// Room for the labels: left, right, top, bottom.
const MARGINS: [f64; 4] = [96.0, 40.0, 16.0, 52.0];
/// Above that many steps of 1, 2 and 5, an axis has decades only.
const TICKS_MAX: usize = 10;
const BAR_HEIGHT: f64 = 20.0;
/// A bar with its name above it and the gap to the next one.
const BAR_STEP: f64 = 50.0;
/// From a bar's name to the bar.
const BAR_DROP: f64 = 20.0;
/// Room for a bar's value behind it.
const BAR_MARGIN: f64 = 90.0;
/// Characters of a name that fit a line of the chart.
const NAME_CHARACTERS_MAX: usize = 90;

/// A logarithmic axis: both ends are above zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Axis {
    low: f64,
    high: f64,
}

impl Axis {
    /// From the smallest to the largest of the values above zero, with some room; `None` if there
    /// is none.
    pub(super) fn around(values: impl Iterator<Item = f64>) -> Option<Self> {
        let sound = values.filter(|value| *value > 0.0 && value.is_finite());
        let (low, high) = sound.fold((f64::MAX, 0.0_f64), |(low, high), value| {
            (low.min(value), high.max(value))
        });
        (high > 0.0).then_some(Self {
            low: low / 1.25,
            high: high * 1.25,
        })
    }

    /// Exactly from `low` to `high`.
    pub(super) const fn between(low: f64, high: f64) -> Self {
        Self { low, high }
    }

    /// How far `value` is on the way from end to end, 0 to 1.
    fn part(&self, value: f64) -> f64 {
        let part = (value / self.low).ln() / (self.high / self.low).ln();
        part.clamp(0.0, 1.0)
    }

    /// 1, 2, 5, 10, … within the axis, or decades where those are too many.
    pub(super) fn ticks(&self) -> Vec<f64> {
        let steps = |factors: &[f64]| -> Vec<f64> {
            let mut found = Vec::new();
            let mut decade = 10_f64.powf(self.low.log10().floor());
            while decade <= self.high {
                let values = factors.iter().map(|factor| decade * factor);
                found.extend(values.filter(|value| (self.low..=self.high).contains(value)));
                decade *= 10.0;
            }
            found
        };
        let fine = steps(&[1.0, 2.0, 5.0]);
        if fine.len() > TICKS_MAX {
            steps(&[1.0])
        } else {
            fine
        }
    }
}

/// An axis with what stands beside it.
pub(super) struct Scale {
    pub(super) axis: Axis,
    pub(super) title: &'static str,
    pub(super) ticks: Vec<(f64, String)>,
}

/// Points that belong together, in order.
pub(super) struct Curve {
    /// Which colour.
    pub(super) series: usize,
    /// Not drawn through.
    pub(super) is_dashed: bool,
    /// x and y, and what to tell of the point; points without a text have no mark.
    pub(super) points: Vec<(f64, f64, Option<String>)>,
}

/// Curves in a frame. `title` and `description` are for those who can't see it.
pub(super) fn curves(
    id: &str,
    title: &str,
    description: &str,
    [x, y]: [&Scale; 2],
    curves: &[Curve],
) -> String {
    let [left, right, top, bottom] = MARGINS;
    let (end, floor) = (WIDTH - right, HEIGHT - bottom);
    let at_x = |value| left + x.axis.part(value) * (end - left);
    let at_y = |value| floor - y.axis.part(value) * (floor - top);
    let mut svg = open(id, title, description, HEIGHT);
    for (value, label) in &x.ticks {
        let place = at_x(*value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{place:.1}\" y1=\"{top}\" x2=\"{place:.1}\" y2=\"{floor}\"/>\
             <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            floor + 18.0,
            escape(label)
        );
    }
    for (value, label) in &y.ticks {
        let place = at_y(*value);
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{left}\" y1=\"{place:.1}\" x2=\"{end}\" y2=\"{place:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            place + 4.0,
            escape(label)
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\n\
         <text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        f64::midpoint(left, end),
        HEIGHT - 10.0,
        escape(x.title),
        f64::midpoint(top, floor),
        escape(y.title)
    );
    for curve in curves {
        let colour = curve.series % COLOURS;
        let places: Vec<String> = curve
            .points
            .iter()
            .map(|(x, y, _)| format!("{:.1},{:.1}", at_x(*x), at_y(*y)))
            .collect();
        let dashes = if curve.is_dashed { " dashed" } else { "" };
        let _ = writeln!(
            svg,
            "<polyline class=\"curve s{colour}{dashes}\" points=\"{}\"/>",
            places.join(" ")
        );
        for (x, y, text) in &curve.points {
            if let Some(text) = text {
                let _ = writeln!(
                    svg,
                    "<circle class=\"mark s{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"4\">\
                     <title>{}</title></circle>",
                    at_x(*x),
                    at_y(*y),
                    escape(text)
                );
            }
        }
    }
    svg.push_str("</svg></div>\n");
    svg
}

/// A bar: what it is of, its colour, its length, and that for people.
pub(super) struct Bar {
    pub(super) name: String,
    pub(super) series: usize,
    pub(super) value: f64,
    pub(super) label: String,
}

/// Bars from zero, below each other, each below its name: names may be long.
pub(super) fn bars(id: &str, title: &str, description: &str, bars: &[Bar]) -> String {
    let longest = bars
        .iter()
        .map(|bar| bar.value)
        .fold(f64::MIN_POSITIVE, f64::max);
    #[allow(clippy::cast_precision_loss, reason = "a handful of bars")]
    let top = |index: usize| 4.0 + BAR_STEP * index as f64;
    let mut svg = open(id, title, description, top(bars.len()));
    for (index, bar) in bars.iter().enumerate() {
        let length = bar.value.max(0.0) / longest * (WIDTH - BAR_MARGIN);
        let (name, top) = (top(index) + 14.0, top(index) + BAR_DROP);
        let _ = writeln!(
            svg,
            "<text x=\"0\" y=\"{name:.1}\">{}</text>\
             <rect class=\"bar s{}\" x=\"0\" y=\"{top:.1}\" width=\"{length:.1}\" \
             height=\"{BAR_HEIGHT}\"/><text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            escape(&shortened(&bar.name)),
            bar.series % COLOURS,
            length + 6.0,
            top + 15.0,
            escape(&bar.label)
        );
    }
    svg.push_str("</svg></div>\n");
    svg
}

/// A name that fits a line: its end is what tells targets apart, so that the middle goes.
fn shortened(name: &str) -> String {
    let count = name.chars().count();
    if count <= NAME_CHARACTERS_MAX {
        return name.to_owned();
    }
    let half = NAME_CHARACTERS_MAX / 2;
    let begin: String = name.chars().take(half).collect();
    let end: String = name.chars().skip(count - half + 1).collect();
    format!("{begin}…{end}")
}

fn open(id: &str, title: &str, description: &str, height: f64) -> String {
    format!(
        "<div class=\"wide\"><svg class=\"chart\" role=\"img\" aria-labelledby=\"{id}-title {id}-text\" viewBox=\"0 0 {WIDTH} {height}\">\n\
         <title id=\"{id}-title\">{}</title>\n<desc id=\"{id}-text\">{}</desc>\n",
        escape(title),
        escape(description)
    )
}
