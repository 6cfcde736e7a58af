//! Hostile input, a module per kind of file: no panic, and memory and time within bounds. `tests/fuzz/run` runs it for long.

mod images;
mod inputs;
mod language;
mod support;
mod weights;

#[global_allocator]
static ALLOCATOR: support::Counting = support::Counting;
