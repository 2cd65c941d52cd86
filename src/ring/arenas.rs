//! Arenas registered with a ring: the kernel has their pages pinned and mapped once for all, instead
//! of once per operation.

use crate::base::buffer::{Arena, Buffer};
use crate::base::limits::BUFFER_BYTES_MAX;
use io_uring::{IoUring, cqueue, squeue};
use std::io;
use std::sync::Arc;

/// The kernel takes at most that many bytes in one registered buffer.
const REGION_BYTES_MAX: usize = 1 << 30;
const _: () = assert!(REGION_BYTES_MAX.is_multiple_of(BUFFER_BYTES_MAX));

/// Which registered buffer holds an address. A pool's blocks are aligned to their size, so none
/// crosses from one region of its arena into the next.
#[derive(Debug, Default)]
pub(super) struct RegisteredArenas {
    /// With the number of the arena's first region. Holding the arenas keeps their pages mapped.
    arenas: Vec<(Arc<Arena>, u16)>,
}

impl RegisteredArenas {
    /// Registers all of `arenas` with `ring`, which had none registered.
    #[allow(
        unsafe_code,
        reason = "named leaf: the kernel is given the arenas' memory"
    )]
    pub(super) fn register<S: squeue::EntryMarker, C: cqueue::EntryMarker>(
        ring: &IoUring<S, C>,
        arenas: &[Arc<Arena>],
    ) -> io::Result<Self> {
        let mut vectors = Vec::new();
        let mut registered = Vec::new();
        for arena in arenas {
            let first = u16::try_from(vectors.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
            registered.push((Arc::clone(arena), first));
            for start in (0..arena.len()).step_by(REGION_BYTES_MAX) {
                let iov_base = arena.as_ptr().wrapping_add(start).cast();
                let iov_len = REGION_BYTES_MAX.min(arena.len() - start);
                vectors.push(libc::iovec { iov_base, iov_len });
            }
        }
        // SAFETY: every vector lies in the mapping of an arena that `self` holds for as long as the
        // ring lives; the kernel reaches it only for operations that own a buffer in it.
        unsafe { ring.submitter().register_buffers(&vectors) }?;
        Ok(Self { arenas: registered })
    }

    /// The arenas.
    pub(super) fn arenas(&self) -> Vec<Arc<Arena>> {
        let arenas = self.arenas.iter();
        arenas.map(|(arena, _)| Arc::clone(arena)).collect()
    }

    /// The number of the registered buffer that `buffer` lies in, if it lies in one.
    pub(super) fn region(&self, buffer: &Buffer) -> Option<u16> {
        let address = buffer.as_ptr().addr();
        let holds = |arena: &Arena| {
            let start = arena.as_ptr().addr();
            address >= start && address - start < arena.len()
        };
        // Arenas usually stand in the order of their index.
        let expected = self.arenas.get(usize::from(buffer.arena_index()));
        let (arena, first) = match expected {
            Some(entry) if holds(&entry.0) => entry,
            _ => self.arenas.iter().find(|(arena, _)| holds(arena))?,
        };
        let offset = (address - arena.as_ptr().addr()) / REGION_BYTES_MAX;
        u16::try_from(usize::from(*first) + offset).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::buffer::Pool;

    #[test]
    fn a_buffer_is_found_by_its_address_whatever_its_index_says() {
        let pool = |index| Pool::new(BUFFER_BYTES_MAX, index).unwrap();
        let (mut first, mut second, mut stranger) = (pool(0), pool(9), pool(1));
        let ring = IoUring::new(2).expect("these tests need io_uring");
        let arenas = [Arc::clone(first.arena()), Arc::clone(second.arena())];
        let registered = RegisteredArenas::register(&ring, &arenas).unwrap();
        let region = |pool: &mut Pool| registered.region(&pool.allocate(8192).unwrap());
        assert_eq!(region(&mut first), Some(0));
        assert_eq!(region(&mut second), Some(1));
        assert_eq!(region(&mut stranger), None);
    }
}
