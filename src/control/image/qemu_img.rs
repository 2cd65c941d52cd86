//! qemu-img as a child process: what it is asked, and what it says.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};
use serde_json::Value;

use super::{ImageError, ImageFormat};

const PROGRAM: &str = "qemu-img";
/// How often whoever waits is asked whether it still does.
const ASK_INTERVAL: Duration = Duration::from_millis(500);
/// Bytes of what it says that are kept.
const SAID_BYTES_MAX: u64 = 64 << 10;

/// What is to be made of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conversion {
    /// The file that is read.
    pub from: PathBuf,
    /// Its format.
    pub from_format: ImageFormat,
    /// The file that is written. It is there already.
    pub to: PathBuf,
    /// Its format.
    pub to_format: ImageFormat,
    /// The target is as large as it is to be, and reads as zeros: only data is written. Otherwise it is
    /// made anew.
    pub target_is_zero: bool,
}

/// The size of the disk in an image, in bytes.
///
/// # Errors
/// The image can't be used, refers to another file, or qemu-img is not there.
pub fn inspect(path: &Path, format: ImageFormat) -> Result<u64, ImageError> {
    check_file(path)?;
    let mut command = Command::new(PROGRAM);
    command.args(["info", "--output=json", "-f", format.driver(), "--"]);
    command.arg(path);
    let failed = |said: String| ImageError::Failed {
        attempt: "read",
        path: path.to_owned(),
        format,
        said,
    };
    let mut told = Vec::new();
    let mut child = Running::start(command)?;
    let read = child.stdout()?.take(SAID_BYTES_MAX).read_to_end(&mut told);
    child.end().map_err(&failed)?;
    read.map_err(ImageError::NotRun)?;
    let told: Value = serde_json::from_slice(&told).map_err(|error| failed(error.to_string()))?;
    if let Some(other) = refers_to(&told) {
        return Err(ImageError::Refers {
            path: path.to_owned(),
            other: other.to_owned(),
        });
    }
    let bytes = told.get("virtual-size").and_then(Value::as_u64);
    bytes.ok_or_else(|| failed("it does not tell the size of the disk".to_owned()))
}

/// Makes one image of another. `go_on` is told how many percent are done, and asked now and then
/// whether it is to go on.
///
/// # Errors
/// qemu-img failed, or `go_on` said no; what has been written of the target is worth nothing.
pub fn convert(
    conversion: &Conversion,
    go_on: &mut dyn FnMut(f64) -> bool,
) -> Result<(), ImageError> {
    let Conversion {
        from,
        from_format,
        to,
        to_format,
        target_is_zero,
    } = conversion;
    let mut command = Command::new(PROGRAM);
    command.args(["convert", "-p", "-f", from_format.driver()]);
    command.args(["-O", to_format.driver()]);
    if *target_is_zero {
        command.args(["-n", "--target-is-zero"]);
    }
    if *to_format == ImageFormat::Vhd {
        // Else the disk would be rounded to what cylinders, heads and sectors can say.
        command.args(["-o", "force_size=on"]);
    }
    command.arg("--").args([from, to]);
    let mut child = Running::start(command)?;
    let (told, progress) = bounded(16);
    let reader = read_progress(child.stdout()?, told);
    let wanted = watch(&progress, go_on);
    if !wanted {
        child.kill();
    }
    let ended = child.end();
    // It has ended with its pipe.
    let _ = reader.join();
    if !wanted {
        return Err(ImageError::Interrupted);
    }
    ended.map_err(|said| ImageError::Failed {
        attempt: "convert",
        path: if *target_is_zero { from } else { to }.clone(),
        format: if *target_is_zero {
            *from_format
        } else {
            *to_format
        },
        said,
    })
}

/// Passes how far it is to `go_on` until it has ended; false if `go_on` wants no more.
fn watch(progress: &Receiver<f64>, go_on: &mut dyn FnMut(f64) -> bool) -> bool {
    let mut percent = 0.0;
    loop {
        match progress.recv_timeout(ASK_INTERVAL) {
            Ok(told) => percent = told,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return true,
        }
        if !go_on(percent) {
            return false;
        }
    }
}

/// Tells the percentages in `    (12.34/100%)\r`.
fn read_progress(mut from: impl Read + Send + 'static, told: Sender<f64>) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let (mut bytes, mut line) = ([0; 4096], Vec::new());
        while let Ok(count @ 1..) = from.read(&mut bytes) {
            for byte in &bytes[..count] {
                match byte {
                    b'\r' | b'\n' => line.clear(),
                    _ if line.len() < 64 => line.push(*byte),
                    _ => {}
                }
                if *byte == b')'
                    && let Some(percent) = percent_of(&line)
                    && told.send(percent).is_err()
                {
                    return;
                }
            }
        }
    })
}

