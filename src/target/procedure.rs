//! A command that takes more than one step.

use super::connection::Conn;
use super::failure::Failure;
use super::gate::Passage;
use super::hold::NexusHold;
use super::io::of_data_out;
use super::local::{Answer, Local, Request};
use super::medium::Medium;
use super::message::{Call, Reply, SessionNexus, UnitChange};
use super::reserve::{Refused, Sender};
use super::session::Session;
use super::shared::Shared;
use super::terms::Proof;
use super::volume::Volume;
use crate::base::buffer::Buffer;
use crate::base::limits::{BUFFER_BYTES_MAX, PARAMETER_LIST_BYTES_MAX};
use crate::base::rcu;
use crate::base::slots::SlotKey;
use crate::iscsi::TaskId;
use crate::reservation::Access;
use crate::scsi::sense::{Code, SenseKey};
use crate::scsi::{self, LunKind, Plan, View};
use futures_channel::oneshot;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// What a procedure knows of its command.
pub(crate) struct Procedure {
    pub(crate) local: Local,
    pub(crate) connection: SlotKey,
    pub(crate) task: TaskId,
    pub(crate) cdb: Vec<u8>,
    /// Bytes the initiator has room for.
    pub(crate) read_length: u32,
    /// Bytes the initiator sends.
    pub(crate) write_length: u32,
    pub(crate) volume: Arc<Volume>,
    pub(crate) nexus: SessionNexus,
    /// Keeps the index, where the command no longer belongs to a session.
    #[allow(dead_code, reason = "held for what its end does")]
    pub(crate) hold: Option<NexusHold>,
    pub(crate) peer: SocketAddr,
    /// What its initiator has proved.
    pub(crate) proof: Arc<Proof>,
    /// Set from outside; looked at between steps.
    pub(crate) aborted: Rc<Cell<bool>>,
    pub(crate) shared: Arc<Shared>,
}

impl Procedure {
    /// Carries the plan out and ends the command.
    pub(crate) async fn run(self, plan: Plan) {
        let answer = match self.carry_out(plan).await {
            Ok(answer) => answer,
            Err(failure) => Answer::Failed(failure),
        };
        let (connection, task) = (self.connection, self.task);
        self.local.post(Request::Finish {
            connection,
            task,
            answer,
        });
    }

    async fn carry_out(&self, plan: Plan) -> Result<Answer, Failure> {
        let Plan::Parameters { length } = plan else {
            return self.execute(plan).await;
        };
        let data = match self.parameters(length).await {
            Ok(data) => data,
            Err(failure) => {
                self.note_refusal(&[], &failure);
                return Err(failure);
            }
        };
        let plan = self.plan_again(&data);
        if let Plan::Fail(failure) = &plan {
            self.note_refusal(&data, failure);
        }
        match self.execute(plan).await? {
            Answer::Good { .. } => Ok(Answer::Good {
                asked: u64::from(length),
            }),
            answer => Ok(answer),
        }
    }

    fn plan_again(&self, data: &[u8]) -> Plan {
        let guard = rcu::pin();
        let unit = self.volume.unit.load(&guard);
        let view = View {
            unit,
            lun: LunKind::Disk,
            rights: unit.reservation.rights(self.nexus.index),
            port: self.nexus.nexus.target_port,
            attention: None,
            timestamp_ms: 0,
        };
        scsi::plan_with_parameters(&self.cdb, data, &view)
    }

