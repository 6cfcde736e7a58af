//! Measures missing values: a few batches of synthetic images, and a few images of the stage.

use candle_core::Device;

use super::probes::{load_probes, probes, sample_images, size};
use super::{BatchCost, Calibration, EstimateSettings, Workload};
use crate::bench::{NetworkProbes, Probe, ProbeSample, ResourceMeter};
use crate::error::Result;
use crate::pipeline::Augment;
use crate::stage::PlannedStage;

/// The first batch size: enough for batch normalization.
const FEW: usize = 2;
/// The maximum seconds of the largest batch; it runs two or three times.
const LONGEST: f64 = 0.4;
const EXAMPLES: usize = 16;

/// The keys of a workload without measurements.
pub fn missing(workload: &Workload, known: &Calibration) -> Vec<String> {
    let pieces = workload.phases.iter().flat_map(|phase| &phase.pieces);
    let pieces = pieces.chain(workload.mapped.iter().map(|mapped| &mapped.piece));
    let mut missing: Vec<String> = pieces.filter(|piece| known.measured(piece).is_none()).cloned().collect();
    let readings = workload.phases.iter().flat_map(|phase| &phase.reading);
    let unknown = readings.filter(|reading| known.reading(&reading.piece).is_none());
    missing.extend(unknown.map(|reading| reading.piece.clone()));
    missing.sort();
    missing.dedup();
    missing
}

/// Measures missing values of a stage's workload, on its device. A probe takes at most one or two seconds.
///
/// # Errors
/// Images too small for the architecture or unreadable, or not enough memory for a few images.
pub fn measure(
    work: &PlannedStage,
    workload: &Workload,
    settings: &EstimateSettings,
    known: &mut Calibration,
    device: &Device,
    meter: &dyn ResourceMeter,
) -> Result<()> {
    let missing = missing(workload, known);
    let largest = |key: &String| {
        let phases = workload.phases.iter().filter(|phase| phase.pieces.contains(key));
        phases.map(|phase| phase.batch).max().unwrap_or(FEW).max(FEW)
    };
    for (model_spec, pieces) in probes(work) {
        // Ensemble members may be equal: measurements of the first apply to the next.
        let unknown = |key: &String| missing.contains(key) && known.measured(key).is_none();
        let wanted: Vec<_> = pieces.into_iter().filter(|(key, _)| unknown(key)).collect();
        if wanted.is_empty() {
            continue;
        }
        let network = NetworkProbes::new(model_spec, size(work), device)?;
        for (key, piece) in wanted {
            known.set_measured(&key, sampled(&network, piece, largest(&key), meter)?);
        }
    }
    let plain = Augment::default();
    for (key, sight) in load_probes(work, settings, &plain) {
        if missing.contains(&key) && known.reading(&key).is_none() {
            known.set_reading(&key, sight.seconds(&sample_images(work, EXAMPLES), meter)?);
        }
    }
    Ok(())
}

/// A few images, then as many of the batch as the time allows, at least twice as many: a line needs two points.
fn sampled(
    network: &NetworkProbes,
    piece: Probe,
    batch: usize,
    meter: &dyn ResourceMeter,
) -> Result<BatchCost> {
    let mut samples: Vec<ProbeSample> = vec![network.sample(piece, FEW, 2, meter)?];
    let each = samples[0].seconds.max(1e-9) / FEW as f64;
    let affordable = ((LONGEST / each) as usize).max(2 * FEW).min(batch);
    if affordable > FEW {
        let rounds = if each * affordable as f64 > LONGEST / 2.0 { 2 } else { 3 };
        samples.push(network.sample(piece, affordable, rounds, meter)?);
    }
    Ok(BatchCost::of(&samples))
}
