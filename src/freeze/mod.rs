//! Freezing: from rules over names to a table of who trains at which learning rate, and the proof that the frozen stayed frozen.
//!
//! The room never loads a weight file and never trains.
