//! A stage's work as phases, each with batches of the same probes, in plain numbers.

/// The basis of a stage's estimate.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    pub phases: Vec<WorkloadPhase>,
    /// The bytes of the weights in memory, all copies together.
    pub weight_bytes: u64,
    /// The bytes of files read, written, verified and hashed.
    pub file_bytes: u64,
    /// The feature rows that the stage reads, mapped in memory.
    pub mapped: Vec<MappedFeatures>,
    /// The bytes of decoded images in memory.
    pub cache_bytes: u64,
    /// The key of the learned time outside the phases.
    pub overhead: String,
}

impl Workload {
    /// The key of the learned process memory, without parts that grow with the number of images.
    pub fn memory_key(&self) -> String {
        let phases: Vec<&str> = self.phases.iter().map(|phase| phase.key.as_str()).collect();
        format!("memory {}: {}", self.overhead, phases.join("; "))
    }
}

/// Mapped feature rows.
#[derive(Clone, Debug, PartialEq)]
pub struct MappedFeatures {
    /// The probe whose outputs a row holds.
    pub piece: String,
    pub rows: usize,
    pub bytes_per_number: usize,
}

/// Equal batches.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkloadPhase {
    pub name: &'static str,
    /// The number of epochs, or of runs of the phase.
    pub epochs: usize,
    /// The number of batches in all epochs.
    pub batches: usize,
    /// The number of images in all batches, and in the largest one.
    pub images: usize,
    pub batch: usize,
    /// The keys of the probes that each batch runs, in order.
    pub pieces: Vec<String>,
    /// Images read concurrently; in some epochs they may be composed of several.
    pub reading: Vec<ImageReads>,
    /// The pixels of a batch relative to those that the probes were measured with: the mean, and the most.
    pub area: [f64; 2],
    /// The key of the learned seconds per image.
    pub key: String,
}

/// Images read while the batches before are computed.
#[derive(Clone, Debug, PartialEq)]
pub struct ImageReads {
    /// The key of the measurement.
    pub piece: String,
    /// The number of images.
    pub images: usize,
    /// How often an image is decoded for them; otherwise it is cached. A composed image is made of several.
    pub decodes: usize,
    /// The bytes of a batch of them as floats.
    pub batch_bytes: u64,
}

/// The threads that share the processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ThreadCounts {
    pub processors: usize,
    /// The number of computing threads; none if a GPU computes.
    pub threads: usize,
    pub workers: usize,
}

impl ThreadCounts {
    /// The duration of computing and reading concurrently, from the durations of each alone: the longer of the
    /// two, or more if there are fewer processors than threads.
    pub fn overlapped(&self, compute: f64, reading: f64) -> f64 {
        let busy = |seconds: f64, threads: usize| seconds * threads.min(self.processors) as f64;
        let shared =
            (busy(compute, self.threads) + busy(reading, self.workers)) / self.processors.max(1) as f64;
        compute.max(reading).max(shared)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_hides_behind_computing_only_where_there_are_processors_for_both() {
        let machine = |processors| ThreadCounts { processors, threads: 2, workers: 2 };
        assert_eq!(machine(4).overlapped(3.0, 1.0), 3.0);
        assert_eq!(machine(4).overlapped(3.0, 5.0), 5.0);
        assert_eq!(machine(2).overlapped(3.0, 1.0), 4.0);
        assert_eq!(machine(1).overlapped(3.0, 1.0), 4.0);
    }
}
