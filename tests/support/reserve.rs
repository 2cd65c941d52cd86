//! PERSISTENT RESERVE IN and OUT (SPC-4 sections 6.13–6.14) from the initiator's side.

use std::io;

use super::initiator::{Command, Initiator};
use super::pdu::{u32_at, u64_at};
use super::scsi::Outcome;

/// Service actions of PERSISTENT RESERVE OUT.
pub mod action {
    pub const REGISTER: u8 = 0;
    pub const RESERVE: u8 = 1;
    pub const RELEASE: u8 = 2;
    pub const CLEAR: u8 = 3;
    pub const PREEMPT: u8 = 4;
    pub const PREEMPT_AND_ABORT: u8 = 5;
    pub const REGISTER_AND_IGNORE: u8 = 6;
    pub const REGISTER_AND_MOVE: u8 = 7;
}

/// Parameter byte 20.
pub mod flag {
    pub const APTPL: u8 = 0x01;
    pub const ALL_TG_PT: u8 = 0x04;
    pub const SPEC_I_PT: u8 = 0x08;
}

/// Reservation types.
pub mod kind {
    pub const WE: u8 = 1;
    pub const EA: u8 = 3;
    pub const WE_RO: u8 = 5;
    pub const EA_RO: u8 = 6;
    pub const WE_AR: u8 = 7;
    pub const EA_AR: u8 = 8;
    pub const ALL: [u8; 6] = [WE, EA, WE_RO, EA_RO, WE_AR, EA_AR];
}

/// What READ RESERVATION tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reservation {
    pub key: u64,
    pub kind: u8,
}

/// One descriptor of READ FULL STATUS (SPC-4 section 6.13.5).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FullStatus {
    pub key: u64,
    pub is_holder: bool,
    pub all_target_ports: bool,
    pub kind: u8,
    pub port: u16,
    /// The TransportID's name: `name,i,0xisid` in format 01, the name alone in format 00.
    pub initiator: String,
}

/// What REPORT CAPABILITIES tells, as bytes 2–5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities(pub [u8; 4]);

/// The CDB of PERSISTENT RESERVE OUT.
pub fn out_cdb(action: u8, scope_and_type: u8, length: u32) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = 0x5f;
    cdb[1] = action;
    cdb[2] = scope_and_type;
    cdb[5..9].copy_from_slice(&length.to_be_bytes());
    cdb
}

/// The CDB of PERSISTENT RESERVE IN.
pub fn in_cdb(action: u8, length: u16) -> [u8; 10] {
    let mut cdb = [0; 10];
    cdb[0] = 0x5e;
    cdb[1] = action;
    cdb[7..9].copy_from_slice(&length.to_be_bytes());
    cdb
}

/// The 24 bytes of the basic parameter list.
pub fn parameters(key: u64, action_key: u64, flags: u8) -> Vec<u8> {
    let mut list = vec![0; 24];
    list[0..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&action_key.to_be_bytes());
    list[20] = flags;
    list
}

/// The parameter list of REGISTER AND MOVE (SPC-4 section 6.14.4).
pub fn move_parameters(key: u64, action_key: u64, flags: u8, port: u16, id: &[u8]) -> Vec<u8> {
    let mut list = vec![0; 24];
    list[0..8].copy_from_slice(&key.to_be_bytes());
    list[8..16].copy_from_slice(&action_key.to_be_bytes());
    list[17] = flags;
    list[18..20].copy_from_slice(&port.to_be_bytes());
    list[20..24].copy_from_slice(&u32::try_from(id.len()).expect("fits").to_be_bytes());
    list.extend_from_slice(id);
    list
}

/// A REGISTER parameter list with SPEC_I_PT and these TransportIDs.
pub fn listed_parameters(key: u64, action_key: u64, ids: &[Vec<u8>]) -> Vec<u8> {
    let mut list = parameters(key, action_key, flag::SPEC_I_PT);
    let ids = ids.concat();
    list.extend_from_slice(&u32::try_from(ids.len()).expect("fits").to_be_bytes());
    list.extend_from_slice(&ids);
    list
}

/// An iSCSI TransportID: format 01 with an ISID, format 00 without (SPC-4 section 7.6.4.6).
pub fn transport_id(name: &str, isid: Option<[u8; 6]>) -> Vec<u8> {
    let (format, mut text) = match isid {
        None => (0x05, name.to_owned()),
        Some(isid) => {
            let digits: String = isid.iter().map(|byte| format!("{byte:02x}")).collect();
            (0x45, format!("{name},i,0x{digits}"))
        }
    };
    text.push('\0');
    let mut bytes = text.into_bytes();
    bytes.resize(bytes.len().next_multiple_of(4).max(20), 0);
    let length = u16::try_from(bytes.len()).expect("fits").to_be_bytes();
    [&[format, 0, length[0], length[1]], bytes.as_slice()].concat()
}

/// READ FULL STATUS with room for all that tests register.
pub fn read_full_status() -> Command {
    Command::read(&in_cdb(3, 0x4000), 0x4000)
}

