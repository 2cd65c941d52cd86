//! For tests: memory with a volatile cache. What was not flushed may be lost at a power cut, sector
//! by sector, as on a real disk: each sector keeps any of the contents it had since it was last
//! durable. The same seed loses the same sectors.

use super::fault::scramble;
use super::ram::RamStore;
use super::request::{BackendError, Completion, Op, Request, Submitted};
use super::store::{Bequest, Channel, ChannelId, Io, Properties, Store, Waker};
use crate::ring;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What a disk writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

type Sector = [u8; 512];

/// Contents that a sector had, by sector number, the durable one first.
#[allow(
    clippy::disallowed_types,
    reason = "a store for tests, where order matters and speed does not"
)]
type History = std::sync::Mutex<BTreeMap<u64, Vec<Sector>>>;

/// Memory that forgets unflushed writes when [`LossyStore::cut_power`] is called.
#[derive(Debug)]
pub struct LossyStore {
    ram: Arc<RamStore>,
    history: History,
}

impl LossyStore {
    /// An empty store of `size_bytes` bytes.
    ///
    /// # Errors
    /// When the system grants no address space.
    pub fn new(size_bytes: u64) -> Result<Arc<Self>, BackendError> {
        Ok(Arc::new(Self {
            ram: RamStore::new(size_bytes)?,
            history: History::default(),
        }))
    }

    /// Gives every sector that is not durable one of the contents it had since it last was. What
    /// remains is durable. Nothing may be in flight.
    pub fn cut_power(&self, seed: u64) {
        for (sector, contents) in std::mem::take(&mut *self.lock()) {
            let lot = scramble(seed ^ scramble(sector)) % (contents.len() as u64 + 1);
            // The last of the possible contents is the one that is there.
            if let Some(content) = contents.get(usize::try_from(lot).unwrap_or(0)) {
                self.ram.write(sector * SECTOR_BYTES, content);
            }
        }
    }

    fn lock(&self) -> impl std::ops::DerefMut<Target = BTreeMap<u64, Vec<Sector>>> {
        self.history
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Keeps what is about to be overwritten.
    fn remember(&self, request: &Request) {
        let mut history = self.lock();
        for sector in sectors(request) {
            let mut content = [0; 512];
            self.ram.read(sector * SECTOR_BYTES, &mut content);
            history.entry(sector).or_default().push(content);
        }
    }
}

fn sectors(request: &Request) -> std::ops::Range<u64> {
    let end = request.offset.saturating_add(request.length);
    request.offset / SECTOR_BYTES..end.div_ceil(SECTOR_BYTES)
}

impl Store for LossyStore {
    fn properties(&self) -> Properties {
        Properties {
            volatile_cache: true,
            logical_block_bytes: 512,
            // A power cut decides for each sector.
            atomic_write_bytes: 512,
            ..self.ram.properties()
        }
    }

    fn size_bytes(&self) -> u64 {
        self.ram.size_bytes()
    }

    fn route(&self) -> String {
        self.ram.route()
    }

    fn bequest(&self) -> std::io::Result<Bequest> {
        Ok(Bequest::Memory)
    }

    fn grow(&self, size_bytes: u64) -> Result<(), BackendError> {
        self.ram.grow(size_bytes)
    }

    fn channel(self: Arc<Self>, id: ChannelId, waker: Waker) -> Box<dyn Channel> {
        let inner = Arc::clone(&self.ram).channel(id, waker);
        Box::new(LossyChannel { store: self, inner })
    }
}

struct LossyChannel {
    store: Arc<LossyStore>,
    inner: Box<dyn Channel>,
}

impl Channel for LossyChannel {
    fn submit(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        let alignment = self.store.properties().logical_block_bytes;
        if let Err(error) = request.check(self.store.size_bytes(), alignment) {
            return Submitted::Done(request.answer(Err(error)));
        }
        match request.op {
            Op::Read | Op::Extents => {}
            Op::Write { durable: true } => {
                let mut history = self.store.lock();
                sectors(&request).for_each(|sector| drop(history.remove(&sector)));
            }
            Op::Flush => self.store.lock().clear(),
            Op::Write { .. } | Op::Deallocate | Op::WriteZeros { .. } => {
                self.store.remember(&request);
            }
        }
        self.inner.submit(request, io)
    }

    fn completed(
        &mut self,
        completion: ring::Completion,
        io: &mut Io<'_>,
        out: &mut Vec<Completion>,
    ) {
        self.inner.completed(completion, io, out);
    }

    fn poll(&mut self, io: &mut Io<'_>, out: &mut Vec<Completion>) {
        self.inner.poll(io, out);
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }
}
