//! The logical unit of a volume, as SCSI sees it at first.

use super::directory::PortalRecord;
use super::handle::{TargetError, VolumeConfig};
use crate::backend::Properties as StoreProperties;
use crate::base::limits;
use crate::reservation::Snapshot;
use crate::scsi::LogicalUnit;
use crate::scsi::mode::{ModePages, Modes};
use crate::scsi::ports::{AccessState, PortGroup, Ports, TargetPort};
use crate::scsi::unit::{Geometry, Identity, Medium, Properties};

/// REVISION: the first four characters of the version.
pub(crate) const REVISION: &str = env!("CARGO_PKG_VERSION");

/// The logical unit for this volume.
pub(crate) fn build(
    config: &VolumeConfig,
    portals: &[PortalRecord],
) -> Result<LogicalUnit, TargetError> {
    let store = config.store.properties();
    let block_bytes = config.block_bytes;
    if !block_bytes.is_multiple_of(store.logical_block_bytes) {
        let backend_bytes = store.logical_block_bytes;
        return Err(TargetError::BlockSize {
            block_bytes,
            backend_bytes,
        });
    }
    let pages = ModePages {
        write_cache: store.volatile_cache,
        ..ModePages::default()
    };
    Ok(LogicalUnit {
        identity: Identity {
            vendor: padded(&config.vendor),
            product: padded(&config.product),
            revision: padded(REVISION),
            serial: config.id.serial_number(),
            naa: config.id.naa(),
            target_name: config.iqn.clone(),
            label: config.name.clone(),
        },
        geometry: geometry(block_bytes, config.store.size_bytes(), &store),
        properties: properties(config, &store),
        // Nothing outlives a restart, so nothing can be saved.
        modes: Modes {
            saved: None,
            ..Modes::new(pages)
        },
        reservation: Snapshot::open(),
        ports: ports(portals),
        medium: Medium::Ready,
        removal_prevented: false,
    })
}

fn geometry(block_bytes: u32, size_bytes: u64, store: &StoreProperties) -> Geometry {
    let physical = store.physical_block_bytes.max(block_bytes);
    let exponent = (physical / block_bytes).checked_ilog2().unwrap_or(0);
    Geometry {
        block_bytes,
        blocks: size_bytes / u64::from(block_bytes),
        physical_exponent: u8::try_from(exponent).unwrap_or(0),
        lowest_aligned: 0,
    }
}

fn properties(config: &VolumeConfig, store: &StoreProperties) -> Properties {
    Properties {
        thin: store.thin && store.can_deallocate,
        reads_zeros: store.zeros_after_deallocate,
        volatile_cache: store.volatile_cache,
        atomic_write_bytes: store.atomic_write_bytes,
        crypto_erase: false,
        rotational: store.rotational,
        removable: config.removable,
        read_only: config.read_only,
        unmap_granularity_bytes: store.physical_block_bytes,
        optimal_transfer_bytes: optimal_transfer_bytes(store.optimal_io_bytes),
    }
}

/// What one backend request moves, in whole stripes of the medium where it has some: a longer command
/// is carried out in several.
fn optimal_transfer_bytes(stripe_bytes: u32) -> u32 {
    let most = u32::try_from(limits::BUFFER_BYTES_MAX).unwrap_or(u32::MAX);
    match most.checked_div(stripe_bytes) {
        Some(stripes) if stripes > 0 => stripes * stripe_bytes,
        _ => most,
    }
}

/// One target port for each portal group; its relative identifier is the tag, which the
/// configuration keeps over restarts.
pub(crate) fn ports(portals: &[PortalRecord]) -> Ports {
    let mut tags: Vec<u16> = portals.iter().map(|portal| portal.tag).collect();
    tags.sort_unstable();
    tags.dedup();
    let port = |tag: &u16| TargetPort {
        identifier: *tag,
        group: *tag,
        portal_group_tag: *tag,
    };
    let group = |tag: &u16| PortGroup {
        identifier: *tag,
        state: AccessState::ActiveOptimized,
        preferred: false,
        explicit: None,
    };
    Ports::new(
        tags.iter().map(port).collect(),
        tags.iter().map(group).collect(),
    )
}

/// ASCII, left-aligned, padded with spaces (SPC-4 section 4.3.1).
fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut field = [b' '; N];
    for (byte, character) in field.iter_mut().zip(text.bytes()) {
        *byte = if character.is_ascii_graphic() || character == b' ' {
            character
        } else {
            b'?'
        };
    }
    field
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_optimal_transfer_is_made_of_whole_stripes() {
        let stripe_kib = |kib: u32| optimal_transfer_bytes(kib << 10) >> 10;
        assert_eq!(stripe_kib(0), 1024, "the medium does not care");
        assert_eq!(stripe_kib(64), 1024);
        assert_eq!(stripe_kib(192), 960);
        assert_eq!(stripe_kib(4096), 1024, "a stripe is longer than a request");
    }
}
