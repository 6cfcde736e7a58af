//! The numeric code paths of this module. A change that alters results needs a higher version.

use crate::code_path::{CodePath, code_paths};

code_paths! {
    INITIALIZE = "initialize", 1;
    WIDEN = "widen", 1;
    SAVE = "save", 1;
    /// Rows of other classes, by name.
    CLASS_ROWS = "class_rows", 1;
    /// The mean of several models.
    WEIGHT_AVERAGE = "weight_average", 1;
    /// The first convolution for another number of channels.
    FIRST_CONV = "first_conv", 1;
}

/// In the recipe of every stage that reads or writes weights; the others enter those of the stages that use them.
pub const COMMON: &[CodePath] = &[INITIALIZE, WIDEN, SAVE];
