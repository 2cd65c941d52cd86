//! The login phase (RFC 7143 section 6.3): stages, transitions, authentication, status.
//!
//! ```text
//!            first keys          identity
//! [Opening] ────────────▶ (who?) ─────────▶ [Security] ──T──▶ [Operational] ──T──▶ (admit?) ──▶ done
//!                                               └───────────────T, NSG=3──────────────▲
//! ```
//!
//! [`Login`] takes one request at a time and says what to do next ([`Step`]). It numbers nothing
//! and sends nothing: the connection does.

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::answer::{AuthPolicy, ChapPolicy, Identity};
use super::chap::{Authenticator, ChapError, Proof};
use super::error::Violation;
use super::event::{LoginIdentity, LoginSummary};
use super::negotiate::{Demands, Negotiation};
use super::pdu::{LoginRequest, LoginResponse, LoginStatus, SessionType};
use super::settings::Entropy;
use super::text::{self, Incoming, Outgoing};
use crate::base::limits::{ISCSI_NAME_BYTES_MAX, LOGIN_DATA_SEGMENT_BYTES, NEGOTIATION_STEPS_MAX};
use std::sync::Arc;

const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;

/// What the connection does next.
#[derive(Debug)]
pub enum Step {
    /// Send this and wait for the next request.
    Reply(LoginResponse, Vec<u8>),
    /// Ask who may log in to what, then call [`Login::identify`].
    Identify(Box<LoginIdentity>),
    /// Ask for admission, then call [`Login::admit`].
    Complete(Box<LoginSummary>),
    /// Send the status and close.
    Refuse(LoginStatus, Violation),
}

/// A status and what the initiator did to earn it.
type Refusal = (LoginStatus, Violation);

/// How far authentication has come.
#[derive(Debug)]
enum Authentication {
    /// None is demanded.
    NotNeeded,
    /// None is demanded, and the initiator may ask for it.
    Offered(Authenticator),
    /// AuthMethod has not been agreed.
    Demanded(Authenticator),
    /// CHAP is under way.
    Underway(Authenticator),
    /// The initiator proved this name.
    Done {
        name: String,
        satisfied: Vec<Arc<ChapPolicy>>,
        mutual: bool,
    },
}

/// What is known once the owner has answered `Event::Identify`.
#[derive(Debug)]
struct Identified {
    identity: Identity,
    negotiation: Negotiation,
    authentication: Authentication,
    method_agreed: bool,
    tag_told: bool,
    segment_declared: bool,
}

/// One login.
#[derive(Debug)]
pub struct Login {
    entropy: Entropy,
    receive_data_segment_bytes: u32,
    /// The first request: ISID, TSIH, CID and ITT must stay.
    first: Option<LoginRequest>,
    /// The request that is being answered.
    current: Option<LoginRequest>,
    stage: u8,
    requests: u32,
    incoming: Incoming,
    /// Text whose answer waits for the owner's.
    waiting: Vec<u8>,
    outgoing: Outgoing,
    who: Option<LoginIdentity>,
    identified: Option<Identified>,
}

impl Login {
    /// A login of which nothing has arrived. `receive_data_segment_bytes` is what the target will
    /// declare.
    #[must_use]
    pub fn new(entropy: Entropy, receive_data_segment_bytes: u32) -> Self {
        Self {
            entropy,
            receive_data_segment_bytes,
            first: None,
            current: None,
            stage: SECURITY,
            requests: 0,
            incoming: Incoming::default(),
            waiting: Vec::new(),
            outgoing: Outgoing::default(),
            who: None,
            identified: None,
        }
    }

    /// Takes one request with its text.
    pub fn request(&mut self, request: LoginRequest, flags: u8, data: &[u8]) -> Step {
        match self.take_request(request, flags, data) {
            Ok(step) => step,
            Err((status, violation)) => Step::Refuse(status, violation),
        }
    }

