//! What volumes and snapshots hold: shared where it can be, copied where it must be, and what is said
//! where it can't.

use super::refusal::volume_error;
use super::{Progress, Service};
use crate::backend::{BackendSpec, ContentError, Draft, Source};
use crate::control::api::ProgressView;
use crate::control::catalogue::Volume;
use crate::control::error::{ControlError, ErrorKind, with_sources};
use crate::volume::VolumeName;

impl Service {
    /// Gives a draft the content of a snapshot.
    pub(super) fn fill(
        &self,
        volume: &Volume,
        draft: &Draft,
        from: &Source,
        copy: bool,
        progress: &dyn Progress,
    ) -> Result<(), ContentError> {
        match draft.share(from) {
            Ok(()) => Ok(()),
            Err(ContentError::NoReflink { .. } | ContentError::OtherFileSystem { .. }) if copy => {
                from.check_space(from.allocated_bytes()?)?;
                draft.copy(from, &mut self.copying(&volume.name, progress))
            }
            Err(error) => Err(error),
        }
    }

    /// What a copy of that volume tells, and whether it is to go on.
    pub(super) fn copying<'a>(
        &'a self,
        volume: &'a VolumeName,
        progress: &'a dyn Progress,
    ) -> impl FnMut(u64, u64) -> bool + 'a {
        move |done, total| {
            let percent = percent(done, total);
            let heard = progress.report(&ProgressView {
                task: "copy".to_owned(),
                volume: volume.to_string(),
                percent,
                total_bytes: total,
            });
            heard && !self.work.is_stopping()
        }
    }
}

const COPY_HINT: &str = "move the data directory to XFS or btrfs, or copy with --copy";

/// What could not be done because of a volume's content.
pub(super) fn failed(volume: &Volume, what: &str, error: &ContentError) -> ControlError {
    let message = format!("{what}: {}", with_sources(error));
    let refused = volume_error(ErrorKind::Failed, &volume.name, &message);
    match error {
        ContentError::NoReflink { .. } => refused
            .expected("XFS made with reflink=1, which is mkfs.xfs's default, or btrfs")
            .hint(COPY_HINT),
        ContentError::OtherFileSystem { .. } => refused.hint(COPY_HINT),
        ContentError::Space { .. } => {
            refused.hint("delete what is not needed: `holdfast snapshot list` shows snapshots")
        }
        _ => refused,
    }
}

/// There are no snapshots of what is not in a file.
pub(super) fn not_in_a_file(volume: &Volume) -> ControlError {
    let (kind, hint) = match volume.backend.innermost() {
        BackendSpec::Ram {} => (
            "in memory",
            "copy what it holds at a host that is logged in",
        ),
        BackendSpec::Block { .. } => (
            "on a block device",
            "take the snapshot where the device comes from, such as LVM, or `holdfast volume export`",
        ),
        _ => ("in no file", "its blocks are kept nowhere"),
    };
    let message = format!("has its blocks {kind}, of which there are no snapshots");
    volume_error(ErrorKind::Invalid, &volume.name, &message)
        .expected("a volume in a file")
        .hint(hint)
}

/// `done` of `total`, in hundredths of it.
fn percent(done: u64, total: u64) -> f64 {
    if total == 0 {
        return 100.0;
    }
    // Two decimals are enough, and are the same on every machine.
    let hundredths = u128::from(done) * 10_000 / u128::from(total);
    u32::try_from(hundredths).map_or(100.0, |hundredths| f64::from(hundredths) / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentages_have_two_decimals() {
        assert_eq!(
            [percent(0, 3), percent(1, 3), percent(3, 3)],
            [0.0, 33.33, 100.0]
        );
        assert_eq!(percent(0, 0), 100.0, "there was nothing to do");
        assert_eq!(percent(u64::MAX, 1), 100.0);
    }
}
