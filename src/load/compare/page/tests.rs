use std::time::Duration;

use super::super::study::Machine;
use super::super::{Role, Sample, Schedule};
use super::*;
use crate::load::report::human;
use crate::load::tally::{Direction, Tally};

/// A name that would break a page that does not escape.
const HOSTILE: &str = "new<b>&\"co\"";

fn line(name: &str, role: Role, scale: u64) -> Line {
    let mut tally = Tally::default();
    for latency in 1..=1000 {
        tally.count(Direction::Read, 4096, latency * scale);
    }
    let iops = 1e9 / nanos(scale);
    Line {
        name: name.to_owned(),
        role,
        samples: vec![
            Sample {
                iops,
                p50_ns: nanos(500 * scale),
                client_cpu_ns: 100.0,
                server_cpu_ns: Some(200.0),
                slowest_share: None,
            };
            3
        ],
        tally,
    }
}

fn comparison(scale: u64) -> Comparison {
    Comparison {
        schedule: Schedule {
            burst: Duration::from_millis(300),
            pairs: 3,
        },
        lines: vec![
            line("old", Role::Reference, scale),
            line("old", Role::Control, scale),
            line(HOSTILE, Role::Candidate, scale * 2),
        ],
    }
}

fn study(by_depth: Vec<(u32, Comparison)>) -> Study {
    Study {
        started_at: Duration::from_secs(1),
        started: "1970-01-01 00:00:01.000Z".to_owned(),
        machine: Machine::here(),
        settings: vec![
            vec![("subject", "iscsi://h/iqn.2024-01.example:a/0".to_owned())],
            vec![("knobs", "idle: Spin & <more>".to_owned())],
        ],
        main: comparison(10),
        by_depth,
    }
}

/// The elements of a well-formed text in their order, or what is wrong with it. Only what the page
/// uses: elements, attributes in double quotes, the five entities.
fn elements(text: &str) -> Result<Vec<String>, String> {
    let mut rest = text.strip_prefix("<!DOCTYPE html>\n").unwrap_or(text);
    let (mut open, mut all) = (Vec::new(), Vec::new());
    while let Some(start) = rest.find('<') {
        sound_text(&rest[..start])?;
        let end = rest[start..].find('>').ok_or("a tag without an end")? + start;
        let tag = &rest[start + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            match open.pop() {
                Some(last) if last == name => {}
                last => return Err(format!("{name} closes {last:?}")),
            }
            continue;
        }
        let (tag, is_empty) = tag
            .strip_suffix('/')
            .map_or((tag, false), |tag| (tag, true));
        let name = tag.split(' ').next().unwrap_or_default().to_owned();
        if name.is_empty() || tag.matches('"').count() % 2 == 1 || tag.contains('<') {
            return Err(format!("a tag that is none: {tag}"));
        }
        tag.split('"').skip(1).step_by(2).try_for_each(sound_text)?;
        all.push(name.clone());
        if !is_empty {
            open.push(name);
        }
    }
    if open.is_empty() {
        Ok(all)
    } else {
        Err(format!("left open: {open:?}"))
    }
}

fn sound_text(text: &str) -> Result<(), String> {
    let known = ["amp;", "lt;", "gt;", "quot;"];
    let sound = |rest: &str| known.iter().any(|entity| rest.starts_with(entity));
    if text.contains('>') || !text.split('&').skip(1).all(sound) {
        return Err(format!("not escaped: {text}"));
    }
    Ok(())
}

#[test]
fn the_check_finds_what_is_wrong() {
    for wrong in [
        "<p>",
        "<p></b>",
        "<p>a&b</p>",
        "<p a=\"x></p>",
        "a > b<p/>",
        "<p",
    ] {
        assert!(elements(wrong).is_err(), "{wrong}");
    }
    assert_eq!(elements("<p a=\"&lt;\"><b/>&amp;</p>").unwrap(), ["p", "b"]);
}

#[test]
fn the_page_is_well_formed_and_stands_alone() {
    let page = render(&study(vec![(1, comparison(20)), (32, comparison(10))]));
    let found = elements(&page).unwrap();
    let count = |name: &str| found.iter().filter(|element| *element == name).count();
    for foreign in ["script", "link", "img", "iframe", "image", "use", "a"] {
        assert_eq!(count(foreign), 0, "{foreign}");
    }
    for reference in ["http", "url(", "@import", "src="] {
        assert!(!page.contains(reference), "{reference}");
    }
    // Three charts, each with a title and a text for those who can't see it.
    assert_eq!(
        (page.matches("role=\"img\"").count(), count("desc")),
        (3, 3)
    );
    assert!(page.contains("prefers-color-scheme: dark"));
}

#[test]
fn every_candidate_is_everywhere() {
    let page = render(&study(vec![(1, comparison(20)), (32, comparison(10))]));
    let name = escape(HOSTILE);
    assert!(!page.contains(HOSTILE));
    let sections: Vec<&str> = page.split("<h2>").skip(1).collect();
    assert_eq!(sections.len(), 5);
    for section in sections {
        assert!(section.contains(&name), "{section}");
        assert!(section.contains("old"), "{section}");
    }
    // Two candidates, two percentiles, two depths: a mark each, which tells its figures.
    assert_eq!(page.matches("<circle").count(), 8);
    let told = format!(
        "old, depth 32: {} IOPS, p50 {}",
        human::count(1e8),
        human::time(5_000)
    );
    assert!(page.contains(&told), "{told}");
    assert!(page.contains("idle: Spin &amp; &lt;more&gt;"));
    assert!(page.contains(">worse<"));
}

#[test]
fn what_was_not_measured_is_not_drawn() {
    let page = render(&study(Vec::new()));
    elements(&page).unwrap();
    assert!(page.contains("--depths was not given"));
    assert_eq!(page.matches("role=\"img\"").count(), 2);
}

#[test]
fn axes_hold_their_values() {
    let axis = Axis::around([0.0, 8_000.0, 90_000.0].into_iter()).unwrap();
    assert_eq!(axis.ticks(), [10_000.0, 20_000.0, 50_000.0, 100_000.0]);
    assert_eq!(
        Axis::between(1.0, 1e5).ticks(),
        [1.0, 10.0, 100.0, 1e3, 1e4, 1e5]
    );
    assert_eq!(Axis::around([0.0].into_iter()), None);
}
