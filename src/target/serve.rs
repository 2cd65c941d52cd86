//! What a reactor does when another one asks.

use super::connection::{AbortTicket, Conn, Funeral, Phase, Quiet};
use super::core::{Core, Turn};
use super::failure::Failure;
use super::local::AbortSelect;
use super::message::{Announce, Call, Message, Reply, Task, UnitChange};
use super::reserve::{self, reply_of};
use super::scope;
use super::session::Session;
use super::shard::Shard;
use super::volume::VolumeIndex;
use crate::backend::ChannelId;
use crate::base::rcu;
use crate::base::slots::SlotKey;
use crate::iscsi::AsyncEvent;
use crate::reservation::{Access, NexusIndex};
use crate::scsi::attention::UnitAttention;
use crate::scsi::unit::Medium;
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// Who asked: a reactor and its token.
pub(crate) type Asker = (usize, SlotKey);

impl Core {
    /// Serves a call; the answer may come much later.
    pub(crate) fn serve(&mut self, call: Call, asker: Asker, turn: &mut Turn<'_, '_>) {
        match call {
            Call::Attach(volume) => {
                let id = ChannelId(volume.index.0);
                let waker = self.shared.waker(self.id);
                let channel = Arc::clone(&volume.store).channel(id, waker);
                self.shards
                    .insert(volume.index, Shard::new(volume, channel));
                turn.reply(asker.0, asker.1, Reply::Done);
            }
            Call::Detach(volume) => {
                self.shards.remove(volume);
                self.lines.remove(volume);
                self.homes.remove(&volume);
                self.local.forget_gate(volume);
                self.meters.close(volume);
                turn.reply(asker.0, asker.1, Reply::Done);
            }
            Call::Limit { volume, limits } => {
                self.set_limits(volume, limits, turn);
                turn.reply(asker.0, asker.1, Reply::Done);
            }
            Call::Fence { volume, lost } => {
                self.watch_writes(volume, &lost, asker.0, asker.1, turn);
            }
            Call::InFlight(volume) => {
                let counted = self.count_in_flight(volume);
                turn.reply(asker.0, asker.1, Reply::InFlight(counted));
            }
            Call::AbortNexuses {
                volume,
                nexuses,
                spare,
                attention,
                count,
            } => {
                let concerned = |index: NexusIndex| nexuses.binary_search(&index).is_ok();
                let order = AbortOrder {
                    spare,
                    attention,
                    count: Some(&count),
                };
                self.abort_sessions(volume, concerned, order, asker, turn);
            }
            Call::AbortUnit { volume, spare } => {
                let order = AbortOrder {
                    spare,
                    ..AbortOrder::default()
                };
                self.abort_sessions(volume, |_| true, order, asker, turn);
            }
            Call::Attend { volume, attentions } => {
                let delivered = self.attend(volume, &attentions);
                turn.reply(asker.0, asker.1, Reply::Delivered(delivered));
            }
            Call::AttendAll {
                volume,
                attention,
                but,
            } => {
                for (_, conn) in self.connections.iter_mut() {
                    if let Some(session) = conn.session.as_mut()
                        && session.volume.index == volume
                        && Some(session.nexus.tsih) != but
                    {
                        session.attentions.raise(attention);
                    }
                }
                turn.reply(asker.0, asker.1, Reply::Done);
            }
            Call::EndSession {
                volume,
                tsih,
                announce,
            } => {
                let concerned = |session: &Session, _: &Conn| {
                    session.volume.index == volume && session.nexus.tsih == tsih
                };
                self.end_sessions(concerned, announce, asker, turn);
            }
            Call::EndSessions { volume, announce } => {
                let concerned = |session: &Session, _: &Conn| session.volume.index == volume;
                self.end_sessions(concerned, announce, asker, turn);
            }
            Call::EndDrained(drain) => {
                let concerned = |_: &Session, conn: &Conn| conn.is_kept_out_by(&drain);
                self.end_sessions(concerned, Announce::Dropped, asker, turn);
            }
            Call::Quiesce(volume) => self.watch_all(volume, asker, turn),
            Call::Retire(volume) => {
                self.retire(volume, turn);
                self.watch_all(volume, asker, turn);
            }
            Call::Lock { volume, range, id } => self.lock_range(volume, range, id, asker, turn),
            Call::Unlock { volume, id } => self.unlock_range(volume, id, turn),
            Call::CloseGate(volume) => {
                let empty = self.local.gate(volume).close();
                self.answer_later(asker, async move {
                    // The gate lives as long as the volume; nobody is behind one that is gone.
                    let _ = empty.await;
                    Reply::Done
                });
            }
            Call::OpenGate(volume) => self.local.gate(volume).open(),
            call => self.serve_at_home(call, asker, turn),
        }
    }

