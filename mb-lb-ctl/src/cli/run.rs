//! `run`.

use crate::cli::args::Global;
use crate::cli::exit::{Exit, Failure};
use crate::run::RunOptions;

pub fn run(global: &Global) -> Result<Exit, Failure> {
    let options = RunOptions {
        config: global.config_path().to_owned(),
        socket: global.socket.clone(),
        bpf_root: global.bpf_root.clone(),
        state_dir: global.state_dir.clone(),
    };
    match crate::run::run(options) {
        Ok(()) => Ok(Exit::Ok),
        Err(error) => Err(match error.downcast::<Failure>() {
            Ok(failure) => failure,
            Err(error) => Failure::failed(format!("{error:#}")),
        }),
    }
}
