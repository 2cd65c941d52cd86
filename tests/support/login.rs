//! The login phase (RFC 7143 section 6) from the initiator's side.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

use super::chap::{self, Chap};
use super::initiator::{Initiator, Negotiated, Sequence};
use super::pdu::{self, Digests, FINAL, Pdu, opcode};

/// How long a test waits for any answer before it fails.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

const CONTINUE: u8 = 0x40;
const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// Why a login did not end in full feature phase.
#[derive(Debug)]
pub enum LoginError {
    /// The target answered with Status-Class and Status-Detail (RFC 7143 section 11.13.5).
    Refused {
        class: u8,
        detail: u8,
        keys: Vec<(String, String)>,
    },
    /// The target ended the connection or said something that is no Login Response.
    Dropped(String),
}

impl LoginError {
    /// Class and detail as one number, `0x0206` say; zero when the connection was dropped.
    pub fn status(&self) -> u16 {
        match self {
            Self::Refused { class, detail, .. } => u16::from_be_bytes([*class, *detail]),
            Self::Dropped(_) => 0,
        }
    }

    /// The value of a key that came with the refusal.
    pub fn key(&self, name: &str) -> Option<&str> {
        match self {
            Self::Refused { keys, .. } => value_of(keys, name),
            Self::Dropped(_) => None,
        }
    }
}

impl From<io::Error> for LoginError {
    fn from(error: io::Error) -> Self {
        Self::Dropped(error.to_string())
    }
}

/// A login to be made: who, where to, and with which keys.
#[derive(Clone, Debug)]
pub struct Login {
    pub portal: SocketAddr,
    pub initiator: Option<String>,
    pub target: Option<String>,
    pub isid: [u8; 6],
    pub tsih: u16,
    pub cid: u16,
    pub cmd_sn: u32,
    pub discovery: bool,
    pub keys: Vec<(String, String)>,
    pub chap: Option<Chap>,
    /// Splits the text of each request over Login PDUs of that many bytes, with the C bit.
    pub split_bytes: Option<usize>,
    /// Starts in the security stage with `AuthMethod=None` although no CHAP is set.
    pub offer_no_authentication: bool,
    /// MaxRecvDataSegmentLength that this side declares.
    pub receive_bytes: u32,
    /// The address of this host that the connection comes from; `None`: any.
    pub from: Option<Ipv4Addr>,
}

impl Login {
    /// An initiator `iqn.2024-01.test:<name>` that wants a normal session with `target`.
    pub fn new(portal: SocketAddr, target: &str, name: &str) -> Self {
        Self {
            portal,
            initiator: Some(initiator_name(name)),
            target: Some(target.to_owned()),
            isid: [0x80, 0, 0, 0, 0, 1],
            tsih: 0,
            cid: 0,
            cmd_sn: 1,
            discovery: false,
            keys: Vec::new(),
            chap: None,
            split_bytes: None,
            offer_no_authentication: false,
            receive_bytes: 256 << 10,
            from: None,
        }
    }

    /// A discovery session: no target name.
    pub fn discovery(portal: SocketAddr, name: &str) -> Self {
        Self {
            target: None,
            discovery: true,
            ..Self::new(portal, "", name)
        }
    }

    /// Another initiator port of the same node: the ISID ends in `qualifier`.
    pub fn isid(mut self, qualifier: u16) -> Self {
        self.isid[4..].copy_from_slice(&qualifier.to_be_bytes());
        self
    }