    /// What only the volume's home can do.
    fn serve_at_home(&mut self, call: Call, asker: Asker, turn: &mut Turn<'_, '_>) {
        let Some(home) = call.home().and_then(|volume| self.homes.get(&volume)) else {
            let failure = Failure::target("the volume is not at home here");
            return turn.reply(asker.0, asker.1, Reply::Failed(failure));
        };
        let (home, local, shared) = (Rc::clone(home), self.local.clone(), self.shared.clone());
        match call {
            Call::ReserveOut {
                sender, command, ..
            } => {
                let work = reserve::reserve_out(home, sender, *command, local, shared);
                self.answer_later(asker, async { reply_of(work.await) });
            }
            Call::ReserveIn {
                nexus,
                service_action,
                ..
            } => {
                home.chronicle.note_inquiry(service_action);
                self.answer_later(asker, async move {
                    match reserve::reserve_in(home, nexus, service_action).await {
                        Ok(body) => Reply::Bytes(body),
                        Err(failure) => Reply::Failed(failure),
                    }
                });
            }
            Call::NoteRefusal { entry, .. } => home.note(*entry, &local, &shared),
            Call::ReserveLegacy {
                sender, release, ..
            } => {
                let work = reserve::reserve_legacy(home, sender, release, local, shared);
                self.answer_later(asker, async { reply_of(work.await) });
            }
            Call::ModeSelect {
                volume,
                sender,
                pages,
                save,
            } => {
                self.answer_later(asker, async move {
                    let _serial = match home.serialise(Some(sender.index)).await {
                        Ok(serial) => serial,
                        Err(failure) => return Reply::Failed(failure),
                    };
                    if let Err(failure) = home.authorise(sender.index, Access::Write) {
                        return Reply::Failed(failure);
                    }
                    let before = home.volume.unit.load(&rcu::pin()).modes.current;
                    if before == *pages && !save {
                        return Reply::Done;
                    }
                    home.publish(|unit| {
                        unit.modes.current = *pages;
                        if save {
                            unit.modes.saved = Some(*pages);
                        }
                    });
                    let attention = UnitAttention::ModeChanged;
                    let call = || Call::AttendAll {
                        volume,
                        attention,
                        but: Some(sender.tsih),
                    };
                    reply_of(local.call_all(call, None).await.map(drop))
                });
            }
            Call::PreventRemoval {
                sender, prevent, ..
            } => {
                let allowed = home.authorise(sender.index, access_if(prevent));
                if allowed.is_ok() {
                    home.prevent_removal(|seat| seat.tsih == sender.tsih, prevent);
                }
                turn.reply(asker.0, asker.1, reply_of(allowed));
            }
            Call::MoveMedium {
                volume,
                sender,
                load,
            } => match home
                .authorise(sender.index, access_if(!load))
                .and_then(|()| home.move_medium(load))
            {
                Err(failure) => turn.reply(asker.0, asker.1, Reply::Failed(failure)),
                Ok(false) => turn.reply(asker.0, asker.1, Reply::Done),
                // It may be another medium than the one that was there.
                Ok(true) => self.answer_later(asker, async move {
                    let attention = UnitAttention::MediumChanged;
                    let call = || Call::AttendAll {
                        volume,
                        attention,
                        but: Some(sender.tsih),
                    };
                    reply_of(local.call_all(call, None).await.map(drop))
                }),
            },
            Call::BeginErasure { nexus, medium, .. } => {
                let begun = home
                    .authorise(nexus, Access::Write)
                    .and_then(|()| home.begin_erasure(nexus, medium));
                turn.reply(asker.0, asker.1, reply_of(begun));
            }
            Call::EndErasure { nexus, medium, .. } => {
                home.end_erasure(nexus, medium);
                turn.reply(asker.0, asker.1, Reply::Done);
            }
            Call::Change { volume, change } => {
                self.answer_later(asker, async move {
                    let _serial = match home.serialise(change.by()).await {
                        Ok(serial) => serial,
                        Err(failure) => return Reply::Failed(failure),
                    };
                    if let Some(by) = change.by()
                        && let Err(failure) = home.authorise(by, Access::Write)
                    {
                        return Reply::Failed(failure);
                    }
                    let attention = change.attention();
                    home.publish(|unit| change.apply(unit));
                    if let Some((attention, but)) = attention {
                        let call = || Call::AttendAll {
                            volume,
                            attention,
                            but,
                        };
                        return reply_of(local.call_all(call, None).await.map(drop));
                    }
                    Reply::Done
                });
            }
            Call::Reset {
                volume,
                spare,
                but,
                target,
            } => {
                self.answer_later(asker, async move {
                    let call = || Call::AbortUnit { volume, spare };
                    if let Err(failure) = local.call_all(call, None).await {
                        return Reply::Failed(failure);
                    }
                    home.prevent_removal(|_| true, false);
                    reserve::end_legacy(&home, None, &local, &shared).await;
                    let attention = reserve::reset_attention(target);
                    let call = || Call::AttendAll {
                        volume,
                        attention,
                        but,
                    };
                    reply_of(local.call_all(call, None).await.map(drop))
                });
            }
            Call::Hold { nexus, .. } => {
                let registrant = scope::registrant(home.volume.reservation_scope, &nexus);
                let mut inner = home.inner.borrow_mut();
                let known = inner.nexuses.index_of(&registrant).is_some();
                let index = if known {
                    inner.nexuses.enter(&registrant)
                } else {
                    None
                };
                turn.reply(
                    asker.0,
                    asker.1,
                    Reply::Index(index.unwrap_or(NexusIndex::NONE)),
                );
            }
            Call::AddToken { rod, .. } => {
                let added = super::tokens::add(&home.volume, rod, turn.now());
                turn.reply(asker.0, asker.1, reply_of(added));
            }
            Call::Leave {
                nexus,
                tsih,
                untold,
                ..
            } => {
                home.forget(tsih);
                let lost = {
                    let mut inner = home.inner.borrow_mut();
                    let lost = inner.nexuses.nexus(nexus).cloned();
                    if let Some(registrant) = &lost {
                        inner.owe_all(registrant, untold);
                    }
                    inner.nexuses.leave(nexus);
                    let seated = inner.seats.iter().any(|seat| seat.index == nexus);
                    lost.filter(|nexus| !seated && inner.state.legacy_holder() == Some(nexus))
                };
                let Some(lost) = lost else {
                    return turn.reply(asker.0, asker.1, Reply::Done);
                };
                self.answer_later(asker, async move {
                    reserve::end_legacy(&home, Some(&lost), &local, &shared).await;
                    Reply::Done
                });
            }
            _ => {}
        }
    }

