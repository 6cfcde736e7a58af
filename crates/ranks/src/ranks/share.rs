//! Which batches a rank computes.

/// The batches of an epoch that one of several ranks computes.
///
/// From the first batch on, and again from the first batch of each optimizer step, ranks take batches in turn: rank 0
/// the first, rank 1 the second. So the batches of a round belong to one step, and their order is that of the ranks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchShare {
    rank: usize,
    ranks: usize,
    /// The first batch; earlier ones are not computed.
    start: usize,
    /// The batches of an optimizer step.
    step: usize,
}

impl BatchShare {
    /// All batches from `start` on.
    pub fn all(start: usize) -> Self {
        Self { rank: 0, ranks: 1, start, step: usize::MAX }
    }

    /// The share of a rank in training, from batch `start` on, with `step` batches in an optimizer step.
    pub fn of_training(rank: usize, ranks: usize, start: usize, step: usize) -> Self {
        Self { rank, ranks, start, step: step.max(1) }
    }

    /// The share of a rank where no step joins batches: every `ranks`-th batch.
    pub fn in_turn(rank: usize, ranks: usize) -> Self {
        Self { rank, ranks, start: 0, step: usize::MAX }
    }

    /// The first batch, of whichever rank.
    pub fn start(&self) -> usize {
        self.start
    }

    pub fn contains(&self, batch: usize) -> bool {
        batch >= self.start && (batch - self.step_start(batch)) % self.ranks == self.rank
    }

    /// The batches from `next` on that the ranks compute at the same time: at most one each, all of one step.
    pub fn round(&self, next: usize, batches: usize) -> std::ops::Range<usize> {
        let step_end = (next - next % self.step).saturating_add(self.step);
        next..batches.min(step_end).min(next + self.ranks)
    }

    fn step_start(&self, batch: usize) -> usize {
        self.start.max(batch - batch % self.step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_batch_belongs_to_one_rank_and_rounds_stay_within_a_step() {
        for ranks in 1..6 {
            for step in 1..8 {
                for start in 0..9 {
                    let share = |rank| BatchShare::of_training(rank, ranks, start, step);
                    let mut next = start;
                    while next < 23 {
                        let round = share(0).round(next, 23);
                        assert!(!round.is_empty() && round.len() <= ranks);
                        assert_eq!(round.start / step, (round.end - 1) / step, "a round of two steps");
                        for (place, batch) in round.clone().enumerate() {
                            let owners: Vec<usize> =
                                (0..ranks).filter(|rank| share(*rank).contains(batch)).collect();
                            assert_eq!(
                                owners,
                                [place],
                                "{ranks} ranks, {step} a step, from {start}: {batch}"
                            );
                        }
                        next = round.end;
                    }
                    assert!((0..ranks).all(|rank| (0..start).all(|batch| !share(rank).contains(batch))));
                }
            }
        }
    }

    #[test]
    fn without_steps_ranks_take_turns() {
        let own =
            |rank| (0..7).filter(|batch| BatchShare::in_turn(rank, 3).contains(*batch)).collect::<Vec<_>>();
        assert_eq!([own(0), own(1), own(2)], [vec![0, 3, 6], vec![1, 4], vec![2, 5]]);
        assert!((0..9).all(|batch| BatchShare::all(4).contains(batch) == (batch >= 4)));
    }
}
