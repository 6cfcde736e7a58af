//! The optimizer: which parameters it moves, each with its own settings, and what it remembers of them.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};

use super::update::{Pace, Rule};
use crate::error::{Error, Result};
use crate::model::TensorId;
use crate::pipeline;

/// A parameter that trains.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    pub tensor: TensorId,
    /// The dotted name, under which its state goes into checkpoints.
    pub name: String,
    /// The learning rate that the schedule scales.
    pub lr: f64,
    pub weight_decay: f64,
    /// How many epochs are over when it joins.
    pub after_epochs: u32,
    /// Its own first steps, over which its learning rate rises linearly: (step + 1) / warmup_steps.
    pub warmup_steps: u64,
}

/// SGD or AdamW, as PyTorch's, over the parameters that train and no others.
pub struct Optimizer {
    rule: Rule,
    /// Those whose epoch has not come.
    waiting: Vec<Parameter>,
    slots: BTreeMap<TensorId, Slot>,
}

/// One parameter and its memory, which begins with its first gradient.
struct Slot {
    parameter: Parameter,
    steps: u64,
    shape: Vec<usize>,
    /// In the order of [`Rule::buffers`].
    buffers: Vec<Tensor>,
}

impl Optimizer {
    /// The learning rate and weight decay of `kind` itself are not looked at: `parameters` has them resolved.
    pub fn new(kind: &pipeline::Optimizer, parameters: impl IntoIterator<Item = Parameter>) -> Result<Self> {
        let rule = match kind {
            pipeline::Optimizer::Sgd(sgd) => Rule::Sgd { momentum: sgd.momentum, nesterov: sgd.nesterov },
            pipeline::Optimizer::Adamw(adamw) => Rule::AdamW { betas: adamw.betas, eps: adamw.eps },
        };
        let waiting = parameters.into_iter().collect();
        let mut optimizer = Self { rule, waiting, slots: BTreeMap::new() };
        optimizer.begin_epoch(0)?;
        Ok(optimizer)
    }

    /// Lets those join whose epoch it is, counted from 0. The others keep what is remembered of them.
    pub fn begin_epoch(&mut self, epoch: u32) -> Result<()> {
        let (joining, waiting): (Vec<Parameter>, Vec<Parameter>) =
            self.waiting.drain(..).partition(|parameter| parameter.after_epochs <= epoch);
        self.waiting = waiting;
        joining.into_iter().try_for_each(|parameter| self.join(parameter))
    }

    /// Whether some parameter has yet to make its first step.
    pub fn has_newcomers(&self) -> bool {
        self.slots.values().any(|slot| slot.steps == 0)
    }

    /// Adds a parameter: its state is fresh, and its steps count from its own first.
    fn join(&mut self, parameter: Parameter) -> Result<()> {
        let name = parameter.name.clone();
        let slot = Slot { parameter, steps: 0, shape: Vec::new(), buffers: Vec::new() };
        match self.slots.insert(slot.parameter.tensor, slot) {
            None => Ok(()),
            Some(_) => Err(Error::bug(format!("`{name}` is in the optimizer twice"))),
        }
    }

    /// One step: replaces each of `tensors` that has a gradient. One without a gradient stays, and its steps do not count.
    ///
    /// `lr_factor` is the schedule's. Tensors are replaced, not changed, so clones of them are snapshots.
    pub fn step(
        &mut self,
        tensors: &mut [Tensor],
        gradients: &[(TensorId, Option<Tensor>)],
        lr_factor: f64,
    ) -> Result<()> {
        for (id, gradient) in gradients {
            let Some(gradient) = gradient else { continue };
            let (Some(slot), Some(value)) = (self.slots.get_mut(id), tensors.get_mut(*id)) else {
                return Err(Error::bug(format!("tensor {id} has a gradient but does not train")));
            };
            *value = slot
                .update(&self.rule, value, gradient, lr_factor)
                .map_err(|error| error.within(format_args!("parameter `{}`", slot.parameter.name)))?;
        }
        Ok(())
    }

    /// All that the optimizer remembers, as tensors named `PARAMETER.step`, `PARAMETER.exp_avg` and so on.
    pub fn state(&self) -> Result<Vec<(String, Tensor)>> {
        let mut state = Vec::new();
        for slot in self.slots.values().filter(|slot| slot.steps > 0) {
            let name = &slot.parameter.name;
            state.push((format!("{name}.step"), Tensor::new(slot.steps as i64, &Device::Cpu)?));
            for (field, buffer) in self.rule.buffers().iter().zip(&slot.buffers) {
                // They change in place, so what is handed out must be a copy.
                state.push((format!("{name}.{field}"), buffer.to_device(&Device::Cpu)?.copy()?));
            }
        }
        Ok(state)
    }

