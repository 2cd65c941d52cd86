//! Vital product data (SPC-4 section 7.8, SBC-3 section 6.6).

mod block;
pub(super) mod copy;
pub(super) mod identification;
mod unit;

use super::inquiry::peripheral;
use super::unit::{LunKind, View};

const SUPPORTED_PAGES: u8 = 0x00;
const UNIT_SERIAL_NUMBER: u8 = 0x80;
const DEVICE_IDENTIFICATION: u8 = 0x83;
const EXTENDED_INQUIRY: u8 = 0x86;
const MODE_PAGE_POLICY: u8 = 0x87;
const SCSI_PORTS: u8 = 0x88;
const THIRD_PARTY_COPY: u8 = 0x8F;
const BLOCK_LIMITS: u8 = 0xB0;
const BLOCK_CHARACTERISTICS: u8 = 0xB1;
const BLOCK_PROVISIONING: u8 = 0xB2;

/// Every page of the disk, in ascending order as page 00h must list them.
const DISK_PAGES: &[u8] = &[
    SUPPORTED_PAGES,
    UNIT_SERIAL_NUMBER,
    DEVICE_IDENTIFICATION,
    EXTENDED_INQUIRY,
    MODE_PAGE_POLICY,
    SCSI_PORTS,
    THIRD_PARTY_COPY,
    BLOCK_LIMITS,
    BLOCK_CHARACTERISTICS,
    BLOCK_PROVISIONING,
];
/// What a well-known logical unit must have (SPC-4 section 8.1).
const WELL_KNOWN_PAGES: &[u8] = &[SUPPORTED_PAGES, DEVICE_IDENTIFICATION];

/// The pages of what a LUN names.
const fn pages(lun: LunKind) -> &'static [u8] {
    match lun {
        LunKind::Disk => DISK_PAGES,
        LunKind::ReportLuns => WELL_KNOWN_PAGES,
        LunKind::Missing => &[],
    }
}

/// The whole page `code`, or `None` if there is no such page.
pub(super) fn page(view: &View<'_>, code: u8) -> Option<Vec<u8>> {
    let pages = pages(view.lun);
    if !pages.contains(&code) {
        return None;
    }
    let body = match code {
        SUPPORTED_PAGES => pages.to_vec(),
        UNIT_SERIAL_NUMBER => view.unit.identity.serial.as_bytes().to_vec(),
        DEVICE_IDENTIFICATION => identification::body(view),
        EXTENDED_INQUIRY => unit::extended_inquiry(view.unit),
        MODE_PAGE_POLICY => unit::mode_page_policy(),
        SCSI_PORTS => identification::ports(view.unit),
        THIRD_PARTY_COPY => copy::body(view.unit),
        BLOCK_LIMITS => block::limits(view.unit),
        BLOCK_CHARACTERISTICS => block::characteristics(view.unit),
        BLOCK_PROVISIONING => block::provisioning(view.unit),
        _ => return None,
    };
    let length = u16::try_from(body.len()).unwrap_or(u16::MAX);
    let mut data = Vec::with_capacity(body.len().saturating_add(4));
    data.extend_from_slice(&[peripheral(view.lun), code]);
    data.extend_from_slice(&length.to_be_bytes());
    data.extend_from_slice(&body);
    data.truncate(usize::from(length).saturating_add(4));
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scsi::testing;

    #[test]
    fn pages_ascend_and_exist_and_tell_their_length() {
        assert!(DISK_PAGES.is_sorted());
        let unit = testing::unit();
        let view = testing::view(&unit);
        for &code in DISK_PAGES {
            let data = page(&view, code).unwrap();
            assert_eq!(data[1], code);
            assert_eq!(
                usize::from(u16::from_be_bytes([data[2], data[3]])),
                data.len() - 4
            );
        }
        assert_eq!(page(&view, 0x81), None);
    }

    #[test]
    fn block_pages_have_the_lengths_of_sbc3() {
        let unit = testing::unit();
        let view = testing::view(&unit);
        assert_eq!(page(&view, BLOCK_LIMITS).unwrap().len(), 64);
        assert_eq!(page(&view, BLOCK_CHARACTERISTICS).unwrap().len(), 64);
        assert_eq!(
            page(&view, BLOCK_PROVISIONING).unwrap(),
            [0, 0xB2, 0, 4, 0, 0xE4, 2, 0]
        );
        assert_eq!(page(&view, EXTENDED_INQUIRY).unwrap().len(), 64);
    }
}
