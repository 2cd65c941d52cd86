//! Limits of volumes and groups, over real sockets and by a clock that the test owns: with a limit of so
//! many operations or bytes per second, exactly so many go on at a given time. The judge is the server's
//! own count of what its sessions have read and written.

mod support;

#[path = "limits/rates.rs"]
mod rates;
#[path = "limits/rights.rs"]
mod rights;
#[path = "limits/sharing.rs"]
mod sharing;
#[path = "limits/stage.rs"]
mod stage;
#[path = "limits/waiting.rs"]
mod waiting;
