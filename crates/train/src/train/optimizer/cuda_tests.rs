//! Steps on CUDA against those on the CPU.

use candle_core::{DType, Device, Tensor};

use super::{StepHyper, UpdateRule, rule, step};
use crate::ops::testing::{normal, numbers};

#[test]
#[ignore = "asks for a GPU, or tests/cuda/emulated"]
fn cuda_steps_have_the_bits_of_the_cpus() {
    let rules = [
        "kind = \"sgd\"\nlr = 0.1",
        "kind = \"sgd\"\nlr = 0.1\nmomentum = 0.9",
        "kind = \"sgd\"\nlr = 0.1\nmomentum = 0.9\nnesterov = true",
        "kind = \"adamw\"\nlr = 0.1\nbetas = [0.8, 0.99]\neps = 1e-6",
    ]
    .map(|settings| rule(&toml::from_str(settings).unwrap()));
    let run = |rule: &dyn UpdateRule, device: &Device| {
        let place =
            |name: &str| normal(name, &[1031]).to_dtype(DType::F32).unwrap().to_device(device).unwrap();
        let mut value = place("value");
        let buffers: Vec<Tensor> = rule.buffers().iter().map(|_| value.zeros_like().unwrap()).collect();
        for number in 1..4 {
            let gradient = place(&format!("gradient {number}"));
            let pace = StepHyper { step: number, lr: 0.1, weight_decay: 0.05, momentum: None };
            value = step(rule, &value, &gradient, &buffers, pace).unwrap();
        }
        let all = buffers.into_iter().chain([value]);
        all.map(|tensor| numbers(&tensor.to_device(&Device::Cpu).unwrap())).collect::<Vec<_>>()
    };
    let gpu = crate::device::choose("cuda:0").unwrap().device;
    for rule in rules {
        assert_eq!(run(&*rule, &gpu), run(&*rule, &Device::Cpu), "{rule:?}");
    }
}
