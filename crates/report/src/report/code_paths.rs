//! The code paths of tables and pictures. A change that moves a byte raises the version.

use crate::code_path::code_paths;

code_paths! {
    PICTURES = "pictures", 1;
    /// Those of evaluations that compare embeddings.
    RECOGNITION_PICTURES = "recognition_pictures", 1;
    /// Names in CSV files that a spreadsheet would run, written as text.
    TEXT_CELLS = "text_cells", 1;
}
