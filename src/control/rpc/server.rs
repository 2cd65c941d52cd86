//! Threads that serve the control socket: one that accepts, one for each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;

use super::message::{RpcError, answer};
use super::{CONNECTION_IDLE_MAX, CONNECTIONS_MAX, ControlSocket, REQUEST_BYTES_MAX, methods};
use crate::control::service::Service;
use crate::reservation::history::Process;

const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// A served control socket. Dropping it closes the socket; requests under way are finished.
#[derive(Debug)]
pub struct Server {
    stopping: Arc<AtomicBool>,
    path: std::path::PathBuf,
    acceptor: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves `socket` from now on.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(socket: ControlSocket, service: Arc<Service>) -> io::Result<Self> {
        let stopping = Arc::new(AtomicBool::new(false));
        let path = socket.path().to_owned();
        let acceptor = {
            let stopping = stopping.clone();
            std::thread::Builder::new()
                .name("control".to_owned())
                .spawn(move || accept(&socket, &service, &stopping))?
        };
        Ok(Self {
            stopping,
            path,
            acceptor: Some(acceptor),
        })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
        // The acceptor waits for a connection; this one wakes it. Where it fails, nobody can
        // connect, and the thread ends with the process.
        if UnixStream::connect(&self.path).is_ok()
            && let Some(acceptor) = self.acceptor.take()
        {
            // A panic there has been reported by its own thread.
            let _ = acceptor.join();
        }
    }
}

/// Counts a connection as long as it lives.
struct Seat(Arc<AtomicUsize>);

impl Seat {
    fn take(seats: &Arc<AtomicUsize>) -> Option<Self> {
        let seat = Self(seats.clone());
        (seats.fetch_add(1, Ordering::AcqRel) < CONNECTIONS_MAX).then_some(seat)
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

fn accept(socket: &ControlSocket, service: &Arc<Service>, stopping: &AtomicBool) {
    let seats = Arc::new(AtomicUsize::new(0));
    for stream in socket.listener.incoming() {
        if stopping.load(Ordering::Acquire) {
            return;
        }
        let stream = match stream {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "the control socket took no connection");
                // Out of descriptors, most likely: asking again at once would not help.
                std::thread::park_timeout(ACCEPT_PAUSE);
                continue;
            }
        };
        let Some(seat) = Seat::take(&seats) else {
            refuse(&stream);
            continue;
        };
        let service = service.clone();
        let spawned = std::thread::Builder::new()
            .name("control-client".to_owned())
            .spawn(move || {
                // How a client leaves is its own affair.
                let _ = converse(&service, &stream);
                drop(seat);
            });
        if let Err(error) = spawned {
            tracing::warn!(%error, "no thread for a control connection");
        }
    }
}

fn refuse(mut stream: &UnixStream) {
    let error = RpcError::invalid_request("fewer connections at once");
    let line = format!("{}\n", answer(Value::Null, Err(error)));
    // It is closed next; whether it has read why is its own affair.
    let _ = stream.set_write_timeout(Some(Duration::from_millis(100)));
    let _ = stream.write_all(line.as_bytes());
}

fn converse(service: &Service, stream: &UnixStream) -> io::Result<()> {
    stream.set_read_timeout(Some(CONNECTION_IDLE_MAX))?;
    stream.set_write_timeout(Some(CONNECTION_IDLE_MAX))?;
    let caller = caller(stream);
    let mut reader = BufReader::new(stream);
    let mut writer = stream;
    let mut line = Vec::new();
    loop {
        line.clear();
        (&mut reader)
            .take(REQUEST_BYTES_MAX)
            .read_until(b'\n', &mut line)?;
        if line.is_empty() {
            return Ok(());
        }
        let ended = line.last() == Some(&b'\n');
        if !ended && line.len() as u64 == REQUEST_BYTES_MAX {
            let expected = format!("a request of fewer than {REQUEST_BYTES_MAX} bytes");
            let refusal = answer(Value::Null, Err(RpcError::invalid_request(&expected)));
            return writeln!(writer, "{refusal}");
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        if let Some(answer) = methods::handle(service, caller, &line) {
            let mut text = answer.to_string();
            text.push('\n');
            let written = writer.write_all(text.as_bytes());
            // Whether or not it is read.
            service.answered();
            written?;
        }
    }
}

/// Who is at the other end (SO_PEERCRED).
fn caller(stream: &UnixStream) -> Option<Process> {
    let credentials = rustix::net::sockopt::socket_peercred(stream).ok()?;
    Some(Process {
        uid: credentials.uid.as_raw(),
        pid: u32::try_from(credentials.pid.as_raw_nonzero().get()).ok()?,
    })
}
