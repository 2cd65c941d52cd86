//! Rings against the running kernel. They fail, saying why, where io_uring is not permitted.

use super::*;
use crate::base::buffer::{Buffer, Pool};
use crate::base::clock::Instant;
use crate::base::gather::{Gather, Payload};
use crate::base::limits::BUFFER_BYTES_MAX;
use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(10);
const BACKEND: Token = Token::new(Owner::Backend, 7);
const NET: Token = Token::new(Owner::Net, 8);

fn ring() -> Ring {
    let config = RingConfig {
        submissions: 8,
        in_flight: 64,
        provided_buffers: 4,
    };
    match Ring::new(config) {
        Ok(ring) => ring,
        Err(unavailable) => panic!("these tests need io_uring: {unavailable}"),
    }
}

fn pool() -> Pool {
    Pool::new(BUFFER_BYTES_MAX, 0).unwrap()
}

fn file() -> FileHandle {
    FileHandle::from(tempfile::tempfile().unwrap())
}

/// An eventfd that nothing makes readable.
fn silent() -> FileHandle {
    let flags = rustix::event::EventfdFlags::empty();
    FileHandle::from(rustix::event::eventfd(0, flags).unwrap())
}

fn pair() -> (FileHandle, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (FileHandle::from(listener.accept().unwrap().0), peer)
}

fn completion(ring: &mut Ring, owner: Owner) -> Completion {
    loop {
        if let Some(completion) = ring.completion(owner) {
            return completion;
        }
        ring.enter(Some(PATIENCE)).unwrap();
        assert!(ring.has_completions(), "nothing completed in {PATIENCE:?}");
    }
}

fn run(ring: &mut Ring, op: Op) -> Completion {
    let owner = if matches!(op, Op::Receive { .. } | Op::Send { .. } | Op::Accept { .. }) {
        NET
    } else {
        BACKEND
    };
    ring.submit(op, owner).unwrap();
    let completion = completion(ring, owner.owner);
    assert_eq!(completion.token, owner);
    completion
}

fn filled(pool: &mut Pool, bytes: usize, with: u8) -> Buffer {
    let mut buffer = pool.allocate(bytes).unwrap();
    buffer.fill(with);
    buffer
}

fn write_and_read_back(ring: &mut Ring, pool: &mut Pool) {
    let file = file();
    let mut buffer = filled(pool, 12_288, 0xAA);
    buffer[..4096].fill(0xBB);
    let op = Op::Write {
        file: file.clone(),
        offset: 8192,
        buffer,
        skip: 4096,
        dsync: true,
    };
    let written = run(ring, op);
    assert_eq!(written.result.unwrap(), 8192);
    assert_eq!(
        run(
            ring,
            Op::Fsync {
                file: file.clone(),
                data_only: true
            }
        )
        .result
        .unwrap(),
        0
    );
    let buffer = filled(pool, 12_288, 0);
    let read = run(
        ring,
        Op::Read {
            file: file.clone(),
            offset: 8192,
            buffer,
            skip: 0,
        },
    );
    assert_eq!(read.result.unwrap(), 12_288);
    let Op::Read { buffer, .. } = read.op else {
        panic!("a read comes back as a read")
    };
    assert!(
        buffer[..4096].iter().all(|&byte| byte == 0),
        "what was skipped is a hole"
    );
    assert!(buffer[4096..].iter().all(|&byte| byte == 0xAA));
    let beyond = filled(pool, 4096, 1);
    let read = run(
        ring,
        Op::Read {
            file,
            offset: 1 << 20,
            buffer: beyond,
            skip: 0,
        },
    );
    assert_eq!(read.result.unwrap(), 0, "the end of the file");
}

#[test]
fn files_are_written_and_read_with_plain_buffers() {
    write_and_read_back(&mut ring(), &mut pool());
}

#[test]
fn files_are_written_and_read_with_registered_buffers() {
    let (mut ring, mut home, mut other) = (ring(), pool(), Pool::new(BUFFER_BYTES_MAX, 1).unwrap());
    let arenas = [Arc::clone(home.arena()), Arc::clone(other.arena())];
    ring.register_arenas(&arenas).unwrap();
    write_and_read_back(&mut ring, &mut home);
    write_and_read_back(&mut ring, &mut other);
    // An arena that is not registered, under an index that is.
    write_and_read_back(&mut ring, &mut pool());
}