    /// Takes up where [`Self::state`] was taken: parameters not in it start afresh, names not in the optimizer are an
    /// error, as is an incomplete state.
    pub fn restore(&mut self, state: &[(String, Tensor)]) -> Result<()> {
        let mut state: BTreeMap<&str, &Tensor> =
            state.iter().map(|(name, tensor)| (name.as_str(), tensor)).collect();
        for slot in self.slots.values_mut() {
            let name = &slot.parameter.name;
            (slot.steps, slot.buffers) = (0, Vec::new());
            let Some(steps) = state.remove(format!("{name}.step").as_str()) else { continue };
            slot.steps = u64::try_from(steps.to_scalar::<i64>()?)
                .map_err(|_| Error::failed(format!("the optimizer state of `{name}` has a negative step")))?;
            for field in self.rule.buffers() {
                let buffer = state
                    .remove(format!("{name}.{field}").as_str())
                    .ok_or_else(|| Error::failed(format!("the optimizer state has no `{name}.{field}`")))?;
                slot.shape = buffer.dims().to_vec();
                slot.buffers.push(buffer.copy()?);
            }
        }
        match state.keys().next() {
            None => Ok(()),
            Some(name) => {
                Err(Error::failed(format!("the optimizer has no parameter for the state `{name}`")))
            }
        }
    }
}

impl Slot {
    fn update(&mut self, rule: &Rule, value: &Tensor, gradient: &Tensor, lr_factor: f64) -> Result<Tensor> {
        if self.steps == 0 {
            self.shape = value.dims().to_vec();
            self.buffers = rule.buffers().iter().map(|_| Ok(value.zeros_like()?)).collect::<Result<_>>()?;
        }
        if !self.buffers.is_empty() && self.shape != value.dims() {
            let (state, value) = (&self.shape, value.dims());
            return Err(Error::failed(format!(
                "the optimizer state has shape {state:?}, the parameter {value:?}"
            )));
        }
        for buffer in &mut self.buffers {
            // A restored one comes from the CPU.
            if !buffer.device().same_device(value.device()) {
                *buffer = buffer.to_device(value.device())?;
            }
        }
        let Parameter { lr, weight_decay, warmup_steps, .. } = self.parameter;
        let warmup =
            if self.steps < warmup_steps { (self.steps + 1) as f64 / warmup_steps as f64 } else { 1.0 };
        let pace = Pace { step: self.steps + 1, lr: lr * lr_factor * warmup, weight_decay };
        let changed = rule.update(value, gradient, &self.buffers, pace)?;
        self.steps += 1;
        Ok(changed)
    }
}

#[cfg(test)]
mod tests {
    use candle_core::DType;

    use super::*;
    use crate::ops::testing::{Fixture, assert_same_on_any_threads, normal, numbers};
    use crate::pipeline::{AdamW, Sgd};

    fn sgd(momentum: f64, nesterov: bool) -> pipeline::Optimizer {
        pipeline::Optimizer::Sgd(Sgd { lr: 0.1, momentum, nesterov, weight_decay: 0.0, no_decay: Vec::new() })
    }

    fn adamw() -> pipeline::Optimizer {
        let (betas, eps) = ([0.8, 0.99], 1e-6);
        pipeline::Optimizer::Adamw(AdamW { lr: 0.1, betas, eps, weight_decay: 0.0, no_decay: Vec::new() })
    }

    /// Tensors 1 and 2 of three.
    fn parameters() -> [Parameter; 2] {
        [
            Parameter { tensor: 1, name: "a".to_owned(), lr: 0.1, weight_decay: 0.05, ..AT_ONCE },
            Parameter { tensor: 2, name: "b".to_owned(), lr: 0.02, weight_decay: 0.0, ..AT_ONCE },
        ]
    }

    const AT_ONCE: Parameter = Parameter {
        tensor: 0,
        name: String::new(),
        lr: 0.0,
        weight_decay: 0.0,
        after_epochs: 0,
        warmup_steps: 0,
    };

    struct Trajectory {
        fixture: Fixture,
        dtype: DType,
        tensors: Vec<Tensor>,
    }

    impl Trajectory {
        fn start(dtype: DType) -> Self {
            let fixture = Fixture::open("optimizer");
            let tensors = ["a", "a", "b"].map(|name| fixture.input(name, dtype)).to_vec();
            Self { fixture, dtype, tensors }
        }

        fn run(&mut self, optimizer: &mut Optimizer, steps: std::ops::Range<usize>) {
            let factors = numbers(&self.fixture.get("factors"));
            for step in steps {
                let gradient = |name| self.fixture.input(name, self.dtype).get(step).unwrap();
                let gradients = [(1, Some(gradient("a_grads"))), (2, Some(gradient("b_grads")))];
                optimizer.step(&mut self.tensors, &gradients, factors[step]).unwrap();
            }
        }
    }

    #[test]
    fn twenty_steps_end_where_pytorch_ends() {
        let kinds = [
            ("sgd", sgd(0.0, false)),
            ("momentum", sgd(0.9, false)),
            ("nesterov", sgd(0.9, true)),
            ("adamw", adamw()),
        ];
        for (name, kind) in kinds {
            for dtype in [DType::F32, DType::F64] {
                let mut trajectory = Trajectory::start(dtype);
                let untouched = numbers(&trajectory.tensors[0]);
                trajectory.run(&mut Optimizer::new(&kind, parameters()).unwrap(), 0..20);
                trajectory.fixture.assert(&format!("{name}.a"), &trajectory.tensors[1]);
                trajectory.fixture.assert(&format!("{name}.b"), &trajectory.tensors[2]);
                assert_eq!(numbers(&trajectory.tensors[0]), untouched);
            }
        }
    }