    async fn execute(&self, plan: Plan) -> Result<Answer, Failure> {
        match plan {
            Plan::Read { range, .. } => self.read(range).await,
            Plan::Write {
                range, fua, atomic, ..
            } => self.write(range, fua, atomic).await,
            Plan::Reply(reply) => Ok(Answer::of_reply(reply)),
            Plan::Fail(failure) => Err(failure),
            Plan::Parameters { .. } => Err(Failure::target("parameters were asked for twice")),
            Plan::Verify { range, mode, .. } => self.verify(range, mode).await,
            Plan::WriteAndVerify { range, compare, .. } => {
                let _passage = self.pass().await;
                self.write_and_verify(range, compare).await
            }
            Plan::CompareAndWrite { range, fua, .. } => {
                let _passage = self.pass().await;
                self.compare_and_write(range, fua).await
            }
            Plan::OrWrite { range, fua, .. } => {
                let _passage = self.pass().await;
                self.or_write(range, fua).await
            }
            Plan::WriteSame {
                range,
                source,
                deallocate,
            } => {
                let _passage = self.pass().await;
                self.write_same(range, source, deallocate).await
            }
            Plan::Unmap { ranges } => {
                let _passage = self.pass().await;
                self.unmap(&ranges).await
            }
            Plan::LbaStatus(request) => self.lba_status(&request).await,
            // There is no cache of its own to fetch into, and so nothing to report as met.
            Plan::Prefetch { .. } => Ok(Answer::Good { asked: 0 }),
            Plan::Flush { .. } => {
                self.medium(Access::Write).flush().await?;
                Ok(Answer::Good { asked: 0 })
            }
            Plan::Format(plan) => self.format(plan).await,
            Plan::Sanitize(plan) => self.sanitize(plan).await,
            Plan::ReserveIn {
                service_action,
                allocation_length,
            } => {
                let call = Call::ReserveIn {
                    volume: self.volume.index,
                    nexus: self.nexus.index,
                    service_action,
                };
                let Reply::Bytes(body) = self.call_home(call).await? else {
                    return Err(Failure::target("an answer of the wrong kind"));
                };
                Ok(Answer::of_reply(scsi::Reply::truncated(
                    body,
                    allocation_length,
                )))
            }
            Plan::ReserveOut(command) => {
                let call = Call::ReserveOut {
                    volume: self.volume.index,
                    sender: self.sender(),
                    command,
                };
                self.change(call).await
            }
            Plan::LegacyReserve => self.reserve_legacy(false).await,
            Plan::LegacyRelease => self.reserve_legacy(true).await,
            Plan::ModeSelect { pages, save } => {
                let (volume, sender) = (self.volume.index, self.nexus.asking());
                self.change(Call::ModeSelect {
                    volume,
                    sender,
                    pages,
                    save,
                })
                .await
            }
            Plan::SetPortGroups(changes) => {
                let change = UnitChange::Ports {
                    changes,
                    by: self.nexus.asking(),
                };
                self.change(Call::Change {
                    volume: self.volume.index,
                    change,
                })
                .await
            }
            Plan::MoveMedium { load } => self.move_medium(load).await,
            Plan::PreventRemoval { prevent } => {
                self.change(Call::PreventRemoval {
                    volume: self.volume.index,
                    sender: self.nexus.asking(),
                    prevent,
                })
                .await
            }
            Plan::BufferWrite { mode, offset, data } => {
                self.with_session(move |session| session.buffers.write(mode, offset, &data))
                    .await?;
                Ok(Answer::Good { asked: 0 })
            }
            Plan::BufferRead {
                mode,
                offset,
                allocation_length,
            } => {
                let read = self.with_session(move |session| {
                    session.buffers.read(mode, offset, allocation_length)
                });
                Ok(Answer::of_reply(read.await??))
            }
            Plan::SelfTest => Ok(Answer::Good { asked: 0 }),
            Plan::Copy(program) => self.extended_copy(*program).await,
            Plan::CopyResults(request) => self.copy_results(request).await,
            Plan::CopyAbort { list_identifier } => self.copy_abort(list_identifier).await,
            Plan::PopulateToken(request) => self.populate_token(*request).await,
            Plan::WriteUsingToken(request) => self.write_using_token(*request).await,
        }
    }

    // ---- what the steps are made of -----------------------------------------------------------

    /// The medium of the command's own volume, under the rights of its nexus.
    pub(crate) fn medium(&self, access: Access) -> Medium {
        Medium::new(&self.local, &self.volume)
            .checked(self.nexus.index, access)
            .abortable(&self.aborted)
    }

    /// Waits until a write of several pieces may begin; until it is dropped, no snapshot is taken.
    pub(crate) async fn pass(&self) -> Passage {
        self.local.gate(self.volume.index).pass().await
    }

    /// Asks the home of the volume.
    pub(crate) async fn call_home(&self, call: Call) -> Result<Reply, Failure> {
        self.local.call(self.volume.home, call, None).await
    }

    /// Has the home change something.
    pub(crate) async fn change(&self, call: Call) -> Result<Answer, Failure> {
        self.call_home(call)
            .await
            .map(|_| Answer::Good { asked: 0 })
    }

    async fn reserve_legacy(&self, release: bool) -> Result<Answer, Failure> {
        self.change(Call::ReserveLegacy {
            volume: self.volume.index,
            sender: self.sender(),
            release,
        })
        .await
    }

    fn sender(&self) -> Sender {
        Sender {
            nexus: self.nexus.clone(),
            address: self.peer,
            task: (self.local.reactor(), self.connection, self.task),
        }
    }