    /// Adds a key, or replaces the value that it had.
    pub fn key(mut self, name: &str, value: &str) -> Self {
        self.keys.retain(|(known, _)| known != name);
        self.keys.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn digests(self, header: &str, data: &str) -> Self {
        self.key("HeaderDigest", header).key("DataDigest", data)
    }

    pub fn chap(mut self, chap: Chap) -> Self {
        self.chap = Some(chap);
        self
    }

    pub fn split(mut self, bytes: usize) -> Self {
        self.split_bytes = Some(bytes);
        self
    }

    /// Another initiator name, given in full.
    pub fn named(mut self, name: &str) -> Self {
        self.initiator = Some(name.to_owned());
        self
    }

    /// Comes from that address of this host.
    pub fn from(mut self, address: Ipv4Addr) -> Self {
        self.from = Some(address);
        self
    }

    pub fn portal(mut self, portal: SocketAddr) -> Self {
        self.portal = portal;
        self
    }

    /// Logs in; panics with the reason when the target refuses.
    pub fn connect(&self) -> Initiator {
        self.try_connect()
            .unwrap_or_else(|error| panic!("login to {:?}: {error:?}", self.target))
    }

    /// Logs in and expects a refusal.
    pub fn refused(&self) -> LoginError {
        match self.try_connect() {
            Ok(_) => panic!("login to {:?} was admitted", self.target),
            Err(error) => error,
        }
    }

    pub fn try_connect(&self) -> Result<Initiator, LoginError> {
        let stream = self.open()?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT))?;
        stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        let mut exchange = Exchange::new(self, stream);
        let mut offered = self.identity();
        if let Some(chap) = &self.chap {
            exchange.authenticate(chap, std::mem::take(&mut offered))?;
        } else if self.offer_no_authentication {
            offered.push(("AuthMethod".to_owned(), "None".to_owned()));
            exchange.round(SECURITY, Some(OPERATIONAL), &std::mem::take(&mut offered))?;
        }
        offered.extend(self.operational());
        exchange.round(OPERATIONAL, Some(FULL_FEATURE), &offered)?;
        Ok(exchange.finish())
    }

    fn open(&self) -> io::Result<TcpStream> {
        let Some(from) = self.from else {
            return TcpStream::connect(self.portal);
        };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        socket.connect(&self.portal.into())?;
        Ok(socket.into())
    }

    fn identity(&self) -> Vec<(String, String)> {
        let mut keys = Vec::new();
        let mut add = |name: &str, value: &str| keys.push((name.to_owned(), value.to_owned()));
        if let Some(name) = &self.initiator {
            add("InitiatorName", name);
        }
        add(
            "SessionType",
            if self.discovery {
                "Discovery"
            } else {
                "Normal"
            },
        );
        if let Some(target) = &self.target {
            add("TargetName", target);
        }
        keys
    }

    fn operational(&self) -> Vec<(String, String)> {
        let mut keys = self.keys.clone();
        let declared = keys
            .iter()
            .any(|(key, _)| key == "MaxRecvDataSegmentLength");
        if !declared {
            let value = self.receive_bytes.to_string();
            keys.push(("MaxRecvDataSegmentLength".to_owned(), value));
        }
        keys
    }
}

/// A valid initiator name that ends in `name`.
pub fn initiator_name(name: &str) -> String {
    format!("iqn.2024-01.test:{name}")
}

/// The value of a key in a list of answers.
pub fn value_of<'a>(keys: &'a [(String, String)], name: &str) -> Option<&'a str> {
    keys.iter()
        .find(|(key, _)| key == name)
        .map(|(_, value)| value.as_str())
}

/// One login in progress.
struct Exchange<'a> {
    login: &'a Login,
    stream: TcpStream,
    exp_stat_sn: u32,
    tsih: u16,
    max_cmd_sn: u32,
    answers: Vec<(String, String)>,
}

impl<'a> Exchange<'a> {
    fn new(login: &'a Login, stream: TcpStream) -> Self {
        let max_cmd_sn = login.cmd_sn;
        Self {
            login,
            stream,
            exp_stat_sn: 0,
            tsih: login.tsih,
            max_cmd_sn,
            answers: Vec::new(),
        }
    }

    /// Sends `keys`; when `next` is given, repeats empty requests until the target lets us go there.
    fn round(
        &mut self,
        stage: u8,
        next: Option<u8>,
        keys: &[(String, String)],
    ) -> Result<Vec<(String, String)>, LoginError> {
        let mut answers = Vec::new();
        let mut text = pdu::encode_text(keys);
        for _ in 0..16 {
            let reply = self.request(stage, next, &text)?;
            text.clear();
            answers.extend(pdu::decode_text(&reply.data));
            if next.is_none() || reply.is_final() {
                self.answers.extend(answers.clone());
                return Ok(answers);
            }
        }
        Err(LoginError::Dropped(
            "the target never leaves the stage".to_owned(),
        ))
    }

    /// One request, split as asked, and the whole answer to it.
    fn request(&mut self, stage: u8, next: Option<u8>, text: &[u8]) -> Result<Pdu, LoginError> {
        let chunk = self.login.split_bytes.unwrap_or(8192);
        let mut rest = text;
        while rest.len() > chunk {
            let (first, others) = rest.split_at(chunk);
            rest = others;
            self.send(CONTINUE | stage << 2, first)?;
            let reply = self.receive()?;
            assert!(
                reply.data.is_empty(),
                "a request with the C bit is answered without text"
            );
            assert!(
                !reply.is_final(),
                "a request with the C bit leaves no stage"
            );
        }
        let transit = next.map_or(0, |next| FINAL | next);
        self.send(transit | stage << 2, rest)?;
        let mut reply = self.receive()?;
        let mut data = std::mem::take(&mut reply.data);
        while reply.flags() & CONTINUE != 0 {
            self.send(stage << 2, &[])?;
            reply = self.receive()?;
            data.append(&mut reply.data);
        }
        reply.data = data;
        Ok(reply)
    }

