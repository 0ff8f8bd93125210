//! `run`.

use crate::cli::args::{Global, Run};
use crate::cli::exit::{Exit, Failure};
use crate::cli::privilege;
use crate::run::RunOptions;

pub fn run(global: &Global, args: &Run) -> Result<Exit, Failure> {
    // Before anything is made that would stay.
    if !privilege::enough() {
        return Err(privilege::refused("not started", "run"));
    }
    let options = RunOptions {
        config: global.config_path().to_owned(),
        socket: global.socket.clone(),
        bpf_root: global.bpf_root.clone(),
        state_dir: global.state_dir.clone(),
    };
    let ended = match args.shadow {
        true => crate::run::shadow(&options, &args.haproxy_socket),
        false => crate::run::run(options),
    };
    match ended {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::failed(format!("{error:#}")),
        }),
    }
}