    /// The owner says who the target is and what it demands.
    pub fn identify(&mut self, identity: Identity) -> Step {
        let Some(who) = &self.who else {
            return self.respond();
        };
        let demands = Demands {
            header_digest: identity.require_header_digest,
            data_digest: identity.require_data_digest,
        };
        let authentication = match &identity.auth {
            AuthPolicy::None => Authentication::NotNeeded,
            AuthPolicy::Chap(policy) => {
                Authentication::Demanded(Authenticator::new(vec![Arc::clone(policy)]))
            }
            AuthPolicy::Optional(policies) => {
                Authentication::Offered(Authenticator::new(policies.clone()))
            }
        };
        self.identified = Some(Identified {
            negotiation: Negotiation::new(identity.offer, demands, who.session_type),
            identity,
            authentication,
            method_agreed: false,
            tag_told: who.session_type == SessionType::Discovery,
            segment_declared: false,
        });
        let text = std::mem::take(&mut self.waiting);
        match self.answer(&text) {
            Ok(step) => step,
            Err((status, violation)) => Step::Refuse(status, violation),
        }
    }

    /// The last response of a login that is admitted.
    pub fn admit(&mut self, tsih: u16) -> (LoginResponse, Vec<u8>) {
        let mut response = self.response(LoginStatus::Success);
        response.transit = true;
        response.next_stage = FULL_FEATURE;
        response.tsih = tsih;
        (response, self.outgoing.next_piece(usize::MAX))
    }

    /// A response that ends the login with `status`.
    #[must_use]
    pub fn refusal(&self, status: LoginStatus) -> LoginResponse {
        self.response(status)
    }

    /// CmdSN of the first request: the session's first.
    #[must_use]
    pub fn cmd_sn(&self) -> u32 {
        self.first.map_or(0, |first| first.cmd_sn)
    }

    fn take_request(
        &mut self,
        request: LoginRequest,
        flags: u8,
        data: &[u8],
    ) -> Result<Step, Refusal> {
        self.requests = self.requests.saturating_add(1);
        let invalid = |violation| (LoginStatus::InitiatorError, violation);
        self.current = Some(request);
        if self.requests > NEGOTIATION_STEPS_MAX {
            return Err(invalid(Violation::LoginTooLong {
                limit: NEGOTIATION_STEPS_MAX,
            }));
        }
        let first = *self.first.get_or_insert(request);
        self.check(&request, &first, flags)?;
        self.incoming
            .push(data)
            .map_err(|error| invalid(error.into()))?;
        self.stage = request.current_stage;
        if request.continued {
            return Ok(Step::Reply(self.response(LoginStatus::Success), Vec::new()));
        }
        let text = self.incoming.take();
        if self.identified.is_none() {
            let who = identity_of(&request, &text)?;
            self.who = Some(who.clone());
            self.waiting = text;
            return Ok(Step::Identify(Box::new(who)));
        }
        self.answer(&text)
    }

    /// Version, flags and stage (RFC 7143 section 11.12).
    fn check(
        &self,
        request: &LoginRequest,
        first: &LoginRequest,
        flags: u8,
    ) -> Result<(), Refusal> {
        if request.version_min > 0 {
            let violation = Violation::Version {
                minimum: request.version_min,
            };
            return Err((LoginStatus::UnsupportedVersion, violation));
        }
        let stages_make_sense = match (request.current_stage, request.next_stage) {
            (SECURITY, OPERATIONAL | FULL_FEATURE) | (OPERATIONAL, FULL_FEATURE) => true,
            (SECURITY | OPERATIONAL, _) => !request.transit,
            _ => false,
        };
        if !stages_make_sense || (request.transit && request.continued) {
            return Err((LoginStatus::InitiatorError, Violation::LoginFlags { flags }));
        }
        let same = (
            request.isid,
            request.tsih,
            request.cid,
            request.initiator_task_tag,
        ) == (first.isid, first.tsih, first.cid, first.initiator_task_tag);
        if !same {
            return Err((LoginStatus::InvalidDuringLogin, Violation::LoginMixed));
        }
        if self.requests > 1 && request.current_stage != self.stage {
            let violation = Violation::LoginStage {
                expected: self.stage,
                got: request.current_stage,
            };
            return Err((LoginStatus::InvalidDuringLogin, violation));
        }
        Ok(())
    }

