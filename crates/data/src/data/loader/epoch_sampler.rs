//! The training samples of an epoch in their order: each once, or as a sampler chooses them.
//!
//! The order is a function of the seed, the epoch, and the samples of each class. No state passes from one epoch to the
//! next, so a resumed epoch has the order of an uninterrupted one.

use std::collections::{BTreeMap, VecDeque};

use crate::data::{Dataset, Split};
use crate::pipeline::{PkSampler, Sampler};
use crate::random::{Purpose, Stream, name_hash};

/// Chooses and orders the training samples of each epoch.
#[derive(Clone, Debug)]
pub struct EpochSampler {
    sampler: Sampler,
    seed: u64,
    /// All training samples.
    samples: Vec<usize>,
    /// The classes that have training samples.
    classes: Vec<ClassSamples>,
}

/// The training samples of a class.
#[derive(Clone, Debug)]
struct ClassSamples {
    /// The address of its random streams: from its name, so that no other class changes them.
    address: u64,
    samples: Vec<usize>,
}

impl EpochSampler {
    /// Samplers other than the random one need samples with one class each.
    pub fn new(dataset: &Dataset, sampler: &Sampler, seed: u64) -> Self {
        let samples = dataset.split(Split::Train);
        let mut of_classes: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        if !sampler.is_default() {
            for &sample in &samples {
                for &class in dataset.samples[sample].label.classes().iter() {
                    of_classes.entry(class).or_default().push(sample);
                }
            }
        }
        let class = |(class, samples): (u32, Vec<usize>)| {
            let name = dataset.classes.get(class as usize).map_or("", String::as_str);
            ClassSamples { address: name_hash(name), samples }
        };
        let classes = of_classes.into_iter().map(class).collect();
        Self { sampler: sampler.clone(), seed, samples, classes }
    }

    /// The number of samples in the order of an epoch.
    pub fn len(&self) -> usize {
        self.sampler.epoch_images(self.samples.len())
    }

    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The number of training images of each class that has any.
    pub fn class_sizes(&self) -> impl Iterator<Item = usize> + '_ {
        self.classes.iter().map(|class| class.samples.len())
    }

    /// The samples of an epoch, counted from 0, in their order. A sample may be in it several times.
    pub fn order(&self, epoch: u32) -> Vec<usize> {
        match &self.sampler {
            _ if self.samples.is_empty() => Vec::new(),
            Sampler::Random(_) => shuffled(&self.samples, self.seed, epoch),
            Sampler::Balanced(_) => shuffled(&self.balanced(epoch), self.seed, epoch),
            Sampler::PK(sampler) => self.class_batches(sampler, epoch),
        }
    }

    /// The draws of a stage are counted over all its epochs, and are of each class in turn. The draws of a class go through
    /// its samples in a random order, and then again in another one. So numbers of draws differ by at most one between
    /// classes, and between the samples of a class, after any number of epochs.
    fn balanced(&self, epoch: u32) -> Vec<usize> {
        let (count, classes) = (self.samples.len() as u64, self.classes.len() as u64);
        let (first, end) = (u64::from(epoch) * count, (u64::from(epoch) + 1) * count);
        let mut chosen = Vec::with_capacity(self.samples.len());
        for (place, class) in self.classes.iter().enumerate() {
            // The number of this class's draws before that of the stage.
            let draws_before = |draw: u64| (draw + classes - 1 - place as u64) / classes;
            chosen.extend(class.draws(draws_before(first)..draws_before(end), self.seed));
        }
        chosen
    }

    /// Batches in which each of some classes has the same number of images. Classes take turns over the batches of the
    /// epoch, and samples over the batches of their class. Neighbours in a batch are of different classes.
    fn class_batches(&self, sampler: &PkSampler, epoch: u32) -> Vec<usize> {
        let stream = |address| Stream::new(self.seed, Purpose::Sample, epoch, address);
        let mut classes = Turns::new((0..self.classes.len()).collect(), stream(0));
        let turns = |class: &ClassSamples| Turns::new(class.samples.clone(), stream(class.address));
        let mut samples: Vec<Turns> = self.classes.iter().map(turns).collect();
        let mut order = Vec::with_capacity(self.len());
        for _ in 0..self.samples.len().div_ceil(sampler.batch_size()) {
            let of_batch: Vec<Vec<usize>> = classes
                .take(sampler.classes)
                .into_iter()
                .map(|class| samples[class].take(sampler.images))
                .collect();
            for place in 0..sampler.images {
                order.extend(of_batch.iter().map(|samples| samples[place]));
            }
        }
        order
    }
}

