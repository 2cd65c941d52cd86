//! What a run is told by its environment; `tests/run history --help` says the rest.

use std::time::Duration;

/// Time for all setups together; `tests/run history --long` sets it.
const SECONDS: &str = "HOLDFAST_HISTORY_SECONDS";
/// The seed of every setup; without it each run draws one.
const SEED: &str = "HOLDFAST_HISTORY_SEED";
/// Engines × reactors × backends, and both engines through upgrades.
const SETUPS: u32 = 10;
/// For each setup, unless told otherwise.
const TIME_DEFAULT: Duration = Duration::from_secs(5);

/// How long one setup runs.
pub(crate) fn time() -> Duration {
    match number(SECONDS) {
        Some(seconds) => Duration::from_secs(seconds) / SETUPS,
        None => TIME_DEFAULT,
    }
}

/// What decides everything that is left to chance, but for what the machine's timing adds.
pub(crate) fn seed() -> u64 {
    number(SEED).unwrap_or_else(|| {
        let mut bytes = [0; 8];
        getrandom::fill(&mut bytes).expect("the system has random bytes");
        u64::from_ne_bytes(bytes)
    })
}

/// Decimal, or hexadecimal after `0x`.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    let parsed = match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    Some(parsed.unwrap_or_else(|error| panic!("{name}={text}: {error}")))
}
