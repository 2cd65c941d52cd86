//! Operations in flight: each keeps its slot, and with it everything the kernel may touch, until its
//! completion.

use super::arenas::RegisteredArenas;
use super::core::Ticket;
use super::op::{Op, Token};
use super::provided::GROUP;
use crate::base::gather::{Gather, Nobody};
use crate::base::slots::{SlotKey, Slots};
use io_uring::{opcode, squeue, types};
use std::io::IoSlice;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// Slices that one `sendmsg` takes (`UIO_MAXIOV`).
const SLICES_MAX: usize = 1024;
/// `IORING_RECVSEND_POLL_FIRST`, which the io-uring crate keeps to itself.
const POLL_FIRST: u16 = 1;

/// The message header of a send in flight; one stands beside each slot.
struct Message {
    header: libc::msghdr,
    /// Into the gather list of the slot's operation; emptied at its completion.
    slices: Slices,
}

type Slices = Vec<IoSlice<'static>>;

impl Message {
    #[allow(unsafe_code, reason = "named leaf: an empty message header")]
    fn empty() -> Self {
        // SAFETY: a message header of zeros is valid: no address, no slices, no control data.
        let header = unsafe { std::mem::zeroed() };
        Self {
            header,
            slices: Vec::new(),
        }
    }
}

struct Flight {
    op: Op,
    token: Token,
}

/// All operations in flight. Nothing is allocated per operation once the lists of slices have grown,
/// of which there are as many as sends were in flight at once.
pub(super) struct Flights {
    slots: Slots<Flight>,
    messages: Box<[Message]>,
    /// Emptied lists of slices. The one used last, and so as long as any needs to be, goes first.
    spare_slices: Vec<Slices>,
}

