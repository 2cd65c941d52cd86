//! Commands as procedures, one room for each family.

mod atomic;
mod copy;

mod erase;
mod space;
mod token;

mod transfer;
mod verify;
