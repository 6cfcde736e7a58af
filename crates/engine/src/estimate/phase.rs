//! A stage's work as phases: so many batches of the same pieces. Plain numbers, to be counted and priced.

/// What the estimate of a stage is made of.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Workload {
    pub phases: Vec<Phase>,
    /// Of the weights in memory, all copies together.
    pub weight_bytes: u64,
    /// Files read and written, proven and digested.
    pub file_bytes: u64,
    /// Rows of features that the stage reads, of a piece's outputs; they lie mapped in memory.
    pub mapped: Vec<Mapped>,
    /// Decoded images that are kept in memory.
    pub cache_bytes: u64,
    /// Of what is learnt of the time beside the phases.
    pub beside: String,
}

impl Workload {
    /// Under which the memory of the process is learnt, but for what grows with the number of images.
    pub fn memory_key(&self) -> String {
        let phases: Vec<&str> = self.phases.iter().map(|phase| phase.key.as_str()).collect();
        format!("memory {}: {}", self.beside, phases.join("; "))
    }
}

/// Rows of features in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapped {
    /// The piece whose outputs a row holds.
    pub piece: String,
    pub rows: usize,
    pub bytes_per_number: usize,
}

/// Batches that are all alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Phase {
    pub name: &'static str,
    /// How many times it comes.
    pub epochs: usize,
    /// In all epochs together.
    pub batches: usize,
    /// In all batches together, and in the largest one.
    pub images: usize,
    pub batch: usize,
    /// Keys of what is done with each batch, one after the other.
    pub pieces: Vec<String>,
    /// Images that are read on the way.
    pub reading: Option<Reading>,
    /// Under which the seconds of an image are learnt.
    pub key: String,
}

/// Images read while the batches before them are computed.
#[derive(Clone, Debug, PartialEq)]
pub struct Reading {
    /// What is measured of it.
    pub piece: String,
    /// Images that are decoded, and those that were kept.
    pub fresh: usize,
    pub again: usize,
    /// A batch of them as numbers.
    pub batch_bytes: u64,
}

/// The threads that share the processors.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Machine {
    pub processors: usize,
    /// That compute; none where a GPU does.
    pub threads: usize,
    pub workers: usize,
}

impl Machine {
    /// How long it takes to compute and to read at once, which take so long alone: the slower of the two, or more
    /// where processors are fewer than threads.
    pub fn together(&self, compute: f64, reading: f64) -> f64 {
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
        let machine = |processors| Machine { processors, threads: 2, workers: 2 };
        assert_eq!(machine(4).together(3.0, 1.0), 3.0);
        assert_eq!(machine(4).together(3.0, 5.0), 5.0);
        assert_eq!(machine(2).together(3.0, 1.0), 4.0);
        assert_eq!(machine(1).together(3.0, 1.0), 4.0);
    }
}