/// What READ FULL STATUS tells.
pub fn full_status(body: &[u8]) -> Vec<FullStatus> {
    let mut rest = &body[8..];
    assert_eq!(rest.len(), u32_at(body, 4) as usize);
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (descriptor, others) = rest.split_at(24 + u32_at(rest, 20) as usize);
        rest = others;
        let name = descriptor[28..]
            .split(|byte| *byte == 0)
            .next()
            .expect("a name");
        let names_port = name.windows(5).any(|part| part == b",i,0x");
        let format = if names_port { 0x45 } else { 0x05 };
        assert_eq!(descriptor[24], format, "iSCSI, format 01 or 00");
        all.push(FullStatus {
            key: u64_at(descriptor, 0),
            is_holder: descriptor[12] & 1 != 0,
            all_target_ports: descriptor[12] & 2 != 0,
            kind: descriptor[13] & 0xf,
            port: u16::from_be_bytes([descriptor[18], descriptor[19]]),
            initiator: String::from_utf8_lossy(name).into_owned(),
        });
    }
    all
}

impl Initiator {
    /// PERSISTENT RESERVE OUT with the basic parameter list.
    pub fn reserve_out(&mut self, action: u8, kind: u8, key: u64, action_key: u64) -> Outcome {
        self.reserve_out_with(action, kind, &parameters(key, action_key, 0))
    }

    pub fn reserve_out_with(&mut self, action: u8, kind: u8, list: &[u8]) -> Outcome {
        let length = u32::try_from(list.len()).expect("a list fits");
        self.write(&out_cdb(action, kind, length), list)
    }

    /// As `reserve_out_with`, where the server may be gone.
    pub fn try_reserve_out(&mut self, action: u8, kind: u8, list: &[u8]) -> io::Result<Outcome> {
        let length = u32::try_from(list.len()).expect("a list fits");
        self.try_run(&Command::write(&out_cdb(action, kind, length), list))
    }

    pub fn register(&mut self, key: u64, new_key: u64) -> Outcome {
        self.reserve_out(action::REGISTER, 0, key, new_key)
    }

    pub fn register_with(&mut self, key: u64, new_key: u64, flags: u8) -> Outcome {
        self.reserve_out_with(action::REGISTER, 0, &parameters(key, new_key, flags))
    }

    pub fn register_and_ignore(&mut self, new_key: u64) -> Outcome {
        self.reserve_out(action::REGISTER_AND_IGNORE, 0, 0, new_key)
    }

    pub fn reserve(&mut self, kind: u8, key: u64) -> Outcome {
        self.reserve_out(action::RESERVE, kind, key, 0)
    }

    pub fn release(&mut self, kind: u8, key: u64) -> Outcome {
        self.reserve_out(action::RELEASE, kind, key, 0)
    }

    pub fn clear(&mut self, key: u64) -> Outcome {
        self.reserve_out(action::CLEAR, 0, key, 0)
    }

    pub fn preempt(&mut self, kind: u8, key: u64, victim: u64) -> Outcome {
        self.reserve_out(action::PREEMPT, kind, key, victim)
    }

    pub fn preempt_and_abort(&mut self, kind: u8, key: u64, victim: u64) -> Outcome {
        self.reserve_out(action::PREEMPT_AND_ABORT, kind, key, victim)
    }

    /// The body of PERSISTENT RESERVE IN.
    pub fn reserve_in(&mut self, action: u8) -> Vec<u8> {
        self.run(&Command::read(&in_cdb(action, 0x4000), 0x4000))
            .good()
    }

    /// The generation and the keys, in the order of the registrations.
    pub fn read_keys(&mut self) -> (u32, Vec<u64>) {
        let body = self.reserve_in(0);
        let length = u32_at(&body, 4) as usize;
        assert_eq!(
            body.len(),
            8 + length,
            "ADDITIONAL LENGTH states the whole list"
        );
        let keys = body[8..]
            .chunks_exact(8)
            .map(|key| u64_at(key, 0))
            .collect();
        (u32_at(&body, 0), keys)
    }

    /// The keys alone, sorted.
    pub fn keys(&mut self) -> Vec<u64> {
        let mut keys = self.read_keys().1;
        keys.sort_unstable();
        keys
    }

    pub fn generation(&mut self) -> u32 {
        self.read_keys().0
    }

    pub fn read_reservation(&mut self) -> Option<Reservation> {
        let body = self.reserve_in(1);
        match u32_at(&body, 4) {
            0 => None,
            16 => {
                assert_eq!(body[21] >> 4, 0, "scope is always the logical unit");
                Some(Reservation {
                    key: u64_at(&body, 8),
                    kind: body[21] & 0xf,
                })
            }
            other => panic!("READ RESERVATION with additional length {other}"),
        }
    }

    pub fn report_capabilities(&mut self) -> Capabilities {
        let body = self.reserve_in(2);
        assert_eq!(body.len(), 8);
        assert_eq!(body[..2], [0, 8], "LENGTH is 8");
        Capabilities([body[2], body[3], body[4], body[5]])
    }

    pub fn read_full_status(&mut self) -> Vec<FullStatus> {
        full_status(&self.run(&read_full_status()).good())
    }
}
