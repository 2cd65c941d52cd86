//! A reactor's and a volume's part of the record. Nothing is changed by reading it.

use super::record::{SeatRecord, SessionRecord, TaskRecord, VolumeRecord};
use crate::base::rcu;
use crate::base::slots::SlotKey;
use crate::iscsi::Command;
use crate::target::connection::{Conn, Phase, Work};
use crate::target::core::Core;
use crate::target::home::Home;
use std::net::TcpStream;

impl Core {
    /// The sessions that are parked here, each with another handle of its socket.
    ///
    /// # Errors
    /// Which connection can't be handed over, and why.
    pub(super) fn give_sessions(&self) -> Result<Vec<(SessionRecord, TcpStream)>, String> {
        let sessions = self.connections.iter();
        sessions
            .map(|(key, conn)| {
                self.give_session(key, conn)
                    .map_err(|why| format!("the connection of {}: {why}", conn.peer))
            })
            .collect()
    }

    fn give_session(
        &self,
        key: SlotKey,
        conn: &Conn,
    ) -> Result<(SessionRecord, TcpStream), String> {
        let (Phase::Parked, Some(session), Some(socket)) = (conn.phase, &conn.session, conn.socket)
        else {
            return Err("it is not at rest".to_owned());
        };
        let stream = self.net.duplicate(socket);
        let stream = stream.map_err(|error| format!("its socket can't be had: {error}"))?;
        let connection = conn.iscsi.park().map_err(|error| error.to_string())?;
        let record = SessionRecord {
            volume: session.volume.id,
            nexus: session.nexus.nexus.clone(),
            index: session.nexus.index,
            tsih: session.nexus.tsih,
            peer: conn.peer,
            local: conn.local,
            portal_tag: conn.portal_tag,
            initiator: conn.initiator.clone(),
            attentions: session.attentions,
            cleared: session.cleared,
            buffers: session.buffers.clone(),
            parameters: session.parameters,
            since: session.since,
            counters: session.counters,
            connection,
            input: conn.unparsed().to_vec(),
            tasks: self.give_tasks(key, conn)?,
            ordered: conn.ordered,
        };
        Ok((record, stream))
    }

    /// The commands that have not begun: dormant ones in the order of their turn, then those that wait
    /// for a buffer or for limits, each in the order in which they wait.
    fn give_tasks(&self, key: SlotKey, conn: &Conn) -> Result<Vec<TaskRecord>, String> {
        let is = |command: &Command, wanted: fn(&Work) -> bool| {
            let active = conn.active.get(command.task.index() as usize);
            let active = active.and_then(Option::as_ref);
            active.is_some_and(|active| active.task == command.task && wanted(&active.work))
        };
        let dormant = conn.dormant.iter();
        let dormant = dormant.filter(|command| is(command, |work| matches!(work, Work::Dormant)));
        let starving = self.starving.iter().filter(|(owner, command)| {
            *owner == key && is(command, |work| matches!(work, Work::Starving))
        });
        let starving = starving.map(|(_, command)| command);
        let limited = conn.limited.iter();
        let limited = limited.filter(|command| is(command, |work| matches!(work, Work::Limited)));
        let mut tasks: Vec<_> = dormant.cloned().map(TaskRecord::Dormant).collect();
        tasks.extend(starving.chain(limited).cloned().map(TaskRecord::Waiting));
        for active in conn.active.iter().flatten() {
            let (task, opcode) = (active.task, active.opcode);
            match active.work {
                Work::Dormant | Work::Limited | Work::Starving => {}
                Work::AwaitData(plan) => tasks.push(TaskRecord::AwaitsData {
                    task,
                    opcode,
                    stages: active.stages,
                    plan,
                }),
                Work::Read { .. } | Work::Write { .. } | Work::Procedure { .. } => {
                    return Err("a command runs".to_owned());
                }
            }
        }
        let known = conn.active.iter().flatten().count();
        if known == tasks.len() {
            Ok(tasks)
        } else {
            Err("a command is in no list".to_owned())
        }
    }
}

impl Conn {
    /// Bytes that have come and have not been parsed.
    pub(super) fn unparsed(&self) -> &[u8] {
        let input = self.input.as_ref();
        input.map_or(&[], |input| {
            input.bytes.as_slice().get(input.at..).unwrap_or_default()
        })
    }
}

impl Home {
    /// What it knows and the catalogue does not.
    pub(super) fn give(&self) -> VolumeRecord {
        let guard = rcu::pin();
        let unit = self.volume.unit.load(&guard);
        let inner = self.inner.borrow();
        let seats = inner.seats.iter().map(|seat| SeatRecord {
            tsih: seat.tsih,
            nexus: seat.nexus.clone(),
            index: seat.index,
            address: seat.address,
            prevents_removal: seat.prevents_removal,
        });
        let groups = unit.ports.groups().iter();
        let groups = groups.filter(|group| group.explicit == Some(true));
        VolumeRecord {
            id: self.volume.id,
            state: inner.state.clone(),
            ages: self.chronicle.ages().clone(),
            nexuses: inner.nexuses.clone(),
            seats: seats.collect(),
            owed: inner.owed.clone(),
            takeovers: inner.takeovers.clone(),
            modes: unit.modes.current,
            medium: unit.medium,
            groups: groups
                .map(|group| (group.identifier, group.state))
                .collect(),
        }
    }
}
