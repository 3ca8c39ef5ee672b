//! The `stratafs` program.

fn main() -> std::process::ExitCode {
    stratafs::cli::main()
}
