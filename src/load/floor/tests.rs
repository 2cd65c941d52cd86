use super::*;

fn anywhere() -> EchoSides {
    EchoSides {
        cores: EchoCores {
            server: Cores::Any,
            client: Cores::Any,
        },
        yielding: true,
        sockets: SocketOptions::default(),
    }
}

#[test]
fn every_shape_echoes_in_both_directions_and_rests_between_bursts() {
    for payload in [Payload::Null, Payload::Ram] {
        for direction in [Direction::Read, Direction::Write] {
            for (bytes, connections, depth) in [(4096, 1, 1), (4096, 3, 8), (128 << 10, 1, 4)] {
                let shape = EchoShape {
                    direction,
                    bytes,
                    connections,
                    depth,
                    payload,
                };
                let mut rig = EchoRig::connect(shape, &anywhere()).unwrap();
                for _ in 0..2 {
                    let burst = rig.burst(Duration::from_millis(5)).unwrap();
                    let tally = burst.total();
                    let lane = tally.lane(direction);
                    assert!(lane.ios > 0, "{shape:?}");
                    assert_eq!(lane.bytes, lane.ios * u64::from(bytes));
                    assert_eq!((lane.ios, lane.latency.len()), (tally.ios(), lane.ios));
                }
            }
        }
    }
}

#[test]
fn requests_of_a_turn_leave_in_one_send() {
    let shape = EchoShape {
        direction: Direction::Read,
        bytes: 512,
        connections: 1,
        depth: 32,
        payload: Payload::Null,
    };
    let mut rig = EchoRig::connect(shape, &anywhere()).unwrap();
    let burst = rig.burst(Duration::from_millis(50)).unwrap();
    let turns = burst.work.receives + 1;
    assert!(
        burst.work.sends <= turns,
        "{} sends in {turns} turns that had something to say",
        burst.work.sends
    );
}

#[test]
fn the_median_is_in_the_middle() {
    assert_eq!(median(vec![3.0, 1.0, 2.0]), 2.0);
    assert_eq!(median(vec![4.0, 1.0, 2.0, 3.0]), 2.5);
    assert_eq!(median(Vec::new()), 0.0);
}

#[test]
fn a_file_is_read_past_the_page_cache() {
    let file = tempfile::NamedTempFile::new_in(std::env::temp_dir()).unwrap();
    file.as_file().set_len(64 << 10).unwrap();
    let duration = Duration::from_millis(5);
    match disk::measure(file.path(), 4, duration, &Cores::Any) {
        Ok(floor) => {
            assert!(floor.iops > 0.0 && !floor.latency.is_empty());
        }
        // Where io_uring is forbidden, or the file system knows no O_DIRECT, the error says so.
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    let missing = disk::measure(
        &file.path().with_extension("none"),
        1,
        duration,
        &Cores::Any,
    );
    assert_eq!(missing.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert!(disk::measure(file.path(), 0, duration, &Cores::Any).is_err());
}

#[test]
fn a_congestion_control_that_the_kernel_does_not_have_is_told() {
    let shape = EchoShape {
        direction: Direction::Read,
        bytes: 512,
        connections: 1,
        depth: 1,
        payload: Payload::Null,
    };
    let mut sides = anywhere();
    sides.sockets.congestion_control = Some("nosuch".to_owned());
    let error = EchoRig::connect(shape, &sides).unwrap_err();
    let error = crate::load::report::explain(&error);
    assert!(error.contains("\"nosuch\" is refused"), "{error}");
    assert!(
        error.contains("tcp_available_congestion_control"),
        "{error}"
    );
}