    /// Runs `work` and sends its reply to the asker.
    fn answer_later(&self, asker: Asker, work: impl Future<Output = Reply> + 'static) {
        let local = self.local.clone();
        self.local.spawn(async move {
            let reply = work.await;
            local.run_on_core(move |_, turn| turn.reply(asker.0, asker.1, reply));
        });
    }

    // ---- sessions of a volume here ------------------------------------------------------------

    fn sessions_of(&self, volume: VolumeIndex) -> Vec<(SlotKey, NexusIndex)> {
        self.connections
            .iter()
            .filter_map(|(key, conn)| {
                let session = conn.session.as_ref()?;
                (session.volume.index == volume).then_some((key, session.nexus.index))
            })
            .collect()
    }

    fn abort_sessions(
        &mut self,
        volume: VolumeIndex,
        concerned: impl Fn(NexusIndex) -> bool,
        order: AbortOrder<'_>,
        asker: Asker,
        turn: &mut Turn<'_, '_>,
    ) {
        let AbortOrder {
            spare,
            attention,
            count,
        } = order;
        let tas = self.shards.get(volume).is_some_and(|shard| {
            shard
                .volume
                .unit
                .load(turn.tick.guard)
                .modes
                .current
                .task_aborted_status
        });
        let status = tas.then_some(Failure::TASK_ABORTED);
        let ticket = AbortTicket::new(Quiet::Call(asker.0, asker.1));
        for (key, index) in self.sessions_of(volume) {
            if !concerned(index) {
                continue;
            }
            let own =
                spare.filter(|(reactor, connection, _)| *reactor == self.id && *connection == key);
            // A command that is aborted by its own nexus gets no status (SAM-5 section 5.5).
            let status = status.filter(|_| own.is_none());
            let select = AbortSelect::AllBut(own.map(|(_, _, task)| task));
            let aborted = self.abort_with(key, select, status, &ticket, turn);
            if let Some(count) = count {
                let aborted = u32::try_from(aborted).unwrap_or(u32::MAX);
                count.fetch_add(aborted, Ordering::Relaxed);
            }
            // Who had nothing to lose is not told that it was lost (SAM-5 section 5.14).
            let attention = attention.filter(|_| aborted > 0);
            if let Some(conn) = self.connections.get_mut(key)
                && let (Some(session), Some(attention), None) = (&mut conn.session, attention, own)
            {
                session.cleared = Some(attention);
                conn.tell_of_aborted();
            }
        }
        if let Some(quiet) = ticket.finished() {
            self.tell_quiet(quiet, turn);
        }
    }

