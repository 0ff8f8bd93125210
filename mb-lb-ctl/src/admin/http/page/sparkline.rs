//! A line of the last ten minutes.

use std::fmt::Write as _;

use maud::{Markup, html};

use super::super::KEPT;

const HEIGHT: f32 = 24.0;

/// New flows per second, oldest first. The newest stands at the right; the highest touches the top.
pub fn render(rates: &[f32]) -> Markup {
    let Some(now) = rates.last() else {
        return html! { span class="faint" { "not yet" } };
    };
    let most = rates.iter().copied().fold(0.0, f32::max);
    let text = format!(
        "New flows per second in the last 10 minutes: now {}, at most {}",
        number(*now),
        number(most)
    );
    html! {
        svg viewBox=(format!("0 0 {} {HEIGHT}", KEPT - 1)) preserveAspectRatio="none" role="img" aria-label=(text) {
            title { (text) }
            polyline points=(points(rates, most)) {}
        }
    }
}

fn points(rates: &[f32], most: f32) -> String {
    let first = KEPT - rates.len().min(KEPT);
    let mut text = String::new();
    for (index, rate) in rates.iter().take(KEPT).enumerate() {
        let share = if most > 0.0 { rate / most } else { 0.0 };
        let y = (HEIGHT - 1.0) - share * (HEIGHT - 2.0);
        // Writing into a String cannot fail.
        let _ = write!(
            text,
            "{}{},{y:.1}",
            if index == 0 { "" } else { " " },
            first + index
        );
    }
    if rates.len() == 1 {
        // One point is no line.
        let _ = write!(text, " {},{:.1}", first, HEIGHT - 1.0);
    }
    text
}

/// Whole where it is large.
fn number(rate: f32) -> String {
    match rate {
        rate if rate >= 10.0 || rate.fract() == 0.0 => format!("{rate:.0}"),
        rate => format!("{rate:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_is_at_the_right_and_the_highest_at_the_top() {
        assert_eq!(points(&[0.0, 5.0, 10.0], 10.0), "117,23.0 118,12.0 119,1.0");
        assert_eq!(points(&[0.0, 0.0], 0.0), "118,23.0 119,23.0");
        assert_eq!(points(&[1.0], 1.0), "119,1.0 119,23.0");
        let full = points(&[1.0; KEPT], 1.0);
        assert!(
            full.starts_with("0,1.0 ") && full.ends_with(" 119,1.0"),
            "{full}"
        );
    }

    #[test]
    fn the_line_says_in_words_what_it_shows() {
        let text = render(&[31.0, 0.4]).into_string();
        assert!(text.contains("now 0.4, at most 31\""), "{text}");
        assert!(render(&[]).into_string().contains("not yet"));
    }
}
