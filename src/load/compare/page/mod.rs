//! A study as one page: HTML with its charts inside.
//!
//! The page stands by itself: no script, no font, no picture and no style comes from elsewhere, so it
//! can be mailed and kept. It is well-formed XML, which a test holds it to.

mod chart;
#[cfg(test)]
mod tests;

use std::fmt::Write;

use chart::{Axis, Bar, Curve, Scale};

use super::runs::Runs;
use super::study::{Machine, Settings, Study};
use super::{Comparison, Line, Measure, Role};
use crate::load::report::human;

/// 1 / (1 − q) at the right end of the percentile plot: q = 99.999%.
const REACH: f64 = 1e5;
/// Points of a percentile curve for each factor of ten.
const POINTS_PER_DECADE: i32 = 20;
const DECADES: i32 = 5;

const STYLE: &str = "\
:root { color-scheme: light dark; --ground: #ffffff; --ink: #1b1f24; --faint: #57606a; --rule: #d0d7de;
  --s0: #0b5cad; --s1: #b3261e; --s2: #1b6e3c; --s3: #7b3fa0; --s4: #8a5a00; --s5: #00697a; }
@media (prefers-color-scheme: dark) { :root { --ground: #14171a; --ink: #e6edf3; --faint: #a4adb7;
  --rule: #3a424b; --s0: #7ab8ff; --s1: #ff9a8d; --s2: #7fd99a; --s3: #d0a5f0; --s4: #e8b95a;
  --s5: #6fd6e6; } }
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
h1 { overflow-wrap: anywhere; } p.note { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.8rem 0.25rem 0; border-bottom: 1px solid var(--rule); text-align: left;
  vertical-align: top; white-space: nowrap; }
.settings td { white-space: normal; overflow-wrap: anywhere; }
td.number, th.number { text-align: right; }
svg { width: 100%; height: auto; font: 13px system-ui, sans-serif; } svg.chart { min-width: 40rem; }
svg text { fill: var(--ink); } .grid { stroke: var(--rule); }
.curve { fill: none; stroke-width: 2; } .dashed { stroke-dasharray: 6 4; }
ul.legend { list-style: none; padding: 0; display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; }
ul.legend svg { width: 2rem; height: 0.8rem; margin-right: 0.4rem; }
";

/// A page before it is written: what stands in it, in this order.
struct Page<'a> {
    title: String,
    notes: Vec<String>,
    comparisons: Vec<Part<'a>>,
    sweeps: Vec<Sweep<'a>>,
    /// Of the whole page.
    facts: Vec<(&'static str, String)>,
    /// Of each candidate.
    settings: Vec<(&'a str, &'a Settings)>,
}

/// A comparison, with a heading of its own if there are several.
struct Part<'a> {
    title: Option<String>,
    comparison: &'a Comparison,
}

/// The same comparison with more and more outstanding.
struct Sweep<'a> {
    /// Added to the heading.
    title: Option<String>,
    /// What the number of each step counts.
    counted: &'static str,
    steps: Vec<(u32, &'a Comparison)>,
}

/// The study as a page.
#[must_use]
pub fn render(study: &Study) -> String {
    let main = &study.main;
    let machine = &study.machine;
    let named = shown(main).map(|line| line.name.as_str());
    let page = Page {
        title: names(main).join(" · "),
        notes: vec![format!(
            "{} rounds of bursts of {} ms by turns. Ratios are to {}, in the same round.",
            main.schedule.pairs,
            main.schedule.burst.as_millis(),
            main.lines[0].name
        )],
        comparisons: vec![Part {
            title: None,
            comparison: main,
        }],
        sweeps: vec![Sweep {
            title: None,
            counted: "depth",
            steps: study
                .by_depth
                .iter()
                .map(|(depth, one)| (*depth, one))
                .collect(),
        }],
        facts: vec![
            ("program", machine.program.clone()),
            ("kernel", machine.kernel.clone()),
            ("processor", machine.cpu.clone()),
            ("processors", machine.cores.to_string()),
            ("started", study.started.clone()),
        ],
        settings: named.zip(&study.settings).collect(),
    };
    page.write()
}

/// Runs of fio as a page.
#[must_use]
pub fn render_runs(runs: &Runs) -> String {
    let named: Vec<&str> = runs
        .settings
        .iter()
        .map(|(name, _)| name.as_str())
        .collect();
    let mut notes = vec![format!(
        "From files, of runs that did not take turns: how far a ratio to {} is noise is not known.",
        named[0]
    )];
    if !runs.left_out.is_empty() {
        let shapes: Vec<String> = runs.left_out.iter().map(ToString::to_string).collect();
        notes.push(format!(
            "Not in all files, and left out: {}.",
            shapes.join("; ")
        ));
    }
    let part = |(shape, comparison)| Part {
        title: Some(format!("{shape}")),
        comparison,
    };
    let page = Page {
        title: named.join(" · "),
        notes,
        comparisons: runs
            .shapes
            .iter()
            .map(|(shape, one)| part((shape, one)))
            .collect(),
        sweeps: runs
            .sweeps()
            .into_iter()
            .map(|(title, steps)| Sweep {
                title: Some(title),
                counted: "outstanding",
                steps,
            })
            .collect(),
        facts: vec![("page by", Machine::here().program)],
        settings: named
            .into_iter()
            .zip(runs.settings.iter().map(|(_, one)| one))
            .collect(),
    };
    page.write()
}

impl Page<'_> {
    fn write(&self) -> String {
        let mut page = String::from(
            "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n",
        );
        let _ = write!(
            page,
            "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n\
             <title>Comparison by holdfast bench</title>\n<style>\n{STYLE}{}</style>\n</head>\n<body>\n\
             <h1>{}</h1>\n",
            series_style(),
            escape(&self.title)
        );
        for note in &self.notes {
            let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(note));
        }
        for (index, part) in self.comparisons.iter().enumerate() {
            let level = match &part.title {
                None => 2,
                Some(title) => {
                    let _ = writeln!(page, "<h2>{}</h2>", escape(title));
                    3
                }
            };
            let mut section = |title: &str, content: String| {
                let _ = write!(page, "<h{level}>{title}</h{level}>\n{content}");
            };
            section("Ratios", ratios(part.comparison));
            let text = legend(part.comparison) + &percentiles(index, part.comparison);
            section("Latency by percentile", text);
            section("CPU time per I/O", cpu(index, part.comparison));
        }
        for (index, sweep) in self.sweeps.iter().enumerate() {
            let of = sweep
                .title
                .as_ref()
                .map(|title| format!(": {}", escape(title)));
            let of = of.unwrap_or_default();
            let _ = write!(
                page,
                "<h2>IOPS and latency over depth{of}</h2>\n{}",
                depths(index, sweep)
            );
        }
        page.push_str("<h2>Configuration</h2>\n");
        page.push_str(&self.configuration());
        page.push_str("</body>\n</html>\n");
        page
    }
}