    /// Answers a complete list of keys.
    fn answer(&mut self, text: &[u8]) -> Result<Step, Refusal> {
        let invalid = |violation| (LoginStatus::InitiatorError, violation);
        let pairs = text::parse(text).map_err(|error| invalid(error.into()))?;
        let first_of_session = self.first.is_some_and(|first| first.tsih == 0);
        let transit = self.current.is_some_and(|request| request.transit);
        let Some(known) = &mut self.identified else {
            return Ok(self.respond());
        };
        let out = &mut self.outgoing;
        if !std::mem::replace(&mut known.tag_told, true) && first_of_session {
            let tag = known.identity.target_portal_group_tag;
            out.push("TargetPortalGroupTag", &tag.to_string());
            if let Some(alias) = &known.identity.target_alias {
                out.push("TargetAlias", alias);
            }
        }
        let (security, operational): (Vec<_>, Vec<_>) = pairs
            .into_iter()
            .filter(|(key, _)| !is_declarative(key))
            .partition(|(key, _)| is_security(key));
        match self.stage {
            SECURITY => known.authenticate(&security, transit, self.entropy, out)?,
            _ => {
                if let Some((key, _)) = security.first() {
                    let key = security_key(key);
                    return Err(invalid(Violation::MisplacedKey { key }));
                }
                if !known.is_authenticated() {
                    return Err(not_authenticated());
                }
            }
        }
        known
            .negotiation
            .judge(&operational, out)
            .map_err(invalid)?;
        if self.stage == OPERATIONAL && !std::mem::replace(&mut known.segment_declared, true) {
            let of_target = known.identity.offer.receive_data_segment_bytes;
            let bytes = of_target.unwrap_or(self.receive_data_segment_bytes);
            out.push("MaxRecvDataSegmentLength", &bytes.to_string());
            known.negotiation.declare_data_segment_bytes(bytes);
        }
        let done = transit && known.is_authenticated();
        let ends = self
            .current
            .is_some_and(|request| request.next_stage == FULL_FEATURE);
        if done && ends && self.outgoing.len() <= LOGIN_DATA_SEGMENT_BYTES as usize {
            return self.complete();
        }
        Ok(self.respond())
    }

    /// Sends what fits of the answers; the stage changes with the last of them.
    fn respond(&mut self) -> Step {
        let piece = self.outgoing.next_piece(LOGIN_DATA_SEGMENT_BYTES as usize);
        let mut response = self.response(LoginStatus::Success);
        response.continued = !self.outgoing.is_empty();
        let authenticated = self
            .identified
            .as_ref()
            .is_some_and(Identified::is_authenticated);
        if let Some(request) = self.current
            && (request.transit && authenticated && !response.continued)
        {
            response.transit = true;
            response.next_stage = request.next_stage;
            self.stage = request.next_stage;
        }
        Step::Reply(response, piece)
    }

    /// All is agreed; what was enforced must be among it.
    fn complete(&mut self) -> Result<Step, Refusal> {
        let (Some(known), Some(who)) = (&self.identified, &self.who) else {
            return Ok(self.respond());
        };
        let parameters = known.negotiation.parameters();
        let header = known.identity.require_header_digest && !parameters.header_digest;
        let data = known.identity.require_data_digest && !parameters.data_digest;
        let missing = match (header, data) {
            (true, true) => Some(Violation::DigestsMissing),
            (true, false) => Some(Violation::HeaderDigestMissing),
            (false, true) => Some(Violation::DataDigestMissing),
            (false, false) => None,
        };
        if let Some(violation) = missing {
            return Err((LoginStatus::InitiatorError, violation));
        }
        let (authenticated_as, satisfied, mutual) = match &known.authentication {
            Authentication::Done {
                name,
                satisfied,
                mutual,
            } => (Some(name.clone()), satisfied.clone(), *mutual),
            _ => (None, Vec::new(), false),
        };
        let identity = who.clone();
        let summary = LoginSummary {
            identity,
            parameters,
            authenticated_as,
            satisfied,
            mutual,
        };
        Ok(Step::Complete(Box::new(summary)))
    }