fn percent_of(line: &[u8]) -> Option<f64> {
    let line = std::str::from_utf8(line).ok()?.trim();
    let percent = line.strip_prefix('(')?.strip_suffix("/100%)")?;
    percent
        .parse()
        .ok()
        .filter(|percent| (0.0..=100.0).contains(percent))
}

/// The file that an image refers to: one that lies below it, or that has its data.
fn refers_to(told: &Value) -> Option<&str> {
    let backing = told
        .get("full-backing-filename")
        .or_else(|| told.get("backing-filename"));
    let data = told.pointer("/format-specific/data/data-file");
    backing.or(data).and_then(Value::as_str)
}

/// An image is a file, or a device: qemu-img itself would also take the network for one.
fn check_file(path: &Path) -> Result<(), ImageError> {
    let file = |problem: &str| ImageError::File {
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    if !path.is_absolute() {
        return Err(file("is a relative path; expected an absolute one"));
    }
    match std::fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(file("is a directory, expected a file")),
        Ok(_) => Ok(()),
        Err(error) => Err(file(&format!("can't be read: {error}"))),
    }
}

/// A child, and what it says.
struct Running {
    child: Child,
    said: JoinHandle<String>,
}

impl Running {
    fn start(mut command: Command) -> Result<Self, ImageError> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            // Messages are matched by nobody, but read by people who may search for them.
            .env("LC_ALL", "C");
        let mut child = command.spawn().map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ImageError::NoQemuImg,
            _ => ImageError::NotRun(error),
        })?;
        let stderr = child.stderr.take();
        let said = std::thread::spawn(move || stderr.map(last_words).unwrap_or_default());
        Ok(Self { child, said })
    }

    fn stdout(&mut self) -> Result<impl Read + Send + use<>, ImageError> {
        let stdout = self.child.stdout.take();
        stdout.ok_or_else(|| ImageError::NotRun(io::Error::other("it has no output")))
    }

    fn kill(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
    }

    /// Waits for its end; what it said if that was no success.
    fn end(mut self) -> Result<(), String> {
        let status = self.child.wait().map_err(|error| error.to_string())?;
        let said = self.said.join().unwrap_or_default();
        match (status.success(), said.is_empty()) {
            (true, _) => Ok(()),
            (false, false) => Err(said),
            (false, true) => Err(status.to_string()),
        }
    }
}

/// The last line that somebody says, without the name that it is said under.
fn last_words(from: impl Read) -> String {
    let mut bytes = Vec::new();
    // What could be read is better than nothing.
    let _ = from.take(SAID_BYTES_MAX).read_to_end(&mut bytes);
    let text = String::from_utf8_lossy(&bytes);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    let last = last.unwrap_or_default().trim();
    last.strip_prefix("qemu-img: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_is_read_from_what_it_prints() {
        let (told, progress) = bounded(16);
        let text = b"    (0.00/100%)\r    (12.50/100%)\rnoise (x/100%)\r    (100.00/100%)\n";
        read_progress(&text[..], told).join().unwrap();
        assert_eq!(progress.iter().collect::<Vec<_>>(), [0.0, 12.5, 100.0]);
        assert_eq!(percent_of(b"(101.0/100%)"), None);
    }

    #[test]
    fn its_last_words_are_told_without_its_name() {
        let text = b"warning: something\nqemu-img: Could not open 'x': No such file\n\n";
        assert_eq!(last_words(&text[..]), "Could not open 'x': No such file");
        assert_eq!(last_words(&b""[..]), "");
    }

    #[test]
    fn an_image_that_refers_to_another_file_is_seen_through() {
        let with = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        let backing = with(r#"{"backing-filename": "secret"}"#);
        assert_eq!(refers_to(&backing), Some("secret"));
        let data = with(r#"{"format-specific": {"data": {"data-file": "/etc/shadow"}}}"#);
        assert_eq!(refers_to(&data), Some("/etc/shadow"));
        assert_eq!(refers_to(&with(r#"{"virtual-size": 1}"#)), None);
    }

    #[test]
    fn only_files_are_images() {
        let told = |path: &str| {
            inspect(Path::new(path), ImageFormat::Raw)
                .unwrap_err()
                .to_string()
        };
        assert!(told("nbd:localhost:10809").contains("is a relative path"));
        assert!(told("/").contains("is a directory"));
        assert!(told("/no/such/file").contains("can't be read: No such file"));
    }
}