/// `text` in XML.
fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // XML has no way to write them.
            control if control.is_control() && !control.is_whitespace() => safe.push('\u{fffd}'),
            other => safe.push(other),
        }
    }
    safe
}

fn series_style() -> String {
    let mut style = String::new();
    for series in 0..6 {
        let _ = writeln!(
            style,
            ".curve.s{series} {{ stroke: var(--s{series}); }} \
             .bar.s{series}, .mark.s{series} {{ fill: var(--s{series}); }}"
        );
    }
    style
}

/// The candidates, the control left out.
fn shown(comparison: &Comparison) -> impl Iterator<Item = &Line> {
    let lines = comparison.lines.iter();
    lines.filter(|line| line.role != Role::Control)
}

fn names(comparison: &Comparison) -> Vec<String> {
    shown(comparison).map(|line| line.name.clone()).collect()
}

fn legend(comparison: &Comparison) -> String {
    let mut list = String::from("<ul class=\"legend\">\n");
    for (series, line) in shown(comparison).enumerate() {
        let _ = writeln!(
            list,
            "<li><svg aria-hidden=\"true\" viewBox=\"0 0 32 12\"><polyline class=\"curve s{}\" \
             points=\"0,6 32,6\"/></svg>{}</li>",
            series % 6,
            escape(&line.name)
        );
    }
    list + "</ul>\n"
}

