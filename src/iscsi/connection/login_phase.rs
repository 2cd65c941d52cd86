//! Between the wire and the login's rules: numbers, statuses, and the step into full feature phase.

use super::super::answer::Identity;
use super::super::error::{CloseReason, Violation};
use super::super::event::{Event, LoginSummary};
use super::super::login::{Login, Step};
use super::super::pdu::{LoginRequest, LoginResponse, LoginStatus};
use super::super::text::Outgoing;
use super::receiver::Header;
use super::session::Session;
use super::{Awaiting, Link};

/// A connection that has not logged in.
#[derive(Debug)]
pub(super) struct LoginPhase {
    login: Login,
    /// What was agreed, once it waits for admission.
    summary: Option<Box<LoginSummary>>,
}

impl LoginPhase {
    pub(super) fn new(link: &Link) -> Self {
        let settings = &link.settings;
        let login = Login::new(settings.entropy, settings.receive_data_segment_bytes);
        Self {
            login,
            summary: None,
        }
    }

    /// A Login Request with its data segment.
    pub(super) fn request(&mut self, link: &mut Link, header: &Header, data: &[u8]) {
        let bhs = header.bhs();
        let [_, flags, ..] = *bhs.as_bytes();
        let step = self.login.request(LoginRequest::parse(&bhs), flags, data);
        self.take(link, step);
    }

    /// The owner has said who the target is.
    pub(super) fn identify(&mut self, link: &mut Link, identity: Identity) {
        let step = self.login.identify(identity);
        self.take(link, step);
    }

    /// The owner lets the initiator in.
    pub(super) fn admit(&mut self, link: &mut Link, tsih: u16) -> Option<Session> {
        let summary = self.summary.take()?;
        let (response, text) = self.login.admit(tsih);
        self.send(link, response, &text);
        let parameters = &summary.parameters;
        link.output
            .use_digests(parameters.header_digest, parameters.data_digest);
        Some(Session::new(&summary, self.login.cmd_sn(), &link.settings))
    }

    /// The owner refuses.
    pub(super) fn refuse(&mut self, link: &mut Link, status: LoginStatus, address: Option<&str>) {
        let mut text = Outgoing::default();
        if let Some(address) = address {
            text.push("TargetAddress", address);
        }
        let response = self.login.refusal(status);
        self.send(link, response, &text.next_piece(usize::MAX));
        link.close = Some(CloseReason::LoginRefused(status));
    }

    /// The initiator has broken the rules.
    pub(super) fn fail(&mut self, link: &mut Link, status: LoginStatus, violation: Violation) {
        let mut text = Outgoing::default();
        for key in violation.rejected_keys() {
            text.push(key, "Reject");
        }
        let response = self.login.refusal(status);
        self.send(link, response, &text.next_piece(usize::MAX));
        link.close = Some(CloseReason::LoginFailed { status, violation });
    }

    fn take(&mut self, link: &mut Link, step: Step) {
        match step {
            Step::Reply(response, text) => self.send(link, response, &text),
            Step::Identify(who) => {
                link.awaiting = Awaiting::Identity;
                link.events.push_back(Event::Identify(who));
            }
            Step::Complete(summary) => {
                link.awaiting = Awaiting::Admission;
                self.summary = Some(summary.clone());
                link.events.push_back(Event::LoginComplete(summary));
            }
            Step::Refuse(status, violation) => self.fail(link, status, violation),
        }
    }

    fn send(&self, link: &mut Link, mut response: LoginResponse, text: &[u8]) {
        let first = self.login.cmd_sn();
        response.stat_sn = link.output.take_stat_sn();
        response.exp_cmd_sn = first;
        response.max_cmd_sn = first
            .wrapping_add(link.settings.session_commands)
            .wrapping_sub(1);
        link.output.push(response.emit(), text);
    }
}
