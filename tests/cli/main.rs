//! The binary as its users meet it: a module per command.

mod diff;
mod gc;
mod init;
mod language;
mod list;
mod params;
mod report;
mod schema;
mod status;
mod support;
mod synthetic;
mod validate;
mod verify;