const fn title(measure: Measure) -> &'static str {
    match measure {
        Measure::Iops => "IOPS",
        Measure::P50 => "p50",
        Measure::ClientCpu => "client CPU per I/O",
        Measure::ServerCpu => "server CPU per I/O",
        Measure::SlowestSession => "slowest session of the mean",
    }
}

#[allow(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "nanoseconds for people, never negative"
)]
fn whole(nanos: f64) -> u64 {
    nanos.round() as u64
}

fn ratios(comparison: &Comparison) -> String {
    let mut table = String::from(
        "<p class=\"note\">Within noise: no farther from 1 than the control's quartiles, or quartiles on \
         both sides of 1.</p>\n<div class=\"wide\"><table>\n<thead><tr><th>measure</th>\
         <th>candidate</th><th class=\"number\">median</th><th class=\"number\">ratio</th>\
         <th class=\"number\">quartiles</th><th class=\"number\">extremes</th><th>verdict</th></tr>\
         </thead>\n<tbody>\n",
    );
    for row in comparison.rows() {
        let _ = writeln!(
            table,
            "<tr><td>{}</td><td>{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td>\
             <td class=\"number\">{}</td><td class=\"number\">{}</td><td>{}</td></tr>",
            title(row.measure),
            escape(&row.line.name),
            escape(&row.median),
            row.ratio,
            row.quartiles,
            row.extremes,
            row.verdict,
        );
    }
    table + "</tbody>\n</table></div>\n"
}

fn percentiles(index: usize, comparison: &Comparison) -> String {
    let curves: Vec<Curve> = shown(comparison)
        .enumerate()
        .map(|(series, line)| {
            let latency = line.latency();
            let points = (0..=DECADES * POINTS_PER_DECADE).map(|step| {
                let x = 10_f64.powf(f64::from(step) / f64::from(POINTS_PER_DECADE));
                (x, nanos(latency.value_at_quantile(1.0 - 1.0 / x)), None)
            });
            Curve {
                series,
                is_dashed: false,
                points: points.collect(),
            }
        })
        .collect();
    let x = Scale {
        axis: Axis::between(1.0, REACH),
        title: "percentile",
        ticks: [
            (2.0, "50%"),
            (10.0, "90%"),
            (100.0, "99%"),
            (1e3, "99.9%"),
            (1e4, "99.99%"),
            (1e5, "99.999%"),
        ]
        .map(|(place, label)| (place, label.to_owned()))
        .into(),
    };
    let description = shown(comparison)
        .map(|line| {
            let latency = line.latency();
            let at = |quantile| human::time(latency.value_at_quantile(quantile));
            format!(
                "{}: p50 {}, p99 {}, p99.9 {}.",
                line.name,
                at(0.5),
                at(0.99),
                at(0.999)
            )
        })
        .collect::<Vec<_>>()
        .join(" ");
    match latency_scale(&curves) {
        None => nothing("no I/O was measured"),
        Some(y) => chart::curves(
            &format!("percentiles-{index}"),
            "Latency by percentile",
            &description,
            [&x, &y],
            &curves,
        ),
    }
}

fn latency_scale(curves: &[Curve]) -> Option<Scale> {
    let values = curves.iter().flat_map(|curve| &curve.points);
    let axis = Axis::around(values.map(|(_, y, _)| *y))?;
    let ticks = axis.ticks().into_iter();
    Some(Scale {
        axis,
        title: "latency",
        ticks: ticks.map(|tick| (tick, human::time(whole(tick)))).collect(),
    })
}

