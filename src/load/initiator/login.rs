//! The login phase from the initiator's side (RFC 7143 section 6.3).
//!
//! ```text
//!               AuthMethod=None                            keys answered, T
//! start() ──▶ Security ─────────────────────▶ Operational ───────────────────▶ full feature
//!               │ AuthMethod=CHAP                ▲
//!               └──▶ CHAP_A ──▶ CHAP_N, CHAP_R ──┘ mutual: once the target has proved itself
//! ```

#![cfg_attr(
    not(test),
    deny(clippy::indexing_slicing, clippy::arithmetic_side_effects)
)]

use super::chap::{ALGORITHMS, Exchange};
use super::fault::Fault;
use super::outbox::Outbox;
use crate::base::limits::{
    LOAD_DATA_SEGMENT_BYTES, LOGIN_DATA_SEGMENT_BYTES, NEGOTIATION_STEPS_MAX,
};
use crate::iscsi::event::Parameters;
use crate::iscsi::pdu::{Bhs, LoginRequest, LoginResponse, LoginStatus, Opcode, padding};
use crate::iscsi::settings::Entropy;
use crate::iscsi::text::{self, Incoming, Outgoing};
use crate::load::plan::LoginOptions;
use crate::volume::IscsiName;

const SECURITY: u8 = 0;
const OPERATIONAL: u8 = 1;
const FULL_FEATURE: u8 = 3;
/// The first CmdSN of a session.
const FIRST_CMD_SN: u32 = 1;

/// A login that goes on.
#[derive(Debug)]
pub(crate) struct Login {
    options: LoginOptions,
    chap: Option<Exchange>,
    target: IscsiName,
    isid: [u8; 6],
    stage: u8,
    steps: u32,
    exp_stat_sn: u32,
    incoming: Incoming,
    parameters: Parameters,
}

/// What a login came to.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) parameters: Parameters,
    pub(crate) cmd_sn: u32,
    pub(crate) exp_stat_sn: u32,
    pub(crate) max_cmd_sn: u32,
}

/// What to do after a Login Response.
#[derive(Debug)]
pub(crate) enum Step {
    /// Send what was put into the outbox.
    GoOn,
    /// Full feature phase has begun.
    Done(Box<LoggedIn>),
    /// Log in at that portal instead (RFC 7143 section 13.8).
    Moved(String),
}

impl Login {
    /// A login of the initiator port `isid` to `target`, with its first request in `outbox`.
    /// `entropy` is what a challenge to the target is made of.
    pub(crate) fn start(
        options: &LoginOptions,
        target: &IscsiName,
        isid: [u8; 6],
        entropy: Entropy,
        outbox: &mut Outbox,
    ) -> Self {
        let mutual = options.mutual_chap.clone();
        let chap = options.chap.clone();
        let login = Self {
            options: options.clone(),
            chap: chap.map(|own| Exchange::new(own, mutual, entropy)),
            target: target.clone(),
            isid,
            stage: SECURITY,
            steps: 0,
            exp_stat_sn: 0,
            incoming: Incoming::default(),
            parameters: Parameters::default(),
        };
        let mut keys = Outgoing::default();
        keys.push("InitiatorName", options.initiator.as_str());
        keys.push("TargetName", login.target.as_str());
        keys.push("SessionType", "Normal");
        if login.chap.is_some() {
            // A target that is to prove itself must not get away with no authentication.
            let is_mutual = login.owes_proof();
            keys.push("AuthMethod", if is_mutual { "CHAP" } else { "CHAP,None" });
            login.request(None, keys, outbox);
        } else {
            keys.push("AuthMethod", "None");
            login.request(Some(OPERATIONAL), keys, outbox);
        }
        login
    }

    /// Takes a Login Response with its data segment.
    pub(crate) fn receive(
        &mut self,
        bhs: &Bhs,
        segment: &[u8],
        outbox: &mut Outbox,
    ) -> Result<Step, Fault> {
        if bhs.opcode() != Opcode::LoginResponse {
            return Err(Fault::Opcode(bhs.opcode().to_wire()));
        }
        self.steps = self.steps.saturating_add(1);
        if self.steps > NEGOTIATION_STEPS_MAX {
            return Err(Fault::EndlessLogin);
        }
        let response = LoginResponse::parse(bhs);
        self.incoming.push(segment)?;
        match response.status {
            LoginStatus::Success => {}
            LoginStatus::MovedTemporarily | LoginStatus::MovedPermanently => {
                return self.moved();
            }
            status => return Err(Fault::Refused(status)),
        }
        if response.current_stage != self.stage {
            return Err(Fault::LoginResponse("a stage other than the one agreed"));
        }
        self.exp_stat_sn = response.stat_sn.wrapping_add(1);
        if response.continued {
            self.request(None, Outgoing::default(), outbox);
            return Ok(Step::GoOn);
        }
        let text = self.incoming.take();
        let pairs = text::parse(&text)?;
        match self.stage {
            SECURITY => self.security(&response, &pairs, outbox),
            _ => self.operational(&response, &pairs, outbox),
        }
    }

