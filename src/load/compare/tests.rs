use super::*;
use crate::load::floor::{EchoCores, Payload};
use crate::load::plan::{Cores, SocketOptions};
use crate::load::tally::Direction;

fn line(name: &str, role: Role, iops: &[f64], server_cpu_ns: Option<f64>) -> Line {
    let sample = |iops: &f64| Sample {
        iops: *iops,
        p50_ns: 1e9 / iops,
        client_cpu_ns: 1e9 / iops,
        server_cpu_ns,
        slowest_share: None,
    };
    Line {
        name: name.to_owned(),
        role,
        samples: iops.iter().map(sample).collect(),
        tally: Tally::default(),
    }
}

/// The machine halves its speed on the way, which no ratio may show.
fn drifting(candidate: &[f64]) -> Comparison {
    Comparison {
        schedule: Schedule {
            burst: Duration::from_millis(1),
            pairs: 4,
        },
        lines: vec![
            line("a", Role::Reference, &[100.0, 80.0, 60.0, 50.0], Some(7.0)),
            line("a", Role::Control, &[101.0, 79.2, 60.6, 49.5], Some(7.0)),
            line("b", Role::Candidate, candidate, None),
        ],
    }
}

#[test]
fn ratios_are_those_of_neighbours() {
    let comparison = drifting(&[120.0, 96.0, 72.0, 60.0]);
    let b = &comparison.lines[2];
    let ratios = comparison.ratios(b, Measure::Iops).unwrap();
    assert!((ratios.min - 1.2).abs() < 1e-9 && (ratios.max - 1.2).abs() < 1e-9);
    assert_eq!(comparison.verdict(b, Measure::Iops), Some(Verdict::Better));
    assert_eq!(comparison.verdict(b, Measure::P50), Some(Verdict::Better));
    let slower = drifting(&[80.0, 64.0, 48.0, 40.0]);
    let b = &slower.lines[2];
    assert_eq!(slower.verdict(b, Measure::Iops), Some(Verdict::Worse));
    assert_eq!(slower.verdict(b, Measure::P50), Some(Verdict::Worse));
}

#[test]
fn what_the_control_does_too_is_noise() {
    let comparison = drifting(&[100.5, 80.4, 60.3, 50.2]);
    let b = &comparison.lines[2];
    assert_eq!(
        comparison.verdict(b, Measure::Iops),
        Some(Verdict::WithinNoise)
    );
    // Far off in the median, but not sure of its sign.
    let unsure = drifting(&[150.0, 120.0, 40.0, 30.0]);
    let b = &unsure.lines[2];
    assert_eq!(unsure.verdict(b, Measure::Iops), Some(Verdict::WithinNoise));
}

#[test]
fn what_is_not_known_has_no_ratio() {
    let comparison = drifting(&[100.0; 4]);
    let b = &comparison.lines[2];
    assert_eq!(b.median(Measure::ServerCpu), None);
    assert_eq!(comparison.ratios(b, Measure::ServerCpu), None);
    assert_eq!(comparison.verdict(b, Measure::ServerCpu), None);
    assert_eq!(
        comparison.verdict(&comparison.lines[1], Measure::Iops),
        None
    );
}

#[test]
fn quartiles_lie_between_neighbours() {
    let quartiles = Quartiles::of(vec![4.0, 1.0, 3.0, 2.0]).unwrap();
    let found = [
        quartiles.min,
        quartiles.q1,
        quartiles.median,
        quartiles.q3,
        quartiles.max,
    ];
    assert_eq!(found, [1.0, 1.75, 2.5, 3.25, 4.0]);
    assert_eq!(
        Quartiles::of(vec![7.0]).map(|one| (one.q1, one.q3)),
        Some((7.0, 7.0))
    );
    assert_eq!(Quartiles::of(Vec::new()), None);
}

#[test]
fn everyone_has_every_turn() {
    for count in 2..6 {
        // In twice as many rounds as there are places, everyone was twice in each.
        let mut seen = vec![vec![0; count]; count];
        for round in 0..2 * count {
            for (turn, place) in turns(round, count).into_iter().enumerate() {
                seen[place][turn] += 1;
            }
        }
        assert!(
            seen.iter().flatten().all(|times| *times == 2),
            "{count}: {seen:?}"
        );
    }
}

fn floor(name: &str) -> Candidate {
    let any = || Cores::Any;
    Candidate {
        name: name.to_owned(),
        subject: Subject::Floor {
            shape: EchoShape {
                direction: Direction::Read,
                bytes: 512,
                connections: 2,
                depth: 4,
                payload: Payload::Null,
            },
            sides: EchoSides {
                cores: EchoCores {
                    server: any(),
                    client: any(),
                },
                yielding: true,
                sockets: SocketOptions::default(),
            },
        },
        server: None,
    }
}

#[test]
fn floors_are_compared() {
    let schedule = Schedule {
        burst: Duration::from_millis(10),
        pairs: 3,
    };
    let candidates = [floor("one"), floor("two")];
    let never = AtomicBool::new(false);
    let mut rounds = Vec::new();
    let comparison = run(&candidates, schedule, &never, |round| rounds.push(round)).unwrap();
    assert_eq!(rounds, [0, 1, 2]);
    let names: Vec<_> = comparison
        .lines
        .iter()
        .map(|line| line.name.as_str())
        .collect();
    assert_eq!(names, ["one", "one", "two"]);
    for line in &comparison.lines {
        assert_eq!(line.samples.len(), 3);
        assert_eq!(line.latency().len(), line.tally.ios());
        for measure in Measure::ALL {
            assert!(comparison.ratios(line, measure).is_some(), "{measure:?}");
        }
    }
}

#[test]
fn what_can_not_be_compared_is_refused() {
    let schedule = Schedule {
        burst: Duration::from_millis(10),
        pairs: 1,
    };
    let refused = |candidates: &[Candidate], schedule, stop| {
        run(candidates, schedule, &AtomicBool::new(stop), |_| {}).unwrap_err()
    };
    let two = [floor("one"), floor("two")];
    assert!(matches!(
        refused(&two[..1], schedule, false),
        CompareError::Candidates(1)
    ));
    let none = Schedule {
        pairs: 0,
        ..schedule
    };
    assert!(matches!(refused(&two, none, false), CompareError::Schedule));
    assert!(matches!(
        refused(&two, schedule, true),
        CompareError::Stopped
    ));
}
