//! The numeric code paths of this module. A change that alters results needs a higher version.

use crate::code_path::code_paths;

code_paths! {
    INITIALIZE = "initialize", 1;
    WIDEN = "widen", 1;
    SAVE = "save", 1;
}
