//! `mb-lb-ctl`: the daemon and its command line in one binary.

fn main() -> std::process::ExitCode {
    match mb_lb_ctl::tiers::storage::child::main() {
        Some(code) => code,
        None => mb_lb_ctl::cli::main(),
    }
}
