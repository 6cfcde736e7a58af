//! The binary as its users meet it: a module per command.

mod support;
