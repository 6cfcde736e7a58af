//! Tests tasks in the real train loop, and the targets and scores that each declares.

mod joined;
mod mistakes;
mod scores;
mod support;
mod targets;
