//! The code paths of tables and figures. A change that alters a byte needs a higher version.

use crate::code_path::code_paths;

code_paths! {
    PICTURES = "pictures", 1;
    /// For evaluations that compare embeddings.
    RECOGNITION_PICTURES = "recognition_pictures", 1;
    /// For evaluations that compare boxes: curves by class, matrices with a background, boxes on images.
    /// 2: sheets of evaluated images, and `results.csv`.
    BOX_PICTURES = "box_pictures", 2;
    /// For evaluations that compare boxes: the ground truth, tables and figure of the types of errors.
    ERROR_PICTURES = "error_pictures", 1;
    /// For evaluations of class probabilities: curves of each class, the reliability diagram, thresholds.
    PROBABILITY_PICTURES = "probability_pictures", 1;
    /// For evaluations of class probabilities: sheets of mistakes and of uncertain predictions, with Grad-CAM.
    MISTAKE_PICTURES = "mistake_pictures", 1;
    /// Names in CSV files that a spreadsheet would execute are written as text.
    TEXT_CELLS = "text_cells", 1;
}