impl Flights {
    pub(super) fn new(capacity: u32) -> Self {
        let messages = std::iter::repeat_with(Message::empty)
            .take(capacity as usize)
            .collect();
        Self {
            slots: Slots::with_capacity(capacity),
            messages,
            spare_slices: Vec::with_capacity(capacity as usize),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn contains(&self, key: SlotKey) -> bool {
        self.slots.get(key).is_some()
    }

    pub(super) fn keys(&self) -> Vec<SlotKey> {
        self.slots.keys()
    }

    pub(super) fn token(&self, key: SlotKey) -> Option<Token> {
        self.slots.get(key).map(|flight| flight.token)
    }

    /// Takes the operation in and describes it to the kernel, or hands it back for want of room.
    /// The entry's addresses stay valid until [`Flights::land`].
    pub(super) fn take_off(
        &mut self,
        op: Op,
        token: Token,
        arenas: &RegisteredArenas,
    ) -> Result<(SlotKey, squeue::Entry), Op> {
        let key = self.take_in(op, token)?;
        let (Some(flight), Some(message)) = (
            self.slots.get_mut(key),
            self.messages.get_mut(key.index() as usize),
        ) else {
            unreachable!("the slot was just taken, and each slot has a message");
        };
        if matches!(flight.op, Op::Send { .. }) {
            message.slices = self.spare_slices.pop().unwrap_or_default();
        }
        let entry = entry(&mut flight.op, message, arenas);
        Ok((key, entry.user_data(key.to_bits())))
    }

    fn take_in(&mut self, op: Op, token: Token) -> Result<SlotKey, Op> {
        let taken = self.slots.insert(Flight { op, token });
        taken.map_err(|flight| flight.op)
    }

    /// As [`Flights::take_off`], of a read or write that `describe` puts in other words.
    pub(super) fn take_off_as<E>(
        &mut self,
        op: Op,
        token: Token,
        describe: impl FnOnce(&mut Op) -> E,
    ) -> Result<(SlotKey, E), Op> {
        let key = self.take_in(op, token)?;
        let Some(flight) = self.slots.get_mut(key) else {
            unreachable!("the slot was just taken");
        };
        Ok((key, describe(&mut flight.op)))
    }

    /// The ticket of an operation that was just taken in, or the operation itself if its entry found no
    /// room in the submission queue.
    pub(super) fn ticket(&mut self, key: SlotKey, entered: bool) -> Result<Ticket, Op> {
        if entered {
            return Ok(Ticket(key));
        }
        match self.land(key) {
            Some((op, _)) => Err(op),
            None => unreachable!("the operation was just taken in"),
        }
    }

    /// Takes an operation out that the kernel is done with, or never saw.
    pub(super) fn land(&mut self, key: SlotKey) -> Option<(Op, Token)> {
        let flight = self.slots.remove(key)?;
        if let (Op::Send { .. }, Some(message)) =
            (&flight.op, self.messages.get_mut(key.index() as usize))
        {
            message.slices.clear();
            self.spare_slices.push(std::mem::take(&mut message.slices));
        }
        Some((flight.op, flight.token))
    }
}

/// Takes over the descriptor that a successful accept made.
#[allow(unsafe_code, reason = "named leaf: a descriptor from the kernel")]
pub(super) fn accepted(descriptor: u32) -> Option<OwnedFd> {
    let descriptor = i32::try_from(descriptor).ok()?;
    // SAFETY: the kernel opened it for this completion, which is handed out once.
    Some(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn fd(file: &impl AsFd) -> types::Fd {
    types::Fd(file.as_fd().as_raw_fd())
}

/// Lengths stay below `BUFFER_BYTES_MAX` for buffers; a longer slice is sent in part.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

fn entry(op: &mut Op, message: &mut Message, arenas: &RegisteredArenas) -> squeue::Entry {
    match op {
        Op::Receive {
            socket,
            buffer,
            poll_first,
        } => {
            let (address, bytes) = match buffer {
                Some(buffer) => (buffer.as_mut_ptr(), length(buffer.len())),
                None => (std::ptr::null_mut(), 0),
            };
            let provided = buffer.is_none();
            let entry = opcode::Recv::new(fd(socket), address, bytes)
                .ioprio(if *poll_first { POLL_FIRST } else { 0 })
                .buf_group(GROUP)
                .build();
            if provided {
                entry.flags(squeue::Flags::BUFFER_SELECT)
            } else {
                entry
            }
        }
        Op::Send {
            socket,
            gather,
            skip,
        } => send(fd(socket), gather, *skip, message),
        Op::Accept { listener, .. } => {
            opcode::Accept::new(fd(listener), std::ptr::null_mut(), std::ptr::null_mut())
                .flags(libc::SOCK_CLOEXEC)
                .build()
        }
        Op::Read {
            file,
            offset,
            buffer,
            skip,
        } => {
            let region = arenas.region(buffer);
            let rest = &mut buffer[*skip..];
            let (address, bytes) = (rest.as_mut_ptr(), length(rest.len()));
            let offset = *offset + *skip as u64;
            match region {
                Some(region) => opcode::ReadFixed::new(fd(file), address, bytes, region)
                    .offset(offset)
                    .build(),
                None => opcode::Read::new(fd(file), address, bytes)
                    .offset(offset)
                    .build(),
            }
        }
        Op::Write {
            file,
            offset,
            buffer,
            skip,
            dsync,
        } => {
            let region = arenas.region(buffer);
            let rest = &buffer[*skip..];
            let (address, bytes) = (rest.as_ptr(), length(rest.len()));
            let offset = *offset + *skip as u64;
            let flags = if *dsync { libc::RWF_DSYNC } else { 0 };
            match region {
                Some(region) => opcode::WriteFixed::new(fd(file), address, bytes, region)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
                None => opcode::Write::new(fd(file), address, bytes)
                    .offset(offset)
                    .rw_flags(flags)
                    .build(),
            }
        }
        Op::Fsync { file, data_only } => {
            let flags = if *data_only {
                types::FsyncFlags::DATASYNC
            } else {
                types::FsyncFlags::empty()
            };
            opcode::Fsync::new(fd(file)).flags(flags).build()
        }
        Op::Fallocate {
            file,
            mode,
            offset,
            length,
        } => opcode::Fallocate::new(fd(file), *length)
            .offset(*offset)
            .mode(*mode)
            .build(),
        Op::PollIn { file } => {
            opcode::PollAdd::new(fd(file), u32::from(libc::POLLIN.unsigned_abs())).build()
        }
    }
}

#[allow(
    unsafe_code,
    reason = "named leaf: slices that live as long as their slot"
)]
fn send(socket: types::Fd, gather: &Gather, skip: usize, message: &mut Message) -> squeue::Entry {
    // A reset peer is an error of this send, never a signal; and the kernel goes on by itself after
    // a short write where it can.
    const FLAGS: i32 = libc::MSG_NOSIGNAL | libc::MSG_WAITALL;
    // SAFETY: what the slices refer to is on the heap or in an arena, belongs to the operation in
    // this slot, is not touched while that is in flight, and the slices are cleared before it
    // leaves the slot (`Flights::land`).
    let gather: &'static Gather = unsafe { &*std::ptr::from_ref(gather) };
    gather.slices(skip, &Nobody, &mut message.slices);
    message.slices.truncate(SLICES_MAX);
    if let [slice] = message.slices.as_slice() {
        return opcode::Send::new(socket, slice.as_ptr(), length(slice.len()))
            .flags(FLAGS)
            .build();
    }
    // An `IoSlice` is an `iovec` (the standard library promises the layout); sending only reads.
    message.header.msg_iov = message.slices.as_mut_ptr().cast();
    message.header.msg_iovlen = message.slices.len();
    let header = &raw const message.header;
    opcode::SendMsg::new(socket, header)
        .flags(FLAGS.unsigned_abs())
        .build()
}
