//! Text requests in full feature phase: long text both ways (RFC 7143 sections 11.10 and 11.11).

use super::super::answer::TargetRecord;
use super::super::discovery;
use super::super::event::Event;
use super::super::pdu::{Bhs, NO_TAG, RejectReason, TextRequest, TextResponse};
use super::super::text::{self, Incoming, Outgoing};
use super::session::Session;
use super::{Awaiting, Link};
use serde::{Deserialize, Serialize};

/// A text negotiation that is not over. A session has one at a time; a new one ends the old.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Exchange {
    tag: u32,
    initiator_task_tag: u32,
    incoming: Incoming,
    outgoing: Outgoing,
    /// The F bit of the last request.
    final_request: bool,
}

impl Session {
    /// A Text request with its data segment.
    pub(super) fn text(&mut self, link: &mut Link, bhs: &Bhs, data: &[u8]) {
        let request = TextRequest::parse(bhs);
        let mut exchange = match self.exchange.take() {
            _ if request.target_transfer_tag == NO_TAG => Exchange {
                tag: self.take_tag(),
                initiator_task_tag: request.initiator_task_tag,
                incoming: Incoming::default(),
                outgoing: Outgoing::default(),
                final_request: false,
            },
            Some(exchange)
                if exchange.tag == request.target_transfer_tag
                    && exchange.initiator_task_tag == request.initiator_task_tag =>
            {
                exchange
            }
            _ => return self.reject(link, bhs, RejectReason::InvalidField),
        };
        exchange.final_request = request.final_pdu;
        let goes_on = !exchange.outgoing.is_empty();
        if !goes_on && exchange.incoming.push(data).is_err() {
            return self.reject(link, bhs, RejectReason::ProtocolError);
        }
        if !goes_on && !request.continued {
            let text = exchange.incoming.take();
            let Ok(pairs) = text::parse(&text) else {
                return self.reject(link, bhs, RejectReason::ProtocolError);
            };
            let outcome = discovery::judge(self.session_type, &pairs, &mut exchange.outgoing);
            if let Some(bytes) = outcome.initiator_data_segment_bytes {
                self.parameters.initiator_data_segment_bytes = bytes;
            }
            if let Some(targets) = outcome.targets {
                self.exchange = Some(exchange);
                link.awaiting = Awaiting::Targets;
                link.events.push_back(Event::SendTargets(targets));
                return;
            }
        }
        self.answer_text(link, exchange);
    }

    /// The owner's answer to SendTargets.
    pub(super) fn answer_targets(&mut self, link: &mut Link, targets: &[TargetRecord]) {
        if let Some(mut exchange) = self.exchange.take() {
            discovery::write(targets, &mut exchange.outgoing);
            self.answer_text(link, exchange);
        }
    }

    /// Sends as much of the answer as the initiator takes in one PDU.
    fn answer_text(&mut self, link: &mut Link, mut exchange: Exchange) {
        let limit = self.parameters.initiator_data_segment_bytes as usize;
        let piece = exchange.outgoing.next_piece(limit);
        let continued = !exchange.outgoing.is_empty();
        let final_pdu = exchange.final_request && !continued;
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let pdu = TextResponse {
            final_pdu,
            continued,
            lun: [0; 8],
            initiator_task_tag: exchange.initiator_task_tag,
            target_transfer_tag: if final_pdu { NO_TAG } else { exchange.tag },
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
        };
        link.output.push(pdu.emit(), &piece);
        if !final_pdu {
            self.exchange = Some(exchange);
        }
    }
}
