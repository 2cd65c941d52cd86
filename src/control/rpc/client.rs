//! The other end of the control socket: what the command line uses.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::message::RpcError;
use super::{ANSWER_BYTES_MAX, ANSWER_TIMEOUT};
use crate::control::api::{ProgressView, method};
use crate::control::error::ErrorDetail;

/// Why there is no answer, or none that was hoped for.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody answers at the socket.
    #[error(
        "no server answers at {}: {source}\n  hint: is `holdfast serve` running? Name its socket \
         with --control or HOLDFAST_CONTROL", socket.display()
    )]
    Unreachable {
        /// The socket.
        socket: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The connection broke, or what came was no answer.
    #[error("the server at {} gave no answer: {message}", socket.display())]
    NoAnswer {
        /// The socket.
        socket: PathBuf,
        /// What happened.
        message: String,
    },
    /// The server refused.
    #[error("{}", detail.describe(message))]
    Refused {
        /// The JSON-RPC error code.
        code: i64,
        /// One line for people.
        message: String,
        /// The parts.
        detail: ErrorDetail,
    },
}

/// A connection to the control socket. One request at a time.
#[derive(Debug)]
pub struct Client {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
    next_id: u64,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(socket: &Path) -> Result<Self, ClientError> {
        let unreachable = |source| ClientError::Unreachable {
            socket: socket.to_owned(),
            source,
        };
        let stream = UnixStream::connect(socket).map_err(unreachable)?;
        stream
            .set_read_timeout(Some(ANSWER_TIMEOUT))
            .map_err(unreachable)?;
        stream
            .set_write_timeout(Some(ANSWER_TIMEOUT))
            .map_err(unreachable)?;
        Ok(Self {
            socket: socket.to_owned(),
            stream: BufReader::new(stream),
            next_id: 1,
        })
    }

    /// Calls a method and waits for its result.
    ///
    /// # Errors
    /// The server refused, or there is no answer.
    pub fn call<R: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
    ) -> Result<R, ClientError> {
        self.call_for_long(method, params, &mut |_| {})
    }

    /// Calls a method whose work may be long; `told` hears how far it is. Whoever drops the connection
    /// ends the work.
    ///
    /// # Errors
    /// As [`Client::call`].
    pub fn call_for_long<R: DeserializeOwned>(
        &mut self,
        method: &str,
        params: &impl Serialize,
        told: &mut dyn FnMut(&ProgressView),
    ) -> Result<R, ClientError> {
        let id = self.next_id;
        self.next_id += 1;
        let request = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        let mut answer = self
            .exchange(&request.to_string(), told)
            .map_err(|e| self.no_answer(&e))?;
        if let Some(error) = answer.get_mut("error").map(Value::take) {
            let error: RpcError = serde_json::from_value(error).map_err(|e| self.no_answer(&e))?;
            return Err(ClientError::Refused {
                code: error.code,
                message: error.message,
                detail: *error.data.unwrap_or_default(),
            });
        }
        if answer.get("id") != Some(&json!(id)) {
            return Err(self.no_answer(&"it answers another request"));
        }
        let result = answer
            .get_mut("result")
            .map(Value::take)
            .unwrap_or_default();
        serde_json::from_value(result).map_err(|e| self.no_answer(&e))
    }

    fn exchange(
        &mut self,
        request: &str,
        told: &mut dyn FnMut(&ProgressView),
    ) -> io::Result<Value> {
        writeln!(self.stream.get_mut(), "{request}")?;
        loop {
            let mut line = Vec::new();
            (&mut self.stream)
                .take(ANSWER_BYTES_MAX)
                .read_until(b'\n', &mut line)?;
            if line.is_empty() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut message: Value = serde_json::from_slice(&line)?;
            if message.get("method").and_then(Value::as_str) != Some(method::PROGRESS) {
                return Ok(message);
            }
            let params = message.get_mut("params").map(Value::take);
            told(&serde_json::from_value(params.unwrap_or_default())?);
        }
    }

    fn no_answer(&self, message: &impl ToString) -> ClientError {
        ClientError::NoAnswer {
            socket: self.socket.clone(),
            message: message.to_string(),
        }
    }
}