impl ClassSamples {
    /// Some draws of the class, which are counted from the start of the stage.
    fn draws(&self, draws: std::ops::Range<u64>, seed: u64) -> Vec<usize> {
        let length = self.samples.len() as u64;
        let (mut round, mut order) = (None, Vec::new());
        let draw = |draw: u64| {
            let at = draw / length;
            if round != Some(at) {
                order =
                    Stream::new(seed, Purpose::Sample, at as u32, self.address).permutation(length as usize);
                round = Some(at);
            }
            self.samples[order[(draw % length) as usize]]
        };
        draws.map(draw).collect()
    }
}

/// Takes items in random order, all of them before one comes again.
struct Turns {
    items: Vec<usize>,
    waiting: VecDeque<usize>,
    stream: Stream,
}

impl Turns {
    /// `items` has at least one.
    fn new(items: Vec<usize>, stream: Stream) -> Self {
        Self { items, waiting: VecDeque::new(), stream }
    }

    /// The next `count` items. They are different if there are that many; otherwise each is repeated about as often.
    fn take(&mut self, count: usize) -> Vec<usize> {
        let mut taken = Vec::with_capacity(count);
        while taken.len() < count {
            let part = (count - taken.len()).min(self.items.len());
            if self.waiting.len() < part {
                self.shuffle();
            }
            taken.extend(self.waiting.drain(..part));
        }
        taken
    }

    /// Adds all items in a new order. Those that are still waiting come last in it: they are taken with the first ones.
    fn shuffle(&mut self) {
        let order = self.stream.permutation(self.items.len());
        let order = order.into_iter().map(|place| self.items[place]);
        let (again, new): (Vec<usize>, Vec<usize>) = order.partition(|item| self.waiting.contains(item));
        self.waiting.extend(new.into_iter().chain(again));
    }
}

/// The samples in the random order of an epoch.
pub fn shuffled(samples: &[usize], seed: u64, epoch: u32) -> Vec<usize> {
    let order = Stream::new(seed, Purpose::Shuffle, epoch, 0).permutation(samples.len());
    order.into_iter().map(|position| samples[position]).collect()
}

/// For each entry of an order, how often its sample was in the order before.
pub fn occurrences(order: &[usize]) -> Vec<u32> {
    let mut seen: BTreeMap<usize, u32> = BTreeMap::new();
    let occurrence = |sample: &usize| {
        let count = seen.entry(*sample).or_default();
        *count += 1;
        *count - 1
    };
    order.iter().map(occurrence).collect()
}

