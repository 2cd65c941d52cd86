//! Servers of real reactors on loopback, with plain blocking clients, over both engines.

mod harness;

use crate::base::clock::Instant;
use harness::{MODES, Mode, Report, Server, Style, connect, echo, pattern};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

#[test]
fn bytes_come_back_as_they_went() {
    for mode in MODES {
        for reactors in [1, 2] {
            let server = Server::start(mode, reactors, Style::Echo);
            for address in ["127.0.0.1:0", "[::1]:0"] {
                let mut clients: Vec<_> = (0..4).map(|_| connect(server.listen(address))).collect();
                for bytes in [1, 48, 4096, 65_536, 65_537, 300_000] {
                    for client in &mut clients {
                        echo(client, bytes);
                    }
                }
            }
            server.stop();
        }
    }
}

#[test]
fn what_is_taken_back_goes_on_where_it_was() {
    const BYTES: usize = 6 << 20;
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Flood(BYTES));
        let mut client = connect(server.listen("127.0.0.1:0"));
        let mut got = vec![0; BYTES];
        // The socket is full now and again, and the list is cut at any byte.
        for piece in got.chunks_mut(BYTES / 24) {
            server.withdraw();
            client.read_exact(piece).unwrap();
        }
        assert!(got == pattern(BYTES, 0), "{mode:?}");
        server.withdraw();
        echo(&mut client, 300_000);
        server.withdraw();
        echo(&mut client, 1);
        server.stop();
    }
}

#[test]
fn many_sockets_share_few_receive_buffers() {
    for mode in MODES {
        // A mebibyte of receive buffers is sixteen.
        let server = Server::start(mode, 2, Style::Echo);
        let address = server.listen("127.0.0.1:0");
        let mut clients: Vec<_> = (0..200).map(|_| connect(address)).collect();
        for round in 0..3 {
            let sent = pattern(4096, round);
            clients
                .iter_mut()
                .for_each(|client| client.write_all(&sent).unwrap());
            for client in &mut clients {
                let mut back = vec![0; sent.len()];
                client
                    .read_exact(&mut back)
                    .unwrap_or_else(|error| panic!("{mode:?}: {error}"));
                assert_eq!(back, sent, "{mode:?}");
            }
        }
        server.stop();
    }
}

#[test]
fn sockets_that_speak_and_are_silent_by_turns_all_get_their_answers() {
    // Longer than a direct socket may be silent where others wait for its place.
    const TURN: Duration = Duration::from_millis(3);
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Echo);
        let address = server.listen("127.0.0.1:0");
        let mut clients: Vec<_> = (0..6).map(|_| connect(address)).collect();
        for _ in 0..3 {
            for client in &mut clients {
                let begun = Instant::now();
                while Instant::now().since(begun) < TURN {
                    echo(client, 48);
                }
            }
            clients.iter_mut().for_each(|client| echo(client, 4096));
        }
        server.stop();
    }
}

#[test]
fn a_slow_reader_gets_everything_and_delays_nobody() {
    const BYTES: usize = 8 << 20;
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Flood(BYTES));
        let echoes = server.listen_as("127.0.0.1:0", Style::Echo);
        let mut slow = connect(server.listen("127.0.0.1:0"));
        let mut quick = connect(echoes);
        let mut got = Vec::with_capacity(BYTES);
        let mut piece = vec![0; 50_000];
        while got.len() < BYTES {
            echo(&mut quick, 100);
            let count = slow.read(&mut piece).unwrap();
            assert!(count > 0, "{mode:?}: the stream ended early");
            got.extend_from_slice(&piece[..count]);
        }
        assert!(got == pattern(BYTES, 0), "{mode:?}");
        server.stop();
    }
}

