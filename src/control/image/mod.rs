//! Disk images: read and written by qemu-img, as a child process.
//!
//! Nothing here opens an image itself, and nothing ever guesses a format from what a file contains: a
//! raw disk is written by whoever used it, and could begin as an image that names the files of others.
//! For the same reason an image that refers to another file is refused.

mod qemu_img;

use std::io;
use std::path::{Path, PathBuf};

pub use qemu_img::{Conversion, convert, inspect};

use super::api::ImageFormat;

impl ImageFormat {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Qcow2, Self::Vhd, Self::Vhdx];

    /// The word for it in commands and JSON.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vhd",
            Self::Vhdx => "vhdx",
        }
    }

    /// The format that a file's name tells; `None` where it tells none.
    #[must_use]
    pub fn of_name(path: &Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?.to_ascii_lowercase();
        match extension.as_str() {
            "raw" | "img" | "iso" => Some(Self::Raw),
            "qcow2" => Some(Self::Qcow2),
            "vhd" | "vpc" => Some(Self::Vhd),
            "vhdx" => Some(Self::Vhdx),
            _ => None,
        }
    }

    /// What qemu-img calls it.
    const fn driver(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Qcow2 => "qcow2",
            Self::Vhd => "vpc",
            Self::Vhdx => "vhdx",
        }
    }
}

/// Why an image can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// There is no qemu-img.
    #[error("qemu-img is not installed, or not in PATH")]
    NoQemuImg,
    /// It can't be run.
    #[error("qemu-img can't be run: {0}")]
    NotRun(#[source] io::Error),
    /// The file can't be used.
    #[error("{} {problem}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// It refers to another file.
    #[error(
        "{} refers to another file ({other}); what that is was chosen by whoever made the image",
        path.display()
    )]
    Refers {
        /// The image.
        path: PathBuf,
        /// The other file.
        other: String,
    },
    /// qemu-img failed.
    #[error("qemu-img can't {attempt} {} as {}: {said}", path.display(), format.name())]
    Failed {
        /// What was tried.
        attempt: &'static str,
        /// The image.
        path: PathBuf,
        /// Its format.
        format: ImageFormat,
        /// The last that qemu-img said.
        said: String,
    },
    /// Whoever asked for it wants it no more.
    #[error("it was interrupted")]
    Interrupted,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_tells_the_format_or_nothing() {
        let told = |name: &str| ImageFormat::of_name(Path::new(name));
        for format in ImageFormat::ALL {
            assert_eq!(told(&format!("/a.b/disk.{}", format.name())), Some(format));
            let json = serde_json::to_string(&format).unwrap();
            assert_eq!(json, format!("\"{}\"", format.name()));
        }
        assert_eq!(told("disk.IMG"), Some(ImageFormat::Raw));
        assert_eq!([told("disk"), told("disk.vmdk"), told(".raw")], [None; 3]);
    }
}
