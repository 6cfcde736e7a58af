//! Images: found, parted into splits, decoded, resized, augmented, and handed over in batches.
//!
//! Order and content of batches never depend on the number of workers. The room knows no models.
