//! The binary as its users meet it: a module per command.

mod init;
mod language;
mod schema;
mod support;
mod validate;