fn depths(index: usize, sweep: &Sweep<'_>) -> String {
    let counted = sweep.counted;
    let Some((_, first)) = sweep.steps.first() else {
        return nothing("not measured: --depths was not given");
    };
    let mut curves = Vec::new();
    for series in 0..shown(first).count() {
        for (quantile, is_dashed) in [(0.5, false), (0.99, true)] {
            let points = sweep.steps.iter().filter_map(|(number, comparison)| {
                let line = shown(comparison).nth(series)?;
                let iops = line.median(Measure::Iops)?;
                let latency = line.latency().value_at_quantile(quantile);
                let text = format!(
                    "{}, {counted} {number}: {} IOPS, p{:.0} {}",
                    line.name,
                    human::count(iops),
                    quantile * 100.0,
                    human::time(latency)
                );
                Some((iops, nanos(latency), Some(text)))
            });
            curves.push(Curve {
                series,
                is_dashed,
                points: points.collect(),
            });
        }
    }
    let iops = curves.iter().flat_map(|curve| &curve.points);
    let (Some(axis), Some(y)) = (Axis::around(iops.map(|(x, ..)| *x)), latency_scale(&curves))
    else {
        return nothing("no I/O was measured");
    };
    let x = Scale {
        axis,
        title: "IOPS",
        ticks: axis
            .ticks()
            .into_iter()
            .map(|tick| (tick, human::count(tick)))
            .collect(),
    };
    let numbers: Vec<String> = sweep
        .steps
        .iter()
        .map(|(number, _)| number.to_string())
        .collect();
    let text = format!(
        "One point for each {counted} of {}. Drawn through: p50. Dashed: p99.",
        numbers.join(", ")
    );
    format!("{}<p class=\"note\">{text}</p>\n", legend(first))
        + &chart::curves(
            &format!("depths-{index}"),
            "IOPS against latency over depth",
            &text,
            [&x, &y],
            &curves,
        )
}

fn cpu(index: usize, comparison: &Comparison) -> String {
    let mut bars = Vec::new();
    for (series, line) in shown(comparison).enumerate() {
        for (measure, side) in [
            (Measure::ServerCpu, "server"),
            (Measure::ClientCpu, "client"),
        ] {
            if let Some(value) = line.median(measure) {
                bars.push(Bar {
                    name: format!("{}, {side}", line.name),
                    series,
                    value,
                    label: human::time(whole(value)),
                });
            }
        }
    }
    let told: Vec<String> = bars
        .iter()
        .map(|bar| format!("{}: {}", bar.name, bar.label))
        .collect();
    chart::bars(
        &format!("cpu-{index}"),
        "CPU time per I/O",
        &told.join("; "),
        &bars,
    ) + "<p class=\"note\">A side that spins spends all of its time. The server's time is known where \
           it was started for the comparison.</p>\n"
}

impl Page<'_> {
    fn configuration(&self) -> String {
        let mut text = settings_table(self.facts.iter());
        for (name, settings) in &self.settings {
            let _ = writeln!(text, "<h3>{}</h3>", escape(name));
            text.push_str(&settings_table(settings.iter()));
        }
        text
    }
}

fn settings_table<'a>(settings: impl Iterator<Item = &'a (&'static str, String)>) -> String {
    let mut table = String::from("<div class=\"wide\"><table class=\"settings\">\n<tbody>\n");
    for (name, value) in settings {
        let _ = writeln!(
            table,
            "<tr><th scope=\"row\">{}</th><td>{}</td></tr>",
            escape(name),
            escape(value)
        );
    }
    table + "</tbody>\n</table></div>\n"
}

fn nothing(why: &str) -> String {
    format!("<p class=\"note\">{}</p>\n", escape(why))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "no latency is as long as 2^53 ns"
)]
const fn nanos(value: u64) -> f64 {
    value as f64
}
