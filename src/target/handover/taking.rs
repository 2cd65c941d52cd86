//! What another process gave, taken up here. Everything is parked until the reactors go on.

use super::record::{SessionRecord, TaskRecord, VolumeRecord};
use crate::iscsi::{self, Portal};
use crate::scsi::attention::UnitAttention;
use crate::scsi::ports::PortGroupChange;
use crate::scsi::unit::Medium;
use crate::target::connection::{Bytes, Conn, Input, Phase, Work};
use crate::target::core::{Core, Turn};
use crate::target::home::{Home, Seat};
use crate::target::message::SessionNexus;
use crate::target::session::Session;
use crate::target::volume::Volume;
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::Arc;

impl Core {
    /// Takes a session up, parked.
    ///
    /// # Errors
    /// Why it can't be; the socket is closed then.
    pub(super) fn take_session(
        &mut self,
        record: SessionRecord,
        stream: TcpStream,
        volume: Arc<Volume>,
        inquiry_changed: bool,
        turn: &mut Turn<'_, '_>,
    ) -> Result<(), String> {
        if !self.shared.connection_opened() {
            return Err("there are too many connections".to_owned());
        }
        let portal = Portal {
            tag: record.portal_tag,
            address: record.local.to_string(),
        };
        let (settings, now) = (Arc::clone(&self.shared.settings), turn.now());
        let pool = &mut turn.tick.driver.pool;
        let engine = iscsi::Connection::take_up(record.connection, portal, settings, now, pool);
        let engine = engine.map_err(|error| error.to_string())?;
        let socket = self.net.adopt(turn.tick.driver, stream);
        let socket = socket.map_err(|error| format!("its socket can't be used: {error}"))?;
        let mut conn = Conn::new(socket, engine, record.peer, record.local, record.portal_tag);
        conn.phase = Phase::Parked;
        conn.held = true;
        conn.initiator = record.initiator;
        conn.ordered = record.ordered;
        if !record.input.is_empty() {
            conn.input = Some(Input {
                bytes: Bytes::Carried(record.input),
                at: 0,
            });
        }
        let mut attentions = record.attentions;
        if inquiry_changed {
            attentions.raise(UnitAttention::InquiryChanged);
        }
        let metered = volume.index;
        conn.session = Some(Box::new(Session {
            volume,
            nexus: SessionNexus {
                nexus: record.nexus,
                index: record.index,
                tsih: record.tsih,
            },
            attentions,
            cleared: record.cleared,
            buffers: record.buffers,
            parameters: record.parameters,
            since: record.since,
            counters: record.counters,
        }));
        let mut starving = Vec::new();
        for task in record.tasks {
            let id = task.task();
            if !conn.iscsi.tasks().any(|(known, ..)| known == id) {
                return Err("a command is in no table of tasks".to_owned());
            }
            match task {
                TaskRecord::Dormant(command) => {
                    conn.activate(&command, Work::Dormant, now);
                    conn.dormant.push_back(command);
                }
                TaskRecord::Waiting(command) => {
                    conn.activate(&command, Work::Starving, now);
                    starving.push(command);
                }
                TaskRecord::AwaitsData {
                    task,
                    opcode,
                    stages,
                    plan,
                } => {
                    conn.held_bytes += plan.length;
                    conn.enter(task, opcode, stages, Work::AwaitData(plan));
                }
            }
        }
        self.meters.open(metered);
        let key = self.connections.insert(conn);
        let key = key.map_err(|_| "the reactor has too many connections".to_owned())?;
        self.bind_socket(socket, key, turn);
        let starving = starving.into_iter().map(|command| (key, command));
        self.starving.extend(starving);
        Ok(())
    }
}

impl Home {
    /// Takes up what another process knew of the volume; `reactors` says where its sessions go.
    ///
    /// # Errors
    /// What contradicts itself; nothing has changed then.
    pub(super) fn take(
        &self,
        record: VolumeRecord,
        reactors: &HashMap<u16, usize>,
    ) -> Result<(), &'static str> {
        if !record.state.is_sound() {
            return Err("its reservations contradict themselves");
        }
        if matches!(
            record.medium,
            Medium::Formatting { .. } | Medium::Sanitizing { .. }
        ) {
            return Err("it is being erased");
        }
        let seats = record.seats.into_iter().map(|seat| {
            let reactor = reactors.get(&seat.tsih).copied();
            let known = record.nexuses.nexus(seat.index).is_some();
            Some(Seat {
                tsih: seat.tsih,
                nexus: seat.nexus,
                index: seat.index,
                address: seat.address,
                reactor: reactor.filter(|_| known)?,
                prevents_removal: seat.prevents_removal,
            })
        });
        let seats: Option<Vec<Seat>> = seats.collect();
        let seats = seats.ok_or("one of its sessions is missing")?;
        let mut nexuses = record.nexuses;
        if !nexuses.settle(seats.iter().map(|seat| seat.index)) {
            return Err("its table of nexuses contradicts itself");
        }
        {
            let mut inner = self.inner.borrow_mut();
            inner.state = record.state;
            inner.nexuses = nexuses;
            inner.seats = seats;
            inner.owed = record.owed;
            inner.takeovers = record.takeovers;
        }
        self.chronicle.take_over(record.ages);
        let changes: Vec<_> = record
            .groups
            .into_iter()
            .map(|(group, state)| PortGroupChange { group, state })
            .collect();
        self.publish(|unit| {
            unit.modes.current = record.modes;
            unit.medium = record.medium;
            unit.ports = unit.ports.changed(&changes);
        });
        Ok(())
    }
}