    fn moved(&mut self) -> Result<Step, Fault> {
        let text = self.incoming.take();
        let pairs = text::parse(&text)?;
        let address = value(&pairs, "TargetAddress").ok_or(Fault::Redirected)?;
        Ok(Step::Moved(address.to_owned()))
    }

    fn security(
        &mut self,
        response: &LoginResponse,
        pairs: &[(&str, &str)],
        outbox: &mut Outbox,
    ) -> Result<Step, Fault> {
        if let Some(exchange) = &mut self.chap
            && exchange.is_owed_proof()
            && (response.transit || value(pairs, "CHAP_R").is_some())
        {
            exchange.check_proof(pairs).map_err(Fault::Unproven)?;
        }
        if response.transit {
            match response.next_stage {
                OPERATIONAL => self.stage = OPERATIONAL,
                FULL_FEATURE => return Ok(self.done(response)),
                _ => return Err(Fault::LoginResponse("a transit to no stage")),
            }
            let keys = self.offer();
            self.request(Some(FULL_FEATURE), keys, outbox);
            return Ok(Step::GoOn);
        }
        let mut keys = Outgoing::default();
        let mut next = None;
        if let Some(method) = value(pairs, "AuthMethod") {
            match method {
                "CHAP" if self.chap.is_some() => keys.push("CHAP_A", ALGORITHMS),
                "None" if !self.owes_proof() => next = Some(OPERATIONAL),
                _ => return Err(Fault::NotAgreed("an authentication method")),
            }
        } else if let Some(exchange) = self.chap.as_mut().filter(|one| one.takes(pairs)) {
            exchange.respond(pairs, &mut keys)?;
            next = Some(OPERATIONAL);
        } else {
            next = Some(OPERATIONAL);
        }
        self.request(next, keys, outbox);
        Ok(Step::GoOn)
    }

    /// Whether the target has yet to prove itself.
    fn owes_proof(&self) -> bool {
        self.chap.as_ref().is_some_and(Exchange::is_owed_proof)
    }

    fn operational(
        &mut self,
        response: &LoginResponse,
        pairs: &[(&str, &str)],
        outbox: &mut Outbox,
    ) -> Result<Step, Fault> {
        let mut keys = Outgoing::default();
        for (key, value) in pairs {
            if !self.settle(key, value)? {
                // The target's own proposals: nothing beyond what was offered is spoken here.
                keys.push(key, "NotUnderstood");
            }
        }
        if response.transit && response.next_stage == FULL_FEATURE {
            self.check_digests()?;
            return Ok(self.done(response));
        }
        self.request(Some(FULL_FEATURE), keys, outbox);
        Ok(Step::GoOn)
    }

    fn done(&self, response: &LoginResponse) -> Step {
        Step::Done(Box::new(LoggedIn {
            parameters: self.parameters,
            // Login requests are immediate and take no CmdSN.
            cmd_sn: FIRST_CMD_SN,
            exp_stat_sn: self.exp_stat_sn,
            max_cmd_sn: response.max_cmd_sn,
        }))
    }

