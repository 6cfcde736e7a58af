//! What a launcher of parallel programs has put into the environment: whether this process is one of several.

use std::path::PathBuf;

use defrost::ranks::{Launcher, LauncherKind};
use defrost::{Error, Result};

/// The environment, by name.
type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The value of `DEFROST_MPI` with which processes of a launcher are runs of their own.
const OFF: &str = "off";

/// The launcher of this process; `None` if it was started alone, or is to work alone.
pub fn launcher() -> Result<Option<Launcher>> {
    let environment = |name: &str| std::env::var(name).ok();
    let launcher = of(&environment)?;
    let library = std::env::var_os("DEFROST_MPI").filter(|path| !path.is_empty()).map(PathBuf::from);
    Ok(launcher.map(|launcher| Launcher { library, ..launcher }))
}

/// The number of this process among those of its launcher, whether or not they can work together.
pub fn rank() -> usize {
    let names = ["OMPI_COMM_WORLD_RANK", "PMI_RANK", "PMIX_RANK", "SLURM_PROCID"];
    names.iter().find_map(|name| std::env::var(name).ok()?.parse().ok()).unwrap_or(0)
}

/// Whether this process speaks for those of its machine, where the launcher says so.
pub fn is_first_of_machine() -> bool {
    let names = ["OMPI_COMM_WORLD_LOCAL_RANK", "MPI_LOCALRANKID", "SLURM_LOCALID"];
    let rank = names.iter().find_map(|name| std::env::var(name).ok()?.parse::<usize>().ok());
    rank.is_none_or(|rank| rank == 0)
}

fn of(environment: Environment) -> Result<Option<Launcher>> {
    if environment("DEFROST_MPI").as_deref() == Some(OFF) {
        return Ok(None);
    }
    let number = |name: &str| environment(name)?.parse::<usize>().ok();
    let launcher = |kind, name: &str, processes, rank| {
        let name = name.to_owned();
        Some(Launcher { kind, name, processes, rank, library: None })
            .filter(|launcher| launcher.processes > 1)
    };
    // `mpirun` inside a Slurm job: its own variables say more than those of Slurm.
    if let Some(processes) = number("OMPI_COMM_WORLD_SIZE") {
        let rank = number("OMPI_COMM_WORLD_RANK").unwrap_or(0);
        return Ok(launcher(LauncherKind::OpenMpi, "Open MPI's `mpirun`", processes, rank));
    }
    let of_step = number("SLURM_STEP_NUM_TASKS").filter(|_| number("SLURM_STEP_ID").is_some());
    // `mpiexec` may itself use `srun`.
    let by_srun = of_step.is_some() && environment("MPI_LOCALRANKID").is_none();
    if let Some(processes) = number("PMI_SIZE") {
        let name = if by_srun { "`srun --mpi=pmi2`" } else { "MPICH's `mpiexec`" };
        return Ok(launcher(LauncherKind::Mpich, name, processes, number("PMI_RANK").unwrap_or(0)));
    }
    let Some(processes) = of_step.filter(|tasks| *tasks > 1) else { return Ok(None) };
    if let Some(rank) = number("PMIX_RANK") {
        return Ok(launcher(LauncherKind::Either, "`srun --mpi=pmix`", processes, rank));
    }
    Err(Error::usage(format!(
        "`srun` started {processes} processes without a way to work together: each would train alone"
    ))
    .hint("`srun --mpi=pmix` connects processes of Open MPI, `srun --mpi=pmi2` those of MPICH; `srun --mpi=list` shows what the cluster has; `DEFROST_MPI=off` makes each a run of its own"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<(LauncherKind, usize, usize)>> {
        let environment = |name: &str| {
            let found = variables.iter().find(|(variable, _)| *variable == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let launcher = of(&environment)?;
        Ok(launcher.map(|launcher| (launcher.kind, launcher.processes, launcher.rank)))
    }

    #[test]
    fn launchers_are_known_by_their_variables() {
        let slurm = [("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "4"), ("SLURM_PROCID", "2")];
        let with = |more: &[(&'static str, &'static str)]| [&slurm[..], more].concat();
        assert_eq!(found(&[]).unwrap(), None);
        assert_eq!(found(&[("SLURM_NTASKS", "8"), ("SLURM_PROCID", "0")]).unwrap(), None, "a batch script");
        assert_eq!(found(&[("SLURM_STEP_ID", "0"), ("SLURM_STEP_NUM_TASKS", "1")]).unwrap(), None);
        let open = [("OMPI_COMM_WORLD_SIZE", "4"), ("OMPI_COMM_WORLD_RANK", "3")];
        assert_eq!(found(&open).unwrap(), Some((LauncherKind::OpenMpi, 4, 3)));
        assert_eq!(found(&with(&open)).unwrap(), Some((LauncherKind::OpenMpi, 4, 3)));
        assert_eq!(found(&[("OMPI_COMM_WORLD_SIZE", "1")]).unwrap(), None, "one process needs no MPI");
        let mpich = [("PMI_SIZE", "3"), ("PMI_RANK", "1")];
        assert_eq!(found(&mpich).unwrap(), Some((LauncherKind::Mpich, 3, 1)));
        assert_eq!(found(&with(&mpich)).unwrap(), Some((LauncherKind::Mpich, 3, 1)));
        assert_eq!(found(&with(&[("PMIX_RANK", "2")])).unwrap(), Some((LauncherKind::Either, 4, 2)));
        assert_eq!(found(&with(&[("DEFROST_MPI", "off")])).unwrap(), None, "runs of their own");
        let error = found(&slurm).unwrap_err();
        assert!(error.message.contains("4 processes") && error.hint.unwrap().contains("--mpi=pmix"));
    }
}
