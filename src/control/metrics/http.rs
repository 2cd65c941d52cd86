//! As much of HTTP/1.1 as a scraper needs: GET and HEAD, one request a connection (RFC 9112).
//!
//! `httparse` reads the head of a request; its bytes, the time it may take to come and the number of
//! connections are bounded. A request whose body or method is of no use here is refused. Every answer
//! closes its connection.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::{MetricsError, PLAIN, Pages};
use crate::base::clock::Instant;
use crate::base::limits::{METRICS_CONNECTIONS_MAX, METRICS_PATIENCE, METRICS_REQUEST_BYTES_MAX};
use crate::control::acceptor::{Acceptor, Conversation};

const HEADERS_MAX: usize = 64;

/// A page, or why there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    status: &'static str,
    content_type: &'static str,
    body: String,
}

impl Answer {
    pub(super) const fn ok(content_type: &'static str, body: String) -> Self {
        Self {
            status: "200 OK",
            content_type,
            body,
        }
    }

    pub(super) const fn unavailable(content_type: &'static str, body: String) -> Self {
        Self {
            status: "503 Service Unavailable",
            content_type,
            body,
        }
    }

    pub(super) const fn not_found(content_type: &'static str, body: String) -> Self {
        Self {
            status: "404 Not Found",
            content_type,
            body,
        }
    }

    fn refused(status: &'static str, why: &str) -> Self {
        Self {
            status,
            content_type: PLAIN,
            body: format!("{why}\n"),
        }
    }

    fn write(&self, to: &mut impl Write, with_body: bool) -> io::Result<()> {
        let Self {
            status,
            content_type,
            body,
        } = self;
        let mut text = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\
             Cache-Control: no-store\r\nConnection: close\r\n\r\n",
            body.len()
        );
        if with_body {
            text.push_str(body);
        }
        to.write_all(text.as_bytes())
    }
}

/// A served endpoint. Dropping it closes it.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    _acceptor: Acceptor,
}

impl Endpoint {
    /// Takes the address; nothing is answered before [`Bound::serve`].
    ///
    /// # Errors
    /// It can't be had.
    pub(in crate::control) fn bind(address: SocketAddr) -> Result<Bound, MetricsError> {
        let failed = |source| MetricsError { address, source };
        let listener = TcpListener::bind(address).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Bound { listener, address })
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// An address that is taken.
#[derive(Debug)]
pub(in crate::control) struct Bound {
    listener: TcpListener,
    address: SocketAddr,
}

impl Bound {
    /// Takes a socket that listens already.
    ///
    /// # Errors
    /// It does not.
    pub(in crate::control) fn adopt(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        Ok(Self { listener, address })
    }

    /// Another handle of the socket.
    ///
    /// # Errors
    /// Descriptors have run out.
    pub(in crate::control) fn duplicate(&self) -> io::Result<OwnedFd> {
        self.listener.try_clone().map(OwnedFd::from)
    }

    /// Serves from now on.
    ///
    /// # Errors
    /// The thread can't be started.
    pub(in crate::control) fn serve(self, pages: Pages) -> io::Result<Endpoint> {
        let Self { listener, address } = self;
        let conversation = Conversation {
            names: ["metrics", "metrics-client"],
            connections_max: METRICS_CONNECTIONS_MAX,
            // A scraper that is closed without an answer comes again.
            refuse: |_| {},
            converse: Arc::new(move |stream| {
                // How a client leaves is its own affair.
                let _ = converse(&pages, stream);
            }),
        };
        let accept = move || listener.accept().map(|(stream, _)| stream);
        let own = reachable(address);
        let wake = move || TcpStream::connect_timeout(&own, METRICS_PATIENCE).is_ok();
        Ok(Endpoint {
            address,
            _acceptor: Acceptor::start(conversation, accept, wake)?,
        })
    }
}

/// Where this host itself finds what listens at `address`.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(if address.is_ipv4() {
            std::net::Ipv4Addr::LOCALHOST.into()
        } else {
            std::net::Ipv6Addr::LOCALHOST.into()
        });
    }
    address
}

