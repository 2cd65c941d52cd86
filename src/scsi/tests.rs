//! Tests over the whole room.

mod arbitrary;
mod commands;
mod rows;
