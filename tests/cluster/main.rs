//! What cluster software sends, replayed by separate initiators: one room for each software.
//!
//! Every sequence runs undisturbed, and once more for each thing that befalls initiators in a data
//! centre, which then happens between every two of its steps (see [`stage`]). The answers and the unit
//! attentions must be the same in all of them.

#[path = "../support/mod.rs"]
mod support;

mod stage;

mod fence_scsi;
mod linux;
mod lvm;
mod multipath;
mod returns;
mod sanlock;
mod veritas;
mod vmware;
mod windows;
