//! Threads that serve the control socket: one that accepts, one for each connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::message::{RpcError, answer, notification};
use super::{CONNECTION_IDLE_MAX, CONNECTIONS_MAX, ControlSocket, REQUEST_BYTES_MAX, methods};
use crate::control::acceptor::{Acceptor, Conversation};
use crate::control::api::{ProgressView, method};
use crate::control::service::{Progress, Service};
use crate::reservation::history::Process;

/// A served control socket. Dropping it closes the socket; requests under way are finished.
#[derive(Debug)]
pub struct Server {
    _acceptor: Acceptor,
}

impl Server {
    /// Serves `socket` from now on.
    ///
    /// # Errors
    /// The thread can't be started.
    pub fn start(socket: ControlSocket, service: Arc<Service>) -> io::Result<Self> {
        let path = socket.path().to_owned();
        let conversation = Conversation {
            names: ["control", "control-client"],
            connections_max: CONNECTIONS_MAX,
            refuse: |stream| refuse(stream),
            converse: Arc::new(move |stream| {
                // How a client leaves is its own affair.
                let _ = converse(&service, stream);
            }),
        };
        let accept = move || socket.listener.accept().map(|(stream, _)| stream);
        let wake = move || UnixStream::connect(&path).is_ok();
        Ok(Self {
            _acceptor: Acceptor::start(conversation, accept, wake)?,
        })
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
        let progress = Told { stream };
        if let Some(answer) = methods::handle(service, caller, &progress, &line) {
            let mut text = answer.to_string();
            text.push('\n');
            let written = writer.write_all(text.as_bytes());
            // Whether or not it is read.
            service.answered();
            written?;
        }
    }
}

/// Tells whoever has asked how far it is, in notifications before the answer.
struct Told<'a> {
    stream: &'a UnixStream,
}

impl Progress for Told<'_> {
    /// False once the other end is closed: who has asked has been interrupted.
    fn report(&self, progress: &ProgressView) -> bool {
        let (mut stream, text) = (self.stream, notification(method::PROGRESS, progress));
        writeln!(stream, "{text}").is_ok()
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
