//! Tests across the room: the tables of the standard row by row, and random sequences against a
//! naive oracle.

mod matrix;
mod oracle;
mod random;
mod records;
mod registering;
mod rows;
mod wire;
mod world;
