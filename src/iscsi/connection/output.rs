//! Where PDUs leave: numbering of status, digests, padding.

use super::super::pdu::{Bhs, padding};
use crate::base::crc32c::{Crc32c, crc32c};
use crate::base::gather::{Gather, Payload};
use std::ops::Range;

const ZEROS: [u8; 4] = [0; 4];

/// The outgoing half of a connection.
#[derive(Debug)]
pub(super) struct Output {
    pub(super) gather: Gather,
    /// The next StatSN. Status is numbered per connection (RFC 7143 section 4.2.2.2); at error
    /// recovery level 0 nothing is kept to be sent again.
    stat_sn: u32,
    header_digest: bool,
    data_digest: bool,
    /// Data digests of a payload's pieces, made before the payload is handed over.
    digests: Vec<u32>,
    /// PDUs that were queued.
    pdus: u64,
}

impl Output {
    pub(super) fn new() -> Self {
        Self {
            gather: Gather::default(),
            stat_sn: 1,
            header_digest: false,
            data_digest: false,
            digests: Vec::new(),
            pdus: 0,
        }
    }

    /// An outgoing half that goes on where another one stopped, with what that had queued.
    pub(super) fn restored(stat_sn: u32, queued: &[u8], header: bool, data: bool) -> Self {
        let mut output = Self::new();
        output.gather.push_bytes(queued);
        output.stat_sn = stat_sn;
        output.use_digests(header, data);
        output
    }

    /// Digests begin with the PDU after the last Login Response.
    pub(super) const fn use_digests(&mut self, header: bool, data: bool) {
        self.header_digest = header;
        self.data_digest = data;
    }

    /// Whether data need not be looked at to be sent.
    pub(super) const fn takes_loans(&self) -> bool {
        !self.data_digest
    }

    /// The StatSN that the next status will have.
    pub(super) const fn stat_sn(&self) -> u32 {
        self.stat_sn
    }

    /// How many PDUs were queued.
    pub(super) const fn pdus(&self) -> u64 {
        self.pdus
    }

    /// Counts from zero again.
    pub(super) const fn forget_pdus(&mut self) {
        self.pdus = 0;
    }

    /// Numbers a status.
    pub(super) const fn take_stat_sn(&mut self) -> u32 {
        let stat_sn = self.stat_sn;
        self.stat_sn = stat_sn.wrapping_add(1);
        stat_sn
    }

    /// Queues a PDU with a copy of `data`.
    #[inline(always)]
    pub(super) fn push(&mut self, bhs: Bhs, data: &[u8]) {
        let bytes = length(data);
        let bhs = bhs.with_data(bytes);
        if padding(bytes) == 0 && !self.header_digest && !self.data_digest {
            self.pdus += 1;
            return self.gather.push_headed(bhs.as_bytes(), data);
        }
        self.push_in_parts(bhs, data);
    }

    /// As [`Output::push`], of a PDU that is more than its header and data.
    #[inline(never)]
    fn push_in_parts(&mut self, bhs: Bhs, data: &[u8]) {
        self.push_header(bhs);
        if data.is_empty() {
            return;
        }
        self.gather.push_bytes(data);
        self.push_padding(length(data));
        if self.data_digest {
            self.gather.push_bytes(&data_digest(data).to_le_bytes());
        }
    }

    /// Queues PDUs whose data lies in `payload`, by reference; each comes with its range.
    pub(super) fn push_held(
        &mut self,
        payload: Payload,
        pdus: impl Iterator<Item = (Bhs, Range<usize>)> + Clone,
    ) {
        let mut digests = std::mem::take(&mut self.digests);
        if self.data_digest {
            let bytes = payload.as_slice();
            digests.extend(pdus.clone().map(|(_, range)| data_digest(&bytes[range])));
        }
        let index = self.gather.hold(payload);
        for (number, (bhs, range)) in pdus.enumerate() {
            let bytes = u32::try_from(range.len()).unwrap_or(u32::MAX);
            self.push_header(bhs.with_data(bytes));
            self.gather.push_range(index, range.start, range.end);
            self.push_padding(bytes);
            if let Some(digest) = digests.get(number) {
                self.gather.push_bytes(&digest.to_le_bytes());
            }
        }
        digests.clear();
        self.digests = digests;
    }

    /// Queues a PDU whose data somebody [lends](Gather::lend). There is no data digest.
    pub(super) fn push_lent(&mut self, bhs: Bhs, offset: u64, bytes: u32) {
        debug_assert!(!self.data_digest, "nobody has seen the data");
        self.push_header(bhs.with_data(bytes));
        self.gather.lend(offset, bytes as usize);
        self.push_padding(bytes);
    }

    fn push_header(&mut self, bhs: Bhs) {
        self.pdus += 1;
        self.gather.push_bytes(bhs.as_bytes());
        if self.header_digest {
            self.gather
                .push_bytes(&crc32c(bhs.as_bytes()).to_le_bytes());
        }
    }

    #[inline]
    fn push_padding(&mut self, bytes: u32) {
        self.gather.push_bytes(&ZEROS[..padding(bytes) as usize]);
    }
}

/// The digest of data and its padding.
fn data_digest(data: &[u8]) -> u32 {
    let pad = padding(length(data)) as usize;
    if pad == 0 {
        return crc32c(data);
    }
    let mut crc = Crc32c::default();
    crc.update(data);
    crc.update(&ZEROS[..pad]);
    crc.value()
}

fn length(data: &[u8]) -> u32 {
    u32::try_from(data.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::super::super::pdu::Opcode;
    use super::*;
    use crate::base::gather::Lender;

    struct Held<'a>(&'a [u8]);

    impl Lender for Held<'_> {
        fn lent(&self, offset: u64, length: usize) -> &[u8] {
            &self.0[usize::try_from(offset).unwrap()..][..length]
        }
    }

    #[test]
    fn copied_and_referred_payloads_make_the_same_bytes() {
        let data: Vec<u8> = (0..=255).collect();
        let bhs = Bhs::new(Opcode::DataIn, 0x80);
        for digests in [false, true] {
            let (mut copied, mut held) = (Output::new(), Output::new());
            copied.use_digests(digests, digests);
            held.use_digests(digests, digests);
            let ranges = [0..101, 101..102, 102..256];
            for range in &ranges {
                copied.push(bhs, &data[range.clone()]);
            }
            held.push_held(
                Payload::Bytes(data.clone()),
                ranges.iter().cloned().map(|r| (bhs, r)),
            );
            assert_eq!(copied.gather.to_vec(), held.gather.to_vec());
            let overhead = if digests { 8 } else { 0 };
            assert_eq!(copied.gather.len(), 3 * (48 + overhead) + 104 + 4 + 156);
            if digests {
                continue;
            }
            let mut lent = Output::new();
            for range in &ranges {
                let bytes = u32::try_from(range.len()).unwrap();
                lent.push_lent(bhs, range.start as u64, bytes);
            }
            lent.gather.own(0, &Held(&data));
            assert_eq!(lent.gather.to_vec(), copied.gather.to_vec());
        }
    }
}