    fn send(&mut self, flags: u8, text: &[u8]) -> io::Result<()> {
        let mut request = Pdu::new(opcode::LOGIN)
            .immediate()
            .with_flags(flags)
            .with_itt(1)
            .with_u16(14, self.tsih)
            .with_u16(20, self.login.cid)
            .with_u32(24, self.login.cmd_sn)
            .with_u32(28, self.exp_stat_sn)
            .with_data(text);
        request.bhs[8..14].copy_from_slice(&self.login.isid);
        request.write_to(&mut self.stream, Digests::default())
    }

    fn receive(&mut self) -> Result<Pdu, LoginError> {
        let reply = Pdu::read_from(&mut self.stream, Digests::default())?;
        if reply.opcode() != opcode::LOGIN_RESPONSE {
            return Err(LoginError::Dropped(format!(
                "opcode {:#04x} in login",
                reply.opcode()
            )));
        }
        let (class, detail) = (reply.bhs[36], reply.bhs[37]);
        if class != 0 {
            let keys = pdu::decode_text(&reply.data);
            return Err(LoginError::Refused {
                class,
                detail,
                keys,
            });
        }
        assert_eq!(reply.itt(), 1, "the response names the request");
        assert_eq!(&reply.bhs[8..14], &self.login.isid, "the ISID comes back");
        self.exp_stat_sn = reply.stat_sn().wrapping_add(1);
        self.tsih = reply.u16_at(14);
        self.max_cmd_sn = reply.max_cmd_sn();
        Ok(reply)
    }

    /// The security stage with CHAP (RFC 7143 section 12.1.3).
    fn authenticate(
        &mut self,
        chap: &Chap,
        mut identity: Vec<(String, String)>,
    ) -> Result<(), LoginError> {
        let pair = |name: &str, value: String| (name.to_owned(), value);
        identity.push(pair("AuthMethod", "CHAP".to_owned()));
        let answer = self.round(SECURITY, None, &identity)?;
        assert_eq!(value_of(&answer, "AuthMethod"), Some("CHAP"));

        let offer: Vec<String> = chap.algorithms.iter().map(u8::to_string).collect();
        let answer = self.round(SECURITY, None, &[pair("CHAP_A", offer.join(","))])?;
        let want = |name: &str| {
            value_of(&answer, name)
                .map(str::to_owned)
                .ok_or_else(|| LoginError::Dropped(format!("no {name} in {answer:?}")))
        };
        let algorithm: u8 = want("CHAP_A")?.parse().expect("CHAP_A is a number");
        let identifier: u8 = want("CHAP_I")?.parse().expect("CHAP_I is one byte");
        let challenge = chap::from_text(&want("CHAP_C")?);
        let proof = chap::response(algorithm, identifier, &chap.secret, &challenge);
        assert!(
            challenge.len() >= proof.len(),
            "the challenge is as long as the digest"
        );

        let mut keys = vec![
            pair("CHAP_N", chap.name.clone()),
            pair("CHAP_R", chap::to_hex(&proof)),
        ];
        let ours = if chap.reflect_challenge {
            challenge
        } else {
            vec![0x5a; proof.len()]
        };
        if chap.target.is_some() {
            keys.push(pair("CHAP_I", "77".to_owned()));
            keys.push(pair("CHAP_C", chap::to_hex(&ours)));
        }
        let answer = self.round(SECURITY, Some(OPERATIONAL), &keys)?;
        if let Some((name, secret)) = &chap.target {
            assert_eq!(value_of(&answer, "CHAP_N"), Some(name.as_str()));
            let proof = chap::response(algorithm, 77, secret, &ours);
            let shown = value_of(&answer, "CHAP_R").map(chap::from_text);
            assert_eq!(
                shown,
                Some(proof),
                "the target proves that it knows its secret"
            );
        }
        Ok(())
    }

    fn finish(self) -> Initiator {
        let negotiated = Negotiated::new(&self.login.keys, &self.answers);
        Initiator::new(
            self.stream,
            negotiated,
            self.tsih,
            Sequence {
                cmd_sn: self.login.cmd_sn,
                max_cmd_sn: self.max_cmd_sn,
                exp_stat_sn: self.exp_stat_sn,
            },
            self.answers,
        )
    }
}