    /// Has the home write down that a reservation command was refused before it got there.
    fn note_refusal(&self, parameters: &[u8], failure: &Failure) {
        let refused = Refused {
            cdb: &self.cdb,
            parameters,
            nexus: &self.nexus.nexus,
            address: self.peer,
            failure,
        };
        let at_ms = self.shared.wall_clock_ms(self.local.now());
        if let Some(call) = refused.note(self.volume.index, at_ms) {
            let reactor = self.volume.home;
            self.local.post(Request::Tell { reactor, call });
        }
    }

    /// The same command, going on by itself: it outlives its status, its abort and its session, but
    /// not the rights of its nexus.
    pub(crate) async fn detached(&self, aborted: &Rc<Cell<bool>>) -> Result<Self, Failure> {
        let hold = NexusHold::take(&self.local, &self.volume, &self.nexus.nexus).await?;
        let nexus = SessionNexus {
            nexus: self.nexus.nexus.clone(),
            index: hold.index(),
            tsih: self.nexus.tsih,
        };
        Ok(Self {
            local: self.local.clone(),
            connection: self.connection,
            task: self.task,
            cdb: self.cdb.clone(),
            read_length: 0,
            write_length: 0,
            volume: self.volume.clone(),
            nexus,
            hold: Some(hold),
            peer: self.peer,
            proof: self.proof.clone(),
            aborted: Rc::clone(aborted),
            shared: self.shared.clone(),
        })
    }

    async fn with_session<R: 'static>(
        &self,
        work: impl FnOnce(&mut Session) -> R + 'static,
    ) -> Result<R, Failure> {
        let done = self.with_connection(|conn| conn.session.as_deref_mut().map(work));
        done.await?.ok_or_else(Failure::aborted)
    }

    /// Works on what the reactor holds of the command's connection.
    pub(crate) async fn with_connection<R: 'static>(
        &self,
        work: impl FnOnce(&mut Conn) -> R + 'static,
    ) -> Result<R, Failure> {
        let connection = self.connection;
        let done = self
            .local
            .with_core(move |core, _| core.connections.get_mut(connection).map(work));
        done.await?.ok_or_else(Failure::aborted)
    }

    /// The parameter list: `length` bytes, or as many as the initiator sends.
    async fn parameters(&self, length: u32) -> Result<Vec<u8>, Failure> {
        if length > PARAMETER_LIST_BYTES_MAX {
            let length = Code::PARAMETER_LIST_LENGTH;
            return Err(Failure::check(SenseKey::IllegalRequest, length));
        }
        let bytes = length.min(self.write_length);
        if bytes == 0 {
            return Ok(Vec::new());
        }
        Ok(self.data_out(0, bytes as usize).await?.to_vec())
    }

    /// Bytes `offset..offset + bytes` of the command's Data-Out; at most one buffer's worth.
    pub(crate) async fn data_out(&self, offset: u64, bytes: usize) -> Result<Buffer, Failure> {
        debug_assert!(bytes <= BUFFER_BYTES_MAX);
        if offset + bytes as u64 > u64::from(self.write_length) {
            // The initiator announced less than the command needs.
            return Err(Failure::illegal(Code::INVALID_FIELD_IN_CDB));
        }
        let undecided = Some((self.connection, self.task));
        let buffer = self.local.allocate_for(bytes, undecided).await?;
        if self.aborted.get() {
            return Err(Failure::aborted());
        }
        let (reply, receiver) = oneshot::channel();
        self.local.post(Request::DataOut {
            connection: self.connection,
            task: self.task,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            buffer,
            reply,
        });
        match receiver.await {
            Ok(Ok(buffer)) => Ok(buffer),
            Ok(Err(error)) => Err(of_data_out(&error)),
            Err(_) => Err(Failure::aborted()),
        }
    }

    /// Sends Data-In, with more to follow; what goes beyond the initiator's room is cut off.
    pub(crate) fn data_in(&self, offset: u64, mut buffer: Buffer) {
        let room = u64::from(self.read_length).saturating_sub(offset);
        let bytes = usize::try_from(room)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        if bytes > 0 {
            buffer.set_len(bytes);
            let (connection, task) = (self.connection, self.task);
            let offset = u32::try_from(offset).unwrap_or(u32::MAX);
            self.local.post(Request::DataIn {
                connection,
                task,
                offset,
                buffer,
            });
        }
    }

    /// Whether a write must be durable before its status (WCE, FUA).
    pub(crate) fn durable(&self, fua: bool) -> bool {
        fua || !self.volume.unit.load(&rcu::pin()).modes.current.write_cache
    }

    /// Bytes of one logical block.
    pub(crate) fn block_bytes(&self) -> u64 {
        u64::from(self.volume.unit.load(&rcu::pin()).geometry.block_bytes)
    }
}
