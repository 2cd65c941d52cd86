//! `holdfast volume export`, and what images and snapshots are on the command line.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::{Args, ValueEnum};

use super::client::Connection;
use super::values::{VolumeOrSnapshot, human};
use super::{EXIT_USAGE, Failure};
use crate::control::api::{ExportView, Image, ImageFormat, VolumeExport, method};

pub(super) const EXPORT_EXAMPLES: &str = "\
Examples:
  holdfast volume export db-1@monday /backup/db-1.qcow2
      a snapshot; hosts go on using the volume
  holdfast volume export db-1 /backup/db-1.vhdx
      the volume itself; nobody may be logged in, and nobody can log in before it is written
  holdfast volume export db-1@monday /dev/shm/db-1 --image-format raw

What is guaranteed: a snapshot's image is the content of its one instant; a volume's image has every
write that was acknowledged. The file appears under its name when it is whole and on the disk; a
command that fails or is interrupted leaves nothing. It is made for its owner alone (mode 0600), by
the server, with qemu-img (Debian package qemu-utils).";

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// What to write: VOLUME@SNAPSHOT, or VOLUME
    from: VolumeOrSnapshot,
    /// The file to make, where the server runs; none may be there
    path: PathBuf,
    /// Its format [default: by its name, such as .qcow2]
    #[arg(long, value_enum, value_name = "FORMAT")]
    image_format: Option<FormatArgument>,
    #[command(flatten)]
    connection: Connection,
}

/// [`ImageFormat`] as a flag.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(super) enum FormatArgument {
    /// The blocks, one behind the other
    Raw,
    /// QEMU's
    Qcow2,
    /// Virtual PC's and Azure's
    Vhd,
    /// Hyper-V's
    Vhdx,
}

impl From<FormatArgument> for ImageFormat {
    fn from(argument: FormatArgument) -> Self {
        match argument {
            FormatArgument::Raw => Self::Raw,
            FormatArgument::Qcow2 => Self::Qcow2,
            FormatArgument::Vhd => Self::Vhd,
            FormatArgument::Vhdx => Self::Vhdx,
        }
    }
}

/// An image as the server is to use it: by an absolute path, and of a format that somebody has said.
pub(super) fn image(path: &Path, format: Option<FormatArgument>) -> Result<Image, Failure> {
    let known = format.map(ImageFormat::from);
    let format = known.or_else(|| ImageFormat::of_name(path));
    let format = format.ok_or_else(|| {
        let formats = ImageFormat::ALL.map(ImageFormat::name).join(", ");
        Failure {
            code: EXIT_USAGE,
            message: format!(
                "the name {} does not tell its format, and what is in a file is never asked; expected \
                 --image-format with one of {formats}",
                path.display()
            ),
        }
    })?;
    // The server's working directory is another one.
    let path = std::path::absolute(path)
        .map_err(|error| Failure::new(format!("{}: {error}", path.display())))?;
    Ok(Image { path, format })
}

pub(super) fn export(arguments: ExportArguments, out: &mut dyn Write) -> Result<(), Failure> {
    let ExportArguments {
        from,
        path,
        image_format,
        connection,
    } = arguments;
    let export = VolumeExport {
        name: from.volume,
        snapshot: from.snapshot,
        image: image(&path, image_format)?,
    };
    connection.ask_for_long(out, method::VOLUME_EXPORT, &export, |view: &ExportView| {
        let from = match &view.snapshot {
            Some(snapshot) => format!("{}@{snapshot}", view.volume),
            None => view.volume.clone(),
        };
        format!(
            "wrote {from} ({}) to {}: {}, {}\n",
            human(view.size_bytes),
            view.path.display(),
            view.format.name(),
            human(view.file_bytes)
        )
    })
}
