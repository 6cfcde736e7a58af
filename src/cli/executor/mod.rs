//! Who carries out the tasks of a submission: processes of this machine ([`local`]), or the jobs of a cluster ([`slurm`]).
//!
//! Both execute the same tasks, with the hidden command `defrost task`, from the same frozen submission. `defrost run`
//! without `--jobs` needs neither: it computes in its own process.

pub mod local;
pub mod queue;
pub mod script;
pub mod slurm;
