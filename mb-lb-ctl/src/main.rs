//! `mb-lb-ctl`: the daemon and its command line in one binary.

fn main() -> std::process::ExitCode {
    mb_lb_ctl::cli::main()
}
