//! The numeric code paths of weights. A change that moves a result raises the version.

use crate::code_path::code_paths;

code_paths! {
    INITIALIZE = "initialize", 1;
    WIDEN = "widen", 1;
    SAVE = "save", 1;
}
