//! Colours of top; without colour, weight of the type and reversed lines. Neither ever says anything alone.

use ratatui::style::{Color, Modifier, Style as Tui};

use crate::cli::state::Tone;
use crate::cli::style::Style;

#[derive(Clone, Copy, Debug)]
pub struct Paint(pub Style);

impl Paint {
    pub fn tone(self, tone: Tone) -> Tui {
        match tone {
            Tone::Good => self.good(),
            Tone::Bad => self.bad(),
            Tone::Odd => self.odd(),
            Tone::Calm => self.color(Color::Cyan),
        }
    }

    pub fn good(self) -> Tui {
        self.color(Color::Green)
    }

    pub fn bad(self) -> Tui {
        self.color(Color::Red).add_modifier(Modifier::BOLD)
    }

    pub fn odd(self) -> Tui {
        self.color(Color::Yellow)
    }

    pub fn faint(self) -> Tui {
        self.color(Color::DarkGray)
    }

    pub fn strong(self) -> Tui {
        Tui::new().add_modifier(Modifier::BOLD)
    }

    pub fn selected(self) -> Tui {
        Tui::new().add_modifier(Modifier::REVERSED)
    }

    fn color(self, color: Color) -> Tui {
        match self.0.color {
            true => Tui::new().fg(color),
            false => Tui::new(),
        }
    }
}