    /// Every key of the operational stage, with what the plan wants.
    fn offer(&mut self) -> Outgoing {
        fn digest(wanted: bool) -> &'static str {
            if wanted { "CRC32C" } else { "None" }
        }
        fn yes_no(yes: bool) -> &'static str {
            if yes { "Yes" } else { "No" }
        }
        self.parameters.initiator_data_segment_bytes = LOAD_DATA_SEGMENT_BYTES;
        let options = &self.options;
        let number = |value: u32| value.to_string();
        let mut keys = Outgoing::default();
        for (key, value) in [
            ("HeaderDigest", digest(options.header_digest).to_owned()),
            ("DataDigest", digest(options.data_digest).to_owned()),
            ("MaxRecvDataSegmentLength", number(LOAD_DATA_SEGMENT_BYTES)),
            ("InitialR2T", yes_no(options.initial_r2t).to_owned()),
            ("ImmediateData", yes_no(options.immediate_data).to_owned()),
            ("MaxBurstLength", number(options.max_burst_bytes)),
            ("FirstBurstLength", number(options.first_burst_bytes)),
            ("MaxOutstandingR2T", number(options.outstanding_r2t)),
            ("MaxConnections", number(1)),
            ("DataPDUInOrder", yes_no(true).to_owned()),
            ("DataSequenceInOrder", yes_no(true).to_owned()),
            ("ErrorRecoveryLevel", number(0)),
            ("DefaultTime2Wait", number(0)),
            ("DefaultTime2Retain", number(0)),
        ] {
            keys.push(key, &value);
        }
        keys
    }

    /// Takes the target's answer to a key. `false` if the key is a proposal of the target's own.
    fn settle(&mut self, key: &str, value: &str) -> Result<bool, Fault> {
        let wrong = || Fault::LoginResponse("the value of a key is none");
        let number = || text::number(value).ok_or_else(wrong);
        let yes = || match value {
            "Yes" => Ok(true),
            "No" => Ok(false),
            _ => Err(wrong()),
        };
        let parameters = &mut self.parameters;
        match key {
            "HeaderDigest" => parameters.header_digest = value == "CRC32C",
            "DataDigest" => parameters.data_digest = value == "CRC32C",
            "MaxRecvDataSegmentLength" => {
                parameters.target_data_segment_bytes = number()?.max(LENGTH_MIN);
            }
            "InitialR2T" => parameters.initial_r2t = yes()?,
            "ImmediateData" => parameters.immediate_data = yes()?,
            "MaxBurstLength" => parameters.max_burst_bytes = number()?.max(LENGTH_MIN),
            "FirstBurstLength" => parameters.first_burst_bytes = number()?.max(LENGTH_MIN),
            "MaxOutstandingR2T" => parameters.max_outstanding_r2t = number()?,
            "DataPDUInOrder"
            | "DataSequenceInOrder"
            | "MaxConnections"
            | "ErrorRecoveryLevel"
            | "DefaultTime2Wait"
            | "DefaultTime2Retain"
            | "TargetAlias"
            | "TargetPortalGroupTag"
            | "TargetAddress" => {}
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A figure with digests must not be measured without them.
    fn check_digests(&self) -> Result<(), Fault> {
        let (wanted, got) = (&self.options, &self.parameters);
        if wanted.header_digest != got.header_digest {
            return Err(Fault::NotAgreed(if wanted.header_digest {
                "HeaderDigest=CRC32C"
            } else {
                "HeaderDigest=None"
            }));
        }
        if wanted.data_digest != got.data_digest {
            return Err(Fault::NotAgreed(if wanted.data_digest {
                "DataDigest=CRC32C"
            } else {
                "DataDigest=None"
            }));
        }
        Ok(())
    }

    /// Appends a Login Request with `keys` that asks for the stage `next`. What is said here fits
    /// one PDU: names are bounded, and there are few keys.
    fn request(&self, next: Option<u8>, mut keys: Outgoing, outbox: &mut Outbox) {
        let text = keys.next_piece(LOGIN_DATA_SEGMENT_BYTES as usize);
        debug_assert!(keys.is_empty(), "the keys of a step fit one PDU");
        let request = LoginRequest {
            immediate: true,
            transit: next.is_some(),
            continued: false,
            current_stage: self.stage,
            next_stage: next.unwrap_or(0),
            version_max: 0,
            version_min: 0,
            isid: self.isid,
            tsih: 0,
            initiator_task_tag: 0,
            cid: 0,
            cmd_sn: FIRST_CMD_SN,
            exp_stat_sn: self.exp_stat_sn,
        };
        let bytes = u32::try_from(text.len()).unwrap_or(u32::MAX);
        outbox.push(request.emit().with_data(bytes).as_bytes());
        outbox.push(&text);
        let zeros = [0; 3];
        outbox.push(zeros.get(..padding(bytes) as usize).unwrap_or_default());
    }
}

/// The smallest value of a length key (RFC 7143 section 13.12).
const LENGTH_MIN: u32 = 512;

/// The value of a key.
pub(super) fn value<'a>(pairs: &[(&'a str, &'a str)], key: &str) -> Option<&'a str> {
    pairs
        .iter()
        .find(|(found, _)| *found == key)
        .map(|(_, value)| *value)
}
