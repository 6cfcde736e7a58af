//! The numeric code path of features. A change that moves a result raises the version.

use crate::code_path::code_paths;

code_paths! {
    /// The rounding to the numbers in which features are kept.
    FEATURES = "features", 1;
}
