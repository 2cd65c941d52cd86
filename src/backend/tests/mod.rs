//! What judges the stores.

mod disks;
mod driver;
mod model;
mod ways;
mod wrappers;
