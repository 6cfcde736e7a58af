//! Hostile input, one module per file kind: no panic, and bounded memory and time. `tests/fuzz/run` runs it for
//! long.

mod images;
mod inputs;
mod language;
mod support;
mod weights;

#[global_allocator]
static ALLOCATOR: support::Counting = support::Counting;
