//! Parses the command line, dispatches, and turns the outcome into an exit code.

mod cli;

/// Keeps freed pages: a training step allocates and frees the same large buffers over and over.
#[global_allocator]
static ALLOCATOR: defrost::memory::CachingAllocator = defrost::memory::CachingAllocator::new();

fn main() -> std::process::ExitCode {
    cli::main()
}