    #[test]
    fn a_restored_optimizer_goes_on_to_the_same_bits() {
        for kind in [sgd(0.0, false), sgd(0.9, true), adamw()] {
            let mut whole = Trajectory::start(DType::F32);
            let mut optimizer = Optimizer::new(&kind, parameters()).unwrap();
            whole.run(&mut optimizer, 0..7);
            let (saved, snapshot) = (optimizer.state().unwrap(), whole.tensors.clone());
            whole.run(&mut optimizer, 7..20);

            let mut resumed = Trajectory { tensors: snapshot, ..Trajectory::start(DType::F32) };
            let mut optimizer = Optimizer::new(&kind, parameters()).unwrap();
            optimizer.restore(&saved).unwrap();
            resumed.run(&mut optimizer, 7..20);
            for (resumed, whole) in resumed.tensors.iter().zip(&whole.tensors) {
                assert_eq!(numbers(resumed), numbers(whole));
            }
        }
    }

    #[test]
    fn state_that_does_not_fit_is_refused_by_name() {
        let mut trajectory = Trajectory::start(DType::F32);
        let mut optimizer = Optimizer::new(&adamw(), parameters()).unwrap();
        trajectory.run(&mut optimizer, 0..1);
        let state = optimizer.state().unwrap();
        let names: Vec<&str> = state.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["a.step", "a.exp_avg", "a.exp_avg_sq", "b.step", "b.exp_avg", "b.exp_avg_sq"]);

        let refusal = |parameters: &[Parameter], state: &[(String, Tensor)]| {
            let mut optimizer = Optimizer::new(&adamw(), parameters.to_vec()).unwrap();
            optimizer.restore(state).unwrap_err().message
        };
        assert!(refusal(&parameters(), &state[..2]).contains("`a.exp_avg_sq`"));
        assert!(refusal(&parameters()[..1], &state).contains("`b.exp_avg`"));

        trajectory.tensors[2] = trajectory.tensors[2].t().unwrap().contiguous().unwrap();
        let gradients = [(2, Some(trajectory.tensors[2].clone()))];
        let error = optimizer.step(&mut trajectory.tensors, &gradients, 1.0).unwrap_err().message;
        assert!(error.contains("parameter `b`: the optimizer state has shape [2, 3]"), "{error}");
    }

    /// Bias correction counts a late parameter's own steps: its first is of size lr, as any first step of Adam is, or of
    /// the part of it that its own warmup allows.
    #[test]
    fn a_parameter_may_join_late_and_one_without_gradient_stays() {
        let [first, late] = parameters();
        let late = Parameter { lr: 0.1, after_epochs: 2, warmup_steps: 2, ..late };
        let one = Tensor::new(&[1f64], &Device::Cpu).unwrap();
        let mut tensors = vec![one.clone(); 3];
        let mut optimizer = Optimizer::new(&adamw(), [first.clone(), late]).unwrap();
        assert!(optimizer.has_newcomers());
        for epoch in 0..2 {
            optimizer.begin_epoch(epoch).unwrap();
            optimizer.step(&mut tensors, &[(1, Some(one.clone())), (2, None)], 1.0).unwrap();
            assert!(!optimizer.has_newcomers());
        }
        assert_eq!(numbers(&tensors[2]), [1.0]);
        assert!(
            optimizer.step(&mut tensors, &[(2, Some(one.clone()))], 1.0).is_err(),
            "it does not train yet"
        );
        optimizer.begin_epoch(2).unwrap();
        assert!(optimizer.has_newcomers());
        for expected in [0.95, 0.85, 0.75] {
            optimizer.step(&mut tensors, &[(2, Some(one.clone()))], 1.0).unwrap();
            assert!((numbers(&tensors[2])[0] - expected).abs() < 1e-6, "{}", tensors[2]);
        }
        assert!(optimizer.join(first).is_err(), "none joins twice");
    }

    #[test]
    fn threads_do_not_matter_and_clones_are_snapshots() {
        let value = normal("value", &[50_000]).to_dtype(DType::F32).unwrap();
        let before = numbers(&value);
        for kind in [sgd(0.0, false), sgd(0.9, true), adamw()] {
            assert_same_on_any_threads(|| {
                let mut tensors = vec![value.clone(), value.clone()];
                let mut optimizer = Optimizer::new(&kind, parameters()).unwrap();
                for _ in 0..3 {
                    let gradient = tensors[1].clone();
                    optimizer.step(&mut tensors, &[(1, Some(gradient))], 1.0).unwrap();
                }
                tensors.extend(optimizer.state().unwrap().into_iter().map(|(_, tensor)| tensor));
                tensors
            });
        }
        assert_eq!(numbers(&value), before);
    }
}
