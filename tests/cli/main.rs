//! The binary as its users meet it: a module per command.

mod diff;
mod gc;
mod list;
mod params;
mod status;
mod support;
mod synthetic;
mod verify;
