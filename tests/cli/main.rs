//! The binary as its users meet it: a module per command.

mod bench;
mod diff;
mod environment;
mod failure;
mod features;
mod gc;
mod init;
mod kill;
mod language;
mod list;
mod matrix;
mod params;
mod plan;
mod predict;
mod project;
mod report;
mod run;
mod schema;
mod status;
mod support;
mod synthetic;
mod transfer;
mod validate;
mod verify;