    /// A response to the current request, without numbers.
    fn response(&self, status: LoginStatus) -> LoginResponse {
        let request = self.current;
        LoginResponse {
            transit: false,
            continued: false,
            current_stage: request.map_or(SECURITY, |request| request.current_stage),
            next_stage: 0,
            version_max: 0,
            version_active: 0,
            isid: request.map_or([0; 6], |request| request.isid),
            tsih: request.map_or(0, |request| request.tsih),
            initiator_task_tag: request.map_or(0, |request| request.initiator_task_tag),
            stat_sn: 0,
            exp_cmd_sn: 0,
            max_cmd_sn: 0,
            status,
        }
    }
}

impl Identified {
    const fn is_authenticated(&self) -> bool {
        matches!(
            self.authentication,
            Authentication::NotNeeded | Authentication::Offered(_) | Authentication::Done { .. }
        )
    }

    /// The security stage: AuthMethod, then CHAP (RFC 7143 section 6.3.2 and 12.1).
    fn authenticate(
        &mut self,
        keys: &[(&str, &str)],
        transit: bool,
        entropy: Entropy,
        out: &mut Outgoing,
    ) -> Result<(), Refusal> {
        let denied = |violation| (LoginStatus::AuthenticationFailure, violation);
        for (index, (key, _)) in keys.iter().enumerate() {
            if keys
                .iter()
                .skip(index.saturating_add(1))
                .any(|(other, _)| other == key)
            {
                return Err(denied(Violation::MisplacedKey {
                    key: security_key(key),
                }));
            }
        }
        let value = |name: &str| {
            keys.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| *value)
        };
        if let Some(methods) = value("AuthMethod") {
            if std::mem::replace(&mut self.method_agreed, true) {
                return Err(denied(Violation::MisplacedKey { key: "AuthMethod" }));
            }
            self.agree_on_method(methods, out)?;
        }
        let proof = Proof {
            name: value("CHAP_N"),
            response: value("CHAP_R"),
            identifier: value("CHAP_I"),
            challenge: value("CHAP_C"),
        };
        match &mut self.authentication {
            Authentication::NotNeeded
            | Authentication::Offered(_)
            | Authentication::Done { .. } => {
                match keys.iter().find(|(key, _)| *key != "AuthMethod") {
                    Some((key, _)) => Err(denied(Violation::MisplacedKey {
                        key: security_key(key),
                    })),
                    None => Ok(()),
                }
            }
            // Whoever wants to go on without a word about authentication will not get it.
            Authentication::Demanded(_) if transit || !keys.is_empty() => Err(not_authenticated()),
            Authentication::Demanded(_) => Ok(()),
            Authentication::Underway(chap) if chap.awaits_proof() => {
                if keys.is_empty() {
                    return Ok(());
                }
                let verified = chap.verify(proof).map_err(|error| denied(error.into()))?;
                if let Some((name, response)) = &verified.mutual {
                    out.push("CHAP_N", name);
                    out.push("CHAP_R", response);
                }
                let mutual = verified.mutual.is_some();
                self.authentication = Authentication::Done {
                    name: verified.name,
                    satisfied: verified.policies,
                    mutual,
                };
                Ok(())
            }
            Authentication::Underway(chap) => {
                let Some(algorithms) = value("CHAP_A") else {
                    return Ok(());
                };
                let keys = chap
                    .challenge(algorithms, entropy)
                    .map_err(|error| match error {
                        ChapError::Entropy(_) => (LoginStatus::TargetError, error.into()),
                        _ => denied(error.into()),
                    })?;
                keys.iter().for_each(|(key, value)| out.push(key, value));
                Ok(())
            }
        }
    }

    fn agree_on_method(&mut self, methods: &str, out: &mut Outgoing) -> Result<(), Refusal> {
        let taken: &[&str] = match &self.authentication {
            Authentication::NotNeeded => &["None"],
            Authentication::Offered(_) => &["CHAP", "None"],
            _ => &["CHAP"],
        };
        let Some(method) = text::list(methods).find(|method| taken.contains(method)) else {
            return Err((
                LoginStatus::AuthenticationFailure,
                Violation::NoCommonAuthMethod,
            ));
        };
        out.push("AuthMethod", method);
        let authentication = std::mem::replace(&mut self.authentication, Authentication::NotNeeded);
        self.authentication = match authentication {
            Authentication::Demanded(chap) => Authentication::Underway(chap),
            Authentication::Offered(chap) if method == "CHAP" => Authentication::Underway(chap),
            Authentication::Offered(_) => Authentication::NotNeeded,
            other => other,
        };
        Ok(())
    }
}