    fn attend(&mut self, volume: VolumeIndex, attentions: &[(u16, UnitAttention)]) -> Vec<u16> {
        let mut delivered = Vec::new();
        for (_, conn) in self.connections.iter_mut() {
            let session = conn
                .session
                .as_mut()
                .filter(|_| conn.phase.is_full_feature());
            let Some(session) = session.filter(|session| session.volume.index == volume) else {
                continue;
            };
            let tsih = session.nexus.tsih;
            for (_, attention) in attentions.iter().filter(|(whose, _)| *whose == tsih) {
                session.attentions.raise(*attention);
                delivered.push(tsih);
            }
        }
        delivered
    }

    /// Ends the sessions here that are concerned; the asker hears when the last is gone and quiet.
    fn end_sessions(
        &mut self,
        concerned: impl Fn(&Session, &Conn) -> bool,
        announce: Announce,
        asker: Asker,
        turn: &mut Turn<'_, '_>,
    ) {
        let mut ending = Vec::new();
        for (key, conn) in self.connections.iter_mut() {
            let Some(session) = conn.session.as_ref() else {
                continue;
            };
            if concerned(session, conn) {
                if announce == Announce::Dropped && conn.phase == Phase::Full {
                    conn.iscsi.send_async(AsyncEvent::DropSession {
                        time2wait: 0,
                        time2retain: 0,
                    });
                }
                ending.push(key);
            }
        }
        let funeral = Funeral::new(asker, ending.len());
        for key in &ending {
            if let Some(conn) = self.connections.get_mut(*key) {
                conn.mourners.push(Rc::clone(&funeral));
            }
            self.begin_close(*key, turn);
            self.settle(*key, turn);
        }
        if ending.is_empty() {
            turn.reply(asker.0, asker.1, Reply::Done);
        }
    }

    /// A word to a volume's home that needs no answer.
    pub(crate) fn tell_home(&self, home: usize, call: Call, turn: &mut Turn<'_, '_>) {
        let token = SlotKey::from_bits(0);
        turn.send(
            home,
            Message::Call {
                from: self.id,
                token,
                call,
            },
        );
    }
}

/// How the commands of sessions are to be aborted.
#[derive(Debug, Clone, Copy, Default)]
struct AbortOrder<'a> {
    /// This one goes on.
    spare: Option<Task>,
    /// Who loses commands is told by this.
    attention: Option<UnitAttention>,
    /// Grows by how many they are.
    count: Option<&'a AtomicU32>,
}

/// What START STOP UNIT and PREVENT ALLOW MEDIUM REMOVAL need: ejecting and preventing change how the
/// logical unit works for everybody, loading and allowing never conflict (SPC-4 section 5.13.1), not
/// with an SPC-2 reservation either.
const fn access_if(intrusive: bool) -> Access {
    if intrusive {
        Access::Write
    } else {
        Access::Exempt
    }
}

impl Call {
    /// The volume, for calls that only its home can serve.
    fn home(&self) -> Option<VolumeIndex> {
        match self {
            Self::ReserveOut { volume, .. }
            | Self::ReserveIn { volume, .. }
            | Self::ReserveLegacy { volume, .. }
            | Self::NoteRefusal { volume, .. }
            | Self::Hold { volume, .. }
            | Self::AddToken { volume, .. }
            | Self::ModeSelect { volume, .. }
            | Self::PreventRemoval { volume, .. }
            | Self::MoveMedium { volume, .. }
            | Self::BeginErasure { volume, .. }
            | Self::EndErasure { volume, .. }
            | Self::Change { volume, .. }
            | Self::Reset { volume, .. }
            | Self::Leave { volume, .. } => Some(*volume),
            _ => None,
        }
    }
}

impl UnitChange {
    fn apply(self, unit: &mut crate::scsi::LogicalUnit) {
        match self {
            Self::Medium(medium) => unit.medium = medium,
            Self::ExitSanitizeFailure { .. } => {
                if matches!(unit.medium, Medium::SanitizeFailed { .. }) {
                    unit.medium = Medium::Ready;
                }
            }
            Self::Ports { changes, .. } => unit.ports = unit.ports.changed(&changes),
            Self::PortSet(ports) => unit.ports = ports,
            Self::Blocks(blocks) => unit.geometry.blocks = blocks,
        }
    }

    /// The nexus that asks for it.
    fn by(&self) -> Option<NexusIndex> {
        match self {
            Self::Ports { by, .. } | Self::ExitSanitizeFailure { by } => Some(by.index),
            Self::Medium(_) | Self::PortSet(_) | Self::Blocks(_) => None,
        }
    }

    /// What the sessions are told, and who is not.
    fn attention(&self) -> Option<(UnitAttention, Option<u16>)> {
        match self {
            Self::Ports { by, .. } => Some((UnitAttention::AccessStateChanged, Some(by.tsih))),
            Self::Medium(_) | Self::ExitSanitizeFailure { .. } | Self::PortSet(_) => None,
            Self::Blocks(_) => Some((UnitAttention::CapacityChanged, None)),
        }
    }
}
