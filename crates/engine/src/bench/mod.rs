//! Timings of network steps on synthetic images, and of loading images.
//!
//! It times the code that stages run: the training loop, the inference pass, the image loader. It never reads a
//! clock itself; it returns seconds.

mod images;
mod network;
mod probes;
mod settings;
mod synthetic;
mod timing;

pub use images::{ImagesSettings, time_images};
pub use network::{NetworkBench, StepCounts};
pub use probes::{LoadProbe, NetworkProbes, Probe, ProbeSample, ResourceMeter};
pub use settings::{Mode, NetworkSettings, arch, precision};
pub use timing::{Clock, Timing};
