//! Object detection: boxes and classes of the objects in an image, trained with the loss of YOLO11's head and measured as
//! COCO does.

mod comparison;
mod epochs;
mod errors;
mod examples;
mod found;
mod found_in_image;
mod losses;
mod merge;
mod pictures;
mod predictions;
mod report;
mod subsets;
mod targets;
mod task;
#[cfg(test)]
mod tests;
mod words;

pub use report::{METRICS, REPORTING};
pub use task::Detection;
