//! The binary as its users meet it: a module per command.

mod bench;
mod diff;
mod embed;
mod environment;
mod failure;
mod features;
mod gc;
mod heads;
mod init;
mod kill;
mod language;
mod list;
mod matrix;
mod params;
mod plan;
mod predict;
mod project;
mod recognition;
mod report;
mod run;
mod schema;
mod status;
mod support;
mod synthetic;
mod validate;
mod verify;
