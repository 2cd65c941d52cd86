//! iSCSI PDUs as an initiator sees them (RFC 7143 section 11), written apart from the target's own
//! encoder, which they judge. A PDU is its 48 header bytes; accessors name the offsets.

use std::io::{self, Read, Write};

/// Opcodes of RFC 7143 section 11.2.1.2.
pub mod opcode {
    pub const NOP_OUT: u8 = 0x00;
    pub const COMMAND: u8 = 0x01;
    pub const TASK_MANAGEMENT: u8 = 0x02;
    pub const LOGIN: u8 = 0x03;
    pub const TEXT: u8 = 0x04;
    pub const DATA_OUT: u8 = 0x05;
    pub const LOGOUT: u8 = 0x06;
    pub const SNACK: u8 = 0x10;
    pub const NOP_IN: u8 = 0x20;
    pub const RESPONSE: u8 = 0x21;
    pub const TASK_MANAGEMENT_RESPONSE: u8 = 0x22;
    pub const LOGIN_RESPONSE: u8 = 0x23;
    pub const TEXT_RESPONSE: u8 = 0x24;
    pub const DATA_IN: u8 = 0x25;
    pub const LOGOUT_RESPONSE: u8 = 0x26;
    pub const R2T: u8 = 0x31;
    pub const ASYNC: u8 = 0x32;
    pub const REJECT: u8 = 0x3f;
}

/// The tag that stands for "none" (RFC 7143 section 11.19).
pub const NO_TAG: u32 = 0xffff_ffff;
/// The F bit, byte 1.
pub const FINAL: u8 = 0x80;
/// Marks a request for immediate delivery, byte 0.
pub const IMMEDIATE: u8 = 0x40;

/// Which CRC32C digests a connection carries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Digests {
    pub header: bool,
    pub data: bool,
}

/// One PDU: header, additional header segments, data segment without padding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pdu {
    pub bhs: [u8; 48],
    pub ahs: Vec<u8>,
    pub data: Vec<u8>,
}

impl Pdu {
    pub fn new(opcode: u8) -> Self {
        let mut bhs = [0; 48];
        bhs[0] = opcode;
        bhs[1] = FINAL;
        Self {
            bhs,
            ahs: Vec::new(),
            data: Vec::new(),
        }
    }

    pub fn opcode(&self) -> u8 {
        self.bhs[0] & 0x3f
    }

    pub fn flags(&self) -> u8 {
        self.bhs[1]
    }

    pub fn is_final(&self) -> bool {
        self.bhs[1] & FINAL != 0
    }

    /// Initiator Task Tag, bytes 16–19 of every PDU.
    pub fn itt(&self) -> u32 {
        self.u32_at(16)
    }

    /// Target Transfer Tag (or Referenced Task Tag), bytes 20–23.
    pub fn ttt(&self) -> u32 {
        self.u32_at(20)
    }

    /// StatSN of a response, bytes 24–27.
    pub fn stat_sn(&self) -> u32 {
        self.u32_at(24)
    }

    pub fn exp_cmd_sn(&self) -> u32 {
        self.u32_at(28)
    }

    pub fn max_cmd_sn(&self) -> u32 {
        self.u32_at(32)
    }

    pub fn u32_at(&self, offset: usize) -> u32 {
        u32_at(&self.bhs, offset)
    }

    pub fn u16_at(&self, offset: usize) -> u16 {
        u16::from_be_bytes([self.bhs[offset], self.bhs[offset + 1]])
    }

