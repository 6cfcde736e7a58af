//! Steps compared with PyTorch's, state that is saved and restored, and parameters that join late.

use candle_core::{DType, Device, Tensor};

use super::*;
use crate::ops::testing::{Fixture, assert_same_on_any_threads, normal, numbers};
use crate::pipeline;
use crate::pipeline::{Adam, AdamW, Sgd};

fn sgd(momentum: f64, nesterov: bool) -> pipeline::Optimizer {
    pipeline::Optimizer::Sgd(Sgd { lr: 0.1, momentum, nesterov, weight_decay: 0.0, no_decay: Vec::new() })
}

fn adamw() -> pipeline::Optimizer {
    let (betas, eps) = ([0.8, 0.99], 1e-6);
    pipeline::Optimizer::Adamw(AdamW { lr: 0.1, betas, eps, weight_decay: 0.0, no_decay: Vec::new() })
}

fn adam() -> pipeline::Optimizer {
    let (betas, eps) = ([0.8, 0.99], 1e-6);
    pipeline::Optimizer::Adam(Adam { lr: 0.1, betas, eps, weight_decay: 0.0, no_decay: Vec::new() })
}

/// Tensors 1 and 2 of three.
fn parameters() -> [OptimizerParameter; 2] {
    [
        OptimizerParameter { tensor: 1, name: "a".to_owned(), lr: 0.1, weight_decay: 0.05, ..AT_ONCE },
        OptimizerParameter { tensor: 2, name: "b".to_owned(), lr: 0.02, weight_decay: 0.0, ..AT_ONCE },
    ]
}

const AT_ONCE: OptimizerParameter = OptimizerParameter {
    tensor: 0,
    name: String::new(),
    lr: 0.0,
    weight_decay: 0.0,
    after_epochs: 0,
    warmup_steps: 0,
    is_bias: false,
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
        ("adam", adam()),
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
    for kind in [sgd(0.0, false), sgd(0.9, true), adam(), adamw()] {
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

    let refusal = |parameters: &[OptimizerParameter], state: &[(String, Tensor)]| {
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
    let late = OptimizerParameter { lr: 0.1, after_epochs: 2, warmup_steps: 2, ..late };
    let one = Tensor::new(&[1f64], &Device::Cpu).unwrap();
    let mut tensors = vec![one.clone(); 3];
    let mut optimizer = Optimizer::new(&adamw(), [first.clone(), late]).unwrap();
    assert!(optimizer.has_unstarted_parameters());
    for epoch in 0..2 {
        optimizer.begin_epoch(epoch).unwrap();
        optimizer.step(&mut tensors, &[(1, Some(one.clone())), (2, None)], 1.0).unwrap();
        assert!(!optimizer.has_unstarted_parameters());
    }
    assert_eq!(numbers(&tensors[2]), [1.0]);
    assert!(optimizer.step(&mut tensors, &[(2, Some(one.clone()))], 1.0).is_err(), "it does not train yet");
    optimizer.begin_epoch(2).unwrap();
    assert!(optimizer.has_unstarted_parameters());
    for expected in [0.95, 0.85, 0.75] {
        optimizer.step(&mut tensors, &[(2, Some(one.clone()))], 1.0).unwrap();
        assert!((numbers(&tensors[2])[0] - expected).abs() < 1e-6, "{}", tensors[2]);
    }
    assert!(optimizer.add_parameter(first).is_err(), "none joins twice");
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

/// A bias starts at a learning rate of its own, and momentum at a smaller one; both reach theirs with the warmup.
#[test]
fn biases_and_momentum_start_elsewhere_in_a_warmup() {
    let one = Tensor::ones(1, DType::F64, &Device::Cpu).unwrap();
    let parameter = |tensor, is_bias| OptimizerParameter { tensor, lr: 0.1, is_bias, ..AT_ONCE };
    let kind = sgd(0.9, false);
    let mut optimizer = Optimizer::new(&kind, [parameter(0, false), parameter(1, true)]).unwrap();
    let mut tensors = [one.clone(), one.clone()];
    let (mut values, mut velocities) = ([1.0; 2], [0.0; 2]);
    for (progress, rates, momentum) in
        [(0.25, [0.025, 0.175], 0.3), (0.5, [0.05, 0.15], 0.5), (1.0, [0.1, 0.1], 0.9)]
    {
        let warmup = WarmupRates { progress, full: 1.0, bias_lr: Some(0.2), momentum: Some([0.1, 0.9]) };
        let gradients = [(0, Some(one.clone())), (1, Some(one.clone()))];
        optimizer
            .step(&mut tensors, &gradients, StepRates { factor: progress, warmup: Some(warmup) })
            .unwrap();
        for (place, tensor) in tensors.iter().enumerate() {
            velocities[place] = velocities[place] * momentum + 1.0;
            values[place] -= rates[place] * velocities[place];
            assert!((numbers(tensor)[0] - values[place]).abs() < 1e-12, "{progress} {place}");
        }
    }
}
