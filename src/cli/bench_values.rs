//! Values on the command line of `bench`.

use std::str::FromStr;

use crate::control::config::CoreList;
use crate::load::{BlockSize, Cores};

/// Transfer lengths with weights: `4k`, `4k:9,64k:1`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Blocks(pub(super) Vec<BlockSize>);

impl FromStr for Blocks {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const WRONG: &str = "expected sizes such as 4k or 1m, with weights if there are several: \
                             4k:9,64k:1 (k is 1024, m is 1024²)";
        let block = |part: &str| {
            let (size, weight) = part.split_once(':').unwrap_or((part, "1"));
            Some(BlockSize {
                bytes: binary_size(size)?,
                weight: weight.parse().ok()?,
            })
        };
        let blocks: Option<Vec<_>> = text.split(',').map(block).collect();
        blocks.map(Self).ok_or(WRONG)
    }
}

/// A size in fio's way: `k` is 1024 bytes.
fn binary_size(text: &str) -> Option<u32> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        _ => return None,
    };
    number.parse::<u32>().ok()?.checked_mul(factor)
}

/// `any`, or a list of cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct CoreChoice(pub(super) Cores);

impl FromStr for CoreChoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "any" {
            return Ok(Self(Cores::Any));
        }
        let list: CoreList = text.parse()?;
        Ok(Self(Cores::These(list.cores().to_vec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_weights_are_read() {
        let read = |text: &str| text.parse::<Blocks>().map(|blocks| blocks.0);
        let block = |bytes, weight| BlockSize { bytes, weight };
        assert_eq!(read("4k"), Ok(vec![block(4096, 1)]));
        assert_eq!(
            read("4k:9,64K:1,1MiB:2,512"),
            Ok(vec![
                block(4096, 9),
                block(65536, 1),
                block(1 << 20, 2),
                block(512, 1)
            ])
        );
        for wrong in ["", "k", "4kb", "4k:", "4k,", "-4k", "4k:x", "9999m"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cores_are_any_or_a_list() {
        let read = |text: &str| text.parse::<CoreChoice>().map(|choice| choice.0);
        assert_eq!(read("any"), Ok(Cores::Any));
        assert_eq!(read("0,2-3"), Ok(Cores::These(vec![0, 2, 3])));
        assert!(read("all").is_err());
    }
}