    pub fn with_u32(mut self, offset: usize, value: u32) -> Self {
        self.bhs[offset..offset + 4].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub fn with_u16(mut self, offset: usize, value: u16) -> Self {
        self.bhs[offset..offset + 2].copy_from_slice(&value.to_be_bytes());
        self
    }

    pub fn with_flags(mut self, flags: u8) -> Self {
        self.bhs[1] = flags;
        self
    }

    pub fn with_itt(self, itt: u32) -> Self {
        self.with_u32(16, itt)
    }

    pub fn with_ttt(self, ttt: u32) -> Self {
        self.with_u32(20, ttt)
    }

    pub fn with_lun(mut self, lun: [u8; 8]) -> Self {
        self.bhs[8..16].copy_from_slice(&lun);
        self
    }

    pub fn with_data(mut self, data: impl Into<Vec<u8>>) -> Self {
        self.data = data.into();
        self
    }

    pub fn immediate(mut self) -> Self {
        self.bhs[0] |= IMMEDIATE;
        self
    }

    /// The PDU as it goes over the wire, lengths filled in, padded, with the digests asked for.
    pub fn to_bytes(&self, digests: Digests) -> Vec<u8> {
        let mut bhs = self.bhs;
        assert!(self.ahs.len().is_multiple_of(4), "AHS come in words");
        bhs[4] = u8::try_from(self.ahs.len() / 4).expect("AHS fit in TotalAHSLength");
        let length = u32::try_from(self.data.len()).expect("a data segment fits in 24 bits");
        bhs[5..8].copy_from_slice(&length.to_be_bytes()[1..]);
        let mut bytes = Vec::with_capacity(48 + self.ahs.len() + self.data.len() + 12);
        bytes.extend_from_slice(&bhs);
        bytes.extend_from_slice(&self.ahs);
        if digests.header {
            let digest = crc32c(&bytes);
            bytes.extend_from_slice(&digest.to_le_bytes());
        }
        if !self.data.is_empty() {
            let start = bytes.len();
            bytes.extend_from_slice(&self.data);
            bytes.resize(start + self.data.len().next_multiple_of(4), 0);
            if digests.data {
                let digest = crc32c(&bytes[start..]);
                bytes.extend_from_slice(&digest.to_le_bytes());
            }
        }
        bytes
    }

    pub fn write_to(&self, stream: &mut impl Write, digests: Digests) -> io::Result<()> {
        stream.write_all(&self.to_bytes(digests))
    }

    /// Reads one PDU; a wrong digest is an error of kind `InvalidData`.
    pub fn read_from(stream: &mut impl Read, digests: Digests) -> io::Result<Self> {
        let mut bhs = [0; 48];
        stream.read_exact(&mut bhs)?;
        let mut ahs = vec![0; usize::from(bhs[4]) * 4];
        stream.read_exact(&mut ahs)?;
        if digests.header {
            let mut header = bhs.to_vec();
            header.extend_from_slice(&ahs);
            check_digest(stream, &header, "header")?;
        }
        let length = u32::from_be_bytes([0, bhs[5], bhs[6], bhs[7]]) as usize;
        let mut data = vec![0; length.next_multiple_of(4)];
        stream.read_exact(&mut data)?;
        if digests.data && length > 0 {
            check_digest(stream, &data, "data")?;
        }
        data.truncate(length);
        Ok(Self { bhs, ahs, data })
    }
}

fn check_digest(stream: &mut impl Read, bytes: &[u8], what: &str) -> io::Result<()> {
    let mut digest = [0; 4];
    stream.read_exact(&mut digest)?;
    if u32::from_le_bytes(digest) == crc32c(bytes) {
        Ok(())
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("the {what} digest is wrong"),
        ))
    }
}

/// Big-endian, as everything in iSCSI and SCSI.
pub fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(bytes[offset..offset + 4].try_into().expect("four bytes"))
}

/// Big-endian, as everything in iSCSI and SCSI.
pub fn u64_at(bytes: &[u8], offset: usize) -> u64 {
    u64::from_be_bytes(bytes[offset..offset + 8].try_into().expect("eight bytes"))
}

/// CRC32C byte by byte (RFC 7143 section 13.1): plain, so that it can judge the fast one.
pub fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ CRC32C[usize::from(crc.to_le_bytes()[0] ^ byte)];
    !bytes.iter().fold(u32::MAX, step)
}

/// What each byte does to the checksum, worked out bit by bit.
const CRC32C: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        let mut crc: u32 = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// `key=value` pairs as a text data segment (RFC 7143 section 6.1).
pub fn encode_text(keys: &[(String, String)]) -> Vec<u8> {
    let mut text = Vec::new();
    for (key, value) in keys {
        text.extend_from_slice(key.as_bytes());
        text.push(b'=');
        text.extend_from_slice(value.as_bytes());
        text.push(0);
    }
    text
}

/// The pairs of a text data segment, in order.
pub fn decode_text(data: &[u8]) -> Vec<(String, String)> {
    data.split(|byte| *byte == 0)
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let pair = String::from_utf8_lossy(pair);
            let (key, value) = pair.split_once('=').expect("a pair has an equals sign");
            (key.to_owned(), value.to_owned())
        })
        .collect()
}