fn not_authenticated() -> Refusal {
    (
        LoginStatus::AuthenticationFailure,
        Violation::NotAuthenticated,
    )
}

/// Who logs in, from the keys of the first complete request (RFC 7143 section 6.3.1).
fn identity_of(request: &LoginRequest, text: &[u8]) -> Result<LoginIdentity, Refusal> {
    let pairs = text::parse(text).map_err(|e| (LoginStatus::InitiatorError, e.into()))?;
    let once = |key: &'static str| {
        let mut values = pairs
            .iter()
            .filter(|(name, _)| *name == key)
            .map(|(_, value)| *value);
        let value = values.next();
        match values.next() {
            Some(_) => Err((LoginStatus::InitiatorError, Violation::MisplacedKey { key })),
            None => Ok(value),
        }
    };
    let name = |key: &'static str| match once(key)? {
        Some(name) if name.is_empty() || name.len() > ISCSI_NAME_BYTES_MAX => {
            Err((LoginStatus::InitiatorError, Violation::InvalidValue { key }))
        }
        name => Ok(name.map(str::to_owned)),
    };
    let missing = |key| (LoginStatus::MissingParameter, Violation::MissingKey(key));
    let session_type = match once("SessionType")? {
        None | Some("Normal") => SessionType::Normal,
        Some("Discovery") => SessionType::Discovery,
        Some(_) => {
            let violation = Violation::InvalidValue { key: "SessionType" };
            return Err((LoginStatus::SessionTypeNotSupported, violation));
        }
    };
    let initiator_name = name("InitiatorName")?.ok_or_else(|| missing("InitiatorName"))?;
    let target_name = name("TargetName")?;
    if session_type == SessionType::Normal && target_name.is_none() {
        return Err(missing("TargetName"));
    }
    Ok(LoginIdentity {
        initiator_name,
        initiator_alias: once("InitiatorAlias")?.map(str::to_owned),
        target_name,
        session_type,
        isid: request.isid,
        tsih: request.tsih,
        cid: request.cid,
    })
}

/// Keys that say who and what, and want no answer.
fn is_declarative(key: &str) -> bool {
    matches!(
        key,
        "InitiatorName" | "InitiatorAlias" | "TargetName" | "SessionType"
    )
}

fn is_security(key: &str) -> bool {
    key == "AuthMethod" || key.starts_with("CHAP_")
}

/// The name of a security key, for a report.
fn security_key(key: &str) -> &'static str {
    [
        "AuthMethod",
        "CHAP_A",
        "CHAP_N",
        "CHAP_R",
        "CHAP_I",
        "CHAP_C",
    ]
    .into_iter()
    .find(|name| *name == key)
    .unwrap_or("a CHAP key")
}
