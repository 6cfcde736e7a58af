//! Tasks through the real loop, and what each says of its targets and scores.

mod joined;
mod scores;
mod support;
mod targets;
