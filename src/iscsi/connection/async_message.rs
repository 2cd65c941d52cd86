//! What the target tells unasked (RFC 7143 section 11.9).

use super::super::answer::AsyncEvent;
use super::super::pdu::{AsyncCode, AsyncMessage, NO_TAG};
use super::Link;
use super::session::Session;

impl Session {
    /// Queues an Async Message.
    pub(super) fn send_async(&mut self, link: &mut Link, event: AsyncEvent<'_>) {
        let (exp_cmd_sn, max_cmd_sn) = self.numbers();
        let mut pdu = AsyncMessage {
            lun: [0; 8],
            initiator_task_tag: NO_TAG,
            stat_sn: link.output.take_stat_sn(),
            exp_cmd_sn,
            max_cmd_sn,
            event: AsyncCode::Scsi,
            vendor_code: 0,
            parameter1: 0,
            parameter2: 0,
            parameter3: 0,
        };
        match event {
            AsyncEvent::Scsi { lun, sense } => {
                pdu.lun = lun;
                link.with_sense(sense, |link, data| link.output.push(pdu.emit(), data));
                return;
            }
            AsyncEvent::RequestLogout { seconds } => {
                pdu.event = AsyncCode::RequestLogout;
                pdu.parameter3 = seconds;
            }
            AsyncEvent::DropConnection {
                cid,
                time2wait,
                time2retain,
            } => {
                pdu.event = AsyncCode::DropConnection;
                pdu.parameter1 = cid;
                pdu.parameter2 = time2wait;
                pdu.parameter3 = time2retain;
            }
            AsyncEvent::DropSession {
                time2wait,
                time2retain,
            } => {
                pdu.event = AsyncCode::DropSession;
                pdu.parameter2 = time2wait;
                pdu.parameter3 = time2retain;
            }
            AsyncEvent::RequestNegotiation { seconds } => {
                pdu.event = AsyncCode::RequestNegotiation;
                pdu.parameter3 = seconds;
            }
            AsyncEvent::TasksTerminated { lun } => {
                pdu.event = AsyncCode::TasksTerminated;
                pdu.lun = lun;
            }
        }
        link.output.push(pdu.emit(), &[]);
    }
}