#[test]
fn fallocate_sets_aside_and_punches() {
    let (mut ring, mut pool, file) = (ring(), pool(), file());
    let buffer = filled(&mut pool, 8192, 3);
    run(
        &mut ring,
        Op::Write {
            file: file.clone(),
            offset: 0,
            buffer,
            skip: 0,
            dsync: false,
        },
    );
    let mode = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    let punched = run(
        &mut ring,
        Op::Fallocate {
            file: file.clone(),
            mode,
            offset: 0,
            length: 4096,
        },
    );
    assert_eq!(punched.result.unwrap(), 0);
    let buffer = filled(&mut pool, 8192, 9);
    let read = run(
        &mut ring,
        Op::Read {
            file,
            offset: 0,
            buffer,
            skip: 0,
        },
    );
    let Op::Read { buffer, .. } = read.op else {
        panic!("a read comes back as a read")
    };
    assert!(buffer[..4096].iter().all(|&byte| byte == 0));
    assert!(buffer[4096..].iter().all(|&byte| byte == 3));
}

#[test]
fn an_error_brings_the_operation_back() {
    let (mut ring, mut pool) = (ring(), pool());
    let directory = FileHandle::from(File::open("/").unwrap());
    let buffer = filled(&mut pool, 4096, 0);
    let read = run(
        &mut ring,
        Op::Read {
            file: directory,
            offset: 0,
            buffer,
            skip: 0,
        },
    );
    assert_eq!(read.result.unwrap_err().raw_os_error(), Some(libc::EISDIR));
    assert!(matches!(read.op, Op::Read { buffer, .. } if buffer.len() == 4096));
}

#[test]
fn a_full_ring_hands_the_operation_back() {
    let (mut ring, silent) = (ring(), silent());
    for _ in 0..64 {
        ring.submit(
            Op::PollIn {
                file: silent.clone(),
            },
            BACKEND,
        )
        .unwrap();
    }
    let refused = ring.submit(Op::PollIn { file: silent }, BACKEND);
    assert!(matches!(refused, Err(Op::PollIn { .. })));
    assert_eq!(ring.in_flight(), 64);
}

#[test]
fn a_cancelled_operation_completes() {
    let mut ring = ring();
    let ticket = ring.submit(Op::PollIn { file: silent() }, BACKEND).unwrap();
    ring.enter(None).unwrap();
    assert!(ring.completion(Owner::Backend).is_none());
    ring.cancel(ticket);
    let cancelled = completion(&mut ring, Owner::Backend);
    assert_eq!(
        cancelled.result.unwrap_err().raw_os_error(),
        Some(libc::ECANCELED)
    );
    ring.cancel(ticket);
    ring.enter(None).unwrap();
    assert_eq!(ring.in_flight(), 0);
}

#[test]
fn dropping_a_ring_waits_for_the_kernel_to_let_go() {
    let (mut ring, mut pool) = (ring(), pool());
    let (socket, mut peer) = pair();
    let silent = silent();
    let buffer = filled(&mut pool, 4096, 5);
    let receive = Op::Receive {
        socket: socket.clone(),
        buffer: Some(buffer),
        poll_first: false,
    };
    ring.submit(receive, NET).unwrap();
    ring.submit(
        Op::PollIn {
            file: silent.clone(),
        },
        BACKEND,
    )
    .unwrap();
    ring.enter(None).unwrap();
    // Neither the kernel's view nor an entry that never reached it keeps anything.
    ring.submit(
        Op::PollIn {
            file: silent.clone(),
        },
        BACKEND,
    )
    .unwrap();
    assert_eq!(ring.in_flight(), 3);
    drop(ring);
    assert!(silent.into_owned().is_ok(), "the ring let go of the file");
    let again = pool
        .allocate(BUFFER_BYTES_MAX)
        .expect("the ring let go of the buffer");
    peer.write_all(b"late").unwrap();
    assert_eq!(again.len(), BUFFER_BYTES_MAX);
    drop(socket);
}

