//! A ring for commands straight to an NVMe namespace (`IORING_OP_URING_CMD`): no block layer in
//! between.
//!
//! The namespace's character device takes them, and completions are polled for as those of its block device
//! are. Entries of both queues are twice as long, which takes a ring of its own.

use super::arenas::RegisteredArenas;
use super::core::{Ring, Ticket};
use super::op::{Op, Token};
use super::polled::PolledRing;
use io_uring::{cqueue, opcode, squeue, types};
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, AsRawFd};

/// `NVME_URING_CMD_IO` of `linux/nvme_ioctl.h`.
const COMMAND: u32 = 0xC048_4E80;
/// Opcodes of the NVM Command Set Specification, section 3.2.
const WRITE: u8 = 0x01;
const READ: u8 = 0x02;
/// Force Unit Access, in dword 12 of both.
const FUA: u32 = 1 << 30;
/// Type and code of a status (NVMe Base Specification, section 4.2.3); above them stand hints to retry.
const STATUS_MASK: i32 = 0x7FF;
const INVALID_OPCODE: i32 = 0x001;
const INVALID_FIELD: i32 = 0x002;

/// A namespace as commands name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Namespace {
    /// Its identifier (NSID).
    pub id: u32,
    /// Its logical blocks have `1 << block_shift` bytes.
    pub block_shift: u32,
}

pub(super) type NvmeRing = PolledRing<squeue::Entry128, cqueue::Entry32>;

impl Ring {
    /// Makes ready for [`Ring::submit_nvme`]; at once if it is.
    ///
    /// # Errors
    /// When the kernel grants no such ring (before Linux 5.19).
    pub fn enable_nvme(&mut self) -> io::Result<()> {
        let rings = self.polled.get_or_insert_default();
        if rings.nvme.is_none() {
            rings.nvme = Some(NvmeRing::new(&self.arenas)?);
        }
        Ok(())
    }

    /// As [`Ring::submit_polled`], by one command to the namespace whose character device is the
    /// operation's file. Offset and length are whole blocks, and no more than the device takes at once; a
    /// write with `dsync` is one with Force Unit Access. If `registered`, a buffer of the ring's arenas is
    /// named as a part of these, which kernels before Linux 6.12 turn down with `EINVAL`.
    ///
    /// All bytes have been moved if the completion's result is `Ok`, whatever number it has. Otherwise it
    /// is what the kernel says, `EOPNOTSUPP` for a command that the device does not know, or `EIO` for one
    /// that it could not carry out.
    ///
    /// # Errors
    /// The operation itself, when as many as configured are in flight, or without
    /// [`Ring::enable_nvme`].
    ///
    /// # Panics
    /// If it is no read or write, or a part of it was done before.
    pub fn submit_nvme(
        &mut self,
        op: Op,
        token: Token,
        namespace: Namespace,
        registered: bool,
    ) -> Result<Ticket, Op> {
        let rings = self.polled.as_mut();
        let Some(ring) = rings.and_then(|rings| rings.nvme.as_mut()) else {
            return Err(op);
        };
        let arenas = registered.then(|| ring.arenas());
        let describe = |op: &mut Op| entry(op, namespace, arenas);
        let (key, entry) = self.flights.take_off_as(op, token, describe)?;
        let entered = ring.push(&entry.user_data(key.to_bits()));
        self.flights.ticket(key, entered)
    }
}

fn entry(op: &mut Op, namespace: Namespace, arenas: Option<&RegisteredArenas>) -> squeue::Entry128 {
    let (opcode, flags, file, offset, buffer) = match op {
        Op::Read {
            file,
            offset,
            buffer,
            skip: 0,
        } => (READ, 0, file, *offset, buffer),
        Op::Write {
            file,
            offset,
            buffer,
            skip: 0,
            dsync,
        } => (WRITE, if *dsync { FUA } else { 0 }, file, *offset, buffer),
        _ => panic!("only whole reads and writes are commands"),
    };
    let command = Command {
        opcode,
        flags,
        bytes: offset..offset + buffer.len() as u64,
        address: buffer.as_mut_ptr().expose_provenance() as u64,
    };
    let file = types::Fd(file.as_fd().as_raw_fd());
    opcode::UringCmd80::new(file, COMMAND)
        .cmd(command.emit(namespace))
        .buf_index(arenas.and_then(|arenas| arenas.region(buffer)))
        .build()
}

/// A read or write.
struct Command {
    opcode: u8,
    /// Of dword 12.
    flags: u32,
    /// Of the namespace.
    bytes: Range<u64>,
    /// Of as many bytes of memory.
    address: u64,
}

impl Command {
    /// `struct nvme_uring_cmd`: the command's fields, without those that the driver fills in.
    fn emit(&self, namespace: Namespace) -> [u8; 80] {
        let length = u32::try_from(self.bytes.end - self.bytes.start).unwrap_or(u32::MAX);
        let first_block = self.bytes.start >> namespace.block_shift;
        // Counted from zero.
        let blocks = (length >> namespace.block_shift).wrapping_sub(1);
        let mut bytes = [0; 80];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &[self.opcode]);
        put(4, &namespace.id.to_ne_bytes());
        put(24, &self.address.to_ne_bytes());
        put(36, &length.to_ne_bytes());
        // Dwords 10 and 11 are one number: the lower half stands first, whatever the machine's order.
        let [low, high] = [first_block, first_block >> 32].map(|half| (half & 0xFFFF_FFFF) as u32);
        put(40, &low.to_ne_bytes());
        put(44, &high.to_ne_bytes());
        put(48, &(blocks | self.flags).to_ne_bytes());
        bytes
    }
}

/// The result of a command's completion: an error of the kernel, or the status from the device.
pub(super) const fn outcome(result: i32) -> i32 {
    if result <= 0 {
        return result;
    }
    match result & STATUS_MASK {
        INVALID_OPCODE | INVALID_FIELD => -libc::EOPNOTSUPP,
        _ => -libc::EIO,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_names_its_blocks() {
        let namespace = Namespace {
            id: 7,
            block_shift: 9,
        };
        let first = 0x12_3456_7890 << 9;
        let command = Command {
            opcode: WRITE,
            flags: FUA,
            bytes: first..first + 4096,
            address: 0xABCD_0000,
        };
        let bytes = command.emit(namespace);
        let word = |at: usize| u32::from_ne_bytes(*bytes[at..].first_chunk().unwrap());
        let address = u64::from_ne_bytes(*bytes[24..].first_chunk().unwrap());
        assert_eq!((bytes[0], word(4), address), (1, 7, 0xABCD_0000));
        assert_eq!((word(36), word(40), word(44)), (4096, 0x3456_7890, 0x12));
        assert_eq!(word(48), 7 | 1 << 30, "eight blocks, counted from zero");
    }

    #[test]
    fn a_status_is_an_error() {
        assert_eq!(outcome(0), 0);
        assert_eq!(outcome(-libc::EACCES), -libc::EACCES);
        assert_eq!(outcome(0x4000 | INVALID_FIELD), -libc::EOPNOTSUPP);
        assert_eq!(outcome(0x281), -libc::EIO, "unrecovered read error");
    }
}