fn converse(pages: &Pages, stream: &TcpStream) -> io::Result<()> {
    stream.set_write_timeout(Some(METRICS_PATIENCE))?;
    let head = read_head(stream)?;
    let (answer, with_body) = match parse(&head) {
        Ok(Asked { path, with_body }) => (pages.answer(&path), with_body),
        Err(refusal) => (refusal, true),
    };
    let mut to = stream;
    answer.write(&mut to, with_body)?;
    stream.shutdown(std::net::Shutdown::Write)
}

/// The head of a request, as far as it came and there was room.
fn read_head(mut stream: &TcpStream) -> io::Result<Vec<u8>> {
    let until = Instant::now() + METRICS_PATIENCE;
    let mut head = Vec::new();
    let mut part = [0; 1024];
    while head.len() < METRICS_REQUEST_BYTES_MAX && !is_complete(&head) {
        let left = until.since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut part)? {
            0 => break,
            bytes => head.extend_from_slice(part.get(..bytes).unwrap_or_default()),
        }
    }
    Ok(head)
}

fn is_complete(head: &[u8]) -> bool {
    head.windows(4).any(|end| end == b"\r\n\r\n") || head.windows(2).any(|end| end == b"\n\n")
}

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
struct Asked {
    path: String,
    with_body: bool,
}

fn parse(head: &[u8]) -> Result<Asked, Answer> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(head) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if head.len() >= METRICS_REQUEST_BYTES_MAX => {
            let status = "431 Request Header Fields Too Large";
            let expected =
                format!("expected a head of fewer than {METRICS_REQUEST_BYTES_MAX} bytes");
            return Err(Answer::refused(status, &expected));
        }
        Ok(httparse::Status::Partial) => {
            let why = "the request ends before its head does";
            return Err(Answer::refused("400 Bad Request", why));
        }
        Err(error) => {
            let why = format!("no HTTP request: {error}");
            return Err(Answer::refused("400 Bad Request", &why));
        }
    }
    let with_body = match request.method {
        Some("GET") => true,
        Some("HEAD") => false,
        _ => {
            let status = "405 Method Not Allowed\r\nAllow: GET, HEAD";
            return Err(Answer::refused(status, "expected GET or HEAD"));
        }
    };
    let target = request.path.unwrap_or_default();
    let path = target.split(['?', '#']).next().unwrap_or_default();
    Ok(Asked {
        path: path.to_owned(),
        with_body,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn refusal(head: &[u8]) -> &'static str {
        parse(head).unwrap_err().status
    }

    #[test]
    fn a_get_asks_for_its_path() {
        let asked = parse(b"GET /metrics?name[]=x HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        assert_eq!((asked.path.as_str(), asked.with_body), ("/metrics", true));
        assert!(!parse(b"HEAD / HTTP/1.0\r\n\r\n").unwrap().with_body);
    }

    #[test]
    fn anything_else_is_refused_with_its_status() {
        assert_eq!(refusal(b"GET /metrics HT"), "400 Bad Request");
        assert_eq!(refusal(b"\x16\x03\x01\r\n\r\n"), "400 Bad Request");
        assert!(refusal(b"POST /metrics HTTP/1.1\r\n\r\n").starts_with("405"));
        let mut long = b"GET / HTTP/1.1\r\nA: ".to_vec();
        long.resize(METRICS_REQUEST_BYTES_MAX, b'x');
        assert!(refusal(&long).starts_with("431"));
        let many = format!(
            "GET / HTTP/1.1\r\n{}\r\n",
            "A: b\r\n".repeat(HEADERS_MAX + 1)
        );
        assert_eq!(refusal(many.as_bytes()), "400 Bad Request");
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let mut text = Vec::new();
        let answer = Answer::ok(PLAIN, "four".to_owned());
        answer.write(&mut text, true).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        assert!(text.contains("\r\nContent-Length: 4\r\n"), "{text}");
        assert!(text.ends_with("\r\n\r\nfour"), "{text}");
        let mut head = Vec::new();
        answer.write(&mut head, false).unwrap();
        assert!(head.ends_with(b"\r\n\r\n"));
    }

    proptest! {
        #[test]
        fn no_bytes_upset_it(head in prop::collection::vec(any::<u8>(), 0..2000)) {
            let _ = parse(&head);
            let _ = is_complete(&head);
        }
    }
}