#[test]
fn bytes_come_in_lent_buffers_and_run_out_with_them() {
    let (mut ring, mut pool) = (ring(), pool());
    let (socket, mut peer) = pair();
    let receive = || Op::Receive {
        socket: socket.clone(),
        buffer: None,
        poll_first: false,
    };
    peer.write_all(b"first").unwrap();
    let starved = run(&mut ring, receive());
    assert_eq!(
        starved.result.unwrap_err().raw_os_error(),
        Some(libc::ENOBUFS)
    );
    for round in 0..20_u8 {
        while ring.provided_vacancies() > 0 {
            ring.provide(pool.allocate(64 << 10).unwrap()).unwrap();
        }
        let spare = pool.allocate(4096).unwrap();
        assert!(ring.provide(spare).is_err(), "there is no vacancy");
        if round > 0 {
            peer.write_all(&[round; 5]).unwrap();
        }
        let received = run(&mut ring, receive());
        assert_eq!(received.result.unwrap(), 5);
        let Op::Receive {
            buffer: Some(buffer),
            ..
        } = received.op
        else {
            panic!("with its buffer")
        };
        let expected = if round > 0 { [round; 5] } else { *b"first" };
        assert_eq!(*buffer, expected);
        pool.recycle(buffer);
    }
    drop(peer);
    assert_eq!(
        run(&mut ring, receive()).result.unwrap(),
        0,
        "the end of the stream"
    );
}

#[test]
fn a_gather_of_thousands_of_slices_is_sent_in_order() {
    let (mut ring, mut pool) = (ring(), pool());
    let (socket, mut peer) = pair();
    let mut gather = Gather::default();
    let payload = gather.hold(Payload::Buffer(filled(&mut pool, 4096, 6)));
    for index in 0..3000_usize {
        gather.push_bytes(&index.to_be_bytes());
        gather.push_range(payload, 0, index % 100);
    }
    let expected = gather.to_vec();
    let length = expected.len();
    let reader = std::thread::spawn(move || {
        let mut bytes = vec![0; length];
        peer.read_exact(&mut bytes).map(|()| bytes)
    });
    let mut skip = 0;
    while skip < length {
        let sent = run(
            &mut ring,
            Op::Send {
                socket: socket.clone(),
                gather,
                skip,
            },
        );
        skip += sent.result.unwrap() as usize;
        let Op::Send { gather: back, .. } = sent.op else {
            panic!("a send comes back as a send")
        };
        gather = back;
    }
    assert_eq!(reader.join().unwrap().unwrap(), expected);
}

#[test]
fn a_connection_is_accepted() {
    let mut ring = ring();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let mut peer = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let accepted = run(
        &mut ring,
        Op::Accept {
            listener: listener.into(),
            accepted: None,
        },
    );
    let Op::Accept {
        accepted: Some(connection),
        ..
    } = accepted.op
    else {
        panic!("no connection")
    };
    TcpStream::from(connection).write_all(b"hello").unwrap();
    let mut bytes = [0; 5];
    peer.read_exact(&mut bytes).unwrap();
    assert_eq!(&bytes, b"hello");
}

#[test]
fn owners_fetch_their_own_completions() {
    let (mut ring, file) = (ring(), file());
    let fsync = || Op::Fsync {
        file: file.clone(),
        data_only: false,
    };
    ring.submit(fsync(), Token::new(Owner::Backend, 1)).unwrap();
    ring.submit(fsync(), Token::new(Owner::Reactor, 2)).unwrap();
    assert_eq!(completion(&mut ring, Owner::Reactor).token.value, 2);
    assert_eq!(completion(&mut ring, Owner::Backend).token.value, 1);
    assert!(ring.completion(Owner::Net).is_none());
}

#[test]
fn waiting_ends_with_its_time() {
    let mut ring = ring();
    let start = crate::base::clock::Instant::now();
    ring.enter(Some(Duration::from_millis(20))).unwrap();
    assert!(crate::base::clock::Instant::now().since(start) >= Duration::from_millis(15));
    assert!(!ring.has_completions());
}

/// Linux 6.13 and later run a part of the work that is due at once, and flag nothing for the rest.
#[test]
fn polling_finds_everything_that_is_due_at_once() {
    const SOCKETS: usize = 60;
    let mut ring = ring();
    let mut pairs: Vec<_> = (0..SOCKETS).map(|_| pair()).collect();
    for (socket, _) in &pairs {
        let file = socket.clone();
        ring.submit(Op::PollIn { file }, NET).unwrap();
    }
    ring.enter(None).unwrap();
    assert!(!ring.has_completions());
    for (_, peer) in &mut pairs {
        peer.write_all(b"x").unwrap();
    }
    let until = Instant::now() + PATIENCE;
    let mut found = 0;
    while found < SOCKETS {
        ring.enter(None).unwrap();
        while ring.completion(Owner::Net).is_some() {
            found += 1;
        }
        assert!(Instant::now() < until, "{found} of {SOCKETS} were found");
    }
}