#[test]
fn sockets_move_between_reactors_and_lose_nothing() {
    for mode in MODES {
        let server = Server::start(mode, 2, Style::Hop);
        let mut clients: Vec<_> = (0..3)
            .map(|_| connect(server.listen("127.0.0.1:0")))
            .collect();
        for round in 0..100 {
            for client in &mut clients {
                echo(client, 1 + round * 37);
            }
        }
        assert!(server.moves() > 100, "they do move");
        server.stop();
    }
}

#[test]
fn nothing_is_received_unasked() {
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Mute);
        let mut client = connect(server.listen("127.0.0.1:0"));
        client.set_nonblocking(true).unwrap();
        // The kernel's buffers fill up, and that is all that happens.
        let piece = vec![7; 1 << 20];
        let mut sent = 0;
        let refused = loop {
            assert!(sent < 1 << 30, "somebody takes it all");
            match client.write(&piece) {
                Ok(count) => sent += count,
                Err(error) => break error,
            }
        };
        assert_eq!(refused.kind(), ErrorKind::WouldBlock);
        assert_eq!(server.received(), 0, "{mode:?}");
        server.stop();
    }
}

#[test]
fn closing_ends_what_is_in_flight() {
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Flood(64 << 20));
        let address = server.listen("127.0.0.1:0");
        let mut client = connect(address);
        client.read_exact(&mut [0; 1]).unwrap();
        // A receive and a send are in flight now.
        server.close_all();
        assert_eq!(
            server.report(),
            Report::Closed { failed: false },
            "{mode:?}"
        );
        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest);
        assert!(rest.len() < 64 << 20, "the send was cut short");
        // The slot and the descriptor serve the next one.
        connect(address).read_exact(&mut [0; 1]).unwrap();
        server.stop();
    }
}

#[test]
fn a_peer_that_stopped_sending_may_still_read() {
    const BYTES: usize = 4 << 20;
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Flood(BYTES));
        let mut client = connect(server.listen("127.0.0.1:0"));
        client.shutdown(Shutdown::Write).unwrap();
        let mut got = Vec::new();
        client.read_to_end(&mut got).unwrap();
        assert!(got == pattern(BYTES, 0), "{mode:?}");
        assert_eq!(server.report(), Report::Closed { failed: false });
        server.stop();
    }
}

#[test]
fn a_reset_is_reported_once() {
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Flood(16 << 20));
        let mut client = connect(server.listen("127.0.0.1:0"));
        client.read_exact(&mut [0; 1]).unwrap();
        // Unread bytes make the close a reset.
        drop(client);
        assert_eq!(server.report(), Report::Closed { failed: true }, "{mode:?}");
        server.stop();
    }
}

#[test]
fn a_stopped_listener_refuses() {
    for mode in MODES {
        let server = Server::start(mode, 1, Style::Echo);
        let address = server.listen("127.0.0.1:0");
        echo(&mut connect(address), 10);
        server.stop_listening();
        let refused = (0..1000).any(|_| {
            std::thread::yield_now();
            match TcpStream::connect(address) {
                Ok(_) => false,
                Err(error) => error.kind() == ErrorKind::ConnectionRefused,
            }
        });
        assert!(refused, "{mode:?}");
        server.stop();
    }
}

#[test]
fn a_reactor_stops_with_operations_in_flight() {
    for mode in MODES {
        let server = Server::start(mode, 2, Style::Flood(64 << 20));
        let address = server.listen("127.0.0.1:0");
        let mut clients: Vec<_> = (0..4).map(|_| connect(address)).collect();
        for client in &mut clients {
            client.read_exact(&mut [0; 1]).unwrap();
        }
        server.stop();
        for client in &mut clients {
            client
                .set_read_timeout(Some(Duration::from_secs(30)))
                .unwrap();
            let _ = client.read_to_end(&mut Vec::new());
        }
    }
}

#[test]
fn an_engine_without_its_source_is_refused() {
    let uring_without_ring = Mode {
        ring: false,
        ..MODES[0]
    };
    assert!(Server::try_start(uring_without_ring, 1, Style::Echo).is_err());
}
