//! For tests: a store some of whose requests fail, as rules say. The same rules and seed fail the
//! same requests of the same sequence.

use super::request::{BackendError, Completion, Done, ErrorKind, Op, OpKind, Request, Submitted};
use super::store::{Bequest, Channel, ChannelId, Harm, Io, Properties, Store, Waker};
use crate::base::clock::Instant;
use crate::ring;
use serde::{Deserialize, Serialize};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Which requests fail, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FaultRule {
    /// Only requests of this kind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on: Option<OpKind>,
    /// Only requests that touch the bytes from the first to before the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<(u64, u64)>,
    /// Which of those.
    pub when: Trigger,
    /// What befalls them.
    pub action: Action,
}

/// Which of the requests that a rule fits; they are counted from 1, over all channels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// All.
    Always,
    /// That one.
    Nth(u64),
    /// Those whose number is a multiple of that.
    Every(u64),
    /// One in so many, by the seed.
    OneIn(u64),
}

/// What befalls a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// It fails and has no effect.
    Fail(ErrorKind),
    /// A write takes effect for that many bytes, then the medium fails. Others just fail.
    Torn(u64),
    /// It is reported as done and has no effect: a disk that lies. What has no effect anyway (reads,
    /// extents) is not touched.
    Dropped,
}

/// A store behind which the rules stand.
#[derive(Debug)]
pub struct FaultStore {
    inner: Arc<dyn Store>,
    rules: Vec<(FaultRule, AtomicU64)>,
    seed: u64,
    armed: AtomicBool,
}

impl FaultStore {
    /// `inner`, with `rules`, of which the first that fits a request decides.
    #[must_use]
    pub fn new(inner: Arc<dyn Store>, rules: Vec<FaultRule>, seed: u64) -> Arc<Self> {
        let rules = rules
            .into_iter()
            .map(|rule| (rule, AtomicU64::new(0)))
            .collect();
        Arc::new(Self {
            inner,
            rules,
            seed,
            armed: AtomicBool::new(true),
        })
    }

    /// Switches all rules on or off; off, nothing is counted.
    pub fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::Release);
    }

    fn decide(&self, request: &Request) -> Option<Action> {
        if !self.armed.load(Ordering::Acquire) {
            return None;
        }
        let (index, (rule, count)) = self
            .rules
            .iter()
            .enumerate()
            .find(|(_, (rule, _))| rule.fits(request))?;
        let number = count.fetch_add(1, Ordering::AcqRel) + 1;
        let fires = match rule.when {
            Trigger::Always => true,
            Trigger::Nth(nth) => number == nth,
            Trigger::Every(step) => step > 0 && number.is_multiple_of(step),
            Trigger::OneIn(chances) => {
                let lot = scramble(self.seed ^ scramble(index as u64) ^ number);
                chances > 0 && lot.is_multiple_of(chances)
            }
        };
        fires.then_some(rule.action)
    }
}

impl FaultRule {
    fn fits(&self, request: &Request) -> bool {
        let end = request.offset.saturating_add(request.length);
        self.on.is_none_or(|kind| kind == request.op.kind())
            && self
                .range
                .is_none_or(|(first, stop)| request.offset < stop && first < end)
    }
}

/// Splitmix64: every bit of the result depends on every bit of `value`.
pub(super) const fn scramble(value: u64) -> u64 {
    let mut x = value.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

impl Store for FaultStore {
    fn properties(&self) -> Properties {
        self.inner.properties()
    }

    fn size_bytes(&self) -> u64 {
        self.inner.size_bytes()
    }

    fn route(&self) -> String {
        self.inner.route()
    }

    fn bequest(&self) -> std::io::Result<Bequest> {
        self.inner.bequest()
    }

    fn grow(&self, size_bytes: u64) -> Result<(), BackendError> {
        self.inner.grow(size_bytes)
    }

    fn look_after(&self) -> Result<(), Harm> {
        self.inner.look_after()
    }

    fn channel(self: Arc<Self>, id: ChannelId, waker: Waker) -> Box<dyn Channel> {
        let inner = Arc::clone(&self.inner).channel(id, waker);
        Box::new(FaultChannel {
            store: self,
            inner,
            torn: Vec::new(),
        })
    }
}

struct FaultChannel {
    store: Arc<FaultStore>,
    inner: Box<dyn Channel>,
    /// Requests that were shortened, with the length of their buffer.
    torn: Vec<(u64, usize)>,
}

impl FaultChannel {
    /// Shortens a write that is to be torn.
    fn tear(&mut self, mut request: Request, bytes: u64) -> Result<Request, Completion> {
        let grain = u64::from(self.store.properties().logical_block_bytes);
        let kept = bytes.min(request.length) / grain * grain;
        match (&mut request.buffer, request.op) {
            (Some(buffer), Op::Write { .. }) => {
                self.torn.push((request.token, buffer.len()));
                buffer.set_len(usize::try_from(kept).unwrap_or(0));
                request.length = kept;
                Ok(request)
            }
            _ => Err(request.answer(Err(broken()))),
        }
    }

    /// Turns the success of a shortened write into the failure of the whole.
    fn fail_torn(&mut self, completion: &mut Completion) {
        let Some(at) = self
            .torn
            .iter()
            .position(|(token, _)| *token == completion.token)
        else {
            return;
        };
        let (_, length) = self.torn.swap_remove(at);
        if let Some(buffer) = &mut completion.buffer {
            buffer.set_len(length);
        }
        completion.result = Err(broken());
    }
}

fn broken() -> BackendError {
    io::Error::from(rustix::io::Errno::IO).into()
}

impl Channel for FaultChannel {
    fn submit(&mut self, request: Request, io: &mut Io<'_>) -> Submitted {
        let request = match self.store.decide(&request) {
            None => request,
            Some(Action::Dropped) if matches!(request.op, Op::Read | Op::Extents) => request,
            Some(Action::Fail(kind)) => return Submitted::Done(request.answer(Err(kind.into()))),
            Some(Action::Dropped) => return Submitted::Done(request.answer(Ok(Done::Completed))),
            Some(Action::Torn(bytes)) => match self.tear(request, bytes) {
                Ok(shortened) => shortened,
                Err(completion) => return Submitted::Done(completion),
            },
        };
        match self.inner.submit(request, io) {
            Submitted::Done(mut completion) => {
                self.fail_torn(&mut completion);
                Submitted::Done(completion)
            }
            Submitted::Pending => Submitted::Pending,
        }
    }

    fn completed(
        &mut self,
        completion: ring::Completion,
        io: &mut Io<'_>,
        out: &mut Vec<Completion>,
    ) {
        let before = out.len();
        self.inner.completed(completion, io, out);
        out[before..]
            .iter_mut()
            .for_each(|completion| self.fail_torn(completion));
    }

    fn poll(&mut self, io: &mut Io<'_>, out: &mut Vec<Completion>) {
        let before = out.len();
        self.inner.poll(io, out);
        out[before..]
            .iter_mut()
            .for_each(|completion| self.fail_torn(completion));
    }

    fn in_flight(&self) -> usize {
        self.inner.in_flight()
    }

    fn next_deadline(&self) -> Option<Instant> {
        self.inner.next_deadline()
    }
}