#[test]
fn the_kernel_is_entered_only_for_a_reason_and_once() {
    let mut ring = ring();
    (0..10).for_each(|_| ring.enter(None).unwrap());
    assert_eq!(ring.entered(), 0);
    let (file, event) = (file(), silent());
    for _ in 0..3 {
        ring.submit(
            Op::Fsync {
                file: file.clone(),
                data_only: true,
            },
            BACKEND,
        )
        .unwrap();
    }
    ring.submit(
        Op::PollIn {
            file: event.clone(),
        },
        NET,
    )
    .unwrap();
    ring.enter(None).unwrap();
    assert_eq!(ring.entered(), 1, "all operations go at once");
    (0..3).for_each(|_| drop(completion(&mut ring, Owner::Backend)));
    // Completion work may be left behind it, which one more call finds out.
    ring.enter(None).unwrap();
    let before = ring.entered();
    (0..10).for_each(|_| ring.enter(None).unwrap());
    assert_eq!(ring.entered(), before, "nothing is flagged");
    rustix::io::write(&event, &1_u64.to_ne_bytes()).unwrap();
    ring.enter(None).unwrap();
    assert_eq!(completion(&mut ring, Owner::Net).result.unwrap(), 1);
}

/// A file of zeros that takes up no space, with direct I/O; `None` where the file system has none.
fn direct_file() -> Option<FileHandle> {
    use rustix::fs::{OFlags, fcntl_setfl};
    let file = tempfile::tempfile().unwrap();
    file.set_len(1 << 20).unwrap();
    fcntl_setfl(&file, OFlags::RDWR | OFlags::DIRECT).ok()?;
    Some(FileHandle::from(file))
}

#[test]
fn a_polled_read_completes_or_says_that_it_cannot_be_polled() {
    let Some(file) = direct_file() else {
        eprintln!("skipped: the temporary directory has no direct I/O");
        return;
    };
    let (mut ring, mut pool) = (ring(), pool());
    ring.register_arenas(&[Arc::clone(pool.arena())]).unwrap();
    let read = |pool: &mut Pool| Op::Read {
        file: file.clone(),
        offset: 4096,
        buffer: filled(pool, 4096, 0xEE),
        skip: 0,
    };
    let refused = ring.submit_polled(read(&mut pool), BACKEND);
    assert!(refused.is_err(), "it is to be enabled first");
    ring.enable_polling().unwrap();
    ring.submit_polled(read(&mut pool), BACKEND).unwrap();
    assert!(ring.is_polling());
    // The rings do not hinder each other.
    ring.submit(Op::PollIn { file: silent() }, NET).unwrap();
    let read = loop {
        ring.enter(Some(PATIENCE)).unwrap();
        match ring.completion(Owner::Backend) {
            Some(read) => break read,
            None => assert!(ring.is_polling(), "the completion was lost"),
        }
    };
    assert!(!ring.is_polling());
    let Op::Read { buffer, .. } = read.op else {
        panic!("a read comes back as a read")
    };
    match read.result {
        Ok(bytes) => {
            assert_eq!(bytes, 4096);
            assert!(buffer.iter().all(|&byte| byte == 0));
        }
        Err(error) => {
            assert_eq!(error.kind(), std::io::ErrorKind::Unsupported, "{error}");
            assert!(buffer.iter().all(|&byte| byte == 0xEE), "nothing was done");
        }
    }
}

#[test]
fn dropping_a_ring_waits_for_what_it_polls_for() {
    let Some(file) = direct_file() else {
        eprintln!("skipped: the temporary directory has no direct I/O");
        return;
    };
    let (mut ring, mut pool) = (ring(), pool());
    ring.enable_polling().unwrap();
    for _ in 0..4 {
        let op = Op::Read {
            file: file.clone(),
            offset: 0,
            buffer: filled(&mut pool, 4096, 1),
            skip: 0,
        };
        ring.submit_polled(op, BACKEND).unwrap();
    }
    drop(ring);
    pool.reclaim();
    assert_eq!(pool.free_bytes(), BUFFER_BYTES_MAX, "every buffer is back");
    assert!(file.into_owned().is_ok(), "and nobody has the file");
}
