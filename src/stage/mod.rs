//! One file per stage kind: what its recipe is made of, and how it is executed.