/// The address of the random draws of a sample in an epoch: its path, which identifies an image in a recipe, and if it was in
/// the epoch before, how often.
pub fn sample_address(path: &str, occurrence: u32) -> u64 {
    match occurrence {
        0 => name_hash(path),
        again => name_hash(&format!("{path}\0occurrence {again}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::{Label, LabelKind, Sample};

    /// Data sets with this number of training images per class; each class also has one validation image.
    fn dataset(sizes: &[usize]) -> Dataset {
        let mut samples = Vec::new();
        for (class, size) in sizes.iter().enumerate() {
            for image in 0..=*size {
                let split = if image == *size { Split::Validation } else { Split::Train };
                let label = Label::Class(class as u32);
                samples.push(Sample { path: format!("{class}/{image}.png"), label, split, digest: None });
            }
        }
        Dataset {
            root: "".into(),
            classes: (0..sizes.len()).map(|class| format!("class {class}")).collect(),
            label_kind: LabelKind::Class,
            samples,
            ..Dataset::default()
        }
    }

    fn sampler(text: &str) -> Sampler {
        toml::from_str(text).unwrap()
    }

    fn class_of(dataset: &Dataset, sample: usize) -> u32 {
        dataset.samples[sample].label.classes()[0]
    }

    fn counts<T: Ord>(items: impl Iterator<Item = T>) -> BTreeMap<T, usize> {
        let mut counts = BTreeMap::new();
        items.for_each(|item| *counts.entry(item).or_default() += 1);
        counts
    }

    fn spread<T: Ord>(counts: &BTreeMap<T, usize>) -> usize {
        counts.values().max().unwrap() - counts.values().min().unwrap()
    }

    #[test]
    fn without_a_sampler_the_order_is_the_shuffled_one() {
        let dataset = dataset(&[3, 8]);
        let random = EpochSampler::new(&dataset, &Sampler::default(), 5);
        assert_eq!(random.order(2), shuffled(&dataset.split(Split::Train), 5, 2));
        assert_eq!(random.len(), 11);
        assert!(occurrences(&random.order(2)).iter().all(|occurrence| *occurrence == 0));
    }

    #[test]
    fn balanced_classes_and_their_images_are_drawn_equally_often_after_every_epoch() {
        let sizes = [2, 17, 40, 1];
        let dataset = dataset(&sizes);
        let balanced = EpochSampler::new(&dataset, &sampler("kind = \"balanced\""), 5);
        let mut drawn = Vec::new();
        for epoch in 0..9 {
            let order = balanced.order(epoch);
            assert_eq!((order.len(), balanced.len()), (60, 60));
            let classes = counts(order.iter().map(|sample| class_of(&dataset, *sample)));
            assert_eq!((classes.len(), spread(&classes)), (4, 0));
            drawn.extend(order);
            for class in 0..sizes.len() as u32 {
                let own = drawn.iter().filter(|sample| class_of(&dataset, **sample) == class);
                let own = counts(own.copied());
                let unseen = own.len() < sizes[class as usize];
                assert!(if unseen { own.values().all(|count| *count == 1) } else { spread(&own) <= 1 });
            }
        }
        assert_eq!(counts(drawn.iter()).len(), 60, "every image was drawn");
        assert_ne!(balanced.order(0), balanced.order(1));
        assert_ne!(
            balanced.order(0),
            EpochSampler::new(&dataset, &sampler("kind = \"balanced\""), 6).order(0)
        );
    }

    #[test]
    fn classes_share_what_is_left_over_in_turn() {
        let dataset = dataset(&[5, 5, 4]);
        let balanced = EpochSampler::new(&dataset, &sampler("kind = \"balanced\""), 1);
        let mut all = Vec::new();
        for epoch in 0..6 {
            all.extend(balanced.order(epoch).iter().map(|sample| class_of(&dataset, *sample)));
            assert!(spread(&counts(all.iter())) <= 1);
        }
    }

    #[test]
    fn each_batch_has_k_images_of_p_classes() {
        for (sizes, classes, images) in
            [(vec![9, 4, 30, 7, 5], 3, 4), (vec![6, 6], 2, 6), (vec![12, 2, 1, 3], 2, 5)]
        {
            let dataset = dataset(&sizes);
            let settings = sampler(&format!("kind = \"p_k\"\nclasses = {classes}\nimages = {images}"));
            let batches = EpochSampler::new(&dataset, &settings, 3);
            for epoch in 0..4 {
                let order = batches.order(epoch);
                let total: usize = sizes.iter().sum();
                assert_eq!(order.len(), total.div_ceil(classes * images) * classes * images);
                assert_eq!(order.len(), batches.len());
                for batch in order.chunks(classes * images) {
                    let of_classes = counts(batch.iter().map(|sample| class_of(&dataset, *sample)));
                    assert_eq!(of_classes.len(), classes);
                    assert!(of_classes.values().all(|count| *count == images));
                    for (sample, count) in counts(batch.iter().copied()) {
                        let size = sizes[class_of(&dataset, sample) as usize];
                        let most = images.div_ceil(size);
                        assert!(count <= most, "{count} of an image of a class of {size}");
                    }
                    assert_ne!(class_of(&dataset, batch[0]), class_of(&dataset, batch[1]));
                }
                let of_classes = counts(order.iter().map(|sample| class_of(&dataset, *sample)));
                assert!(of_classes.len() < sizes.len() || spread(&of_classes) <= images);
            }
            assert_ne!(batches.order(0), batches.order(1));
        }
    }

    #[test]
    fn an_image_that_comes_again_has_draws_of_its_own() {
        assert_eq!(occurrences(&[4, 7, 4, 4, 7]), [0, 0, 1, 2, 1]);
        assert_eq!(sample_address("a.png", 0), name_hash("a.png"));
        let addresses = [0, 1, 2].map(|occurrence| sample_address("a.png", occurrence));
        assert!(addresses[0] != addresses[1] && addresses[1] != addresses[2]);
    }
}
