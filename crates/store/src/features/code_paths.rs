//! The numeric code path of features. A change that alters results needs a higher version.

use crate::code_path::code_paths;

code_paths! {
    /// Rounding to the stored type.
    FEATURES = "features", 1;
}
