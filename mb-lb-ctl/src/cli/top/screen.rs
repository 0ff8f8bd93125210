//! The terminal: raw mode and the alternate screen, for as long as this lives, and not longer.

use std::io;

use ratatui::{DefaultTerminal, Frame};

use crate::cli::output::say;

/// Gives the terminal back when it is dropped, and when any thread panics, before the panic is told.
pub struct Screen(DefaultTerminal);

impl Screen {
    /// # Errors
    /// The terminal does not take it.
    pub fn enter() -> io::Result<Self> {
        ratatui::try_init().map(Self)
    }

    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, render: impl FnOnce(&mut Frame)) -> io::Result<()> {
        self.0.draw(render).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Then the panic hook has done it, and a second time would write over what it said.
        if std::thread::panicking() {
            return;
        }
        if let Err(error) = ratatui::try_restore() {
            say(&format!(
                "the terminal could not be restored: {error}; try: reset"
            ));
        }
    }
}
